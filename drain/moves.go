package drain

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// moveKey is where the replacements of some pods are found: pods of the same
// controller that look like them.
type moveKey struct {
	namespace string
	owner     types.UID
	selector  string
}

// candidate is a pod on another node that may be a replacement.
type candidate struct {
	uid      types.UID
	name     string
	node     string
	created  time.Time
	ready    bool
	replaces types.UID // this pod, once that is proved
}

func (p podInfo) moveKey() (moveKey, bool) {
	if p.ownerUID == "" || p.selector == "" || p.skip != (note{}) {
		return moveKey{}, false
	}
	return moveKey{p.namespace, p.ownerUID, p.selector}, true
}

// leaving says whether a pod's replacement is to be looked for.
func (t *tracked) leaving() bool {
	if t.movedTo != "" {
		return false
	}
	switch t.state {
	case terminating:
		return true
	case done:
		return t.outcome == api.OutcomeDrained || t.outcome == api.OutcomeForceStopped
	default:
		return t.refusal.reason == api.PodRelocating
	}
}

// wantedMoves are where replacements have to be looked for.
func (c *core) wantedMoves() map[moveKey]bool {
	out := map[moveKey]bool{}
	for _, t := range c.order {
		if key, ok := t.moveKey(); ok && t.leaving() {
			out[key] = true
		}
	}
	return out
}

// seenElsewhere takes in a pod on another node; nil: it is gone.
func (c *core) seenElsewhere(key moveKey, uid types.UID, p *candidate) {
	if c.moves[key] == nil {
		c.moves[key] = map[types.UID]candidate{}
	}
	old := c.moves[key][uid]
	if p == nil {
		if old.replaces == "" {
			delete(c.moves[key], uid)
		}
		return
	}
	p.replaces = old.replaces
	c.moves[key][uid] = *p
	c.match()
}

// match proves relocations: each pod that has left, or is leaving, gets the first
// pod of its controller that was created after its deletion and is Ready.
func (c *core) match() {
	for _, t := range c.order {
		key, ok := t.moveKey()
		if !ok || !t.leaving() || len(c.moves[key]) == 0 {
			continue
		}
		if p, ok := c.replacementOf(t, key); ok && p.ready {
			p.replaces = t.uid
			c.moves[key][p.uid] = p
			t.movedTo = p.node
			if t.outcome == api.OutcomeDrained {
				t.outcome = api.OutcomeRelocated
			}
		}
	}
}

// replacementOf is the first pod that can be t's replacement and is not another pod's;
// those that are Ready come first.
func (c *core) replacementOf(t *tracked, key moveKey) (candidate, bool) {
	since := t.deletedAt.Truncate(time.Second) // as exact as a creation's timestamp
	if t.deletedAt.IsZero() || t.refusal.reason == api.PodRelocating {
		since = t.created.Add(time.Second)
	}
	var fit []candidate
	for _, p := range c.moves[key] {
		if p.replaces == "" && !p.created.Before(since) && (t.kind != "StatefulSet" || p.name == t.name) {
			fit = append(fit, p)
		}
	}
	if len(fit) == 0 {
		return candidate{}, false
	}
	return slices.MinFunc(fit, func(a, b candidate) int {
		switch {
		case a.ready != b.ready && a.ready:
			return -1
		case a.ready != b.ready:
			return 1
		}
		return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.uid, b.uid))
	}), true
}

// movingTo is the node of a pod's replacement, Ready or not; "" if there is none.
func (c *core) movingTo(t *tracked) string {
	if key, ok := t.moveKey(); ok {
		if p, ok := c.replacementOf(t, key); ok {
			return p.node
		}
	}
	return t.movedTo
}
