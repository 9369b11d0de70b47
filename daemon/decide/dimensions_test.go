package decide

import (
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// records are the records that there can be, in every variant that matters.
func records() []*api.Record {
	of := func(phase api.Phase, change ...func(*api.Record)) *api.Record {
		r := &api.Record{V: api.Schema, ID: "op", Phase: phase, Since: t0, BootID: "boot-1", Requested: t0, Request: "kernel", Lock: "rebootd"}
		r.Began = &api.Began{Since: t0, UptimeMillis: before.Milliseconds()}
		if !undisturbed(r) {
			r.Cordoned, r.Hooked, r.Protected = true, true, []string{"b"}
		}
		for _, c := range change {
			c(r)
		}
		if (phase == api.PhaseVerifying || phase == api.PhaseHalted) && r.Began != nil && !r.Soft {
			r.Began.UptimeMillis = 60_000 // on the next boot
		}
		return r
	}
	order := func(by string, try int) func(*api.Record) {
		return func(r *api.Record) {
			r.Order = &api.Order{At: t0, UptimeMillis: before.Milliseconds(), By: by, Try: try}
			if r.DrainSince = t0.Add(-time.Minute); r.Phase == api.PhaseDraining {
				r.DrainSince = time.Time{}
			}
		}
	}
	adminsCordon := func(r *api.Record) { r.Cordoned = false }
	annotated := func(r *api.Record) { r.Annotated = true }
	accepted := func(r *api.Record) { r.Order.Accepted = true }
	due := func(r *api.Record) { r.Due, r.Order.Accepted = t0.Add(20*time.Minute), true }
	undo := func(r *api.Record) {
		r.Undo = &api.Undo{Since: r.DrainBegan(), Reason: api.ReasonHeld, Message: "held: disk"}
	}
	cancels := func(r *api.Record) {
		r.Undo = &api.Undo{Since: r.DrainBegan(), Reason: api.ReasonCancelled, Message: "withdrawn", Ends: true}
	}
	ranBefore := func(r *api.Record) { r.DrainRan = &api.Ran{Since: r.DrainBegan(), Seconds: 10 * 60} }
	older := func(r *api.Record) { // as a version has left it that kept what it did not know
		kept := t0.Add(-time.Hour)
		r.Began, r.Undo, r.DrainRan = &api.Began{Since: kept}, &api.Undo{Since: kept, Reason: api.ReasonHeld}, &api.Ran{Since: kept, Seconds: 3600}
		r.DrainSince, r.Hooked = kept, false
	}
	level := func(l api.Level) func(*api.Record) {
		return func(r *api.Record) { r.Level, r.SoftReboots = l, new(int) }
	}
	soft := func(r *api.Record) { r.Soft = true }
	gaveUp := func(r *api.Record) {
		r.Undo = &api.Undo{Since: r.DrainBegan(), Reason: api.ReasonAborted, Message: "aborted: wrong kernel", Ends: true}
	}
	overdue := func(r *api.Record) { r.Failure = &api.Failure{Reason: api.ReasonRebootOverdue, Message: "overdue"} }
	unhealthy := func(r *api.Record) { r.Failure = &api.Failure{Reason: api.ReasonUnhealthy, Message: "unhealthy"} }
	paused := func(r *api.Record) {
		r.Attempts, r.NotBefore = 6, t0.Add(30*time.Minute)
		r.Failure = &api.Failure{Reason: api.ReasonDrainTimedOut, Message: "not drained"}
	}

	out := []*api.Record{
		nil, of(api.PhaseWaiting), of(api.PhaseWaiting, paused), of(api.PhaseWaiting, annotated), of(api.PhaseQueued), of(api.PhaseQueued, annotated),
		of(api.PhaseDraining), of(api.PhaseDraining, adminsCordon), of(api.PhaseDraining, order("other", 1)), of(api.PhaseDraining, undo),
		of(api.PhaseDraining, cancels), of(api.PhaseDraining, ranBefore), of(api.PhaseDraining, older),
		of(api.PhaseVerifying), of(api.PhaseVerifying, adminsCordon), of(api.PhaseVerifying, older), of(api.PhaseVerifying, order("other", 1), level(api.SoftReboot), soft),
		of(api.PhaseHalted, order("other", 1), overdue), of(api.PhaseHalted, order("other", 1), level(api.SoftReboot), overdue),
		of(api.PhaseDraining, gaveUp), of(api.PhaseHalted, order("other", 1), overdue, gaveUp),
		of(api.PhaseHalted, order("other", 1), unhealthy), of(api.PhaseHalted, order("other", 1), level(api.SoftReboot), unhealthy, soft),
	}
	for _, by := range []string{"me", "other"} {
		for _, try := range []int{1, maxTries} {
			o := order(by, try)
			out = append(out, of(api.PhaseRebooting, o), of(api.PhaseRebooting, o, accepted), of(api.PhaseRebooting, o, due), of(api.PhaseRebooting, o, undo), of(api.PhaseRebooting, o, level("")))
		}
		o := order(by, 1)
		out = append(out, of(api.PhaseRebooting, o, adminsCordon), of(api.PhaseRebooting, o, annotated), of(api.PhaseRebooting, o, ranBefore), of(api.PhaseRebooting, o, older),
			of(api.PhaseRebooting, o, level(api.SoftReboot)), of(api.PhaseRebooting, o, level(api.Kexec)), of(api.PhaseRebooting, o, level(api.SoftReboot), undo), of(api.PhaseRebooting, o, level(""), undo))
	}
	return out
}

// dimension is one thing that a decision depends on, and what there can be of it besides
// what [base] says. The changes do not touch what is shared.
type dimension []func(*situation)

func toy(name string, binds gate.Points, v gate.Verdict) gate.Status {
	if v.State == gate.Closed && v.Why == "" {
		v.Why = "closed by " + name
	}
	reason := api.ReasonBlocked
	switch binds {
	case gate.BeforeQueue | gate.WhileDraining:
		reason = api.ReasonHeld
	case gate.InQueue | gate.WhileDraining:
		reason = api.ReasonPaused
	}
	return gate.Status{Kind: gate.Kind{Name: name, Reason: reason, Binds: binds}, Verdict: v}
}

func soft(g gate.Status) gate.Status {
	g.Soft = true
	return g
}

// points are the points one by one.
var points = []gate.Points{gate.BeforeQueue, gate.InQueue, gate.WithSlot, gate.OnTurn, gate.WhileDraining, gate.BeforeOrder, gate.BeforeUncordon}

// gates are one gate for each point and for what gates there are in truth; and several.
func gates() (out dimension) {
	add := func(gates ...gate.Status) { out = append(out, func(s *situation) { s.f.Gates = gates }) }
	binds := append(slices.Clone(points), gate.BeforeQueue|gate.WhileDraining, gate.BeforeQueue|gate.WhileDraining|gate.BeforeUncordon, gate.BeforeQueue|gate.BeforeOrder, gate.InQueue|gate.WhileDraining, gate.All)
	for _, b := range binds {
		add(toy("toy", b, gate.Verdict{}))
		add(toy("toy", b, gate.Verdict{State: gate.Closed}))
	}
	add(toy("toy", gate.All, gate.Verdict{State: gate.Open}))
	add(toy("toy", gate.WithSlot, gate.Verdict{State: gate.Closed, GiveWay: "b"}))
	add(toy("toy", gate.All, gate.Verdict{State: gate.Closed, Until: t0.Add(time.Minute)}))
	add(toy("toy", gate.BeforeQueue|gate.BeforeOrder, gate.Verdict{State: gate.Closed, Until: t0.Add(24 * time.Hour)}))
	add(toy("toy", gate.All, gate.Verdict{State: gate.Closed, At: gate.BeforeQueue}))
	add(toy("toy", gate.BeforeQueue|gate.OnTurn, gate.Verdict{State: gate.Closed, At: gate.OnTurn, Note: "three pods"}))
	add(soft(toy("first", gate.BeforeQueue|gate.OnTurn, gate.Verdict{State: gate.Closed})), soft(toy("second", gate.All, gate.Verdict{})))
	add(toy("first", gate.BeforeQueue, gate.Verdict{State: gate.Closed}), soft(toy("second", gate.BeforeQueue, gate.Verdict{State: gate.Closed})))
	add(toy("first", gate.All, gate.Verdict{}), toy("second", gate.All, gate.Verdict{State: gate.Closed}))
	add(toy("first", gate.BeforeQueue, gate.Verdict{State: gate.Open}), toy("second", gate.WhileDraining, gate.Verdict{State: gate.Closed}), toy("third", gate.BeforeOrder, gate.Verdict{}))
	return out
}

func claims() (slots, leases dimension) {
	for state := ClaimUnknown; state <= ClaimLost; state++ {
		slots = append(slots, func(s *situation) { s.slot.State, s.slot.Note = state, "held by b" })
		for _, ago := range []time.Duration{time.Second, time.Hour} {
			leases = append(leases, func(s *situation) {
				s.lease.State, s.lease.At, s.lease.Note = state, s.f.Now.Add(-ago), "node-maintenance has it"
			})
		}
	}
	return slots, leases
}

// stageStates are none of this attempt, running, done, failed, done but undone.
func stageStates(of func(*situation) *Progress) (out dimension) {
	set := func(p Progress) {
		out = append(out, func(s *situation) {
			ran := of(s).Ran
			p := p
			if p.Key = s.drainKey; p.Detail == "another attempt's" {
				p.Key = s.otherDrain
			}
			if *of(s) = p; p.Starting == 0 {
				of(s).Ran = ran
			}
		})
	}
	for state := StageNone; state <= StageFailed; state++ {
		set(Progress{State: state, Summary: "a summary", Detail: "3 of 4 pods left"})
	}
	set(Progress{State: StageDone, Undone: true})
	set(Progress{State: StageDone, Detail: "another attempt's"})
	return out
}

// hookStates are those, and one with nothing to do.
func hookStates(of func(*situation) *Progress) dimension {
	return append(stageStates(of), func(s *situation) { *of(s) = Progress{Key: s.drainKey, Empty: true} })
}

func drains() dimension {
	out := stageStates(func(s *situation) *Progress { return &s.drained })
	for _, p := range []Progress{
		{State: StageRunning, Blocked: true, Summary: "web is blocked"}, {State: StageRunning, Starting: time.Minute}, {State: StageRunning, Starting: limit, Detail: "the API server does not answer"},
	} {
		out = append(out, func(s *situation) {
			ran := s.drained.Ran
			s.drained = p
			s.drained.Key, s.drained.Ran = s.drainKey, ran
		})
	}
	return out
}

func ran() (out dimension) {
	for _, d := range []time.Duration{30 * time.Second, 10*time.Minute + time.Second, limit, limit + forceMargin} {
		out = append(out, func(s *situation) { s.drained.Ran = d })
	}
	return out
}

func policies() (out dimension) {
	for _, stages := range [][]Stage{
		nil,
		{drain},
		{preDrain, preReboot},
		{drain, preReboot},
		{preDrain, drainUntil(limit, Force), preReboot},
		{preDrain, drainUntil(limit, Reboot), preReboot},
		{preDrain, drainUntil(0, Force), preReboot},
		{drainUntil(limit, Reboot)},
	} {
		out = append(out, func(s *situation) { s.p.Stages = stages })
	}
	return append(out, func(s *situation) {
		s.p.OrderWait, s.p.AllowSoftReboot, s.p.AllowKexec, s.p.Stages = 0, false, false, nil
	})
}

// dimensions are what the record and the facts of its base are crossed with.
func dimensions() []dimension {
	slots, leases := claims()
	child := func(state ChildState, ago time.Duration, key func(*situation) string) func(*situation) {
		return func(s *situation) {
			s.f.Child = Child{Key: key(s), State: state, Ended: s.f.Now.Add(-ago), Problem: "exit status 1"}
		}
	}
	this, earlier := func(s *situation) string { return s.orderKey }, func(s *situation) string { return s.otherOrders }
	now := func(d time.Duration) func(*situation) { return func(s *situation) { s.f.Now = t0.Add(d) } }
	shutdown := func(sd Shutdown) func(*situation) { return func(s *situation) { s.f.Shutdown = sd } }
	refused := func(do Action) func(*situation) {
		return func(s *situation) {
			s.f.Refused = Refused{Do: do, Words: "denied by the policy", Until: s.f.Now.Add(time.Minute)}
		}
	}
	request := func(q Request) func(*situation) { return func(s *situation) { s.f.Request = q } }
	byPeople := func(by time.Time) func(*situation) { // after request
		return func(s *situation) {
			if s.f.Request.DeadlineByPeople = by; s.r != nil {
				s.r.Deadline = by
			}
		}
	}
	userspace := func(u Userspace) func(*situation) { return func(s *situation) { s.f.Boot.Userspace = u } }
	return []dimension{
		{now(90 * time.Second), now(8 * time.Minute), now(16 * time.Minute), now(35 * time.Minute), now(3 * time.Hour)}, // first: others count from it
		policies(), gates(), slots, leases, ran(), drains(),
		hookStates(func(s *situation) *Progress { return &s.hooks }), hookStates(func(s *situation) *Progress { return &s.last }),
		{child(ChildRunning, 0, this), child(ChildSucceeded, 0, this), child(ChildFailed, 0, this), child(ChildFailed, time.Minute, this), child(ChildFailed, time.Minute, earlier)},
		{
			shutdown(Shutdown{Pending: true}), shutdown(Shutdown{Known: true, Kind: "reboot", At: t0.Add(20 * time.Minute)}), shutdown(Shutdown{Known: true, Kind: "reboot", At: t0.Add(4 * time.Hour)}),
			shutdown(Shutdown{Known: true, Preparing: true}), shutdown(Shutdown{}),
		},
		{
			func(s *situation) { s.f.Boot = Boot{ID: "boot-1", Time: t0.Add(-before)} },
			func(s *situation) {
				s.f.Boot, s.f.Node.KubeletBoot = Boot{ID: "boot-2", Time: t0.Add(time.Second)}, "boot-2"
			},
			func(s *situation) { s.f.Boot = Boot{Problem: "no such file"} },
		},
		{refused(DoWrite), refused(DoCordon), refused(DoRestore), func(s *situation) { s.f.Refused = Refused{Do: DoWrite, Words: "denied", Until: s.f.Now} }},
		{
			request(Request{}), request(Request{Pending: true}), request(Request{Wanted: true, Annotated: true, Why: "annotation", Level: api.FullReboot}),
			request(Request{Wanted: true, Why: "kernel", Level: api.SoftReboot}), request(Request{Wanted: true, Why: "kernel", Level: api.Kexec}),
		},
		{byPeople(t0.Add(-time.Hour)), byPeople(t0.Add(24 * time.Hour))},
		{func(s *situation) { s.f.Node.Unschedulable = undisturbed(s.r) }, func(s *situation) { s.f.Node.Unschedulable, s.f.Node.Foreign = true, true }},
		{
			func(s *situation) { s.f.Node.Ready = false }, func(s *situation) { s.f.Node.KubeletBoot = "boot-0" }, func(s *situation) { s.f.Node.Checks = "a check fails" },
			func(s *situation) { s.healthySince = s.f.Now.Add(-time.Second) }, func(s *situation) { s.healthySince = time.Time{} },
		},
		{func(s *situation) { s.f.Abort = Abort{Asked: true, Why: "wrong kernel"} }},
		{func(s *situation) { s.f.Running = time.Minute }, func(s *situation) { s.f.Running = 3 * time.Minute }},
		{func(s *situation) { s.f.Boot.KexecLoaded = false }, userspace(Userspace{Pending: true}), userspace(Userspace{}), userspace(Userspace{Known: true, SoftReboots: 1, Since: t0.Add(time.Second)})},
	}
}

// situations are every record with any two things besides, in every way; and each n-th
// where there are three things, in every way, or anything at all, at random.
func situations(n int) iter.Seq[situation] {
	return func(yield func(situation) bool) {
		dims, rng := dimensions(), rand.New(rand.NewPCG(1, uint64(n)))
		turn, more := 0, true
		add := func(s situation, change ...func(*situation)) {
			turn++
			if more && (n < sparing && len(change) <= 2 || turn%n == 0) {
				more = yield(s.but(change...))
			}
		}
		var all []situation
		for _, r := range records() {
			all = append(all, base(r))
			if r != nil && r.Phase == api.PhaseDraining {
				reboots := base(r)
				reboots.p = policyOf(preDrain, drainUntil(limit, Reboot), preReboot)
				all = append(all, reboots)
			}
		}
		for range 10_000 / n {
			for _, b := range all {
				if !yield(b.but(anything(rng, dims)...)) {
					return
				}
			}
		}
		for _, exactly := range []int{0, 1, 2, 3} {
			for _, b := range all {
				combinations(dims, exactly, func(change []func(*situation)) bool {
					add(b, change...)
					return more
				})
			}
		}
	}
}

// anything is one value or none of every dimension.
func anything(rng *rand.Rand, dims []dimension) (out []func(*situation)) {
	for _, d := range dims {
		if k := rng.IntN(len(d) * 2); k < len(d) {
			out = append(out, d[k])
		}
	}
	return out
}

// combinations calls f with every value of exactly so many of the dimensions, until it
// says that it has enough.
func combinations(dims []dimension, exactly int, f func([]func(*situation)) bool) {
	chosen := make([]func(*situation), 0, exactly)
	var choose func(from int) bool
	choose = func(from int) bool {
		if len(chosen) == exactly {
			return f(chosen)
		}
		for i, d := range dims[from:] {
			for _, value := range d {
				chosen = append(chosen, value)
				more := choose(from + i + 1)
				if chosen = chosen[:len(chosen)-1]; !more {
					return false
				}
			}
		}
		return true
	}
	choose(0)
}

// sparing and above situations leaves out some of any two things, too.
const sparing = 100

// every is which of the situations a test looks at.
func every(n int) int {
	if testing.Short() {
		return sparing + 4*n
	}
	return n
}
