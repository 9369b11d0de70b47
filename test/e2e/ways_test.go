package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// A sentinel that was there before the daemon started is seen, and so is one that
// is renamed into place.
func TestSentinelThatWasThereBefore(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.stopped("--drain=false")
	before := m.BootID()
	b.must(m.Touch("", "linux-image-6.12", "libc6", "libc6"))
	b.must(m.StartDaemon())
	b.rebooted(m, before)
	if log := m.Log(); !strings.Contains(log, "for libc6, linux-image-6.12") {
		t.Error("the packages of the sentinel are not in the log")
	}
}

// A sentinel that is older than the boot asks for nothing.
func TestSpentSentinel(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.stopped("--drain=false")
	b.must(m.Touch("old news"))
	path := filepath.Join(m.Root, machine.Sentinel)
	hourAgo := time.Now().Add(-time.Hour)
	b.must(os.Chtimes(path, hourAgo, hourAgo))
	b.must(m.StartDaemon())
	b.eventually("the daemon is ready", func() bool { status, _ := b.get(m, "/readyz"); return status == http.StatusOK })
	if got := b.metric(m, "rebootd_reboot_required"); got != "0" {
		t.Errorf("rebootd_reboot_required is %s for a sentinel older than the boot, want 0", got)
	}
	before := m.BootID()
	b.must(m.Touch("new"))
	b.rebooted(m, before)
}

// Removed during the drain, everything is undone: uncordoned, released, no record.
func TestWithdrawnDuringDrain(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine()
	b.must(m.Touch("x"))
	b.phase(m, "Draining")
	b.must(m.Withdraw())
	b.node(m, "put back", func(n *corev1.Node) bool { return idle(n) && !n.Spec.Unschedulable })
	b.released()
	if calls, _ := m.Orders(); calls != 0 {
		t.Errorf("the reboot command was called %d times", calls)
	}
	b.eventually("the Events end with Cancelled, Released", func() bool {
		e := b.events(m)
		return slices.Contains(e, "Cancelled") && slices.Contains(e, "Released")
	})
}

// A held node is left alone, with the reason for all to see; held during the
// drain it is put back; when the hold is removed it goes on.
func TestHold(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine()
	before := m.BootID()
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":"disk replacement"}}}`)
	b.must(m.Touch("x"))
	if n := b.reason(m, "Held"); !strings.Contains(condition(n).Message, "disk replacement") || recordOf(n).Phase != "Waiting" {
		t.Errorf("condition %+v, record %+v", condition(n), recordOf(n))
	}
	if h := b.holders(); len(h) != 0 {
		t.Errorf("a held node holds a slot: %v", h)
	}
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`)
	b.phase(m, "Draining")
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":""}}}`)
	b.node(m, "put back and held", func(n *corev1.Node) bool {
		return !n.Spec.Unschedulable && recordOf(n).Phase == "Waiting" && condition(n).Reason == "Held"
	})
	b.released()
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`)
	b.rebooted(m, before)
	if _, agreed := m.Orders(); agreed != 1 {
		t.Errorf("rebooted %d times, want once", agreed)
	}
}

// A node that an admin has cordoned stays cordoned.
func TestAdminsCordonStays(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine("--drain=false")
	before := m.BootID()
	b.patch(m, `{"spec":{"unschedulable":true}}`)
	b.must(m.Touch("x"))
	n := b.node(m, "rebooted and idle", func(n *corev1.Node) bool { return n.Status.NodeInfo.BootID != before && idle(n) })
	if !n.Spec.Unschedulable {
		t.Error("the admin's cordon was removed")
	}
	b.released()
}

// A cordon that was removed and set again by an admin while the machine was down
// is the admin's, though nobody saw it go.
func TestAdminsCordonInPlaceOfOurs(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine("--drain=false")
	before := m.BootID()
	m.Boot, m.NoDaemonAfterBoot = 0, true
	b.must(m.Touch("x"))
	b.node(m, "rebooted", func(n *corev1.Node) bool { return n.Status.NodeInfo.BootID != before })
	b.patch(m, `{"spec":{"unschedulable":null}}`)
	b.patch(m, `{"spec":{"unschedulable":true}}`)
	b.must(m.StartDaemon())
	n := b.node(m, "idle", idle)
	if !n.Spec.Unschedulable {
		t.Error("the admin's cordon was removed")
	}
}

// An uncordon in the middle of the drain is a veto.
func TestUncordonedDuringDrain(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine()
	b.must(m.Touch("x"))
	b.phase(m, "Draining")
	b.patch(m, `{"spec":{"unschedulable":null}}`)
	n := b.reason(m, "CordonLost")
	if r := recordOf(n); r.Phase != "Waiting" || r.Attempts != 1 || n.Spec.Unschedulable {
		t.Errorf("record %+v, unschedulable %t", r, n.Spec.Unschedulable)
	}
	b.released()
}

// The slot's Lease is deleted by hand during the drain: the node is put back.
func TestSlotDeletedByHand(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine()
	b.must(m.Touch("x"))
	b.phase(m, "Draining")
	b.must(shared.Client.CoordinationV1().Leases(cluster.Namespace).Delete(b.ctx, b.lock+"-0", metav1.DeleteOptions{}))
	n := b.reason(m, "SlotLost")
	if n.Spec.Unschedulable {
		n = b.node(m, "uncordoned", func(n *corev1.Node) bool { return !n.Spec.Unschedulable })
	}
	if r := recordOf(n); r.Phase != "Waiting" {
		t.Errorf("record %+v", r)
	}
	if calls, _ := m.Orders(); calls != 0 {
		t.Errorf("the reboot command was called %d times", calls)
	}
}

// A reboot by annotation needs no sentinel, and is served once.
func TestRequestByAnnotation(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine("--drain=false")
	before := m.BootID()
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/request":"reboot"}}}`)
	n := b.rebooted(m, before)
	if v, ok := n.Annotations["rebootd.dev/request"]; ok {
		t.Errorf("the request is still there: %q", v)
	}
	if _, agreed := m.Orders(); agreed != 1 {
		t.Errorf("rebooted %d times, want once", agreed)
	}
}

