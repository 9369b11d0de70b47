package decide

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	t0     = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	policy = Policy{
		Drain: true, DrainTimeout: 30 * time.Minute, OnDrainTimeout: Rollback,
		RebootTimeout: 15 * time.Minute, HealthTimeout: 15 * time.Minute, Settle: time.Minute,
	}
)

// situation is one combination of everything that a decision depends on.
type situation struct {
	p Policy
	r *Record
	f Facts
}

// records are the records that there can be, in every variant that matters.
func records() []*Record {
	base := func(p Phase) *Record {
		return &Record{V: Schema, ID: "op", Phase: p, Since: t0, BootID: "boot-1", Requested: t0, Request: "kernel"}
	}
	out := []*Record{nil, base(Waiting), base(Queued)}
	paused := base(Waiting)
	paused.Attempts, paused.NotBefore = 1, t0.Add(time.Hour)
	paused.Failure = &Failure{Reason: DrainTimedOut, Message: "not drained"}
	out = append(out, paused)
	for _, cordoned := range []bool{false, true} {
		with := func(p Phase, order *Order, failure *Failure) {
			r := base(p)
			r.Cordoned, r.Order, r.Failure, r.Protected = cordoned, order, failure, []string{"b"}
			out = append(out, r)
		}
		with(Draining, nil, nil)
		with(Draining, &Order{At: t0, By: "other", Try: 1}, nil)
		stale := base(Draining)
		stale.Cordoned, stale.DrainSince, stale.Protected = cordoned, t0.Add(-time.Hour), []string{"b"}
		out = append(out, stale)
		for _, by := range []string{"me", "other"} {
			for _, accepted := range []bool{false, true} {
				for _, try := range []int{1, maxTries} {
					with(Rebooting, &Order{At: t0, By: by, Try: try, Accepted: accepted}, nil)
				}
			}
		}
		with(Verifying, &Order{At: t0, By: "other", Try: 1}, nil)
		with(Verifying, nil, nil)
		with(Halted, &Order{At: t0, By: "other", Try: 1, Accepted: true}, &Failure{Reason: RebootOverdue, Message: "overdue"})
		with(Halted, &Order{At: t0, By: "other", Try: 1, Accepted: true}, &Failure{Reason: Unhealthy, Message: "unhealthy"})
	}
	for _, r := range out {
		if r != nil && (r.Phase == Queued || r.Phase == Rebooting) {
			a := clone(r)
			a.Annotated = true
			out = append(out, a)
		}
	}
	return out
}

// situations calls f with each n-th combination; with a node lease, or with something
// to know of shutdowns of the machine, with fewer.
func situations(n int, f func(situation)) int {
	count := withoutLease(n, f)
	const fewer = 97
	for _, due := range []time.Time{{}, t0.Add(20 * time.Minute)} {
		for _, sd := range []Shutdown{
			{Pending: true},
			{Known: true},
			{Known: true, Inhibited: "dpkg (unpacks a kernel)"},
			{Known: true, Kind: "reboot", At: t0.Add(20 * time.Minute)},
			{Known: true, Kind: "reboot", At: t0.Add(3 * time.Hour)},
			{Known: true, Preparing: true},
		} {
			count += withoutLease(n*fewer, func(s situation) {
				if s.f.Shutdown = sd; s.phase() == Rebooting || s.phase() == Halted {
					s.r = clone(s.r)
					s.r.Due = due
				}
				f(s)
			})
		}
	}
	zero := 0
	for _, u := range []Userspace{{Known: true}, {Known: true, SoftReboots: 1, Since: t0.Add(time.Second)}} {
		for _, level := range []Level{SoftReboot, Kexec, FullReboot} {
			for _, soft := range []bool{false, true} {
				count += withoutLease(n*fewer, func(s situation) {
					s.p.AllowSoftReboot, s.f.Boot.Userspace, s.f.Request.Level = true, u, level
					if s.phase() == Rebooting || s.phase() == Verifying || s.phase() == Halted {
						s.r = clone(s.r)
						s.r.Level, s.r.SoftReboots = level, &zero
						s.r.Soft = soft && level == SoftReboot && u.SoftReboots > 0 && (s.phase() == Verifying || s.phase() == Halted && s.r.Failure.Reason == Unhealthy)
						if level == FullReboot {
							s.r.Level = ""
						}
					}
					f(s)
				})
			}
		}
	}
	key := (&Record{ID: "op", Since: t0}).DrainKey()
	for _, h := range []Hooks{
		{},
		{Key: "gone"},
		{Key: key, Done: []Stage{PreDrain}},
		{Key: key, Failed: PreDrain, Problem: "the disk is full"},
		{Key: key, Done: []Stage{PreDrain, PreReboot}},
		{Key: key, Done: []Stage{PreDrain}, Failed: PreReboot, Problem: "the disk is full"},
		{Key: key, Done: []Stage{PreDrain, PreReboot, UndoHooks}, Undoing: true},
		{Key: key, Done: []Stage{PreDrain, PreReboot}, Undoing: true},
	} {
		count += withoutLease(n*fewer, func(s situation) {
			// Whoever starts the daemon anew may have taken the hooks away.
			if s.f.Hooks, s.p.Hooks = h, h.Key != "gone"; s.r != nil && s.phase() != Waiting && s.phase() != Queued {
				s.r = clone(s.r)
				s.r.Hooked = true
			}
			f(s)
		})
	}
	for _, mode := range []LeaseMode{LeaseAuto, LeaseRequired} {
		for state := LeaseUnknown; state <= LeaseLost; state++ {
			for _, ago := range []time.Duration{time.Second, time.Hour} {
				count += withoutLease(n*fewer, func(s situation) {
					s.p.NodeLease = mode
					s.f.NodeLease = NodeLease{State: state, At: s.f.Now.Add(-ago), Why: "node-maintenance has this node"}
					f(s)
				})
			}
		}
	}
	return count
}

