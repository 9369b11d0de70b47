package drain

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// written is a report as the next run of the daemon finds it on the Node.
func written(t *testing.T, r *api.Report) *api.Report {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > api.MaxReport {
		t.Errorf("the report has %d bytes", len(data))
	}
	again, err := api.ParseReport(data)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// A daemon that restarts again and again in the drain of a node with more pods than
// its report has room for loses none of them, and counts none twice, whatever has
// become of them meanwhile.
func TestTotalsAcrossRestarts(t *testing.T) {
	for _, n := range []int{10, 400, 900} {
		for seed := range uint64(20) {
			t.Run(fmt.Sprintf("%d pods/%d", n, seed), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 5))
				here := map[types.UID]podInfo{}
				add := func() {
					i := len(here)
					p := pod(fmt.Sprintf("a-pod-with-a-name-of-some-length-%d-%d", n, i), types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012d", rng.Uint32(), i)))
					if rng.IntN(5) == 0 {
						p.skip = note{api.PodDaemonSetPod, "is a pod of the DaemonSet agent"}
					}
					here[p.uid] = p
				}
				want := map[types.UID]api.Outcome{}
				for range n {
					add()
				}
				var last *api.Report
				for run := range 4 {
					c := newCore(testTiming, t0)
					var pods []podInfo
					for _, p := range here {
						pods = append(pods, p)
					}
					c.list(pods, t0)
					for uid, p := range here {
						want[uid] = api.OutcomeFailed
						if p.skip != (note{}) {
							want[uid] = api.OutcomeSkipped
						}
					}
					for uid, p := range here { // some go while this run sees it
						if p.skip == (note{}) && rng.IntN(4) == 0 {
							c.gone(uid, nil, at(1))
							delete(here, uid)
							want[uid] = api.OutcomeDrained
						}
					}
					r := c.report("op", at(2), time.Time{})
					inherit(r, last)
					totals := map[api.Outcome]int{}
					for _, o := range api.Outcomes() {
						totals[o] = 0
					}
					for _, o := range want {
						totals[o]++
					}
					if !maps.Equal(r.Totals, totals) {
						t.Fatalf("run %d: totals %v, want %v", run, r.Totals, totals)
					}
					last = written(t, r)
					for uid, p := range here { // and some while the daemon is away
						if rng.IntN(6) == 0 {
							delete(here, uid)
							if p.skip == (note{}) {
								want[uid] = api.OutcomeDrained
							}
						}
					}
					if rng.IntN(2) == 0 {
						add() // such as its own new pod
					}
				}
			})
		}
	}
}

// A report of a version that did not say whom it left out, and of one that keeps what
// it does not know of it, are taken over with their totals.
func TestTotalsOfAnOlderVersion(t *testing.T) {
	r := &api.Report{V: 1, ID: "op", Started: t0, Totals: map[api.Outcome]int{api.OutcomeFailed: 380, api.OutcomeSkipped: 20}}
	for i := range 400 {
		p := api.PodReport{Namespace: "ns", Name: fmt.Sprintf("a-pod-with-a-name-of-some-length-%d", i), UID: fmt.Sprintf("%036d", i), Outcome: api.OutcomeFailed, Reason: api.PodEvicting, Message: "is being evicted"}
		if i >= 380 {
			p.Outcome = api.OutcomeSkipped
		}
		r.Pods = append(r.Pods, p)
	}
	whole := written(t, r)
	older := *whole
	older.LeftOut = nil
	for name, earlier := range map[string]*api.Report{"without a word": &older, "with what it has kept": whole} {
		c := newCore(testTiming, t0)
		var pods []podInfo
		for i := 300; i < 400; i++ { // the others have gone meanwhile
			p := pod(r.Pods[i].Name, types.UID(r.Pods[i].UID))
			if i >= 380 {
				p.skip = note{api.PodStaticPod, "is a static pod"}
			}
			pods = append(pods, p)
		}
		c.list(pods, t0)
		got := c.report("op", at(1), time.Time{})
		inherit(got, earlier)
		if got.Totals[api.OutcomeDrained] != 300 || got.Totals[api.OutcomeFailed] != 80 || got.Totals[api.OutcomeSkipped] != 20 {
			t.Errorf("%s: totals %v, want 300 drained, 80 failed, 20 skipped", name, got.Totals)
		}
	}
	// A version that keeps the marks without knowing them tells of the pods itself.
	c := newCore(testTiming, t0)
	c.list(nil, t0)
	got := c.report("op", at(1), time.Time{})
	inherit(got, &api.Report{V: 1, ID: "op", Totals: map[api.Outcome]int{api.OutcomeFailed: 1}, Pods: []api.PodReport{{UID: "1", Outcome: api.OutcomeFailed}}, LeftOut: api.Marks{api.OutcomeFailed: {api.MarkOf("1")}}})
	if got.Totals[api.OutcomeDrained] != 1 {
		t.Errorf("totals %v, want one pod", got.Totals)
	}
	// Nonsense in it does no harm.
	bad := &api.Report{V: 1, ID: "op", Totals: map[api.Outcome]int{api.OutcomeDrained: 1 << 62, api.OutcomeFailed: -1 << 62, api.OutcomeSkipped: -3}}
	c = testCore(pod("a", "1"))
	for range 3 {
		got := c.report("op", at(1), time.Time{})
		inherit(got, bad)
		if got.Totals[api.OutcomeFailed] != 1 || got.Totals[api.OutcomeSkipped] != 0 || got.Totals[api.OutcomeDrained] < 0 || got.Totals[api.OutcomeDrained] > maxCount {
			t.Errorf("totals %v", got.Totals)
		}
		bad = written(t, got)
	}
}

// The same facts give the same report: it is written when it has changed.
func TestReportIsStable(t *testing.T) {
	earlier := &api.Report{V: 1, ID: "op", LeftOut: api.Marks{api.OutcomeFailed: {1, 2}, api.OutcomeDrained: {3}, api.OutcomeRelocated: {4, 5}, api.OutcomeSkipped: {6}}, Totals: map[api.Outcome]int{api.OutcomeFailed: 2, api.OutcomeDrained: 1, api.OutcomeRelocated: 2, api.OutcomeSkipped: 1}}
	c := testCore(pod("a", "1"))
	first := ""
	for range 20 {
		r := c.report("op", at(1), time.Time{})
		inherit(r, earlier)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(data)
		}
		if string(data) != first {
			t.Fatalf("%s\nand then\n%s", first, data)
		}
	}
}
