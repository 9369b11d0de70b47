package daemon_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sim"
)

// lookingGate is a toy that looks.
type lookingGate struct {
	kind gate.Kind
	look func(gate.View) gate.Verdict
}

func (g lookingGate) Kind() gate.Kind               { return g.kind }
func (g lookingGate) Look(v gate.View) gate.Verdict { return g.look(v) }

func looking(name string, binds gate.Points, look func(gate.View) gate.Verdict) lookingGate {
	return lookingGate{gate.Kind{Name: name, Reason: api.ReasonBlocked, Binds: binds, Meaning: "the toy is in the way"}, look}
}

// closedIf is the verdict of a toy that is closed or open.
func closedIf(is bool, why string) gate.Verdict {
	if is {
		return gate.Verdict{State: gate.Closed, Why: why}
	}
	return open
}

// withGates are the settings of a daemon with more gates.
func withGates(gates ...gate.Gate) settings {
	return settings{change: func(c *daemon.Config, _ *sim.Process) { c.Gates = append(c.Gates, gates...) }}
}

// keyedGate is asked about an annotation of the Node, and is closed for "closed".
type keyedGate struct{ kind gate.Kind }

const toyAnnotation = "toy.test/about"

func (g keyedGate) Kind() gate.Kind        { return g.kind }
func (g keyedGate) Key(v gate.View) string { return v.Node.Annotations[toyAnnotation] }

func (g keyedGate) Run(_ context.Context, v gate.View, say func(gate.Verdict)) {
	say(closedIf(g.Key(v) == "closed", "the toy is in the way"))
}

// What a gate has said of something else does not count, not even in the turn in which that
// changes: the node is not cordoned on the strength of it.
func TestAnswerOfSomethingElse(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Annotate(toyAnnotation, "open")
		busy := looking("busy", gate.WithSlot, func(v gate.View) gate.Verdict {
			return closedIf(v.Node.Annotations[toyAnnotation] == "open", "busy")
		})
		asked := keyedGate{gate.Kind{Name: "asked", Reason: api.ReasonBlocked, Binds: gate.WithSlot}}
		start(t, m, withGates(busy, asked))
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		if got := where(m); got != "Queued, with a slot" {
			t.Fatalf("the node is %s", got)
		}
		m.Annotate(toyAnnotation, "closed")
		pass(time.Second)
		if got := where(m); got != "Queued, with a slot" {
			t.Errorf("the node is %s", got)
		}
		m.Annotate(toyAnnotation, "")
		pass(time.Second)
		if got := where(m); got != "Draining, with a slot, cordoned" {
			t.Errorf("asked about something else it is open, and the node is %s", got)
		}
	})
}

// The calendar is read from the clock as it is set, not as it was when the daemon started: a
// machine without a battery starts in 1970.
func TestGatesReadTheClockAsItIsSet(t *testing.T) {
	for name, start0 := range map[string]func(now time.Time) time.Time{
		"without a battery": func(time.Time) time.Time { return time.Unix(30, 0) },
		"two days ahead":    func(now time.Time) time.Time { return now.Add(48 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				m.SetClock(start0(time.Now()))
				from := time.Now().Add(time.Hour)
				window := looking("window", gate.BeforeQueue|gate.WhileDraining, func(v gate.View) gate.Verdict {
					if v.Now.Before(from) || !v.Now.Before(from.Add(time.Hour)) {
						return gate.Verdict{State: gate.Closed, Why: "outside the window", Until: from}
					}
					return open
				})
				start(t, m, withGates(window))
				pass(time.Minute)
				m.SetClock(time.Now())
				m.Touch(sentinelPath, "")
				pass(59*time.Minute - 5*time.Second)
				if got := where(m); got != "Waiting" {
					t.Errorf("before the window the node is %s", got)
				}
				if c := w.Condition("a", api.RebootRequired); !strings.Contains(c.Message, "until "+from.UTC().Format(time.RFC3339)) {
					t.Errorf("people are told: %s", c.Message)
				}
				pass(6 * time.Second)
				if got := where(m); got != "Draining, with a slot, cordoned" {
					t.Errorf("in the window the node is %s", got)
				}
			})
		})
	}
}