func withoutLease(n int, f func(situation)) int {
	var policies []Policy
	for _, on := range []TimeoutPolicy{Rollback, Force, Reboot} {
		p := policy
		p.OnDrainTimeout = on
		policies = append(policies, p)
	}
	noDrain, noLimit := policy, policy
	noDrain.Drain = false
	noLimit.DrainTimeout = 0
	policies = append(policies, noDrain, noLimit)

	boots := []Boot{{ID: "boot-1", Time: t0.Add(-time.Hour)}, {ID: "boot-2", Time: t0.Add(time.Minute)}, {Problem: "no such file"}}
	this := (&Record{ID: "op", Since: t0, Order: &Order{At: t0}})
	earlier := (&Record{ID: "op", Since: t0.Add(-time.Hour), Order: &Order{At: t0.Add(-time.Hour)}})
	drains := []Drain{
		{},
		{Key: this.DrainKey(), Detail: "3 of 4 pods left"},
		{Key: this.DrainKey(), Blocked: 1, Summary: "web is blocked"},
		{Key: this.DrainKey(), Done: true, Summary: "drained: 4 drained"},
		{Key: earlier.DrainKey(), Done: true},
	}
	children := []Child{
		{},
		{Key: this.OrderKey(), State: ChildRunning},
		{Key: this.OrderKey(), State: ChildSucceeded, Ended: t0},
		{Key: this.OrderKey(), State: ChildFailed, Ended: t0, Problem: "exit status 1"},
		{Key: earlier.OrderKey(), State: ChildFailed, Ended: t0, Problem: "exit status 1"},
	}
	slots := []Slot{{State: SlotHeld, Name: "rebootd-0", Paused: "an outage"}, {State: SlotNone, Paused: "an outage"}}
	for state := SlotUnknown; state <= SlotGone; state++ {
		slots = append(slots, Slot{State: state, Name: "rebootd-0", Note: "held: rebootd-0 by b"})
	}
	nows := []time.Time{t0.Add(2 * time.Second), t0.Add(35 * time.Minute), t0.Add(2 * time.Hour)}
	count := 0
	for _, r := range records() {
		policies := policies
		rooms := []Room{{}}
		switch {
		case r != nil && r.Phase == Queued:
			limited := policy
			limited.MaxUnavailable = Limit{Number: 1}
			policies = []Policy{policy, limited}
			rooms = append(rooms, Room{Key: r.DrainKey(), OK: true}, Room{Key: r.DrainKey(), Why: "too many"}, Room{Key: r.DrainKey(), Why: "too many", Way: []string{"b"}})
		case r == nil || r.Phase != Draining:
			policies = policies[:1] // they are about the drain
		}
		for _, p := range policies {
			for _, boot := range boots {
				for _, now := range nows {
					for bits := range 1<<4 + 1<<3 {
						others := ""
						if bits >= 1<<4 { // another 8 with somebody at work instead of a hold
							others = "somebody is at work on this node"
							bits = bits&1 | bits<<1&0xc
						}
						for _, slot := range slots {
							for _, drain := range drains {
								for _, child := range children {
									for at := range 3 * len(rooms) {
										room := rooms[at/3]
										room.At = now.Add(-time.Second)
										if room.OK && at%3 == 0 {
											room.At = now.Add(-time.Minute)
										}
										healthy := []time.Time{{}, now.Add(-time.Second), now.Add(-time.Hour)}[at%3]
										if count++; count%n != 0 {
											continue
										}
										f(situation{p, r, Facts{
											Now: now, Instance: "me", Uptime: now.Sub(t0), Boot: boot, Drain: drain, Child: child,
											Request: Request{Wanted: bits&1 != 0, Why: "kernel", Annotated: bits&1 != 0 && r != nil && r.Annotated}, Held: bits&2 != 0, Hold: "disk", Others: others,
											Node:         Node{Unschedulable: bits&4 != 0, Foreign: bits&8 != 0, Unprotected: []string{"a"}},
											Slot:         slot,
											Room:         room,
											HealthySince: healthy, Ailing: "not Ready",
										}})
									}
								}
							}
						}
					}
				}
			}
		}
	}
	return count / n
}

