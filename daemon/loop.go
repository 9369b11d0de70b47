package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
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

// Run works until ctx ends, and then stops within stopLimit, undoing nothing, or until
// another daemon is to take its place (Config.Fits). Whatever happens before, it does not
// return.
func (d *Daemon) Run(ctx context.Context) {
	// What runs in the background ends with tasks; steps that have begun may
	// finish, up to stopLimit.
	var wg sync.WaitGroup
	defer wg.Wait()
	steps, cancelSteps := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSteps()
	stopSteps := context.AfterFunc(ctx, func() { time.AfterFunc(stopLimit, cancelSteps) })
	defer stopSteps()

	tasks, cancelTasks := context.WithCancel(ctx)
	defer cancelTasks()

	d.bg.wg, d.bg.tasks, d.bg.steps = &wg, tasks, steps
	d.child.resume()
	d.node.watch()
	d.host.begin()
	wg.Go(func() { d.events.run(tasks) })
	if !d.cfg.DryRun {
		probe := policyProbe{api: d.cfg.API, node: d.cfg.NodeName, log: d.cfg.Log, metrics: d.cfg.Metrics}
		wg.Go(func() {
			select {
			case <-d.ready: // another daemon may be the one for this Node
				probe.run(tasks)
			case <-tasks.Done():
			}
		})
	}

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			d.finish(steps)
			return
		case s := <-d.cfg.Sentinels:
			d.host.seeSentinels(s)
		case f := <-d.inbox:
			f()
		case <-timer.C:
		}
		d.drainInbox()
		if d.leaves() {
			return
		}
		wake := d.turn()
		d.cfg.Alive()
		timer.Reset(min(heartbeat, max(minTurn, wake.Sub(d.clock.now()))))
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
		for d.steps.busy || d.child.runs(d.node.record) {
			select {
			case f := <-d.inbox:
				f()
			case <-steps.Done():
				return
			}
		}
		now := d.clock.now()
		if d.missing() != "" || phaseOf(d.node.record) != api.PhaseRebooting || d.cfg.DryRun || now.Before(d.steps.retryAt) {
			return
		}
		s := d.decide(now)
		if s.step.Do != decide.DoSpawn && s.step.Do != decide.DoWrite {
			return
		}
		d.act(s)
	}
}

// turn decides and acts once. It returns when to turn again at the latest.
func (d *Daemon) turn() time.Time {
	now := d.clock.now()
	wake := now.Add(heartbeat)
	if missing := d.missing(); missing != "" {
		nothing := decided{record: nil, obeyed: d.node.recordErr == nil, now: now, step: decide.Step{Do: decide.DoWait, Reason: d.missingReason(), Message: missing}}
		if d.reach.err != nil || d.node.isGone() { // not in the first moments of every start
			d.say(nothing)
		}
		if d.node.isGone() {
			d.steps.callOff()
			d.follow(nothing) // without its Node there is no cordon, and no claim to anything
		}
		return wake
	}
	d.markReady()

	wake = sooner(wake, d.stages.show(now))
	s := d.decide(now)
	d.say(s)
	if d.steps.writes {
		// What was decided just now may rest on what is being changed: a node on its way back
		// must not be drained again.
		return wake
	}
	idle := d.follow(s)
	if !s.step.Until.IsZero() {
		wake = sooner(wake, s.step.Until)
	}
	if s.step.Do != decide.DoSpawn {
		d.steps.callOff()
	}
	if d.steps.busy || !idle {
		return wake
	}
	if now.Before(d.steps.retryAt) {
		return sooner(wake, d.steps.retryAt)
	}
	switch {
	case !d.act(s):
		wake = sooner(wake, d.keepPublished(s))
	case d.cfg.DryRun:
		wake = now // the step is done already
	}
	return wake
}

// follow has each worker follow a decision, and says whether none has anything left that
// it does not call for: pods are no longer evicted when the node is uncordoned.
func (d *Daemon) follow(s decided) (idle bool) {
	idle = true
	for _, w := range d.workers {
		idle = w.follow(s) && idle
	}
	return idle
}

// decide asks for the next step; a record that cannot be obeyed is left alone.
func (d *Daemon) decide(now time.Time) decided {
	s := decided{record: d.node.record, obeyed: d.node.recordErr == nil, node: d.node.view, now: now}
	if !s.obeyed {
		s.step = decide.Drop(d.policy, d.node.recordErr, d.facts(now))
		return s
	}
	s.step = d.next(d.policy, s.record, d.facts(now))
	return s
}

// facts puts together what is known.
func (d *Daemon) facts(now time.Time) decide.Facts {
	d.clockSet = d.clock.set(d.clockSet)
	f := decide.Facts{Now: now, ClockSet: d.clockSet, Instance: d.instance, Running: d.clock.running(), Refused: d.steps.refused}
	for _, w := range d.workers {
		w.facts(&f)
	}
	f.Request = d.host.request(d.node)
	f.Ailing = decide.Ailing(f)
	f.HealthySince = d.checks.healthySince(f.Ailing, now)
	return f
}

// missing says what has not been read that a decision needs; "" if nothing.
func (d *Daemon) missing() string {
	switch {
	case d.node.isGone():
		return fmt.Sprintf("there is no Node %q in the cluster; waiting for it", d.cfg.NodeName)
	case d.node.view == nil && d.reach.err != nil:
		return fmt.Sprintf("reading the Node %q failed: %v; retrying", d.cfg.NodeName, d.reach.err)
	case d.node.view == nil:
		return fmt.Sprintf("reading the Node %q", d.cfg.NodeName)
	default:
		return d.host.missing()
	}
}

func (d *Daemon) missingReason() api.Reason {
	if d.node.view == nil && d.reach.err != nil {
		return api.ReasonAPIUnreachable
	}
	return api.ReasonBlocked
}

func (d *Daemon) markReady() {
	if !d.isReady {
		d.isReady = true
		close(d.ready)
	}
}