// A deadline counts from the request by the right clock, also where the request was first
// seen under a wrong one.
func TestDeadlineUnderAWrongClock(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.SetClock(time.Unix(30, 0))
		soft := looking("soft", gate.BeforeQueue, func(gate.View) gate.Verdict { return closedIf(true, "never") })
		soft.kind.Soft = true
		s := settings{change: func(c *daemon.Config, _ *sim.Process) {
			c.Policy.Deadline = 2 * time.Hour
			c.Gates = append(c.Gates, soft)
		}}
		p := start(t, m, s)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		m.SetClock(time.Now())
		for range 2 { // this start of the daemon, and the next
			pass(50 * time.Minute)
			if got := where(m); got != "Waiting" {
				t.Fatalf("before the deadline the node is %s", got)
			}
			p.Kill()
			p = start(t, m, s)
		}
		pass(20 * time.Minute)
		if got := where(m); got != "Draining, with a slot, cordoned" {
			t.Errorf("after the deadline the node is %s: %s", got, p.Status())
		}
	})
}

// statusWrites are the writes of the Node's status among requests, and the Events.
func statusWrites(p *sim.Process) (status, events, others int) {
	for _, r := range p.Link.Requests() {
		switch {
		case r.Resource == "events":
			events++
		case r.Verb == "patch" && r.Subresource == "status":
			status++
		default:
			others++
		}
	}
	return status, events, others
}

// Words that change at each look are not written each time: a waiting node may be one of
// thousands.
func TestWordsThatKeepChanging(t *testing.T) {
	for name, verdict := range map[string]func(n int) gate.Verdict{
		"a note": func(n int) gate.Verdict {
			return gate.Verdict{State: gate.Closed, Why: "closed", Note: fmt.Sprint("look ", n)}
		},
		"why":        func(n int) gate.Verdict { return gate.Verdict{State: gate.Closed, Why: fmt.Sprint("look ", n)} },
		"to and fro": func(n int) gate.Verdict { return gate.Verdict{State: gate.Closed, Why: fmt.Sprint("look ", n%2)} },
		"until": func(n int) gate.Verdict {
			return gate.Verdict{State: gate.Closed, Why: "closed", Until: time.Now().Add(time.Duration(n) * time.Hour)}
		},
		"an open gate's": func(n int) gate.Verdict { return gate.Verdict{State: gate.Open, Note: fmt.Sprint("look ", n)} },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				var looks atomic.Int64
				flaps := looking("flaps", gate.BeforeQueue, func(gate.View) gate.Verdict { return verdict(int(looks.Add(1))) })
				shut := looking("shut", gate.BeforeQueue, func(gate.View) gate.Verdict { return closedIf(true, "never") })
				p := start(t, m, withGates(flaps, shut))
				pass(time.Minute)
				m.Touch(sentinelPath, "")
				pass(10 * time.Minute)
				status, events, _ := statusWrites(p)
				if status > 20 || events > 20 {
					t.Errorf("in ten minutes: %d writes of the conditions, %d Events", status, events)
				}
				pass(time.Hour)
				hourStatus, hourEvents, _ := statusWrites(p)
				if hourStatus-status > 13 || hourEvents-events > 13 {
					t.Errorf("in the hour after: %d writes of the conditions, %d Events", hourStatus-status, hourEvents-events)
				}
				if hourStatus-status < 5 && name != "to and fro" && name != "until" {
					t.Errorf("in an hour people were told no more than %d times", hourStatus-status)
				}
			})
		})
	}
}

// A gate that never answers keeps nobody from the slot of a node whose turn it is.
func TestAGateThatNeverAnswersOnTheTurn(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		silent := newToy("silent", gate.OnTurn, gate.Verdict{})
		a, b := w.AddMachine("a"), w.AddMachine("b")
		start(t, a, withGates(silent))
		pass(time.Minute)
		a.Touch(sentinelPath, "")
		pass(time.Minute)
		start(t, b, settings{})
		b.Touch(sentinelPath, "")
		pass(time.Minute + 15*time.Second)
		if got := where(b); got != "Draining, with a slot, cordoned" {
			t.Errorf("the one after it is %s", got)
		}
		if c := w.Condition("a", api.RebootRequired); !strings.Contains(c.Message, "the gate silent has not answered within 2m") {
			t.Errorf("people are told: %s", c.Message)
		}
	})
}