// sample is 1, every situation; with -short each eleventh will do.
func sample() int {
	if testing.Short() {
		return 11
	}
	return 1
}

func (s situation) String() string {
	rec, _ := json.Marshal(s.r)
	return fmt.Sprintf("record %s\nfacts %+v\npolicy %+v", rec, s.f, s.p)
}

func (s situation) phase() Phase {
	if s.r == nil {
		return Idle
	}
	return s.r.Phase
}

// rebooted says whether the machine runs another boot than the record's.
func (s situation) rebooted() bool {
	return s.r != nil && s.f.Boot.ID != "" && (s.f.Boot.ID != s.r.BootID || s.r.Soft)
}

// softRebooted says whether userspace alone was begun anew since the order.
func (s situation) softRebooted() bool {
	return s.r != nil && s.f.Boot.ID == s.r.BootID && s.r.SoftReboots != nil && s.f.Boot.Userspace.SoftReboots > *s.r.SoftReboots
}

// ordered says whether the reboot command may have been called.
func (s situation) ordered() bool {
	if s.phase() == Halted {
		return true
	}
	if s.phase() != Rebooting {
		return false
	}
	child := s.f.Child.Key == s.r.OrderKey() && s.f.Child.State != ChildNone
	return s.r.Order.By != s.f.Instance || child
}

func (s situation) childFailed() bool {
	return s.phase() == Rebooting && s.f.Child.Key == s.r.OrderKey() && s.f.Child.State == ChildFailed
}

