package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// Request is whether a reboot is asked for, and by what.
type Request struct {
	Wanted bool
	// Pending says that it is not wanted as far as is known, and that it cannot be known
	// yet: the reboot that is asked for may have happened.
	Pending   bool
	Why       string
	Annotated bool // by the annotation, perhaps among others
	Level     api.Level

	// What the request says of its deadline. People have the last word; zero values say
	// nothing.
	DeadlineByPeople time.Time     // by the annotation
	DeadlineAt       time.Time     // the earliest that a sentinel names
	DeadlineWithin   time.Duration // the shortest that a sentinel names, from when the request was first seen

	Spent string // when nothing is asked for: the sentinels whose reboot has happened, and why they count as such

	// Problems are sentences about sentinels that ask for nothing though people may think
	// that they do; Invalid are those about sentinels that ask, and say more that is ignored.
	Problems, Invalid []string

	Files  []api.SentinelFile // the sentinels that ask
	Judged []api.ServedFile   // those that were found to be spent: to be remembered, so that no clock is asked again
	Kept   []api.ServedFile   // those that are remembered as served
	Served *api.Served        // what is remembered, whether it is still there or not; nil: nothing
}

// Sentinel is a file that asks for a reboot.
type Sentinel struct {
	api.SentinelFile
	ModTime  time.Time
	Content  string
	Packages []string
}

// fileTime is a time with as much of the second as tells what came first.
const fileTime = "2006-01-02T15:04:05.000Z"

// maxWhy bounds the human reason, which goes into the record and the log.
const maxWhy = 300

const (
	// maxFiles and maxPath bound what is remembered of sentinels: it goes into annotations.
	maxFiles = 32
	maxPath  = 512
)

// RequestOf finds out whether a reboot is asked for: by the sentinels that are not spent
// (see [judge]) and by the annotation. The level is the highest that any asks for; the
// annotation asks for everything. annotation is the value of [api.RequestAnnotation], ""
// when there is none; r is the record and served what is remembered, nil when there is none.
func RequestOf(sentinels []Sentinel, boot Boot, annotation string, r *api.Record, served *api.Served) Request {
	q := Request{Served: served}
	var why, old []string
	level := api.SoftReboot
	for _, s := range sentinels {
		v := judge(s, boot, r, served)
		switch v.spent {
		case yes:
			because := fmt.Sprintf("%s is spent, because %s", s.Path, v.because)
			old = append(old, because)
			if v.judged {
				q.Problems = append(q.Problems, because)
			}
			f := api.ServedFile{SentinelFile: s.SentinelFile, Because: v.because, Judged: v.judged}
			switch {
			case v.kept:
				q.Kept = append(q.Kept, f)
			case len(q.Judged) < maxFiles && len(s.Path) <= maxPath:
				q.Judged = append(q.Judged, f)
			}
			continue
		case unclear:
			q.Pending = true
			continue
		}
		if len(q.Files) < maxFiles && len(s.Path) <= maxPath {
			q.Files = append(q.Files, s.SentinelFile)
		}
		level = higher(level, levelOf(s.Content))
		q.noteDeadline(s)
		why = append(why, s.why())
	}
	if q.Annotated = annotation == api.RequestReboot; q.Annotated {
		why = append(why, "annotation "+api.RequestAnnotation)
		level = api.FullReboot
	}
	if len(why) == 0 {
		q.Spent = printable.Line(strings.Join(old, "; "), maxWhy)
		return q
	}
	q.Wanted, q.Pending, q.Level, q.Why = true, false, level, printable.Line(strings.Join(slices.Compact(why), "; "), maxWhy)
	return q
}

// why is what the sentinel asks for, in words.
func (s Sentinel) why() string {
	w := fmt.Sprintf("%s since %s", s.Path, s.Changed.UTC().Format(time.RFC3339))
	if s.Content != "" {
		w += fmt.Sprintf(" (%s)", s.Content)
	}
	if n := len(s.Packages); n > 0 {
		w += " for " + strings.Join(s.Packages[:min(n, 3)], ", ")
		if n > 3 {
			w += fmt.Sprintf(" and %d more", n-3)
		}
	}
	return w
}