// A gate that is always about to open does not have the slot handed round.
func TestAGateThatIsAlwaysAboutToOpen(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		soon := looking("soon", gate.OnTurn, func(v gate.View) gate.Verdict {
			return gate.Verdict{State: gate.Closed, Why: "in a moment", Until: v.Now.Add(2 * time.Second)}
		})
		start(t, m, withGates(soon))
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Hour)
		taken := 0
		for _, e := range w.Journal(0) {
			if e.Kind == "slot" && strings.HasSuffix(e.Text, "is taken") {
				taken++
			}
		}
		if taken > 61 || taken < 30 {
			t.Errorf("in an hour it has taken a slot %d times", taken)
		}
	})
}

// A daemon that is killed when it has written that it gives its turn up, and not given its
// slot back yet, gives it back at its next start, and its pause stands.
func TestKilledBetweenTheDeferralAndTheRelease(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		shut := newToy("shut", gate.OnTurn, closed)
		p := start(t, m, withGates(shut))
		p.Link.Meet(func(r sim.Request) sim.Fate {
			if r.Resource == "nodes" && strings.Contains(r.Body, `\"deferrals\":1`) {
				return sim.Fate{Then: p.Kill}
			}
			return sim.Fate{}
		})
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(20 * time.Second)
		r := w.Record("a")
		if got := where(m); got != "Waiting, with a slot" || !p.Dead() || r.Deferrals != 1 {
			t.Fatalf("the node is %s", got)
		}
		shut.set(open)
		start(t, m, withGates(shut))
		pass(time.Second)
		if got := where(m); got != "Waiting" {
			t.Errorf("after the next start the node is %s", got)
		}
		pass(time.Until(r.NotBefore.Add(time.Second)))
		if got := where(m); got != "Draining, with a slot, cordoned" {
			t.Errorf("after the pause the node is %s", got)
		}
	})
}

// A node that gives its turn up in the moment in which people ask for the reboot by the
// annotation, too, loses neither.
func TestDeferralAndARequestInOneTurn(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		shut := looking("shut", gate.OnTurn, func(v gate.View) gate.Verdict {
			return closedIf(v.Node.Annotations[api.RequestAnnotation] != "", "not on request")
		})
		free := looking("free", gate.WithSlot, func(v gate.View) gate.Verdict {
			return closedIf(v.Node.Annotations[api.RequestAnnotation] == "", "not yet")
		})
		start(t, m, withGates(shut, free))
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		m.Annotate(api.RequestAnnotation, api.RequestReboot)
		pass(2 * time.Second)
		r := w.Record("a")
		if got := where(m); got != "Waiting" || !r.Annotated || r.Deferrals != 1 || r.Failure == nil || r.Failure.Message != "not on request" {
			t.Errorf("the node is %s, by its record %+v", got, r)
		}
	})
}

// A gate that binds while the node drains, and goes to and fro, is obeyed each time: the
// node is put back, and uncordoned, before it is cordoned again; and that is a minute later,
// however soon the gate opens again.
func TestAGateThatGoesToAndFroWhileDraining(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Drain.Pods(1)
		var shut atomic.Bool
		flaps := looking("flaps", gate.WithSlot|gate.WhileDraining, func(gate.View) gate.Verdict { return closedIf(shut.Load(), "to and fro") })
		start(t, m, withGates(flaps))
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		for range 20 {
			pass(15 * time.Second)
			if got := where(m); got != "Draining, with a slot, cordoned" {
				t.Fatalf("open, and the node is %s", got)
			}
			shut.Store(true)
			pass(15 * time.Second)
			if got := where(m); got != "Waiting" {
				t.Fatalf("closed, and the node is %s", got)
			}
			shut.Store(false)
			pass(43 * time.Second)
			if got := where(m); got != "Waiting" {
				t.Fatalf("open again, and the node is %s", got)
			}
		}
	})
}
