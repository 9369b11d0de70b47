package decide

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rebootd.dev/daemon/api"
)

func TestEverySituation(t *testing.T) {
	t.Parallel()
	broken := make([]int, len(invariants))
	n := 0
	for s := range situations(every(47)) {
		n++
		before := s.r.Clone()
		step := s.step()
		if !reflect.DeepEqual(s.r, before) {
			t.Fatalf("the decision changed the record: %+v to %+v", before, s.r)
		}
		for i, inv := range invariants {
			if !inv.holds(s, step) {
				if broken[i]++; broken[i] <= 2 {
					t.Errorf("broken: %s\nstep %+v\nwrites %+v\n%s", inv.sentence, step, step.Record, s)
				}
			}
		}
	}
	t.Logf("%d situations, %d invariants", n, len(invariants))
}

// Done and asked again, with nothing else changed, the decision comes to rest: no two
// steps undo each other without end.
func TestDecisionsComeToRest(t *testing.T) {
	t.Parallel()
	for s := range situations(every(59)) {
		if trace, rests := s.rest(); !rests {
			t.Fatalf("does not come to rest: %s\n%s", strings.Join(trace, ", "), s)
		}
	}
}

// rest does what the decision says until that changes nothing more.
func (s situation) rest() (trace []string, rests bool) {
	for range 20 {
		step := s.step()
		trace = append(trace, fmt.Sprintf("%s %s%s %s", step.Do, step.Claim, step.Stage, step.Reason))
		if !s.do(step) {
			return trace, true
		}
		s = s.ready()
	}
	return trace, false
}

// do does what a step says, and says whether that changes anything.
func (s *situation) do(step Step) bool {
	if step.ClearAbort {
		s.f.Abort = Abort{}
		if step.Reason == api.ReasonAborted {
			s.f.Request = Request{}
		}
	}
	switch step.Do {
	case DoRecall:
		s.f.Shutdown = Shutdown{Known: true}
	case DoWrite:
		s.r = step.Record
	case DoCordon:
		s.r, s.f.Node = step.Record, Node{Unschedulable: true, Foreign: s.f.Node.Foreign && s.f.Node.Unschedulable, Ready: true, KubeletBoot: s.f.Boot.ID}
	case DoRestore:
		if step.Uncordon {
			s.f.Node.Unschedulable = false
		}
		s.r = step.Record
	case DoRelease:
		s.f.Gates = slices.Clone(s.f.Gates) // once is enough to give way
		for i := range s.f.Gates {
			s.f.Gates[i].GiveWay = ""
		}
		for _, c := range []*Claim{&s.slot, &s.lease} {
			if c.State == ClaimHeld {
				c.State = ClaimFree
			}
		}
	case DoClaim:
		if step.LookOnly {
			return false
		}
		c := &s.lease
		if step.Claim == slotKind.Name {
			c = &s.slot
		}
		c.State, c.At = ClaimHeld, s.f.Now
	case DoStage, DoUndo:
		p := map[string]*Progress{"pre-drain": &s.hooks, "drain": &s.drained, "pre-reboot": &s.last}[step.Stage]
		*p = Progress{Key: s.r.DrainKey(), State: StageDone, Undone: step.Do == DoUndo, Ran: p.Ran}
	case DoSpawn:
		s.f.Child = Child{Key: s.r.OrderKey(), State: ChildRunning}
	default:
		return false
	}
	if s.r != nil {
		s.drainKey, s.orderKey = s.r.DrainKey(), s.r.OrderKey()
	}
	return true
}

// The drawing has every edge that the decision can take, and no other.
func TestDrawingIsTrue(t *testing.T) {
	t.Parallel()
	got := map[string]bool{}
	for s := range situations(every(73)) {
		step := s.step()
		if !step.Do.Writes() {
			continue
		}
		to := api.PhaseIdle
		if step.Record != nil {
			to = step.Record.Phase
		}
		if to != s.phase() {
			got[fmt.Sprintf("%s --> %s: %s", state(s.phase()), state(to), step.Reason)] = true
		}
	}
	data, err := os.ReadFile("../../docs/state-machine.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	edge := regexp.MustCompile(`(?m)^\s*(\w+|\[\*\]) --> (\w+|\[\*\]): (.+)$`)
	for _, m := range edge.FindAllStringSubmatch(string(data), -1) {
		for reason := range strings.SplitSeq(m[3], ",") {
			want[fmt.Sprintf("%s --> %s: %s", m[1], m[2], strings.TrimSpace(reason))] = true
		}
	}
	for _, e := range sortedKeys(got) {
		if !want[e] {
			t.Errorf("the drawing lacks the edge %s", e)
		}
	}
	for _, e := range sortedKeys(want) {
		if !got[e] && !testing.Short() { // which leaves some out
			t.Errorf("the drawing has an edge that is never taken: %s", e)
		}
	}
}

func state(p api.Phase) string {
	if p == api.PhaseIdle {
		return "[*]"
	}
	return string(p)
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
