package cli

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

// drawnFleet is a cluster as it may be found, and as it should not be.
func drawnFleet(r *rand.Rand) *fakeAPI {
	f := newFake()
	minutes := func() time.Duration { return time.Duration(r.IntN(300)-10) * time.Minute } // clocks differ
	one := func(in int) bool { return r.IntN(in) == 0 }
	for i := range r.IntN(12) {
		name := nodeName(i)
		var change []func(*corev1.Node)
		add := func(c func(*corev1.Node)) { change = append(change, c) }
		if one(5) {
			add(has(api.HoldAnnotation, "disk is being replaced"))
		}
		if one(4) {
			add(func(n *corev1.Node) { delete(n.Annotations, api.StatusAnnotation) })
		}
		if one(8) {
			add(func(n *corev1.Node) { delete(n.Annotations, api.DaemonAnnotation) })
		}
		if one(8) {
			add(func(n *corev1.Node) { n.Annotations[api.OperationAnnotation] = []string{"{", `{"v":2}`}[r.IntN(2)] })
		}
		if one(8) {
			add(func(n *corev1.Node) { n.Status.Conditions = n.Status.Conditions[:1] })
		}
		if one(8) {
			add(func(n *corev1.Node) { n.Status.Conditions[len(n.Status.Conditions)-1].Status = "Unknown" })
		}
		if one(6) {
			add(notReady)
		}
		if one(10) {
			add(func(n *corev1.Node) { n.DeletionTimestamp = &metav1.Time{Time: at} })
		}
		if one(8) { // of another phase
			add(func(n *corev1.Node) {
				n.Annotations[api.StatusAnnotation] = strings.ReplaceAll(n.Annotations[api.StatusAnnotation], `"phase":"`, `"phase":"Not`)
			})
		}
		if one(3) {
			add(took(5*time.Minute, 4*time.Minute))
		}
		lock := []string{"rebootd", "rebootd", "rebootd-db"}[r.IntN(3)]
		if one(3) {
			add(func(n *corev1.Node) {
				if n.Annotations[api.OperationAnnotation] != "" && n.Annotations[api.OperationAnnotation][0] == '{' && len(n.Annotations[api.OperationAnnotation]) > 10 {
					recordIs(func(r *api.Record) { r.Lock = lock })(n)
				}
			})
		}
		switch r.IntN(8) {
		case 0:
			f.idle(name, change...)
		case 1, 2:
			f.queued(name, minutes(), "", change...)
		case 3:
			f.waiting(name, minutes(), api.GateStatus{Name: "window", State: api.GateClosed, Reason: api.ReasonOutsideWindow, Why: "outside", Until: at.Add(minutes()), Soft: one(2)}, change...)
		case 4:
			f.draining(name, minutes(), 5, r.IntN(6), []api.BlockedPod{{Namespace: "shop", Name: "db-0", Reason: api.PodBudgetExhausted, Message: "m"}}[:r.IntN(2)]...)
			f.change(name, change...)
		case 5:
			f.underWay(name, []api.Phase{api.PhaseRebooting, api.PhaseVerifying}[r.IntN(2)], minutes(), api.ReasonRebooting, "m", change...)
		case 6:
			f.haltedFor(name, api.ReasonUnhealthy, "not healthy", minutes())
			f.change(name, change...)
		case 7:
			f.idle(name, append([]func(*corev1.Node){says(api.ReasonRebootRequested, "m", minutes())}, change...)...)
		}
	}
	for i := range r.IntN(4) {
		l := f.slot(i, []string{"", "gone", nodeName(r.IntN(12)), nodeName(r.IntN(12))}[r.IntN(4)], minutes())
		if one(4) {
			delete(f.leases, l.Name)
			l.Name = api.SlotName("rebootd-db", i)
			f.setLease(l)
		}
	}
	if one(4) {
		f.pauseLease("incident", []string{"", "2026-11-28T02:00:00Z", "2026-11-28T01:00:00Z", "soon"}[r.IntN(4)])
	}
	f.denied["Leases"] = one(6)
	return f
}

