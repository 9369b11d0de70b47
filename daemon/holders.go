package daemon

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/lock"
)

// A node that waits tells people whom it waits for, and how far those have come. That is
// in their records, so it is looked up, and each change is a write of the waiting Node:
// thousands may wait. So a waiting node looks seldom, and the longer it waits the more
// seldom, at moments of its own: at most a look every lastLook on average, with a request
// for each holder and one write where something has changed.
const (
	firstLook = 10 * time.Second
	nextLook  = time.Minute // doubles up to lastLook
	lastLook  = 10 * time.Minute
	// maxNamed is how many holders are named where there are more.
	maxNamed = 3
	// maxFailure bounds what is repeated of another node's failure.
	maxFailure = 200
)

// holderWatch knows, while this node waits, who holds the slots, and what those do.
type holderWatch struct {
	bg    *background
	api   NodeAPI
	node  string
	slots int // that the lock has

	active  bool
	holders []lock.Holder // as the Leases say
	text    string        // for people, as of the last look
	next    time.Time     // look
	pause   time.Duration // before it
	task    *task
}

// follow looks when it is time. waiting says whether this node waits for a slot.
func (w *holderWatch) follow(now time.Time, waiting bool) {
	switch {
	case !waiting:
		if w.task != nil {
			w.task.cancel()
		}
		w.active, w.holders, w.text, w.pause = false, nil, "", 0
		return
	case !w.active:
		w.active = true
		w.plan(now, firstLook)
	}
	if w.task != nil || now.Before(w.next) {
		return
	}
	if len(w.holders) == 0 && w.text == "" {
		w.plan(now, firstLook) // the Leases may say soon who they are, to thousands at once
		return
	}
	w.plan(now, min(max(nextLook, 2*w.pause), lastLook))
	look := holderLook{w.api, slices.Clone(w.holders), w.slots}
	w.task = start(w.bg, look.run, func(struct{}) {}, func(text string, cancelled bool) {
		w.task = nil
		if w.active && !cancelled {
			w.text = text
		}
	})
}

// plan has the next look after a pause, and a part of it that is this node's own.
func (w *holderWatch) plan(now time.Time, pause time.Duration) {
	if w.pause = pause; pause == firstLook {
		w.pause = 0
	}
	w.next = now.Add(pause + spread(w.node, pause))
}

// spread is a node's own part of a time, so that not all nodes do something at once.
func spread(node string, most time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(node))
	return most * time.Duration(h.Sum32()%1000) / 1000
}

// holderLook looks up what those do that hold slots, in the background.
type holderLook struct {
	api     NodeAPI
	holders []lock.Holder
	slots   int // that the lock has
}

func (l holderLook) run(ctx context.Context, _ func(struct{})) string {
	var parts, halted []string
	for i, h := range l.holders {
		if i == maxNamed {
			parts = append(parts, fmt.Sprintf("%d more slots are held", len(l.holders)-maxNamed))
			break
		}
		words, isHalted := l.words(ctx, h)
		if parts = append(parts, words); isHalted {
			halted = append(halted, h.Node)
		}
	}
	if len(halted) > 0 && len(halted) == len(l.holders) {
		what := "the rollout is halted"
		if len(l.holders) < l.slots { // another may hold the next slot in a moment
			what = halted[0] + " has halted"
		}
		parts = append(parts, what+": kubectl rebootd why "+halted[0])
	}
	return strings.Join(parts, "; ")
}

// words are what is to be said of a holder, and whether it has halted. What cannot be looked
// up is left out.
func (l holderLook) words(ctx context.Context, h lock.Holder) (_ string, halted bool) {
	held := fmt.Sprintf("%s is held by %s", h.Slot, h.Node)
	if h.Node == lock.NewerHolder {
		return held, false
	}
	n, err := l.api.GetNodeMetadata(ctx, h.Node)
	switch {
	case apierrors.IsNotFound(err):
		return held + ", which is not a Node of this cluster", false
	case err != nil || n.Annotations[api.OperationAnnotation] == "":
		if h.Since.IsZero() {
			return held, false
		}
		return held + " since " + h.Since.UTC().Format(time.RFC3339), false
	}
	r, err := api.ParseRecord([]byte(n.Annotations[api.OperationAnnotation]))
	if err != nil {
		return held + ", whose record cannot be read", false
	}
	held += fmt.Sprintf(", %s since %s", r.Phase, r.Since.UTC().Format(time.RFC3339))
	if r.Phase == api.PhaseHalted {
		held += fmt.Sprintf(" (%s: %s)", r.Failure.Reason, printable.Line(r.Failure.Message, maxFailure))
	}
	return held, r.Phase == api.PhaseHalted
}