// invariants are what must hold for every decision, in the words of the README.
var invariants = []struct {
	sentence string
	holds    func(s situation, step Step) bool
}{
	{"the reboot command is spawned only for an order that this start of the daemon has written, and only once", func(s situation, step Step) bool {
		return !(step.Do == Spawn) || (s.phase() == Rebooting && s.r.Order.By == s.f.Instance && !s.ordered())
	}},
	{"the reboot command is spawned only while the slot is held, the node cordoned, a reboot asked for, the node not held and nobody else at work", func(s situation, step Step) bool {
		return !(step.Do == Spawn) || (s.f.Slot.State == SlotHeld && s.f.Node.Unschedulable && s.f.Request.Wanted && !s.f.Held && s.f.Others == "" && s.f.Slot.Paused == "")
	}},
	{"nothing is ordered on a boot that is not the one of the record", func(s situation, step Step) bool {
		return !s.rebooted() || (step.Do != Spawn && step.Do != Evict && step.Do != Acquire && step.Do != Cordon)
	}},
	{"nothing is done while the boot ID is unknown", func(s situation, step Step) bool {
		return !(s.f.Boot.ID == "") || (step.Do == Wait)
	}},
	{"after the reboot may have been ordered, nothing is undone on the same boot unless the command has failed, or the machine has forgotten what it had scheduled", func(s situation, step Step) bool {
		known := s.f.Shutdown.Known && !s.f.Shutdown.Pending
		forgotten := s.phase() == Rebooting && known && s.f.Shutdown.Kind == "" && !s.f.Shutdown.Preparing && s.f.Now.Before(s.r.Due)
		return !(s.ordered() && !s.rebooted() && !s.childFailed() && !s.softRebooted() && !forgotten) || (step.Do != Restore && step.Do != Release)
	}},
	{"nothing is begun, and nothing ordered, while a reboot is inhibited or logind has not said whether it is", func(s situation, step Step) bool {
		orders := step.Do == Spawn || step.Do == Write && step.Record != nil && step.Record.Phase == Rebooting && step.Record.Order.By == s.f.Instance && !s.ordered()
		inhibited := s.f.Shutdown.Inhibited != ""
		return !inhibited && !s.f.Shutdown.Pending || step.Do != Cordon && !orders || !inhibited && s.phase() == Rebooting
	}},
	{"an inhibitor that comes during the drain undoes nothing before the time for the drain is over", func(s situation, step Step) bool {
		if s.phase() != Draining {
			return true
		}
		other := s.f.Slot.State != SlotHeld || s.f.Slot.Paused != "" || !s.f.Request.Wanted || s.f.Held || s.f.Others != "" || !s.f.Node.Unschedulable || s.f.Node.Foreign || s.p.NodeLease.inUse() || s.f.Hooks.Undoing || s.f.Hooks.Failed != NoStage
		late := s.p.DrainTimeout > 0 && !s.f.Now.Before(s.r.Since.Add(s.p.DrainTimeout))
		return step.Do != Restore || other || late
	}},
	{"a soft reboot counts as what was ordered only where a soft reboot was", func(s situation, step Step) bool {
		verifies := step.Record != nil && step.Record.Phase == Verifying && s.phase() != Verifying && s.f.Boot.ID == s.r.BootID
		return !verifies || s.softRebooted() && s.r.Level == SoftReboot && step.Record.Soft
	}},
	{"less than a reboot is ordered only where it was asked for, is allowed and can be proved", func(s situation, step Step) bool {
		if step.Record == nil || step.Record.Phase != Rebooting || step.Record.Order.By != s.f.Instance || s.phase() == Rebooting && step.Record.OrderKey() == s.r.OrderKey() {
			return step.Do != Spawn || step.Level == FullReboot || step.Level == s.r.Level
		}
		switch step.Record.Level {
		case "":
			return true
		case SoftReboot:
			return s.p.AllowSoftReboot && s.f.Request.Level == SoftReboot && s.f.Boot.Userspace.Known && step.Record.SoftReboots != nil
		default:
			return s.p.AllowKexec && s.f.Request.Level == Kexec
		}
	}},
	{"hooks run before what they are for, and are undone before the node is put back without a reboot", func(s situation, step Step) bool {
		done := func(stage Stage) bool {
			return s.f.Hooks.Key == s.r.DrainKey() && slices.Contains(s.f.Hooks.Done, stage)
		}
		orders := step.Record != nil && step.Record.Phase == Rebooting && s.phase() == Draining
		switch {
		case s.r == nil || !s.r.Hooked || !s.p.Hooks:
			return step.Do != Hook && (step.Do != Cordon || step.Record.Hooked == s.p.Hooks)
		case s.f.Hooks.Undoing && s.f.Hooks.Key == s.r.DrainKey() && (step.Do == Evict || step.Do == Spawn || orders):
			return false
		case step.Do == Evict:
			return done(PreDrain)
		case orders:
			return done(PreDrain) && done(PreReboot)
		case step.Do == Restore:
			return (done(UndoHooks) || s.rebooted()) && (step.Record == nil || !step.Record.Hooked)
		default:
			return true
		}
	}},
	{"a reboot that the machine has scheduled is not overdue before its time", func(s situation, step Step) bool {
		return step.Reason != RebootOverdue || step.Do != Write || s.f.Shutdown.Kind == "" || !s.f.Now.Before(s.f.Shutdown.At)
	}},
	{"slot and node lease are given up only when no operation needs them", func(s situation, step Step) bool {
		paused := s.phase() == Queued && s.f.Slot.Paused != ""
		stands := s.phase() == Queued && s.f.Slot.State != SlotHeld
		way := s.phase() == Queued && s.p.MaxUnavailable.IsSet() && !s.f.Room.OK && len(s.f.Room.Way) > 0
		return !(step.Do == Release) || holds(s.f) && (s.phase() == Idle || s.phase() == Waiting || paused || stands || way)
	}},
	{"the node lease is taken only under a slot, or to finish what was begun", func(s situation, step Step) bool {
		return step.Do != Take || s.p.NodeLease.inUse() && (s.f.Slot.State == SlotHeld || s.rebooted())
	}},
	{"whose node lease was taken away does not ask for a slot before it knows by whom", func(s situation, step Step) bool {
		queues := s.phase() == Waiting && step.Record != nil && step.Record.Phase == Queued
		return !queues || !s.p.NodeLease.inUse() || s.f.NodeLease.State != LeaseLost && s.f.NodeLease.State != LeaseForeign
	}},
	{"nobody stands in the queue with the node lease", func(s situation, step Step) bool {
		return step.Do != Acquire || s.f.NodeLease.State != LeaseHeld
	}},
	{"the node is cordoned, drained, rebooted and uncordoned after a boot only under the node lease, where one is to be had", func(s situation, step Step) bool {
		verified := step.Do == Restore && s.rebooted()
		if !s.p.NodeLease.inUse() || step.Do != Cordon && step.Do != Evict && step.Do != Spawn && !verified {
			return true
		}
		none := s.f.NodeLease.State == LeaseUnavailable && (s.p.NodeLease == LeaseAuto || verified)
		stale := verified && !s.f.Now.Before(s.f.NodeLease.At.Add(time.Minute))
		return s.f.NodeLease.State == LeaseHeld && !stale || none
	}},
	{"what others have is not looked at more than once a minute", func(s situation, step Step) bool {
		return step.Do != Look || s.f.NodeLease.State == LeaseLost || !s.f.Now.Before(s.f.NodeLease.At.Add(time.Minute))
	}},
	{"a slot, and a node lease, that no operation needs is given up", func(s situation, step Step) bool {
		idle := s.phase() == Idle || s.phase() == Waiting
		return !(idle && holds(s.f) && s.f.Boot.ID != "") || (step.Do == Release)
	}},
	{"the node is cordoned only under a slot, and the record says whether the cordon is ours", func(s situation, step Step) bool {
		return !(step.Do == Cordon) || (s.phase() == Queued && s.f.Slot.State == SlotHeld && step.Record.Cordoned == !s.f.Node.Unschedulable)
	}},
	{"while the lock is paused, nothing is begun and no slot is kept that is not needed to finish", func(s situation, step Step) bool {
		begins := step.Do == Cordon || step.Do == Evict || step.Do == Spawn
		return s.f.Slot.Paused == "" || !begins
	}},
	{"what protects the node from autoscalers is ours from the cordon until it is put back", func(s situation, step Step) bool {
		switch {
		case step.Do != Write && step.Do != Cordon && step.Do != Restore:
			return true
		case step.Record == nil:
			return step.Do == Restore || s.r == nil || len(s.r.Protected) == 0
		case step.Do == Cordon:
			return slices.Equal(step.Record.Protected, s.f.Node.Unprotected)
		case step.Do == Restore:
			return len(step.Record.Protected) == 0
		default:
			return s.r == nil || slices.Equal(step.Record.Protected, s.r.Protected)
		}
	}},
	{"a node is cordoned only when the limit of unavailable nodes has room for it", func(s situation, step Step) bool {
		return step.Do != Cordon || !s.p.MaxUnavailable.IsSet() || s.f.Room.Key == s.r.DrainKey() && s.f.Room.OK && s.f.Now.Before(s.f.Room.At.Add(roomAge))
	}},
	{"pods are evicted only while draining, cordoned, under a slot, with a reboot asked for, the node not held and nobody else at work", func(s situation, step Step) bool {
		return !(step.Do == Evict) || (s.phase() == Draining && s.f.Slot.State == SlotHeld && s.f.Node.Unschedulable && s.f.Request.Wanted && !s.f.Held && s.f.Others == "" && s.f.Slot.Paused == "")
	}},
	{"the rest of the pods is deleted only by the policy force, and only after the time limit", func(s situation, step Step) bool {
		forced := s.p.OnDrainTimeout == Force && s.p.DrainTimeout > 0
		if s.phase() != Draining || !step.Draining || !forced {
			return step.Deadline.IsZero()
		}
		return step.Deadline.Equal(s.r.Since.Add(s.p.DrainTimeout))
	}},
	{"a drain goes on until the command is spawned, whatever the order waits for", func(s situation, step Step) bool {
		if !s.p.Drain || s.f.Drain.Key == "" || s.r == nil || s.f.Drain.Key != s.r.DrainKey() || s.rebooted() || s.softRebooted() {
			return true
		}
		drains := step.Do == Evict || step.Do == Spawn || step.Record != nil && step.Record.Phase == Rebooting && s.phase() == Draining
		drains = drains || s.phase() == Draining && s.f.Drain.Done && step.Do == Wait && strings.HasPrefix(step.Message, "drained")
		drains = drains || s.phase() == Draining && step.Do == Hook && step.Stage == PreReboot
		return step.Draining || !drains
	}},
	{"a drain goes on only while nobody minds that the node is drained", func(s situation, step Step) bool {
		if !step.Draining {
			return true
		}
		minds := !s.f.Request.Wanted || s.f.Held || s.f.Others != "" || s.f.Slot.Paused != "" || !s.f.Node.Unschedulable || s.f.Slot.State != SlotHeld
		return s.p.Drain && (s.phase() == Draining && !minds || s.phase() == Rebooting && (step.Do != Restore))
	}},
	{"the command is not spawned on a node into which pods have come since it was drained", func(s situation, step Step) bool {
		late := s.p.DrainTimeout > 0 && s.p.OnDrainTimeout != Rollback && s.r != nil && !s.f.Now.Before(s.r.drainSince().Add(s.p.DrainTimeout))
		return step.Do != Spawn || !s.p.Drain || late || s.f.Drain.Key != s.r.DrainKey() || s.f.Drain.Done
	}},
	{"the order to reboot is written only for a drained node, or as the policy says, or anew after a failure", func(s situation, step Step) bool {
		if step.Record == nil || step.Record.Phase != Rebooting || step.Record.Order.Accepted {
			return true
		}
		if s.r.Order != nil && step.Record.Order.At.Equal(s.r.Order.At) {
			return true // no new one
		}
		late := s.p.DrainTimeout > 0 && !s.f.Now.Before(s.r.Since.Add(s.p.DrainTimeout)) && s.p.OnDrainTimeout != Rollback
		drained := s.f.Drain.Key == s.r.DrainKey() && s.f.Drain.Done
		return s.phase() == Draining && (drained || late || !s.p.Drain) || s.childFailed()
	}},
	{"without --drain nothing is evicted", func(s situation, step Step) bool {
		return s.p.Drain || step.Do != Evict
	}},
	{"the operation ends as verified only on another boot, with the node healthy for the time to settle", func(s situation, step Step) bool {
		return !(step.Reason == RebootVerified) || (s.rebooted() && !s.f.HealthySince.IsZero() && !s.f.Now.Before(s.f.HealthySince.Add(s.p.Settle)))
	}},
	{"a node that is put back and tried again forgets its cordon and its order", func(s situation, step Step) bool {
		return !(step.Do == Restore && step.Record != nil) || (step.Record != nil && !step.Record.Cordoned && step.Record.Order == nil && step.Record.Phase == Waiting)
	}},
	{"only a cordon that is ours is removed, and ours is when the node is put back", func(s situation, step Step) bool {
		ours := s.r != nil && s.r.Cordoned && s.f.Node.Unschedulable && !s.f.Node.Foreign
		return step.Uncordon == (step.Do == Restore && ours)
	}},
	{"an operation that had the node cordoned ends by putting the node back", func(s situation, step Step) bool {
		early := s.phase() == Idle || s.phase() == Waiting || s.phase() == Queued
		return !(step.Do == Write && step.Record == nil) || early
	}},
	{"only a boot that has happened serves a request by annotation", func(s situation, step Step) bool {
		return !step.ClearRequest || (s.rebooted() && s.r.Annotated)
	}},
	{"a node that halts says why, and only overdue or unhealthy halts", func(s situation, step Step) bool {
		if step.Record == nil || step.Record.Phase != Halted {
			return true
		}
		return step.Record.Failure.Reason == RebootOverdue && !s.rebooted() || step.Record.Failure.Reason == Unhealthy && s.rebooted()
	}},
	{"a write changes something", func(s situation, step Step) bool {
		if step.Do != Write {
			return true
		}
		return !reflect.DeepEqual(step.Record, s.r)
	}},
	{"what is written can be read", func(s situation, step Step) bool {
		if step.Record == nil {
			return true
		}
		data, err := json.Marshal(step.Record)
		if err != nil {
			return false
		}
		_, err = ParseRecord(data)
		return err == nil
	}},
	{"people are told a reason of the vocabulary and a sentence", func(_ situation, step Step) bool {
		return Meanings()[step.Reason] != "" && step.Message != ""
	}},
	{"the time at which to ask again is to come", func(s situation, step Step) bool {
		return step.Until.IsZero() || step.Until.After(s.f.Now)
	}},
}

