package sim

import (
	"context"
	"fmt"
	"sync"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/drain"
)

// minWait is the least that a run of the drain takes, as for the real one.
const minWait = 5 * time.Second

// listing is how long it takes to list the pods.
const listing = 100 * time.Millisecond

// forceEarly is how long before its limit a drain by force has come to its end.
const forceEarly = 500 * time.Millisecond

// Drain are the pods of a machine's node, and what package drain promises of them: a
// clock of its own that starts with the first list, force just before its limit, and that
// it goes on until it is told to end. Pods leave when the script says so, or after Takes.
type Drain struct {
	m *Machine

	mu       sync.Mutex
	pods     int
	forced   int
	blocked  string
	stuck    bool
	unlisted bool
	takes    func() time.Duration
	ending   time.Duration
	finished time.Time // since when they are all gone
	changed  chan struct{}
	running  int
	runs     []drain.Options
}

func newDrain(m *Machine) *Drain { return &Drain{m: m, pods: 4, changed: make(chan struct{})} }

// Pods says how many pods there are that have to go.
func (d *Drain) Pods(n int) { d.update(func() { d.pods, d.blocked = n, "" }) }

// Blocked has the pods that are left stay for a reason.
func (d *Drain) Blocked(why string) { d.update(func() { d.blocked = why }) }

// Stuck has even force not remove what is left.
func (d *Drain) Stuck() { d.update(func() { d.stuck = true }) }

// Unlisted has nobody able to list the pods, or ends that.
func (d *Drain) Unlisted(is bool) { d.update(func() { d.unlisted = is }) }

// Takes has all pods gone f() after a run has begun; nil: when the script says so.
func (d *Drain) Takes(f func() time.Duration) { d.update(func() { d.takes = f }) }

// Ending has each run take so long to end after it was told to.
func (d *Drain) Ending(t time.Duration) { d.update(func() { d.ending = t }) }

// Running says whether a process that lives drains the node.
func (d *Drain) Running() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.running > 0
}

// Runs are what each run was called with.
func (d *Drain) Runs() []drain.Options {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]drain.Options(nil), d.runs...)
}

func (d *Drain) update(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

// Drainer is for daemon.Drain.
func (p *Process) Drainer() *Drainer { return &Drainer{p} }

// Drainer drains a process's node.
type Drainer struct{ p *Process }

// Run implements daemon.Drainer.
func (r *Drainer) Run(ctx context.Context, opts drain.Options, progress func(drain.Progress)) error {
	d, m := r.p.Machine.Drain, r.p.Machine
	if r.p.Dead() {
		return ctx.Err()
	}
	what := ""
	if opts.Ran > 0 {
		what += fmt.Sprintf(", after %s", opts.Ran.Round(time.Second))
	}
	if opts.Limit > 0 {
		what += fmt.Sprintf(", by force after %s", opts.Limit)
	}
	m.World.Note(m.Name, "drain", "begins%s", what)
	if n := m.Node(); n != nil && !n.Spec.Unschedulable {
		m.World.Note(m.Name, "drain", "the node is not cordoned")
	}
	begun := time.Now()
	var clock time.Time
	d.mu.Lock()
	d.runs = append(d.runs, opts)
	d.running++
	d.finished = time.Time{}
	takes := time.Duration(-1)
	if d.takes != nil {
		takes = d.takes()
	}
	d.mu.Unlock()
	// It ends with its process, and that instant is not later than the last of its words.
	ended := make(chan struct{})
	defer close(ended)
	over := sync.OnceFunc(func() { d.mu.Lock(); d.running--; d.mu.Unlock() })
	go func() {
		select {
		case <-r.p.Link.killed():
		case <-ended:
		}
		over()
	}()
	for {
		d.mu.Lock()
		now := time.Now()
		if clock.IsZero() && now.Sub(begun) >= listing && !d.unlisted && !r.p.Link.isAway() {
			clock = now.Add(-opts.Ran)
		}
		next := now.Add(500 * time.Millisecond)
		if clock.IsZero() {
			next = now.Add(listing)
		}
		if !clock.IsZero() {
			if takes >= 0 && now.Sub(begun) >= takes && d.blocked == "" {
				d.pods = 0
			}
			if opts.Limit > 0 && now.Sub(clock) >= opts.Limit-forceEarly && !d.stuck {
				d.forced, d.pods = d.forced+d.pods, 0
			}
		}
		p := d.progress(opts, clock, begun, now)
		changed, ending := d.changed, d.ending
		d.mu.Unlock()
		progress(p)
		t := time.NewTimer(next.Sub(now))
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			if ending > 0 && !r.p.Dead() {
				time.Sleep(ending)
			}
			progress(p)
			over()
			if !r.p.Dead() {
				m.World.Note(m.Name, "drain", "ends")
			}
			return ctx.Err()
		}
		t.Stop()
	}
}

// progress is what is said at a moment.
func (d *Drain) progress(opts drain.Options, clock, begun, now time.Time) drain.Progress {
	p := drain.Progress{Listed: !clock.IsZero(), ClockStart: clock}
	if !p.Listed {
		p.UnlistedSince, p.Detail = begun, "listing the pods"
		return p
	}
	p.Detail, p.Total, p.Left = fmt.Sprintf("%d pods left", d.pods), max(4, d.pods), d.pods
	p.Drained = d.pods == 0 && now.Sub(begun) >= minWait
	p.Report = &api.Report{V: 1, ID: opts.ID, Started: clock.UTC().Truncate(time.Second)}
	if !p.Drained {
		d.finished = time.Time{}
	} else {
		if d.finished.IsZero() {
			d.finished = now.UTC()
		}
		p.Report.Finished, p.Report.Totals = d.finished, map[api.Outcome]int{api.OutcomeDrained: 4, api.OutcomeForceStopped: d.forced, api.OutcomeSkipped: 2}
	}
	p.Counts = map[string]int{"evicting": d.pods, "skipped": 2}
	switch {
	case p.Drained && d.forced > 0:
		p.Summary = fmt.Sprintf("drained: %d force-stopped", d.forced)
	case p.Drained:
		p.Summary = "drained: 4 drained, 2 skipped"
	case d.blocked != "":
		p.Summary = d.blocked
		p.Blocked = []drain.Blocked{{Namespace: "prod", Name: "db-0", Reason: "BudgetExhausted", Message: d.blocked, Since: clock}}
	}
	return p
}
