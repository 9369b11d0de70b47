package cli

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/daemon/api"
)

// TestPauseLocks has every lock be paused that has daemons, of which one has not had a slot
// taken yet, and people be told where none is known.
func TestPauseLocks(t *testing.T) {
	f := acting()
	f.setLease(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: api.PauseName("workers"), Namespace: "rebootd"}})
	r := runIn(f, []string{"pause", "--reason", "x"})
	if r.status != exitOK || r.out != "lease/rebootd-pause paused\nlease/workers-pause paused\n" || strings.Contains(r.err, "no lock") {
		t.Errorf("%+v", r)
	}
	r = runIn(newFake(), []string{"pause"})
	if want := "warning: no daemon is known to use a lock in the namespace rebootd; pausing rebootd, the lock by default: see --lock and --namespace"; r.status != exitOK || !strings.Contains(r.err, want) {
		t.Errorf("%+v; want %q", r, want)
	}
}

// slowNodes never has an answer for who lists Nodes.
type slowNodes struct{ *fakeAPI }

func (s slowNodes) EachNode(ctx context.Context, _ string, _ func(*corev1.Node)) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

// PatchLease fails when the time for it has passed.
func (s slowNodes) PatchLease(ctx context.Context, name string, patch []byte, dryRun bool) (*coordinationv1.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.fakeAPI.PatchLease(ctx, name, patch, dryRun)
}

// TestPauseWhileNodesAreSlow has a pause be written although the Nodes, which only tell who
// is put back by it, cannot be listed in time.
func TestPauseWhileNodesAreSlow(t *testing.T) {
	f := paused()
	f.wrote = nil
	r := runIn(slowNodes{f}, []string{"pause", "--overwrite", "--reason", "incident", "--timeout", "50ms"})
	if r.status != exitOK || !slices.ContainsFunc(f.wrote, func(w string) bool { return strings.Contains(w, "incident") }) {
		t.Errorf("%+v, %q", r, f.wrote)
	}
}

var _ client.API = slowNodes{}

// TestReleaseOfANewerSlot has a slot that a newer version has written be left alone, as the
// daemons do, and people be told.
func TestReleaseOfANewerSlot(t *testing.T) {
	f := acting()
	l := f.slot(0, "halted", 40*time.Minute)
	l.Annotations[api.LeaseSchemaAnnotation] = "2"
	f.setLease(l)
	f.wrote = nil
	r := runIn(f, strings.Fields("release rebootd-0 --holder halted --yes"))
	if r.status != exitFailed || !strings.Contains(r.err, "was taken by a newer version of rebootd") || len(f.wrote) > 0 {
		t.Errorf("%+v, %q", r, f.wrote)
	}
	if r = runIn(f, []string{"slots"}); !strings.Contains(r.out+r.err, "a newer version of rebootd") {
		t.Errorf("%+v", r)
	}
}

// TestOlderDaemons has people told of daemons that do not say which version they are: those
// of the last release know neither the Lease for a pause nor an abort.
func TestOlderDaemons(t *testing.T) {
	f := acting()
	f.on("drains", without(api.DaemonAnnotation))
	for line, want := range map[string]string{
		"pause --reason x": "warning: which version runs is not known of drains: older ones do not know the Lease rebootd-pause, and reboot although it is paused; pause a slot for those, too: kubectl -n rebootd annotate lease rebootd-0 rebootd.dev/paused=REASON",
		"abort drains":     "warning: drains: its daemon does not say which version it is: older ones do not know rebootd.dev/abort, and continue",
	} {
		if r := runIn(f, strings.Fields(line)); r.status != exitOK || !strings.Contains(r.err, want) {
			t.Errorf("%s: %+v; want %s", line, r, want)
		}
		if r := runIn(acting(), strings.Fields(line)); strings.Contains(r.err, "older") {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

// TestPauseThatIsRefused tells of no effect of a pause that is not written.
func TestPauseThatIsRefused(t *testing.T) {
	for _, line := range []string{"pause --reason mine", "pause --reason Black_Friday --until 2026-11-30T06:00:00Z"} {
		words := strings.Fields(line)
		for i, w := range words {
			words[i] = strings.ReplaceAll(w, "_", " ")
		}
		if r := runIn(paused(), words); strings.Contains(r.err, "put back") {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

// TestRequestTellsWhatItCannotKnow has people told that pauses cannot be read, of a pause
// without a reason, and of a deadline of somebody else that is replaced.
func TestRequestTellsWhatItCannotKnow(t *testing.T) {
	f := acting()
	f.denied["Leases"] = true
	f.on("idle", has(api.DeadlineAnnotation, "2026-12-24T00:00:00Z"))
	r := runIn(f, strings.Fields("request idle --deadline 2026-12-25T00:00:00Z"))
	for _, want := range []string{
		"warning: whether the lock is paused is not known: leases is forbidden", "warning: idle: this replaces its deadline 2026-12-24T00:00:00Z",
	} {
		if r.status != exitOK || !strings.Contains(r.err, want) {
			t.Errorf("%+v; want %s", r, want)
		}
	}
	f = acting()
	f.setLease(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "rebootd-pause", Namespace: "rebootd", Annotations: map[string]string{api.PausedAnnotation: ""}}})
	if r := runIn(f, []string{"request", "idle"}); !strings.Contains(r.err, "the lock rebootd is paused (no reason is given)") {
		t.Errorf("%+v", r)
	}
	// Leases are in a Role, which a binding of the ClusterRole alone does not give.
	f.denied["PatchLease"] = true
	if r := runIn(f, []string{"resume"}); !strings.Contains(r.err, "ask for the ClusterRole rebootd-operator and, for Leases, the Role of that name, which have that right") {
		t.Errorf("%+v", r)
	}
}
