package daemon

import (
	"context"
	"sync"
	"time"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sentinel"
)

const (
	// heartbeat is how often the loop turns when nothing happens. It asks nobody
	// anything then.
	heartbeat = 10 * time.Second
	// minTurn lies between two turns that nothing but the time has caused.
	minTurn = time.Millisecond
	// stopLimit is how long a step that has begun may go on after the daemon was
	// told to stop.
	stopLimit = 3 * time.Second
)

// Run works until ctx ends, and then stops within stopLimit, undoing nothing.
// Whatever happens before, it does not return.
func (d *Daemon) Run(ctx context.Context) {
	// What runs in the background ends with tasks; steps that have begun may
	// finish, up to stopLimit.
	var wg sync.WaitGroup
	defer wg.Wait()
	steps, cancelSteps := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSteps()
	stopSteps := context.AfterFunc(ctx, func() { time.AfterFunc(stopLimit, cancelSteps) })
	defer stopSteps()

	d.bg = background{wg: &wg, tasks: ctx, steps: steps}
	d.bg.run(func() { d.watchNode(ctx) })
	d.bg.run(func() { d.readUserspace(ctx) })
	d.bg.run(func() { d.events.run(ctx) })
	if !d.DryRun {
		d.bg.run(func() { d.checkPolicy(ctx) })
	}

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			d.finish(steps)
			return
		case s := <-d.Sentinels:
			d.sentinels, d.sentinelKnown = s, true
			d.readBoot()
		case f := <-d.inbox:
			f()
		case <-timer.C:
		}
		d.drainInbox()
		if d.boot.ID == "" {
			d.readBoot()
		}
		wake := d.turn()
		d.Alive()
		timer.Reset(min(heartbeat, max(minTurn, wake.Sub(d.now()))))
	}
}

// drainInbox takes what is there already, so that one turn sees all of it.
func (d *Daemon) drainInbox() {
	for {
		select {
		case f := <-d.inbox:
			f()
		default:
			return
		}
	}
}

// finish brings a step that has begun to its end. An order to reboot that was
// written is carried out too, and what became of it noted: otherwise the next
// start could not know, and would have to wait.
func (d *Daemon) finish(steps context.Context) {
	for {
		for d.busy || d.awaitsChild() {
			select {
			case f := <-d.inbox:
				f()
			case <-steps.Done():
				return
			}
		}
		now := d.now()
		if !d.known() || d.phase() != decide.Rebooting || d.DryRun || now.Before(d.retryAt) {
			return
		}
		step := d.decide(now)
		if step.Do != decide.Spawn && step.Do != decide.Write {
			return
		}
		d.act(step)
	}
}

// awaitsChild says whether the reboot command of the current order runs.
func (d *Daemon) awaitsChild() bool {
	return d.phase() == decide.Rebooting && d.child.State == decide.ChildRunning && d.child.Key == d.record.OrderKey()
}

// turn decides and acts once. It returns when to turn again at the latest.
func (d *Daemon) turn() time.Time {
	now := d.now()
	wake := now.Add(heartbeat)
	if !d.known() {
		// Without its Node there is no cordon.
		d.keepDrainTask(decide.Step{})
		d.keepHookTask(decide.Step{})
		if d.apiErr != nil || d.nodeRead && d.node == nil { // not in the first moments of every start
			d.say(decide.Step{Do: decide.Wait, Reason: d.unknownReason(), Message: d.unknown()})
		}
		return wake
	}
	d.markReady()

	d.health(now)
	wake = sooner(wake, d.show(now))
	step := d.decide(now)
	d.say(step)
	idle := d.keepTasks(step)
	if !step.Until.IsZero() {
		wake = sooner(wake, step.Until)
	}
	if d.busy || !idle {
		return wake
	}
	if now.Before(d.retryAt) {
		return sooner(wake, d.retryAt)
	}
	switch {
	case !d.act(step):
		wake = sooner(wake, d.publish(step, now))
	case d.DryRun:
		wake = now // the step is done already
	}
	return wake
}

// decide asks for the next step; a record that cannot be obeyed is left alone.
func (d *Daemon) decide(now time.Time) decide.Step {
	if d.recordErr != nil {
		return decide.HandsOff(d.recordErr)
	}
	return decide.Next(d.Policy, d.record, d.facts(now))
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// background runs goroutines that Run waits for.
type background struct {
	wg    *sync.WaitGroup
	tasks context.Context // ends when the daemon is told to stop
	steps context.Context // ends a little later
}

func (b background) run(f func()) { b.wg.Go(f) }

// sentinelFacts turns what the sentinel's room says into what decide wants.
func sentinelFacts(s sentinel.State) []decide.Sentinel {
	out := make([]decide.Sentinel, 0, len(s.Files))
	for _, f := range s.Files {
		out = append(out, decide.Sentinel{Path: f.Path, ModTime: f.ModTime, Content: f.Content, Packages: f.Packages})
	}
	return out
}
