package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
)

// TestTruth has commands say nothing that is not so where nodes, records and slots are at
// odds with each other, or with the version of this program.
func TestTruth(t *testing.T) {
	newer := func(f *fakeAPI) {
		f.draining("node-1", time.Minute, 4, 2)
		f.queued("node-2", time.Minute, "rebootd-0 is held by node-1")
		f.change("node-1", has(api.OperationAnnotation, `{"v":2,"id":"x","step":"draining"}`))
		f.slot(0, "node-1", time.Minute)
	}
	inHand := func(f *fakeAPI) {
		f.queued("node-1", 50*time.Minute, "", says(api.ReasonBlocked, "blocked by the inhibitor apt", 5*time.Minute))
		f.queued("node-2", 40*time.Minute, "")
		f.slot(0, "node-1", time.Minute)
	}
	undoing := func(f *fakeAPI) {
		f.draining("node-1", 4*time.Minute, 4, 2, api.BlockedPod{Namespace: "shop", Name: "db-0", Reason: api.PodBudgetExhausted, Message: "the budget db never allows it"})
		f.change("node-1", recordIs(func(r *api.Record) {
			r.Undo = &api.Undo{Since: r.Since, Reason: api.ReasonHeld, Message: "held: look at it"}
		}), says(api.ReasonHeld, "held: look at it; undoing hooks", time.Minute))
		f.pod("node-1", "shop", "web-0", "web", ownedBy("ReplicaSet", "apps/v1", "web"))
		f.slot(0, "node-1", 5*time.Minute)
	}
	stranded := func(f *fakeAPI) {
		f.idle("node-1", func(n *corev1.Node) { n.Annotations, n.Status.Conditions = nil, n.Status.Conditions[:1] })
		f.queued("node-2", 40*time.Minute, "rebootd-0 is held by node-1", took(6*time.Minute, 4*time.Minute))
		f.slot(0, "node-1", 3*time.Hour)
	}
	forgotten := func(f *fakeAPI) {
		f.idle("node-1")
		f.queued("node-2", 40*time.Minute, "rebootd-0 is held by node-1", took(6*time.Minute, 4*time.Minute))
		f.slot(0, "node-1", 3*time.Hour)
	}
	pools := func(f *fakeAPI) {
		f.queued("node-1", 50*time.Minute, "")
		f.queued("node-2", 40*time.Minute, "", recordIs(func(r *api.Record) { r.Lock = "rebootd-db" }))
	}
	late := func(f *fakeAPI) {
		f.waiting("node-1", 9*time.Hour, api.GateStatus{Name: "freeze", State: api.GateClosed, Reason: api.ReasonFrozen, Why: "frozen", Until: before(3 * time.Hour)}, took(6*time.Minute, 4*time.Minute))
	}
	protected := func(f *fakeAPI) {
		f.idle("node-1")
		f.pod("node-1", "shop", "batch-x", "batch", func(p *corev1.Pod) { p.Annotations = map[string]string{api.PodDrainAnnotation: api.PodDrainWait} })
	}
	for _, tt := range []struct {
		name      string
		build     func(*fakeAPI)
		line      string
		want, not []string
	}{
		{
			"a newer daemon's record", newer, "why node-1",
			[]string{"this program is older than the daemon of node-1", "schema 2", "draining: 2 of 4 pods have left"},
			[]string{"is left as it is", "until a person acts", "abort"},
		},
		{"a newer daemon's record", newer, "slots", []string{"a newer version is at work there"}, []string{"until a person acts"}},
		{"a newer daemon's record", newer, "plan", []string{"this program"}, []string{"takes no action"}},
		{"a newer daemon's record", newer, "doctor", []string{"this program is older"}, []string{"its daemon takes no action"}},
		{"a newer daemon's record", newer, "status", []string{"2 of 2 nodes need a reboot", "node-1   Yes "}, nil},
		{"a slot in hand", inHand, "why node-1", []string{"node-1 holds rebootd-0, and has been waiting", "blocked by the inhibitor apt"}, []string{"waits for a slot", "place 1 of 2"}},
		{"a slot in hand", inHand, "why node-2", []string{"place 1 of 1 in the queue", "before it: nobody"}, nil},
		{"a slot in hand", inHand, "slots", []string{"Next: node-2\n"}, nil},
		{"put back", undoing, "why node-1", []string{"is being put back"}, []string{"eviction is under way", "shop/db-0", "Pods that are left"}},
		{"put back", undoing, "status", []string{"node-1 is being put back as it was (Held)"}, []string{"db-0"}},
		{"held without a daemon", stranded, "slots", []string{"no daemon runs there that would release it"}, []string{"releases it soon"}},
		{"held without a daemon", stranded, "plan", []string{"node-2: waits for a slot: node-1 keeps one: no daemon runs there that would release it"}, []string{"at once"}},
		{"held by who is idle", forgotten, "slots", []string{"nothing to do, and has not released it"}, []string{"releases it soon"}},
		{"held by who is idle", forgotten, "plan", []string{"node-2: waits for a slot: node-1 keeps one"}, []string{"at once"}},
		{"a status that is hours old", late, "why node-1", []string{"was to open Fri 22:30 UTC, 3h ago"}, []string{"in 0s"}},
		{"a status that is hours old", late, "plan", []string{"node-1: waits for the gate freeze, which was to open at"}, []string{"at once"}},
		{"pods that are waited for", protected, "preflight node-1", []string{"nothing is known that would keep it from being drained, but for 1 pod that is waited for"}, nil},
		{"two pools", pools, "status", []string{"2 in the queue, next node-1 and node-2"}, nil},
		{"names as status -o name has them", pools, "status node/node-1", []string{"node-1 needs a reboot"}, []string{"there is no Node"}},
	} {
		t.Run(tt.name+": "+tt.line, func(t *testing.T) {
			f := newFake()
			tt.build(f)
			r := runIn(f, strings.Fields(tt.line))
			for _, want := range tt.want {
				if !strings.Contains(r.out+r.err, want) {
					t.Errorf("%s: %s: want %q in\n%s%s", tt.name, tt.line, want, r.out, r.err)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(r.out+r.err, not) {
					t.Errorf("%s: %s: %q is not so:\n%s%s", tt.name, tt.line, not, r.out, r.err)
				}
			}
		})
	}
}

// TestJSONIsStable: lists that are promised are lists, and what is not known is absent.
func TestJSONIsStable(t *testing.T) {
	bare := func(f *fakeAPI) {
		f.draining("node-1", time.Minute, 4, 2)
		f.change("node-1", has(api.StatusAnnotation, `{"v":1,"id":"`+recordOf("node-1", api.PhaseDraining, 4*time.Minute, time.Minute).ID+`","phase":"Draining","drain":{},"gates":[{}]}`))
		f.slot(0, "node-1", time.Minute).Spec.AcquireTime = nil
	}
	evil := func(f *fakeAPI) {
		f.draining("node-1", time.Minute, 4, 2)
		f.change("node-1", recordIs(func(r *api.Record) { r.ID = "a\u202eb\u009b" }))
		f.idle("node-2", has(api.OperationAnnotation, "{\"v\":1,\"x\u202e"))
	}
	for name, build := range map[string]func(*fakeAPI){"nothing": func(*fakeAPI) {}, "bare": bare, "evil": evil} {
		for _, line := range []string{"status", "why node-1", "plan", "slots", "history", "doctor", "preflight node-1"} {
			for _, format := range []string{"json", "yaml"} {
				f := newFake()
				build(f)
				if len(f.nodes) == 0 && strings.HasSuffix(line, "node-1") {
					continue
				}
				t.Run(name+": "+line+" -o "+format, func(t *testing.T) {
					r := runIn(f, append(strings.Fields(line), "-o", format))
					if strings.Contains(r.out, "0001-01-01") || strings.Contains(r.out, "null") || strings.ContainsAny(r.out, "\u202e\u009b") {
						t.Errorf("%s: %s -o %s:\n%s%s", name, line, format, r.out, r.err)
					}
					if format == "json" && !json.Valid([]byte(r.out)) {
						t.Errorf("%s: %s: not JSON:\n%s%s", name, line, r.out, r.err)
					}
				})
			}
		}
	}
}
