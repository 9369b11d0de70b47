package lease

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// Who takes a slot that its last holder has given up may use it at once: that one
// had finished. A slot that was made anew, or that people have cleared or given to
// this node, tells nothing of its last holder, which may be down. Who takes such a
// slot looks for nodes that are at work without one, and waits for them: with them,
// and with those that hold slots, there must not be more than there are slots.
//
// A free slot that was given up as it should be counts as held: the next may take it
// at any instant, and does not look. Once all in its line have let it pass it is nobody's,
// and who waits for it has its next holder look, too. The slots are read before the nodes: who is at
// work and loses its slot in between is seen by its record.

// handedOn says whether a slot was given up by its last holder, and nobody but this
// node has held it since.
func (l *Lock) handedOn(lease *coordinationv1.Lease) bool {
	return lease.Annotations[api.ReleasedByAnnotation] != "" && !l.othersSay(lease)
}

// othersSay says whether another node has said something of a Lease since it was last
// given up.
func (l *Lock) othersSay(lease *coordinationv1.Lease) bool {
	return slices.ContainsFunc(lease.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
		return e.Operation == metav1.ManagedFieldsOperationApply && e.Manager != l.manager
	})
}

// mayBegin looks whether the slot that this node has taken may be used; if not, it
// says for whom to wait, and which free slots that were handed on keep it from going
// that could else.
func (l *Lock) mayBegin(ctx context.Context) (bool, lock.Waiting, []*coordinationv1.Lease, error) {
	was := l.getHeld()
	if was == nil {
		return false, lock.Waiting{}, nil, l.notHeld()
	}
	v, err := l.list(ctx)
	if err != nil {
		return false, lock.Waiting{}, nil, err
	}
	if i, ok := l.index(was.Name); !ok || !l.stillOurs(was, v.leases[i]) {
		return false, lock.Waiting{}, nil, l.lost(was, v.leases[i])
	}
	others := map[string]bool{}
	var between []*coordinationv1.Lease
	taken := 1 // by this node
	for i, lease := range v.leases {
		switch h := holderOf(lease); {
		case lease.Name == was.Name:
		case tooNew(lease):
			taken++
		case h != "":
			others[h] = true
		case i < l.cfg.Slots && l.handedOn(lease):
			between = append(between, lease)
		}
	}
	delete(others, l.cfg.Node)
	holders := v.holders()
	nodes, err := l.cfg.AtWork(ctx)
	if err != nil {
		return false, lock.Waiting{}, nil, fmt.Errorf("look for nodes that are at work without a slot: %w", err)
	}
	var without []string
	for _, n := range nodes {
		if n != l.cfg.Node && !others[n] {
			without = append(without, n)
		}
	}
	slices.Sort(without)
	without = slices.Compact(without)
	w := lock.Waiting{Paused: v.paused(), Slot: was.Name, AtWork: without, Holders: slices.DeleteFunc(holders, func(h lock.Holder) bool { return h.Slot == was.Name })}
	// What must hold among those that hold slots, that they share a zone, cannot be
	// known of those without.
	if w.Paused != (lock.Pause{}) || l.claimant().Zone != "" && len(without) > 0 {
		return false, w, nil, nil
	}
	room := l.cfg.Slots - taken - len(others) - len(without)
	if room < 0 || room >= len(between) {
		return room >= 0, w, nil, nil
	}
	return false, w, between, nil
}

// awaitOthers looks until the slot may be used, and tells say why it may not yet.
func (l *Lock) awaitOthers(ctx context.Context, say func(lock.Waiting)) error {
	pause, told := pause{first: time.Second}, ""
	var since time.Time // when what is between two holders was first seen to be
	last := ""
	for {
		began := time.Now()
		ok, w, between, err := l.mayBegin(ctx)
		switch {
		case ok:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx) // also when it has just been seen that it may not
		case l.getHeld() == nil:
			return cmp.Or(err, error(l.notHeld()))
		case err != nil:
			w = lock.Waiting{Err: err}
		}
		say(w)
		if s := w.String(); s != told && len(w.AtWork) > 0 {
			told = s
			l.cfg.Log("%s", s) // the slot says that this node is at work, and it is not
		}
		which, most := "", 2*spreadOver
		for _, lease := range between {
			which += " " + lease.Name + " " + lease.ResourceVersion
			most = max(most, time.Duration(len(lineOf(lease).Nodes))*perPlace+2*spreadOver)
		}
		if which != last {
			since, last = began, which
		}
		if which != "" && began.Sub(since) >= most {
			if err = l.takeMarks(ctx, between); err == nil {
				continue
			}
		}
		pause.wait(ctx, began, err)
	}
}

// takeMarks has the next holders of free slots look, unless they have them by now.
func (l *Lock) takeMarks(ctx context.Context, slots []*coordinationv1.Lease) error {
	for _, lease := range slots {
		if _, err := l.empty(ctx, lease, map[string]any{api.ReleasedByAnnotation: nil}, nil); err != nil {
			return fmt.Errorf("mark the Lease %s so that its next holder looks for nodes at work: %w", lease.Name, err)
		}
	}
	return nil
}
