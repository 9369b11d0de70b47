package lock

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// view is what is known of the lock's Leases.
type view struct {
	lock       *Lock
	version    string
	leases     map[int]*coordinationv1.Lease // the slots
	companions map[string]*coordinationv1.Lease

	freeSince map[int]time.Time // when a slot was first seen free, as it is now
	// goneUntil is until when a slot is left alone that was deleted while it was held.
	goneUntil map[int]time.Time
}

func (l *Lock) list(ctx context.Context) (*view, error) {
	list, err := l.cfg.API.ListLeases(ctx, l.cfg.Namespace, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the Leases of %s: %w", l.cfg.Namespace, err)
	}
	v := &view{
		lock: l, version: list.ResourceVersion, leases: map[int]*coordinationv1.Lease{}, companions: map[string]*coordinationv1.Lease{},
		freeSince: map[int]time.Time{}, goneUntil: map[int]time.Time{},
	}
	for i := range list.Items {
		v.see(watch.Added, &list.Items[i])
	}
	return v, nil
}

// see takes in a change and says whether it is one of this lock.
func (v *view) see(kind watch.EventType, lease *coordinationv1.Lease) bool {
	if v.lock.isCompanion(lease.Name) {
		if kind == watch.Deleted {
			delete(v.companions, lease.Name)
		} else {
			v.companions[lease.Name] = lease
		}
		return true
	}
	i, ok := v.lock.index(lease.Name)
	if !ok {
		return false
	}
	now, was := time.Now(), v.leases[i]
	delete(v.goneUntil, i)
	if kind == watch.Deleted {
		delete(v.leases, i)
		v.freeSince[i] = now
		if was != nil && holderOf(was) != "" {
			v.goneUntil[i] = now.Add(v.lock.cfg.DeletedGrace)
		}
		return true
	}
	if holderOf(lease) != "" {
		delete(v.freeSince, i)
	} else if v.freeSince[i].IsZero() || !slices.Equal(lineOf(was).Nodes, lineOf(lease).Nodes) {
		v.freeSince[i] = now
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

// place is this node's place in the line for a slot, and how long that is.
func (v *view) place(i int) (place, of int) {
	nodes := lineOf(v.leases[i]).Nodes
	if at := slices.Index(nodes, v.lock.cfg.Node); at >= 0 {
		return at, len(nodes)
	}
	return len(nodes), len(nodes)
}

// opens is when a free slot may be taken by this node, but for the spread.
func (v *view) opens(i int) time.Time {
	place, _ := v.place(i)
	at := v.freeSince[i].Add(time.Duration(place) * perPlace)
	if gone := v.goneUntil[i]; gone.After(at) {
		at = gone
	}
	return at
}

// open are the free slots that this node may take now: those that are kept for it
// first.
func (v *view) open(now time.Time) []int {
	var out []int
	for _, i := range v.free() {
		if now.Before(v.opens(i)) {
			continue
		}
		if place, of := v.place(i); place == 0 && of > 0 {
			out = slices.Insert(out, 0, i)
		} else {
			out = append(out, i)
		}
	}
	return out
}

// holders are those that hold slots, those of a newer schema included.
func (v *view) holders() []Holder {
	var out []Holder
	for _, i := range v.indexes() {
		lease := v.leases[i]
		switch {
		case tooNew(lease):
			out = append(out, Holder{Slot: lease.Name, Node: "a newer version of rebootd"})
		case holderOf(lease) != "":
			out = append(out, Holder{Slot: lease.Name, Node: holderOf(lease)})
		}
	}
	return out
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

// paused is why people have paused the lock.
func (v *view) paused() (why string, is bool) {
	for _, i := range v.indexes() {
		if why, is = v.leases[i].Annotations[PausedAnnotation]; is {
			return reason(why), true
		}
	}
	for _, suffix := range []string{zoneSuffix, controlPlaneSuffix} {
		if lease := v.companions[v.lock.cfg.Name+suffix]; lease != nil {
			if why, is = lease.Annotations[PausedAnnotation]; is {
				return reason(why), true
			}
		}
	}
	return "", false
}

// maxReason bounds what is repeated of people's words.
const maxReason = 300

func reason(s string) string {
	if s == "" {
		return "no reason is given"
	}
	return strings.ToValidUTF8(s[:min(len(s), maxReason)], "")
}

func (v *view) waiting() Waiting {
	w := Waiting{Holders: v.holders()}
	w.Paused, _ = v.paused()
	if c, has, barred := v.barred(); barred {
		w.Barred = fmt.Sprintf("%s is held by %s", c.lease, has)
	}
	for _, i := range v.free() {
		if line := lineOf(v.leases[i]).Nodes; len(line) > 0 && line[0] != v.lock.cfg.Node {
			w.Kept = line[0]
		}
	}
	return w
}
