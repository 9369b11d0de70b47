package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// alertServer answers queries as a Prometheus does, with one alert that fires or does not.
type alertServer struct {
	*httptest.Server
	mu      sync.Mutex
	fires   bool
	queries int
}

func newAlertServer(t *testing.T) *alertServer {
	s := &alertServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queries++
		now := float64(time.Now().UnixMilli()) / 1000
		result := []any{}
		if s.fires {
			for _, part := range []string{"fired", "active"} {
				result = append(result, map[string]any{
					"metric": map[string]string{"rebootd": part, "alertname": "ShopIsDown"}, "value": []any{now, fmt.Sprint(now)},
				})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector", "result": result}})
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *alertServer) set(fires bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fires = fires
}

func (s *alertServer) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries
}

// span is a time in which something is so.
type span struct{ from, to time.Time }

func (s span) holds(at time.Time) bool { return !at.Before(s.from) && at.Before(s.to) }

// roll is a roll of five nodes through gates.
type roll struct {
	*bed
	early, late span // the windows
}

// newRoll waits for a minute of which enough is left: windows begin and end with minutes.
func newRoll(b *bed) *roll {
	minute := time.Now().UTC().Truncate(time.Minute)
	if left := time.Until(minute.Add(time.Minute)); left < 40*time.Second {
		minute = minute.Add(time.Minute)
		select {
		case <-time.After(time.Until(minute)): // the minute begins: by the clock of the daemons
		case <-b.ctx.Done():
			b.Fatal(b.ctx.Err())
		}
	}
	r := &roll{bed: b, early: span{minute, minute.Add(2 * time.Minute)}}
	r.late = span{r.early.to.Add(time.Minute), r.early.to.Add(7 * time.Minute)}
	return r
}

// until waits until the clock has come to a time.
func (r *roll) until(at time.Time) {
	r.Helper()
	select {
	case <-time.After(time.Until(at)):
	case <-r.ctx.Done():
		r.Fatal(r.ctx.Err())
	}
}

func (r *roll) annotate(m *machine.Machine, key, value string) {
	r.Helper()
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{"rebootd.dev/" + key: value}}})
	r.must(err)
	r.patch(m, string(data))
}

// cordonTimes is when the machine's daemon has cordoned its Node, by the audit log.
func (r *roll) cordonTimes(m *machine.Machine) (out []time.Time) {
	r.Helper()
	_, done := r.cordonsOf(m)
	for _, a := range done {
		if a.ResponseStatus.Code < 300 {
			out = append(out, a.RequestReceivedTimestamp)
		}
	}
	return out
}

// minuteOf is a time as windows name it.
func minuteOf(at time.Time) string { return at.Format("15:04") }

