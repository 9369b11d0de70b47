package preflight

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/drain"
)

// fake is a drain that foresees and rehearses what a test says.
type fake struct {
	foresees  []drain.Blocker
	rehearsal drain.Rehearsal
	err       error
	asked     int
}

func (f *fake) Foresee(ctx context.Context, say func([]drain.Blocker)) {
	say(f.foresees)
	<-ctx.Done()
}

func (f *fake) Rehearse(context.Context) (drain.Rehearsal, error) {
	f.asked++
	return f.rehearsal, f.err
}

var (
	waiting = gate.View{Record: &api.Record{ID: "op"}}
	onTurn  = gate.View{Record: &api.Record{ID: "op"}, HasSlot: true, OnTurn: true}

	never   = drain.Blocker{Pods: []string{"shop/web-0"}, Reason: api.PodBudgetNeverAllows, Message: "the budget web allows no eviction"}
	managed = drain.Blocker{Pods: []string{"shop/db-0"}, Reason: api.PodBudgetNeverAllows, Message: "the budget db allows no eviction", Managed: true}
	ill     = drain.Blocker{Pods: []string{"shop/ill-0"}, Reason: api.PodUnhealthySiblings, Message: "the budget ill needs 2 healthy pods and has 1"}
	denied  = drain.Blocker{Pods: []string{"shop/web-0"}, Reason: api.PodWebhookDenied, Message: "not this one"}
)

// run runs the gate for a time and returns the last verdict.
func run(t *testing.T, g *Gate, v gate.View, d time.Duration) (last gate.Verdict) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	g.Run(ctx, v, func(v gate.Verdict) { last = v })
	return last
}

// A node that waits is not kept from anything, and people are told; on its turn it is not
// drained where a pod would stay for good that no operator moves.
func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		foresees []drain.Blocker
		stay     []drain.Blocker
		pass     []drain.Blocker
		tellOnly bool
		closed   bool
		note     string // while it waits
		why      string // or the note, on its turn
	}{
		"nothing":           {},
		"never":             {foresees: []drain.Blocker{never}, stay: []drain.Blocker{never}, closed: true, note: "would not be able to evict shop/web-0: BudgetNeverAllows: the budget web allows no eviction; change the budget, run more pods, or delete the pod", why: "would not be able to evict shop/web-0: BudgetNeverAllows"},
		"only told":         {foresees: []drain.Blocker{never}, stay: []drain.Blocker{never}, tellOnly: true, note: "shop/web-0", why: "shop/web-0"},
		"mended meanwhile":  {foresees: []drain.Blocker{never}, note: "shop/web-0"},
		"denied":            {stay: []drain.Blocker{denied}, closed: true, why: "would not be able to evict shop/web-0: WebhookDenied: not this one"},
		"denied for now":    {pass: []drain.Blocker{denied}},
		"an operator's":     {foresees: []drain.Blocker{managed}, stay: []drain.Blocker{managed}, note: "its operator may make room when the node is cordoned", why: "its operator may make room"},
		"both":              {stay: []drain.Blocker{never, managed}, closed: true, why: "would not be able to evict shop/web-0"},
		"ill for a moment":  {pass: []drain.Blocker{ill}},
		"ill for long":      {foresees: []drain.Blocker{ill}, pass: []drain.Blocker{ill}, closed: true, note: "shop/ill-0: UnhealthySiblings", why: "mend the pods that are not Ready"},
		"others were ill":   {foresees: []drain.Blocker{{Pods: ill.Pods, Reason: api.PodMultipleBudgets}}, pass: []drain.Blocker{ill}, note: "shop/ill-0: MultipleBudgets"},
		"ill and operators": {foresees: []drain.Blocker{ill}, pass: []drain.Blocker{{Pods: ill.Pods, Reason: ill.Reason, Message: ill.Message, Managed: true}}, note: "shop/ill-0"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{foresees: c.foresees, rehearsal: drain.Rehearsal{Pods: 9, Blockers: c.stay, Passing: c.pass}}
				g := &Gate{Drainer: f, TellOnly: c.tellOnly, Log: zerolog.Nop()}
				w := run(t, g, waiting, time.Hour)
				if w.State != gate.Open || !strings.Contains(w.Note, c.note) || c.note == "" && w.Note != "" {
					t.Errorf("waiting: %+v", w)
				}
				if f.asked != 0 {
					t.Error("evictions were tried while it waits")
				}
				v := run(t, g, onTurn, time.Hour)
				switch {
				case c.closed && (v.State != gate.Closed || v.At != gate.OnTurn || !strings.Contains(v.Why, c.why)):
					t.Errorf("on its turn: %+v", v)
				case !c.closed && (v.State != gate.Open || !strings.Contains(v.Note, c.why) || c.why == "" && v.Note != ""):
					t.Errorf("on its turn: %+v", v)
				}
				if (f.asked > 0) == c.tellOnly {
					t.Errorf("evictions were tried %d times", f.asked)
				}
			})
		})
	}
}