// TestVerdictAgreesWithRows: whatever the cluster, the numbers of the verdict are those of
// the rows, and the commands say the same of a node.
func TestVerdictAgreesWithRows(t *testing.T) {
	number := func(text, pattern string) int {
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			return 0
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	for seed := range uint64(150) {
		f := drawnFleet(rand.New(rand.NewPCG(seed, 1)))
		wrong := func(format string, args ...any) {
			t.Errorf("seed %d: %s\n%s", seed, fmt.Sprintf(format, args...), runIn(f, []string{"status", "-o", "wide"}).out)
		}
		r := runIn(f, []string{"status", "-o", "json"})
		var s statusObject
		if err := json.Unmarshal([]byte(r.out), &s); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, r.err)
		}
		if strings.Contains(r.out, "null") || strings.Contains(r.out, "0001-01-01") {
			wrong("%s", r.out)
		}
		lines := strings.Split(strings.TrimSpace(runIn(f, []string{"status", "-o", "wide"}).out), "\n")
		v := lines[0]
		yes, places, states := 0, 0, 0
		for _, line := range lines[min(3, len(lines)):] {
			if line == "" {
				break
			}
			fields := regexp.MustCompile(` {3,}`).Split(line, -1)
			if fields[1] == "Yes" {
				yes++
			}
			if strings.HasPrefix(fields[6], "queue ") {
				places++
			}
		}
		for _, n := range s.Summary.States {
			states += n
		}
		if len(s.Nodes) > 1 && (number(v, `^(\d+) of `) != yes || number(v, `^\d+ of (\d+) `) != len(s.Nodes) && number(v, `^none of (\d+) `) != len(s.Nodes)) {
			wrong("%d rows of %d say Yes", yes, len(s.Nodes))
		}
		if s.Summary.Needed != yes || states != len(s.Nodes) {
			wrong("needed %d, states %d", s.Summary.Needed, states)
		}
		if n := number(v, `(\d+) in the queue`); len(s.Nodes) > 1 && n != places {
			wrong("%d places, %d in the queue", places, n)
		}
		halted := slices.ContainsFunc(s.Nodes, func(n nodeObject) bool { return n.State == fleet.Halted.String() })
		if halted && strings.Contains(v, "halted: none") || halted != strings.Contains(strings.ReplaceAll(v, "halted: none", ""), "halted: ") {
			wrong("halted %v", halted)
		}
		stopped := halted || s.Summary.States["Unreadable"] > 0
		if code := runIn(f, []string{"status", "--exit-code"}).status; code != s.Summary.Code || stopped != (code == exitStopped) {
			wrong("exit status %d, code %d", code, s.Summary.Code)
		}
		var p planView
		if err := json.Unmarshal([]byte(runIn(f, []string{"plan", "-o", "json"}).out), &p); err != nil {
			t.Fatal(err)
		}
		for _, n := range s.Nodes {
			var w whyView
			if r := runIn(f, []string{"why", n.Name, "-o", "json"}); json.Unmarshal([]byte(r.out), &w) != nil || strings.Contains(r.out, "null") || strings.Contains(r.out, "0001-01-01") {
				wrong("why %s: %s%s", n.Name, r.out, r.err)
			}
			place := 0
			if w.Queue != nil {
				place = w.Queue.Place
			}
			if place != n.Place {
				wrong("%s: place %d by status, %d by why", n.Name, n.Place, place)
			}
			if n.Slot != "" && strings.Contains(w.Verdict, "waits for a slot") {
				wrong("%s: %s", n.Name, w.Verdict)
			}
			i := slices.IndexFunc(p.Steps, func(s planStep) bool { return s.Node == n.Name })
			foreseen := i >= 0 || slices.ContainsFunc(p.Unknown, func(u planUnknown) bool { return u.Node == n.Name })
			if foreseen != (!n.Deleting && (n.Operation != nil || n.RecordError != "" || n.State == "Needed")) {
				wrong("%s: in the plan: %v", n.Name, foreseen)
			}
			if i >= 0 && (n.Hold != nil && n.Place+n.waits() > 0 || !p.Steps[i].End.IsZero() && !p.Steps[i].End.After(at)) {
				wrong("%s: %+v", n.Name, p.Steps[i])
			}
		}
		if t.Failed() {
			return
		}
	}
}

// waits is 1 for a node that waits, and 0 for another.
func (n nodeObject) waits() int {
	if n.Phase == api.PhaseWaiting || n.Phase == api.PhaseQueued {
		return 1
	}
	return 0
}