// Five nodes that need a reboot come to gates of all kinds: a window that closes before all
// have had their turn, a freeze, a deadline that passes while no window is open, an alert
// that begins and ends, an admission policy that denies the cordon, a pod that blocks, and an
// approval that is given and withdrawn. By the audit log none is ever cordoned while a gate is closed.
func TestRollThroughGates(t *testing.T) {
	t.Parallel()
	b := newBed(t, 9*time.Minute)
	prometheus := newAlertServer(t)
	prometheus.set(true)
	r := newRoll(b)
	var machines []*machine.Machine
	for range 5 {
		machines = append(machines, b.stopped(
			"--window="+minuteOf(r.early.from)+"-"+minuteOf(r.early.to), "--window="+minuteOf(r.late.from)+"-"+minuteOf(r.late.to), "--window-reserve=0",
			"--prometheus-url="+prometheus.URL, `--alerts=severity="critical"`, "--alerts-watchdog=", "--alerts-lookback=0s", "--approval",
			"--blocking-pods=metadata.namespace="+b.prefix+",app=training"))
	}
	first, approved, frozen, denied, urgent := machines[0], machines[1], machines[2], machines[3], machines[4]
	boots := map[*machine.Machine]string{}
	for _, m := range machines {
		boots[m] = m.BootID()
	}
	forAll := "until " + r.late.to.Format(time.RFC3339)
	b.patch(denied, `{"metadata":{"labels":{"tier":"db"}}}`)
	b.example("policy-replica-safe.yaml", func(*admissionv1.ValidatingAdmissionPolicyBinding) {})
	b.asService(denied)
	b.denied(denied, "the condition ReplicaSafe is not True")
	freeze := span{r.early.from, r.late.from.Add(time.Minute)}
	r.annotate(frozen, "windows", fmt.Sprintf("freeze: %s..%s", freeze.from.Format("2006-01-02T15:04"), freeze.to.Format("2006-01-02T15:04")))
	for _, m := range []*machine.Machine{first, frozen, denied} {
		r.annotate(m, "approval", forAll)
	}
	b.pod(frozen, "training")
	for _, m := range machines {
		b.must(m.StartDaemon())
		b.must(m.Touch("x"))
	}

	// The alert: the one whose turn it is asks, and keeps its slot.
	b.says(first, "AlertsFiring", "ShopIsDown")
	b.reason(approved, "AwaitingApproval")
	b.reason(frozen, "Frozen")
	b.reason(denied, "PolicyDenies")
	b.reason(urgent, "AwaitingApproval")
	if len(r.cordonTimes(first)) > 0 || prometheus.asked() == 0 {
		t.Errorf("cordoned while an alert fires, or Prometheus was asked %d times", prometheus.asked())
	}
	prometheus.set(false)
	quiet := time.Now()
	b.rebooted(first, boots[first])

	// The window closes, and one of those that wait is past its deadline before the next.
	r.until(r.early.to)
	b.reason(approved, "OutsideWindow")
	deadline := time.Now().Add(8 * time.Second).UTC().Truncate(time.Second)
	r.annotate(urgent, "deadline", deadline.Format(time.RFC3339))
	b.rebooted(urgent, boots[urgent])

	// The next window. The approval is withdrawn while the node drains.
	r.until(r.late.from)
	id := recordOf(b.reason(approved, "AwaitingApproval")).ID
	r.slowPod(approved)
	given := []span{{from: time.Now()}}
	r.annotate(approved, "approval", id)
	b.phase(approved, "Draining")
	b.patch(approved, `{"metadata":{"annotations":{"rebootd.dev/approval":null}}}`)
	given[0].to = time.Now()
	b.node(approved, "put back", func(n *corev1.Node) bool { return !n.Spec.Unschedulable && condition(n).Reason == "AwaitingApproval" })
	if got := r.cordonTimes(frozen); len(got) > 0 {
		t.Errorf("cordoned at %s, and frozen until %s", got, freeze.to)
	}
	b.says(frozen, "PodsBlock", "training")
	b.must(shared.Client.CoreV1().Pods(b.prefix).Delete(b.ctx, "training", metav1.DeleteOptions{}))
	unblocked := time.Now()
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, denied.Name, types.StrategicMergePatchType, []byte(`{"status":{"conditions":[{"type":"ReplicaSafe","status":"True","reason":"InSync"}]}}`), metav1.PatchOptions{}, "status")
	b.must(err)
	safe := time.Now()
	given = append(given, span{time.Now(), r.late.to})
	r.annotate(approved, "approval", id)
	b.rebooted(denied, boots[denied])
	b.rebooted(approved, boots[approved])
	b.rebooted(frozen, boots[frozen])
	b.released()

	windows := []span{r.early, r.late}
	for _, c := range []struct {
		m     *machine.Machine
		times int
		open  []span
	}{
		{first, 1, []span{{quiet, r.early.to}}},
		{approved, 2, given},
		{frozen, 1, []span{{unblocked, r.late.to}}},
		{denied, 1, []span{{safe, r.late.to}}},
		{urgent, 1, []span{{deadline, r.late.from}}},
	} {
		got := r.cordonTimes(c.m)
		if len(got) != c.times {
			t.Errorf("%s was cordoned %d times, want %d: %s", c.m.Name, len(got), c.times, got)
		}
		for _, at := range got {
			if !within(at, c.open) || c.m != urgent && !within(at, windows) {
				t.Errorf("%s was cordoned at %s, while a gate was closed; it was open in %v, the windows in %v", c.m.Name, at, c.open, windows)
			}
		}
	}
	if got := overlap(machines); got != 1 {
		t.Errorf("%d machines were down at the same time", got)
	}
}

// within says whether a time is in one of the spans.
func within(at time.Time, spans []span) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.holds(at) })
}

// slowPod runs a pod on the machine that takes its time to end.
func (r *roll) slowPod(m *machine.Machine) {
	r.Helper()
	r.Namespace(r.prefix)
	t := cluster.Template("slow", map[string]string{"term-seconds": "15"})
	t.Name, t.Spec.NodeName = "slow", m.Name
	_, err := shared.Client.CoreV1().Pods(r.prefix).Create(r.ctx, &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}, metav1.CreateOptions{})
	r.must(err)
}