// It says something at once, so that nothing waits for it, and what it foresaw before the
// turn still stands when the slot was given up; not for the next operation.
func TestItAnswersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{foresees: []drain.Blocker{never}}
		g := &Gate{Drainer: f, Log: zerolog.Nop()}
		run(t, g, waiting, time.Hour)
		f.foresees = nil
		for name, c := range map[string]struct {
			v    gate.View
			note bool
		}{"the same": {waiting, true}, "the next": {gate.View{}, false}} {
			g.foreseen = []drain.Blocker{never}
			var first *gate.Verdict
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			g.Run(ctx, c.v, func(v gate.Verdict) {
				if first == nil {
					first = &v
				}
			})
			cancel()
			if first == nil || first.State != gate.Open || (first.Note != "") != c.note {
				t.Errorf("%s: %+v", name, first)
			}
		}
	})
}

// A node whose API server cannot say keeps its slot for a minute, and drains.
func TestItDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{err: errors.New("no answer")}
		began := time.Now()
		v := run(t, &Gate{Drainer: f, Log: zerolog.Nop()}, onTurn, time.Hour)
		if took := time.Since(began); v.State != gate.Open || !strings.Contains(v.Note, "cannot find out whether the pods could be evicted: no answer") || took > limit+time.Second {
			t.Errorf("after %s: %+v", took, v)
		}
		if f.asked < 3 || f.asked > 20 {
			t.Errorf("asked %d times", f.asked)
		}
		if v := run(t, &Gate{Drainer: f, Log: zerolog.Nop()}, onTurn, time.Second); v != (gate.Verdict{}) {
			t.Errorf("not asked any more, it says %+v", v)
		}
	})
}

// It is asked anew on each turn, and not when the record is first written.
func TestKey(t *testing.T) {
	g := new(Gate)
	if g.Key(gate.View{}) != g.Key(waiting) || g.Key(waiting) == g.Key(onTurn) {
		t.Error("it is asked anew when it should not be, or not when it should")
	}
	if holds := (gate.View{Record: &api.Record{ID: "op"}, HasSlot: true}); g.Key(holds) != g.Key(waiting) {
		t.Error("it is asked before the turn of a node that keeps its slot for something else")
	}
	if g.Key(onTurn) == g.Key(gate.View{Record: &api.Record{ID: "next"}, HasSlot: true, OnTurn: true}) {
		t.Error("the next operation rests on what the last one was told")
	}
}

// What people are told is short, however many pods there are.
func TestWords(t *testing.T) {
	many := never
	many.Pods = []string{"a/1", "a/2", "a/3", "a/4"}
	got := words([]drain.Blocker{many, denied, ill, managed, managed})
	want := "would not be able to evict a/1, a/2, 2 more: BudgetNeverAllows: the budget web allows no eviction; change the budget, run more pods, or delete the pod; " +
		"shop/web-0 too (WebhookDenied); shop/ill-0 too (UnhealthySiblings); and 2 more pods"
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	many.Pods = many.Pods[:3]
	if got := words([]drain.Blocker{many}); !strings.Contains(got, "a/1, a/2, a/3: ") {
		t.Error(got)
	}
	if got := words(nil); got != "" {
		t.Error(got)
	}
}
