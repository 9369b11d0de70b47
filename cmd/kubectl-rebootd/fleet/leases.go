package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// Slot is a Lease that is a slot of a lock. One that was never taken has none.
type Slot struct {
	Name, Lock string
	Index      int
	Holder     string    // "": it is free
	Since      time.Time // when it was taken
	Renewed    time.Time
	Next       []string // for whom it is kept, while it is free
	TooNew     bool     // a newer version has written it
	Version    string   // resourceVersion
}

// Pause is a Lease by which people have paused a lock.
type Pause struct {
	Lease, Lock, Why string
	// Until is when it ends by itself, zero: not, or by UntilText, which cannot be read.
	Until     time.Time
	UntilText string
}

// Over says whether the pause has ended by itself.
func (p Pause) Over(now time.Time) bool { return !p.Until.IsZero() && !now.Before(p.Until) }

// Build puts a fleet together. leases are those of the namespace of the lock; unread is why
// they could not be read.
func Build(nodes []Node, leases []coordinationv1.Lease, unread error, now time.Time) Fleet {
	f := Fleet{At: now, Nodes: slices.Clone(nodes), Unread: unread, OpenZones: map[string]string{}, ControlPlanes: map[string]string{}}
	slices.SortFunc(f.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	for i := range leases {
		lease := &leases[i]
		if s, ok := slotOf(lease); ok {
			f.Slots = append(f.Slots, s)
		}
		if h := lease.Spec.HolderIdentity; h != nil && *h != "" {
			if lock, is := strings.CutSuffix(lease.Name, api.ZoneName("")); is {
				f.OpenZones[lock] = printable.Line(*h, maxWords)
			}
			if lock, is := strings.CutSuffix(lease.Name, api.ControlPlaneName("")); is {
				f.ControlPlanes[lock] = printable.Line(*h, maxWords)
			}
		}
		if p, ok := api.PauseOf(lease.Annotations); ok {
			f.Pauses = append(f.Pauses, pauseOf(lease, p))
		}
	}
	slices.SortFunc(f.Slots, func(a, b Slot) int { return cmp.Or(cmp.Compare(a.Lock, b.Lock), cmp.Compare(a.Index, b.Index)) })
	slices.SortFunc(f.Pauses, func(a, b Pause) int { return cmp.Compare(a.Lease, b.Lease) })
	return f
}

// slotOf reads a slot. Other programs may have Leases of such a name in the namespace: a
// slot has an annotation of ours, from when it was first taken.
func slotOf(lease *coordinationv1.Lease) (Slot, bool) {
	lock, i, ok := api.LockOf(lease.Name)
	ours := false
	for k := range lease.Annotations {
		ours = ours || strings.HasPrefix(k, "rebootd.dev/")
	}
	if !ok || !ours {
		return Slot{}, false
	}
	s := Slot{Name: lease.Name, Lock: lock, Index: i, Version: lease.ResourceVersion, TooNew: api.LeaseTooNew(lease.Annotations)}
	if h := lease.Spec.HolderIdentity; h != nil {
		s.Holder = printable.Line(*h, maxWords)
	}
	if t := lease.Spec.AcquireTime; t != nil {
		s.Since = t.Time
	}
	if t := lease.Spec.RenewTime; t != nil {
		s.Renewed = t.Time
	}
	if s.Holder == "" {
		s.Next = api.ParseLine(lease.Annotations[api.NextAnnotation], lease.Annotations[api.LineAnnotation]).Nodes
	}
	return s, true
}

func pauseOf(lease *coordinationv1.Lease, has api.Pause) Pause {
	p := Pause{
		Lease: lease.Name, Lock: lease.Name, Why: printable.Line(has.Why, maxWords),
		Until: has.Until, UntilText: printable.Line(lease.Annotations[api.PausedUntilAnnotation], maxWords),
	}
	for _, suffix := range []string{api.PauseName(""), api.ZoneName(""), api.ControlPlaneName("")} {
		if lock, ok := strings.CutSuffix(lease.Name, suffix); ok {
			p.Lock = lock
		}
	}
	if lock, _, ok := api.LockOf(lease.Name); ok {
		p.Lock = lock
	}
	return p
}

// Locks are the names of the locks that are known: of slots, pauses and records, and of
// those the one by default first.
func (f Fleet) Locks() []string {
	names := map[string]bool{}
	for _, s := range f.Slots {
		names[s.Lock] = true
	}
	for _, p := range f.Pauses {
		names[p.Lock] = true
	}
	for _, n := range f.Nodes {
		if n.Record != nil && n.Record.Lock != "" {
			names[n.Record.Lock] = true
		}
	}
	var out []string
	for name := range names {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b string) int {
		return cmp.Or(cmp.Compare(b2i(a != DefaultLock), b2i(b != DefaultLock)), cmp.Compare(a, b))
	})
	return out
}

// DefaultLock is the name of the lock, and of the namespace, by default.
const DefaultLock = "rebootd"

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// holds says whether a node holds a slot of a lock.
func (f Fleet) holds(node, lock string) bool {
	return slices.ContainsFunc(f.Slots, func(s Slot) bool { return s.Holder == node && s.Lock == lock })
}

// handover is how long a slot may be held by a node that is not at work: longer than a
// daemon takes to release it.
const handover = 5 * time.Minute

// Lingers is since when, and why, a slot is held by a node that has nothing to do with it and
// does not give it back; "" where that is not so, or no longer than it takes.
func (f Fleet) Lingers(s Slot) (since time.Time, why string) {
	n, there := f.Node(s.Holder)
	if !there || n.RecordErr != nil || n.Going {
		return since, ""
	}
	since = s.Since
	switch {
	case n.Record != nil && n.Record.Phase != api.PhaseWaiting && n.Record.Phase != api.PhaseQueued:
		return since, ""
	case n.Record != nil:
		since, why = latest(since, n.Record.Since), "it does not begin, and has not released it"
	case n.State() == NoDaemon:
		return since, "no daemon runs there that would release it"
	default:
		if n.Condition != nil {
			since = latest(since, n.Condition.Since)
		}
		why = "it has nothing to do, and has not released it"
	}
	if f.At.Sub(since) <= handover {
		return since, ""
	}
	return since, why
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// SlotOf is the slot that a node holds, if any.
func (f Fleet) SlotOf(node string) (Slot, bool) {
	for _, s := range f.Slots {
		if s.Holder == node {
			return s, true
		}
	}
	return Slot{}, false
}
