package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/drain"
)

// drainStage is the stage that empties the node, until the reboot is ordered.
type drainStage struct {
	drainer Drainer
	is      decide.Stage
}

// Drain makes the stage that drains the node. It may take as long as limit, 0 for no
// limit; onLimit says what happens then.
func Drain(d Drainer, limit time.Duration, onLimit decide.TimeoutPolicy) Stage {
	return &drainStage{d, decide.Stage{
		Name: "drain", Reason: api.ReasonDraining, Failed: api.ReasonDrainTimedOut, Lasting: true,
		Limit: limit, OnLimit: onLimit, Blocked: api.ReasonDrainBlocked, TimedOut: api.ReasonDrainTimedOut,
	}}
}

// Kind is what is to be known of the drain.
func (d *drainStage) Kind() decide.Stage { return d.is }

// Empty is never so: that there are no pods is found out by the drain.
func (d *drainStage) Empty() bool { return false }

// Do is done by the drain's own worker, since the drain does not end by itself.
func (d *drainStage) Do(context.Context) ([]api.HookOutcome, error) {
	return nil, errors.New("the drain does not end by itself")
}

// Undo has nothing to do: pods that have left come back by themselves.
func (d *drainStage) Undo(context.Context) ([]api.HookOutcome, error) { return nil, nil }

const (
	// showPause lies between two changes of what people are told of the drain, whatever the
	// drain itself sees.
	showPause = 10 * time.Second
	// countPause lies between two changes of the numbers that they are told. A drain that
	// is over by then has none.
	countPause = 30 * time.Second
)

// drainWorker runs the drain.
type drainWorker struct {
	bg    *background
	clock clock
	log   zerolog.Logger
	stage *drainStage
	phase api.Phase

	task     *task
	key      string // which drain: api.Record.DrainKey
	progress drain.Progress
	drained  time.Time     // when it last said that the node is
	ran      time.Duration // before this run, or, when it has ended, with it
	before   time.Duration // before this run, or the last one
	begun    time.Time     // this run
	tried    time.Duration // for how long this drain has been trying to begin, before this run or, when it has ended, with it
	shown    shown
}

// shown is what people are told of the drain.
type shown struct {
	key     string
	blocked bool
	summary string
	at      time.Time
	numbers string
	counted time.Time
}

func newDrainWorker(c Config, bg *background, k clock, s *drainStage) *drainWorker {
	return &drainWorker{bg: bg, clock: k, log: c.Log, stage: s}
}

func (w *drainWorker) kind() decide.Stage { return w.stage.is }

// follow runs the drain while the stage is due, and as long as the decision has it kept
// up. It begins only in the phase for it.
func (w *drainWorker) follow(s decided) bool {
	w.phase = s.phase()
	wanted := s.step.KeepUp
	if w.task != nil {
		if wanted && w.key == s.record.DrainKey() {
			return true
		}
		w.task.cancel()
		return false
	}
	if !wanted || w.phase != api.PhaseDraining {
		return true
	}
	if key := s.record.DrainKey(); w.key != key {
		w.key, w.tried, w.ran = key, 0, 0
	}
	opts := drain.Options{ID: s.record.ID, Ran: max(w.ran, s.record.DrainHasRun()), Limit: s.step.Limit, Previous: w.previous(s.node)}
	w.progress, w.ran, w.before, w.begun = drain.Progress{}, opts.Ran, opts.Ran, time.Now()
	w.task = start(w.bg, drainRun{w.stage.drainer, opts}.run, w.seen, w.ended)
	return false // what was decided rested on what an earlier one had seen
}

// seen takes in what the drain has seen.
func (w *drainWorker) seen(p drain.Progress) {
	if p.Drained && !w.progress.Drained {
		w.drained = time.Now()
	}
	w.progress = p
}

// ended keeps what the drain has seen last: a drain that was told to end has the last
// word until another begins, so that the decision that ended it stands.
func (w *drainWorker) ended(r drainResult, cancelled bool) {
	w.seen(r.last)
	w.ran, w.tried = w.hasRun(), w.hasTried()
	w.task = nil
	if !cancelled {
		w.progress.Drained = false
		w.log.Error().Err(r.err).Msg("the drain ended unexpectedly; starting it again")
	}
}