// shutdown -r +N: the machine goes down later, and the daemon is restarted in
// between. Nothing is ordered twice.
func TestDelayedReboot(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine("--drain=false")
	before := m.BootID()
	m.Behave(machine.Behaviour{Delay: 4 * time.Second})
	b.must(m.Touch("x"))
	b.eventually("the command has agreed", func() bool { _, n := m.Orders(); return n == 1 })
	b.eventually("that is on record", func() bool {
		n, err := m.Node(b.ctx)
		b.must(err)
		return strings.Contains(n.Annotations["rebootd.dev/operation"], `"accepted":true`)
	})
	for range 2 {
		b.eventually("the daemon is ready", func() bool { status, _ := b.get(m, "/readyz"); return status == http.StatusOK })
		if status, took := m.StopDaemon(); status != 0 || took > 5*time.Second {
			t.Errorf("SIGTERM: exit status %d after %s, want 0 within 5s", status, took)
		}
		b.must(m.StartDaemon())
	}
	b.rebooted(m, before)
	if calls, _ := m.Orders(); calls != 1 {
		t.Errorf("the command was called %d times, want once", calls)
	}
}

// A command that fails is tried again, and then the node is put back.
func TestCommandFails(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine("--drain=false")
	m.Behave(machine.Behaviour{Fail: "Call to Reboot failed: Operation inhibited"})
	b.must(m.Touch("x"))
	n := b.node(m, "put back", func(n *corev1.Node) bool { return recordOf(n).Phase == "Waiting" && !n.Spec.Unschedulable })
	if !strings.Contains(condition(n).Message, "Operation inhibited") {
		b.node(m, "RebootFailed with the output", func(n *corev1.Node) bool {
			c := condition(n)
			return c.Reason == "RebootFailed" && strings.Contains(c.Message, "Operation inhibited")
		})
	}
	if calls, _ := m.Orders(); calls != 3 {
		t.Errorf("the command was called %d times, want 3", calls)
	}
	b.released()
	if !strings.Contains(m.Log(), `"output":"Call to Reboot failed: Operation inhibited"`) {
		t.Error("the command's output is not in the log")
	}
}

