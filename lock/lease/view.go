package lease

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/lock"
)

// view is what is known of the lock's Leases, and what was seen to happen to them.
type view struct {
	lock        *Lock
	version     string                        // up to which it is known; "" if a list is needed
	leases      map[int]*coordinationv1.Lease // the slots
	constraints map[string]*coordinationv1.Lease
	pause       *coordinationv1.Lease // that is there for a pause, nil if there is none
	others      []string              // the names of other locks of which this node holds a slot

	// goneUntil is until when a slot is left alone that was deleted while it was held.
	goneUntil map[int]time.Time
	turns     map[int]turn // this node's
	// For whose sake, and since when, this node leaves free slots alone.
	closedFor   string
	closedSince time.Time
	zoneFree    time.Time            // since when the zone was free, when it last was
	unsaid      time.Time            // since when others hold slots, and none says its zone
	passed      map[string]time.Time // who has let its turn pass, and until when that counts
}

func (l *Lock) newView() *view {
	return &view{
		lock: l, leases: map[int]*coordinationv1.Lease{}, constraints: map[string]*coordinationv1.Lease{},
		goneUntil: map[int]time.Time{}, turns: map[int]turn{}, passed: map[string]time.Time{},
	}
}

// lineOf is the line that a slot carries.
func lineOf(lease *coordinationv1.Lease) api.Line {
	if lease == nil {
		return api.Line{}
	}
	return api.ParseLine(lease.Annotations[api.NextAnnotation], lease.Annotations[api.LineAnnotation])
}

// all are the Leases of the lock.
func (v *view) all() []*coordinationv1.Lease {
	out := slices.AppendSeq(slices.Collect(maps.Values(v.leases)), maps.Values(v.constraints))
	if v.pause != nil {
		out = append(out, v.pause)
	}
	return out
}

// see takes in a change and says whether it is one of this lock.
func (v *view) see(kind watch.EventType, lease *coordinationv1.Lease) bool {
	if lease.Name == api.PauseName(v.lock.cfg.Name) {
		if v.pause = lease; kind == watch.Deleted {
			v.pause = nil
		}
		return true
	}
	if v.lock.isConstraint(lease.Name) {
		if kind == watch.Deleted {
			delete(v.constraints, lease.Name)
		} else {
			if lease.Name == api.ZoneName(v.lock.cfg.Name) {
				v.seeZone(v.constraints[lease.Name], lease)
			}
			v.constraints[lease.Name] = lease
		}
		return true
	}
	i, ok := v.lock.index(lease.Name)
	if !ok {
		return false
	}
	was := v.leases[i]
	if was != nil && holderOf(was) != "" && (kind == watch.Deleted || was.UID != lease.UID) {
		v.goneUntil[i] = time.Now().Add(v.lock.cfg.DeletedGrace)
	}
	if kind == watch.Deleted {
		delete(v.leases, i)
		return true
	}
	if holderOf(lease) != "" {
		delete(v.goneUntil, i)
	}
	v.leases[i] = lease
	return true
}

// indexes are the slots that there are, in their order.
func (v *view) indexes() []int {
	var out []int
	for i := range v.leases {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

// ours says whether this node holds a slot.
func (v *view) ours() bool {
	for _, lease := range v.leases {
		if holderOf(lease) == v.lock.cfg.Node && !tooNew(lease) {
			return true
		}
	}
	return false
}

// free are the slots that nobody holds.
func (v *view) free() []int {
	var out []int
	for i := range v.lock.cfg.Slots {
		if lease := v.leases[i]; lease == nil || holderOf(lease) == "" && !tooNew(lease) {
			out = append(out, i)
		}
	}
	return out
}

// holders are those that hold slots, those of a newer schema included.
func (v *view) holders() []lock.Holder {
	var out []lock.Holder
	for _, i := range v.indexes() {
		lease := v.leases[i]
		switch {
		case tooNew(lease):
			out = append(out, lock.Holder{Slot: lease.Name, Node: lock.NewerHolder})
		case holderOf(lease) != "":
			h := lock.Holder{Slot: lease.Name, Node: printable.Line(holderOf(lease), maxReason)}
			if t := lease.Spec.AcquireTime; t != nil {
				h.Since = t.Time
			}
			out = append(out, h)
		}
	}
	return out
}

// holds says whether a node holds a slot.
func (v *view) holds(node string) bool {
	return slices.ContainsFunc(v.holders(), func(h lock.Holder) bool { return h.Node == node })
}

func (v *view) full() bool { return len(v.holders()) >= v.lock.cfg.Slots }

// leftSlots says whether slots are held that this node's number of slots does not
// have.
func (v *view) leftSlots() bool {
	for i, lease := range v.leases {
		if i >= v.lock.cfg.Slots && holderOf(lease) != "" {
			return true
		}
	}
	return false
}

// paused is the pause that people have set, the zero Pause if there is none: of several
// the one that lasts longest.
func (v *view) paused() (out lock.Pause) {
	var longest api.Pause
	in := []*coordinationv1.Lease{v.pause}
	for _, i := range v.indexes() {
		in = append(in, v.leases[i])
	}
	in = append(in, v.constraints[api.ZoneName(v.lock.cfg.Name)], v.constraints[api.ControlPlaneName(v.lock.cfg.Name)])
	for _, lease := range in {
		if lease == nil {
			continue
		}
		p, is := api.PauseOf(lease.Annotations)
		if is && !p.Over(v.lock.earliest()) && (out == lock.Pause{} || p.Outlasts(longest)) {
			longest, out = p, inWords(p)
		}
	}
	return out
}

func inWords(p api.Pause) lock.Pause {
	out := lock.Pause{Why: reason(p.Why), Until: p.Until}
	if p.Unread != "" {
		out.Why += fmt.Sprintf(" (%s is %q, which is not a time by RFC 3339: the pause does not end by itself)",
			api.PausedUntilAnnotation, printable.Line(p.Unread, maxUnread))
	}
	return out
}

// earliest is what time it is at least, by the machine's clock and by the API server's. One
// of the two may be wrong: a pause is over when both say so.
func (l *Lock) earliest() time.Time {
	now := l.cfg.Now().Round(0)
	if l.cfg.ClockSkew == nil {
		return now
	}
	return now.Add(-max(0, l.cfg.ClockSkew()))
}

// lookAgain is the longest time between two looks at the clocks while the lock is paused:
// either may be set, and the machine's stands still for a timer while it is suspended.
const lookAgain = time.Minute

// pauseEnds is after how long to look whether a pause is over that was seen to last; ok is
// false when it has to be ended by people, or there is none. It may be over by now.
func (l *Lock) pauseEnds(p lock.Pause) (after time.Duration, ok bool) {
	return min(lookAgain, p.Until.Sub(l.earliest())), !p.Until.IsZero()
}

// maxReason bounds what is repeated of people's words, in bytes.
const maxReason = 300

// maxUnread does so for what is not a time.
const maxUnread = 40

func reason(s string) string {
	return cmp.Or(printable.Line(s, maxReason), "no reason is given")
}

func (v *view) waiting() lock.Waiting {
	w := lock.Waiting{Holders: v.holders(), Paused: v.paused()}
	if c, has, barred := v.barred(); barred {
		w.Constraint = c.words(has)
	}
	for _, i := range v.free() {
		if gone := v.goneUntil[i]; gone.After(time.Now()) {
			w.Deleted = gone
		}
	}
	if line := v.line().Nodes; len(line) > 0 && line[0] != v.lock.cfg.Node {
		w.ReservedFor = line[0]
	}
	return w
}
