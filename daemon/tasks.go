package daemon

import (
	"context"
	"encoding/json"
	"errors"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/drain"
	"rebootd.dev/lock"
)

// task is something that goes on in the background until it ends or is
// cancelled. Its last act is to post its result to the loop.
type task struct {
	kind   taskKind
	cancel context.CancelFunc
}

type taskKind int

const (
	findSlot taskKind = iota
	acquireSlot
	keepSlot
	findLease
	keepLease
	drainNode
	watchShutdown
	checkHealth
	runHooks
	watchRoom
)

// begin starts a task. run's result is called in the loop, also when the task
// was cancelled, but not when the daemon stops.
func (d *Daemon) begin(kind taskKind, run func(ctx context.Context) (done func())) *task {
	ctx, cancel := context.WithCancel(d.bg.tasks)
	parent := d.bg.tasks
	d.bg.run(func() {
		defer cancel()
		done := run(ctx)
		d.post(parent, done)
	})
	return &task{kind: kind, cancel: cancel}
}

// keepTasks starts the background tasks that step calls for and cancels those
// that it does not. It says whether none of the latter is left, so that a step
// may begin: pods are no longer evicted when the node is uncordoned.
func (d *Daemon) keepTasks(step decide.Step) (idle bool) {
	d.keepShutdownWatch()
	d.keepChecks()
	return d.keepSlotTask(step) && d.keepRoomTask(step) && d.keepLeaseTask(step) && d.keepDrainTask(step) && d.keepHookTask(step)
}

func (d *Daemon) keepSlotTask(step decide.Step) bool {
	want, any := keepSlot, true
	switch {
	case step.Do == decide.Release || d.recordErr != nil:
		any = false
	case d.slot.State == decide.SlotHeld:
		any = !d.DryRun // there is nothing to keep
	case step.Do == decide.Acquire:
		want = acquireSlot
	case d.slot.State == decide.SlotUnknown, d.slot.State == decide.SlotGone && !d.ask().Begun:
		want = findSlot // also to give up, at the end of the work, what went with a slot that is lost
	default:
		any = false
	}
	if d.slotTask != nil {
		if any && d.slotTask.kind == want {
			return true
		}
		// Only a wait for a slot has to have ended before something else begins:
		// it may be taking one at this instant.
		d.slotTask.cancel()
		return false
	}
	if !any {
		return true
	}
	switch want {
	case findSlot:
		d.slotTask = d.begin(findSlot, d.findSlot(d.ask()))
	case acquireSlot:
		d.slotTask = d.begin(acquireSlot, d.acquireSlot(d.ask()))
	default:
		d.slotTask = d.begin(keepSlot, d.keepSlot)
	}
	return true
}

func (d *Daemon) findSlot(ask lock.Ask) func(context.Context) func() {
	return func(ctx context.Context) func() { return d.find(ctx, ask) }
}

func (d *Daemon) find(ctx context.Context, ask lock.Ask) func() {
	var backoff backoff
	for {
		name, held, err := d.Lock.Find(ctx, ask)
		switch {
		case err == nil:
			return func() {
				d.slotTask = nil
				d.apiUp()
				d.slot = decide.Slot{State: decide.SlotNone}
				if ask.Begun {
					d.slot.State = decide.SlotGone
				}
				if held {
					d.slot, d.room = decide.Slot{State: decide.SlotHeld, Name: name}, decide.Room{}
					d.Log.Info().Str("slot", name).Msg("holds a slot already")
				}
			}
		case ctx.Err() != nil:
			return func() { d.slotTask = nil }
		default:
			d.post(ctx, func() { d.apiDown(err) })
			backoff.wait(ctx, err)
		}
	}
}

func (d *Daemon) acquireSlot(ask lock.Ask) func(context.Context) func() {
	return func(ctx context.Context) func() { return d.acquire(ctx, ask) }
}