// For a command that is missing nothing is begun. One that cannot be started is like one
// that fails.
func TestCommandIsMissing(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	command := filepath.Join(b.TempDir(), "reboot")
	m := b.machine("--drain=false", "--reboot-command="+command+" now")
	b.must(m.Touch("x"))
	n := b.reason(m, "CannotReboot")
	if recordOf(n).Phase != "Waiting" || n.Spec.Unschedulable || !strings.Contains(condition(n).Message, "no such file") {
		t.Errorf("unschedulable %t, record %+v, %s", n.Spec.Unschedulable, recordOf(n), condition(n).Message)
	}
	b.must(os.WriteFile(command, []byte("no program"), 0o755))
	b.node(m, "put back", func(n *corev1.Node) bool {
		return recordOf(n).Phase == "Waiting" && !n.Spec.Unschedulable && condition(n).Reason == "RebootFailed" &&
			strings.Contains(condition(n).Message, "exec format error")
	})
	b.released()
}

// A command that says that all is well and does nothing halts the rollout, with
// the node drained and the slot held. When the machine goes down after all, it
// goes on by itself.
func TestCommandDoesNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine("--drain=false", "--reboot-timeout=2s")
	other := b.machine("--drain=false")
	before := m.BootID()
	m.Behave(machine.Behaviour{Nothing: true})
	b.must(m.Touch("x"))
	n := b.reason(m, "RebootOverdue")
	b.must(other.Touch("x"))
	b.phase(other, "Queued")
	if h := b.holders(); len(h) != 1 || h[b.lock+"-0"] != m.Name || !n.Spec.Unschedulable || recordOf(n).Phase != "Halted" {
		t.Errorf("holders %v, unschedulable %t, record %+v", h, n.Spec.Unschedulable, recordOf(n))
	}
	b.must(m.Crash()) // a person goes there
	b.rebooted(m, before)
	b.node(other, "rebooted", func(n *corev1.Node) bool { return recordOf(n).Phase == "" && !n.Spec.Unschedulable })
	b.released()
	if calls, _ := m.Orders(); calls != 1 {
		t.Errorf("the command was called %d times, want once", calls)
	}
}

// A node that does not become healthy halts the rollout, and goes on when it does.
func TestUnhealthyAfterBoot(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine("--drain=false", "--health-timeout=2s")
	before := m.BootID()
	m.StayUnhealthy(time.Now().Add(8 * time.Second))
	b.must(m.Touch("x"))
	n := b.reason(m, "Unhealthy")
	if !n.Spec.Unschedulable || recordOf(n).Phase != "Halted" || len(b.holders()) != 1 {
		t.Errorf("unschedulable %t, record %+v, holders %v", n.Spec.Unschedulable, recordOf(n), b.holders())
	}
	if !strings.Contains(condition(n).Message, "kubelet has not reported this boot") {
		t.Errorf("the condition does not say which check fails: %s", condition(n).Message)
	}
	b.rebooted(m, before)
	b.released()
}

// The node must stay healthy for the time to settle before it is put back.
func TestSettle(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine("--drain=false", "--settle=3s")
	before := m.BootID()
	b.must(m.Touch("x"))
	b.node(m, "Ready after the boot", func(n *corev1.Node) bool {
		return n.Status.NodeInfo.BootID != before && n.Status.NodeInfo.BootID == m.BootID() && cluster.Ready(n)
	})
	healthy := time.Now()
	b.rebooted(m, before)
	if took := time.Since(healthy); took < 2500*time.Millisecond {
		t.Errorf("put back %s after it was healthy, want 3s", took)
	}
}

