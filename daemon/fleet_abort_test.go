package daemon_test

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// People who abort, and what is judged of that.

// abort is what the judge knows of the annotation by which people give an operation up.
type abort struct {
	asked  since
	value  string
	upTo   int // the requests that there were when it was set last
	maybe  int // requests up to this one may have been served by an abort, or not
	wanted since
}

// regretful says that people abort at a third of all critical moments.
func (f *fleet) regretful() bool { return f.seed%5 == 2 }

// regret has people abort what a node does just now, every now and then. It takes no lock
// of the judge's.
func (f *fleet) regret(n *fleetNode) {
	oneIn := 12
	if f.regretful() {
		oneIn = 3
	}
	if f.chance(oneIn) {
		select {
		case f.regrets <- n:
		default:
		}
	}
}

// regretsMove is told of each change of a record, with the judge's lock held.
func (f *fleet) regretsMove(t *truth, was written) {
	begins := t.record.Phase != was.Phase && t.record.Phase != ""
	undoes := was.Undo == nil && t.record.Undo != nil
	if f.faults && (begins || undoes) {
		i := slices.IndexFunc(f.nodes, func(n *fleetNode) bool { return &n.truth == t })
		f.closes(f.nodes[i])
		f.regret(f.nodes[i])
	}
}

// abort has people abort what a node does, or is about to do; some do so twice, and some
// think better of it.
func (f *fleet) abort(n *fleetNode) {
	if !f.faults {
		return
	}
	why := []string{"wrong kernel", "the wrong node", "a release is under way"}[f.number(3)]
	f.w.Note(n.name, "fleet", "people abort: %s", why)
	f.countAbort(n)
	n.m.Annotate(api.AbortAnnotation, why)
	switch f.number(8) {
	case 0:
		time.Sleep(f.upTo(3 * time.Second))
		f.w.Note(n.name, "fleet", "and once more")
		n.m.Annotate(api.AbortAnnotation, why+", as was said")
	case 1:
		time.Sleep(f.upTo(2 * time.Second))
		f.w.Note(n.name, "fleet", "they do not abort after all")
		n.m.Annotate(api.AbortAnnotation, "")
	case 2:
		if n.p != nil && !n.p.Dead() {
			f.kill(n, n.p, "as people abort")
		}
	}
}

func (f *fleet) countAbort(n *fleetNode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	phase := string(n.truth.record.Phase)
	if phase == "" && n.requests > n.served {
		phase = "requested"
	}
	f.aborted[phase]++
}

// recalled is told that what the machine has scheduled was cancelled. Once the machine is
// about to go down that comes too late.
func (f *fleet) recalled(n *fleetNode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n.goesDown = slices.DeleteFunc(n.goesDown, func(at time.Time) bool {
		return at.Equal(n.scheduled) && time.Until(at) > 5*time.Second
	})
}

// aborts judges a change of a Node by what people have aborted.
func (j *judge) aborts(t *truth, was written, before, after *corev1.Node, by string) {
	why, there := after.Annotations["rebootd.dev/abort"]
	had := before != nil && before.Annotations["rebootd.dev/abort"] != ""
	own, ends := by == "rebootd", was.ID != "" && t.record.ID == ""
	obeys := had || was.Undo != nil && was.Undo.Reason == "Aborted"
	// An order that has come to nothing: it is put back from there.
	returns := was.Phase == "Rebooting" && (t.record.Phase == "Draining" || t.record.Phase == "Halted")
	// The write that ends a verification is one of a Node that has not changed since.
	sees := had && (was.Phase == "Verifying" || was.Phase == "Halted")
	booted := was.ID != "" && t.boot != was.BootID
	withdrawn := was.Undo != nil && was.Undo.Reason == "Cancelled" // and asked for anew since
	// People may have thought better of it when it was on record already, which is too late.
	tooLate := ends && was.Undo != nil && was.Undo.Reason == "Aborted"
	switch {
	case own && (had && !there && t.record.ID == "" || tooLate):
		// Who has thought better of it is right either way where what was served cannot be noted.
		j.abortEnds(t, booted || !had && time.Since(t.refusedAt) < refusal)
	case own && had && !there && !(booted && t.record.Phase == "Verifying" && was.Phase != "Verifying"):
		j.violated(t.name, "the abort is forgotten, and the operation goes on")
	case own && ends && !obeys && !booted && !withdrawn && t.requests > max(t.served, t.abort.maybe) && t.abort.wanted.isFor(knownSlow):
		j.violated(t.name, "given up, and nobody aborts it")
	case own && there && t.record.Phase != was.Phase && !returns && was.Undo == nil && (sees || j.knows(t, t.abort.asked)) && time.Since(t.refusedAt) > refusal:
		j.violated(t.name, "%q follows %q, although it is aborted", t.record.Phase, was.Phase)
	}
	if own && had && ends && t.cordoned.is() && t.ours {
		j.violated(t.name, "aborted, and left cordoned")
	}
	if there && (!had || why != t.abort.value) {
		t.abort.upTo = t.requests
	}
	t.abort.value = why
	t.abort.asked.set(there)
}

// abortEnds is called when an abort has ended what there was. What was asked for since the
// boot that has served the operation, or since the abort, may be served with it, or not.
func (j *judge) abortEnds(t *truth, booted bool) {
	t.abort.maybe = t.requests
	if !booted {
		t.served = max(t.served, t.abort.upTo)
	}
	if t.requests == t.served {
		t.unasked.set(true)
		t.abort.wanted = since{}
	}
}

// overdue judges an abort that has not been obeyed. A reboot that was ordered may be too
// late to stop.
func (j *judge) overdue(t *truth) {
	goes := len(t.goesDown) > 0 || t.record.Phase == "Rebooting"
	if t.abort.asked.isFor(late) && time.Since(t.since) > late && !goes {
		j.violated(t.name, "aborted for %s, and its record is %q", late, t.record.Phase)
	}
}

// abortFaults are faults in how an abort is obeyed.
var abortFaults = map[string]decision{
	"an abort does not serve the request": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		if s.Reason == api.ReasonAborted {
			s.Served, s.ClearRequest = nil, false
		}
		return s
	},
	"an abort leaves the cordon": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		s.Uncordon = s.Uncordon && s.Reason != api.ReasonAborted
		return s
	},
	"obeys no abort while it verifies": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		if r != nil && (r.Phase == api.PhaseVerifying || r.Phase == api.PhaseHalted) {
			f.Abort = decide.Abort{}
		}
		return decide.Next(p, r, f)
	},
	"never removes an abort": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		s.ClearAbort = false
		return s
	},
}