func TestEverySituation(t *testing.T) {
	t.Parallel()
	broken := make([]int, len(invariants))
	n := situations(sample(), func(s situation) {
		before := clone(s.r)
		step := Next(s.p, s.r, s.f)
		if !reflect.DeepEqual(s.r, before) {
			t.Fatalf("the decision changed the record: %+v to %+v", before, s.r)
		}
		for i, inv := range invariants {
			if !inv.holds(s, step) {
				if broken[i]++; broken[i] <= 3 {
					t.Errorf("broken: %s\nstep %+v\n%s", inv.sentence, step, s)
				}
			}
		}
	})
	t.Logf("%d situations, %d invariants", n, len(invariants))
}

// Written and asked again, with nothing else changed, the decision comes to rest:
// no two steps undo each other without end.
func TestDecisionsComeToRest(t *testing.T) {
	t.Parallel()
	situations(sample(), func(s situation) {
		var trace []string
		for range 10 {
			step := Next(s.p, s.r, s.f)
			trace = append(trace, fmt.Sprintf("%s %s", step.Do, step.Reason))
			switch step.Do {
			case Write:
				s.r = step.Record
			case Cordon:
				s.r, s.f.Node = step.Record, Node{Unschedulable: true, Foreign: s.f.Node.Foreign && s.f.Node.Unschedulable}
			case Restore:
				if step.Uncordon {
					s.f.Node.Unschedulable = false
				}
				s.r = step.Record
			case Release:
				s.f.Slot.State, s.f.NodeLease.State = SlotNone, LeaseFree
			case Take:
				s.f.NodeLease = NodeLease{State: LeaseHeld, At: s.f.Now}
			case Look:
				s.f.NodeLease = NodeLease{State: LeaseFree, At: s.f.Now}
			case Hook:
				if s.f.Hooks.Key != s.r.DrainKey() {
					s.f.Hooks = Hooks{Key: s.r.DrainKey()}
				}
				s.f.Hooks.Undoing = step.Stage == UndoHooks
				s.f.Hooks.Done = append(slices.Clone(s.f.Hooks.Done), step.Stage)
			case Spawn:
				s.f.Child = Child{Key: s.r.OrderKey(), State: ChildRunning}
			default:
				return
			}
		}
		t.Fatalf("does not come to rest: %s\n%s", strings.Join(trace, ", "), s)
	})
}

// The drawing has every edge that the decision can take, and no other.
func TestDrawingIsTrue(t *testing.T) {
	t.Parallel()
	got := map[string]bool{}
	situations(1, func(s situation) {
		step := Next(s.p, s.r, s.f)
		switch step.Do {
		case Write, Cordon, Restore:
		default:
			return
		}
		to := Idle
		if step.Record != nil {
			to = step.Record.Phase
		}
		if to != s.phase() {
			got[fmt.Sprintf("%s --> %s: %s", state(s.phase()), state(to), step.Reason)] = true
		}
	})
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
		if !got[e] {
			t.Errorf("the drawing has an edge that is never taken: %s", e)
		}
	}
}

// clone copies a record to the last field.
func clone(r *Record) *Record {
	if r == nil {
		return nil
	}
	c := *r
	if r.Order != nil {
		c.Order = new(*r.Order)
	}
	if r.Failure != nil {
		c.Failure = new(*r.Failure)
	}
	return &c
}

func state(p Phase) string {
	if p == Idle {
		return "[*]"
	}
	return string(p)
}

func sortedKeys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