// A record by a newer version, or by hand and wrong: hands off, alive, visible.
func TestRecordThatIsNotObeyed(t *testing.T) {
	t.Parallel()
	for reason, rec := range map[string]string{
		"RecordTooNew":  `{"v":99,"phase":"Draining"}`,
		"RecordInvalid": `{"v":1,"phase":"Dreaming"}`,
	} {
		t.Run(reason, func(t *testing.T) {
			b := newBed(t, time.Minute)
			m := b.stopped("--drain=false")
			value, err := json.Marshal(rec)
			b.must(err)
			b.patch(m, fmt.Sprintf(`{"metadata":{"annotations":{"rebootd.dev/operation":%s}}}`, value))
			b.must(m.StartDaemon())
			b.must(m.Touch("x"))
			n := b.reason(m, reason)
			if condition(n).Status != corev1.ConditionUnknown || n.Annotations["rebootd.dev/operation"] != rec || n.Spec.Unschedulable {
				t.Errorf("condition %+v, annotation %s", condition(n), n.Annotations["rebootd.dev/operation"])
			}
			if status, _ := b.get(m, "/healthz"); status != http.StatusOK {
				t.Errorf("/healthz answers %d", status)
			}
			before := m.BootID()
			b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/operation":null}}}`)
			b.rebooted(m, before)
		})
	}
}

// The sentinel's first sight is one write: the record and the condition together.
func TestOneWriteUntilItsTurn(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	holder := b.machine("--drain=false", "--reboot-timeout=10m")
	holder.Behave(machine.Behaviour{Nothing: true})
	b.must(holder.Touch("x"))
	b.phase(holder, "Rebooting")
	m := b.machine()
	b.eventually("the daemon is ready", func() bool { status, _ := b.get(m, "/readyz"); return status == http.StatusOK })
	b.must(m.Touch("x"))
	b.phase(m, "Queued")
	got, err := m.Node(b.ctx)
	b.must(err)
	if condition(got).Reason != "Queued" {
		t.Errorf("the condition that came with the record is %+v", condition(got))
	}
	writes := 0
	for _, f := range got.ManagedFields {
		if f.Manager == "rebootd" {
			writes++
		}
	}
	if writes != 1 { // status only
		t.Errorf("%d managers' entries by rebootd, want 1", writes)
	}
}

// Nothing is written by a dry run.
func TestDryRun(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine("--dry-run")
	b.must(m.Touch("x"))
	b.eventually("the log says what would be done", func() bool { return strings.Contains(m.Log(), "would do: ordering the reboot") })
	n, err := m.Node(b.ctx)
	b.must(err)
	if n.Annotations["rebootd.dev/operation"] != "" || n.Spec.Unschedulable || condition(n).Type != "" || len(b.holders()) != 0 {
		t.Errorf("something was written: %v, %+v, %v", n.Annotations, condition(n), b.holders())
	}
	if calls, _ := m.Orders(); calls != 0 {
		t.Error("the reboot command was called")
	}
	if e := b.events(m); len(e) != 0 {
		t.Errorf("Events: %v", e)
	}
	for metric, want := range map[string]string{`rebootd_phase{phase="Idle"}`: "1", "rebootd_slot_held": "0", "rebootd_dry_run": "1", `rebootd_evictions_total{code="201"}`: "0"} {
		if got := b.metric(m, metric); got != want {
			t.Errorf("%s is %s, want %s", metric, got, want)
		}
	}
}

// Somebody deletes the Node during the drain: nothing more is evicted, since nothing
// says any more that the node is cordoned; when the kubelet has made it anew, all
// begins anew with it.
func TestNodeDeletedDuringDrain(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine()
	b.blocked(m)
	before := m.BootID()
	b.must(m.Touch("x"))
	b.reason(m, "DrainBlocked")
	b.must(shared.Client.CoreV1().Nodes().Delete(b.ctx, m.Name, metav1.DeleteOptions{}))
	b.eventually("the daemon knows", func() bool { return strings.Contains(m.Log(), "the Node is gone from the cluster") })
	b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.prefix).Delete(b.ctx, "web", metav1.DeleteOptions{}))
	// With its Node it would be evicted some milliseconds after that.
	time.Sleep(time.Second)
	p, err := shared.Client.CoreV1().Pods(b.prefix).Get(b.ctx, "web", metav1.GetOptions{})
	b.must(err)
	if p.DeletionTimestamp != nil {
		t.Error("a pod was evicted from a node that nothing cordons")
	}
	b.must(m.Register(b.ctx))
	b.rebooted(m, before)
	b.released()
}