// serve is what is to be remembered when sentinels, as they were seen in a boot, have been
// served; nil: what is remembered already.
func (q Request) serve(bootID string, at time.Time, files []api.SentinelFile, because string) *api.Served {
	if len(files) == 0 && len(q.Judged) == 0 {
		return nil
	}
	var all []api.ServedFile
	for _, f := range files {
		all = append(all, api.ServedFile{SentinelFile: f, Because: because})
	}
	for _, f := range slices.Concat(q.Kept, q.Judged) {
		if !slices.ContainsFunc(files, f.Same) {
			all = append(all, f)
		}
	}
	return q.Served.With(bootID, at, all)
}

// found is what is to be remembered of the sentinels that were found to be spent.
func (q Request) found(f Facts) *api.Served { return q.serve(f.Boot.ID, f.Now, nil, "") }

// servedBy is what is to be remembered when the boot that has followed has served the
// operation's request, and why.
func servedBy(r *api.Record, f Facts, because string) *api.Served {
	return f.Request.serve(r.BootID, f.Now, r.Files, because)
}

// withdrawn says that nothing asks for a reboot any more.
func withdrawn(f Facts) string {
	if f.Request.Spent != "" {
		return "nothing requests a reboot any more: " + f.Request.Spent
	}
	return "the reboot request was withdrawn"
}

// seeRequest notes in the record what asks, for the boot that follows: the reboot serves it.
func seeRequest(p Policy, r *api.Record, f Facts) {
	r.Deadline = deadline(p, r, f)
	r.Files = slices.Clone(f.Request.Files)
	if u := f.Boot.Userspace; f.Request.Level == api.SoftReboot && u.Known && (undisturbed(r) || r.Phase == api.PhaseDraining) {
		r.SoftReboots = &u.SoftReboots
	}
}

// serves says whether the reboot that the record is for serves what asks now: what is
// raised after the order of less than a reboot is not served by it.
func serves(r *api.Record, f Facts) bool {
	l := ordered(r)
	switch {
	case l == api.FullReboot:
		return true
	case r.Phase == api.PhaseHalted, r.Phase == api.PhaseRebooting && spawned(r, f):
		return false
	default:
		return r.Phase != api.PhaseRebooting || higher(l, f.Request.Level) == l
	}
}

// noteRequest has what asks noted with every write of the record until the boot, as far as
// that serves it. Once the node is worked on, a change of it is a write of its own.
func noteRequest(p Policy, r *api.Record, f Facts, s Step) Step {
	if startedOver(r, f) || !f.Request.Wanted {
		return s
	}
	if n := s.Record; n != nil && s.Do.Writes() && serves(n, f) {
		seeRequest(p, n, f)
	}
	mayNote := serves(r, f)
	newFiles := mayNote && !undisturbed(r) && !slices.EqualFunc(r.Files, f.Request.Files, api.SentinelFile.Same)
	newDeadline := mayNote && undisturbed(r) && !r.Deadline.Equal(deadline(p, r, f)) // the queue goes by it, and nothing else
	annotated := f.Request.Annotated && (mayNote || r.Annotated)
	if r.Annotated == annotated && (!newFiles && !newDeadline || s.Do.Writes()) {
		return s
	}
	n := r.Clone()
	if n.Annotated = annotated; mayNote {
		seeRequest(p, n, f)
	}
	noted := Step{
		Do: DoWrite, Reason: api.ReasonRebootRequested, Message: "reboot requested: " + f.Request.Why, Record: n,
		Asks: s.Asks, Stage: s.Stage, KeepUp: s.KeepUp, Limit: s.Limit,
	}
	switch {
	case newDeadline && n.Deadline.IsZero():
		noted.Message += "; there is no deadline any more"
	case newDeadline:
		noted.Message += "; the deadline is now " + n.Deadline.Format(time.RFC3339)
	}
	return noted
}