// follows takes over how long the drain has run, and what people were told of it.
func (w *drainWorker) follows(before *drainWorker) {
	w.key, w.ran, w.tried, w.shown = before.key, before.hasRun(), before.hasTried(), before.shown
}

// hasRun is for how long the drain has run, by its own clock.
func (w *drainWorker) hasRun() time.Duration {
	if w.task == nil || w.progress.ClockStart.IsZero() {
		return w.ran
	}
	return time.Since(w.progress.ClockStart)
}

// hasTried is for how long it has been trying to begin, 0 when it has begun.
func (w *drainWorker) hasTried() time.Duration {
	switch {
	case w.progress.Listed:
		return 0
	case w.task == nil:
		return w.tried
	default:
		return w.tried + time.Since(w.begun)
	}
}

// done says whether the node is drained at present. Nothing is ordered by the last word
// of a drain that has ended.
func (w *drainWorker) done() bool {
	return w.progress.Drained && (w.task != nil || w.phase != api.PhaseRebooting || w.bg.tasks.Err() != nil)
}

func (w *drainWorker) facts(f *decide.Facts) {
	p := decide.Progress{
		Key: w.key, Blocked: w.shown.blocked, Summary: w.shown.summary, Numbers: w.shown.numbers, Detail: w.progress.Detail, Ran: w.hasRun(), Before: w.before, Starting: w.hasTried(),
	}
	switch {
	case w.key == "":
	case w.done():
		p.State, p.DoneFor = decide.StageDone, time.Since(w.drained)
	default:
		p.State = decide.StageRunning
	}
	f.Stages = append(f.Stages, p)
}

// show brings shown up to date if it may be, and returns when it next may.
func (w *drainWorker) show(now time.Time) time.Time {
	due := w.shown.at.Add(showPause)
	fresh := shown{key: w.key, blocked: len(w.progress.Blocked) > 0, summary: w.progress.Summary, at: now, counted: now}
	switch {
	case w.shown.key == fresh.key && w.shown.summary == fresh.summary:
		w.count(now)
		return now.Add(heartbeat)
	case w.shown.key == fresh.key && now.Before(due) && !w.progress.Drained:
		return due
	}
	if w.shown.key == fresh.key {
		fresh.numbers = w.numbers()
	}
	w.shown = fresh
	return now.Add(heartbeat)
}

// count brings the numbers up to date if it may be.
func (w *drainWorker) count(now time.Time) {
	if !now.Before(w.shown.counted.Add(countPause)) {
		w.shown.numbers, w.shown.counted = w.numbers(), now
	}
}

// numbers say how far the drain has come.
func (w *drainWorker) numbers() string {
	switch blocked := len(w.progress.Blocked); {
	case !w.progress.Listed:
		return ""
	case blocked > 0:
		return fmt.Sprintf("%s, %d blocked", w.progress.Detail, blocked)
	default:
		return w.progress.Detail
	}
}

// previous is the report on the Node, nil if it cannot be read.
func (w *drainWorker) previous(n *nodeView) *api.Report {
	if n.report == "" {
		return nil
	}
	r, err := api.ParseReport([]byte(n.report))
	if err != nil {
		w.log.Warn().Err(err).Msg("the report on the Node cannot be read; replacing it")
		return nil
	}
	return r
}

// report is that of the record's operation as far as it is known, nil if nothing is.
func (w *stageWorkers) report(r *api.Record) *api.Report {
	if w.drain == nil {
		return nil
	}
	p := &w.drain.progress
	if r == nil || p.Report == nil || p.Report.ID != r.ID || !p.Listed {
		return nil
	}
	report := *p.Report
	return &report
}

// drainRun is one run of the drain, in the background.
type drainRun struct {
	drainer Drainer
	opts    drain.Options
}

type drainResult struct {
	last drain.Progress
	err  error
}

func (r drainRun) run(ctx context.Context, say func(drain.Progress)) drainResult {
	var last drain.Progress
	err := r.drainer.Run(ctx, r.opts, func(p drain.Progress) {
		last = p
		say(p)
	})
	return drainResult{last, err}
}