func (d *Daemon) acquire(ctx context.Context, ask lock.Ask) func() {
	name, err := d.Lock.Acquire(ctx, ask, func(w lock.Waiting) {
		note := w.String()
		d.post(ctx, func() {
			if d.slot.State != decide.SlotHeld {
				d.slot.Note, d.slot.Paused = note, w.Paused
			}
		})
	})
	return func() {
		d.slotTask = nil
		if err != nil {
			// Cancelled, perhaps while the server was giving us one: look.
			d.slot = decide.Slot{}
			if ctx.Err() == nil {
				d.Log.Error().Err(err).Msg("waiting for a slot failed; looks up whether one is held and waits again")
			}
			return
		}
		d.apiUp()
		d.slot, d.room = decide.Slot{State: decide.SlotHeld, Name: name}, decide.Room{}
		if d.nodeLease.State == decide.LeaseUnavailable {
			d.nodeLease.State = decide.LeaseFree // asked for anew: medik8s may have come since
		}
		d.tell(decide.Step{Reason: decide.SlotAcquired, Message: "holds " + name})
	}
}

func (d *Daemon) keepSlot(ctx context.Context) func() {
	err := d.Lock.Keep(ctx, func(why string) {
		d.post(ctx, func() {
			if d.slot.State == decide.SlotHeld {
				d.slot.Paused = why
			}
		})
	})
	return func() {
		d.slotTask = nil
		switch {
		case err == nil:
		case errors.Is(err, lock.ErrLost):
			if d.slot.State == decide.SlotHeld {
				d.slot = decide.Slot{State: decide.SlotGone, Note: err.Error()}
				d.Log.Warn().Err(err).Str("reason", string(decide.SlotLost)).Msg("the slot was taken away")
			}
		default:
			d.Log.Error().Err(err).Msg("watching the slot failed; looks it up anew")
			d.slot = decide.Slot{}
		}
	}
}

func (d *Daemon) keepDrainTask(step decide.Step) bool {
	wanted := step.Draining
	if d.drainTask != nil {
		if wanted && d.drainKey == d.record.DrainKey() {
			return true
		}
		d.drainTask.cancel()
		return false
	}
	if !wanted || d.phase() != decide.Draining {
		return true
	}
	opts := drain.Options{ID: d.record.ID, Since: d.record.Since, Deadline: step.Deadline, Previous: d.previousReport()}
	d.drainKey, d.drain = d.record.DrainKey(), drain.Progress{}
	d.drainTask = d.begin(drainNode, func(ctx context.Context) func() {
		var last drain.Progress
		err := d.Drain.Run(ctx, opts, func(p drain.Progress) {
			last = p
			d.post(d.bg.tasks, func() { d.drain = p })
		})
		return func() {
			d.drainTask, d.drain = nil, last
			if ctx.Err() == nil {
				d.drain.Drained = false
				d.Log.Error().Err(err).Msg("the drain ended by itself; starting it again")
			}
		}
	})
	return false // what was decided rested on what an earlier one had seen
}

// isDrained says whether the node is drained at present. A drain that was told to end
// has the last word until another begins, so that the decision that ended it stands;
// but nothing is ordered by it.
func (d *Daemon) isDrained() bool {
	return d.drain.Drained && (d.drainTask != nil || d.phase() != decide.Rebooting || d.bg.tasks.Err() != nil)
}

// previousReport is the report on the Node, nil if it cannot be read.
func (d *Daemon) previousReport() *drain.Report {
	if d.node.report == "" {
		return nil
	}
	r, err := drain.ParseReport([]byte(d.node.report))
	if err != nil {
		d.Log.Warn().Err(err).Msg("the report on the Node cannot be read; it will be written anew")
		return nil
	}
	return r
}

// reportToWrite is the report of the current operation's drain if the Node's is
// another, "" if there is none to write.
func (d *Daemon) reportToWrite() string {
	if d.record == nil || d.drain.Report == nil || d.drain.Report.ID != d.record.ID || !d.drain.Listed {
		return ""
	}
	report := *d.drain.Report
	report.Hooks = d.reportHooks()
	data, err := json.Marshal(&report)
	if err != nil {
		d.Log.Error().Err(err).Msg("the report cannot be encoded; leaves it out")
		return ""
	}
	if s := string(data); s != d.node.report {
		return s
	}
	return ""
}
