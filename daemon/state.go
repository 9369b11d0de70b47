package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/drain"
)

// state is what the loop knows. Only the loop's goroutine touches it.
type state struct {
	bg     background
	events *events

	sentinels     sentinel.State
	sentinelKnown bool
	boot          decide.Boot
	bootRead      bool
	userspaceRead bool

	node      *nodeView // nil: not read yet, or there is none
	nodeRead  bool      // the API server has been asked once
	record    *decide.Record
	recordErr error
	apiErr    error // why the last call failed; nil: the API server answers
	apiSince  time.Time

	slot     decide.Slot
	room     decide.Room
	slotTask *task
	roomTask *task
	roomKey  string               // for which attempt roomTask counts
	gaveWay  map[string]time.Time // to whom, though this node held a slot

	nodeLease decide.NodeLease
	leaseTask *task
	leaseTold string // why there is none, as it was said in the log

	drain     drain.Progress
	drainKey  string // which drain it is
	drainTask *task
	shown     shown

	child decide.Child

	shutdown     decide.Shutdown
	shutdownTask *task
	shutdownDark bool // logind could not be asked, and the log says so

	hooks        decide.Hooks
	hookTask     *task
	hookStage    decide.Stage // that hookTask runs
	hookOutcomes []operationOutcome

	checksTask *task
	failing    string // which of the Checks, and why; known while checksTask runs

	healthySince time.Time
	ailing       string

	busy    bool // a step is being done
	retryAt time.Time
	failed  int // steps in a row

	reported    string      // the status text that was given last
	told        decide.Step // what was said last in the log and as an Event
	publishedAt time.Time
	// reportWritten is the drain whose first report was written.
	reportWritten string
	ended         decide.Step // the step that ended the last operation
	isReady       bool
	pretended     bool // the cordon of a dry run
}

// known says whether everything was read once that a decision needs.
func (d *Daemon) known() bool {
	return d.sentinelKnown && d.bootRead && d.userspaceRead && d.node != nil
}

// unknown says what is missing.
func (d *Daemon) unknown() string {
	switch {
	case d.node == nil && d.nodeRead:
		return fmt.Sprintf("there is no Node %q in the cluster; waits for it", d.NodeName)
	case d.node == nil && d.apiErr != nil:
		return fmt.Sprintf("reading the Node %q failed: %v; tries again", d.NodeName, d.apiErr)
	case d.node == nil:
		return fmt.Sprintf("reads the Node %q", d.NodeName)
	case !d.userspaceRead:
		return "asks systemd for its soft reboots"
	default:
		return "reads the sentinel"
	}
}

func (d *Daemon) unknownReason() decide.Reason {
	if d.node == nil && d.apiErr != nil {
		return decide.APIUnreachable
	}
	return decide.Blocked
}

func (d *Daemon) markReady() {
	if !d.isReady {
		d.isReady = true
		close(d.ready)
	}
}

// facts puts together what is known, in the form that decide wants.
func (d *Daemon) facts(now time.Time) decide.Facts {
	return decide.Facts{
		Now:      now,
		Instance: d.instance,
		Uptime:   d.Host.Uptime(),
		Request:  decide.RequestOf(sentinelFacts(d.sentinels), d.boot, d.node.request),
		Held:     d.node.held,
		Hold:     d.node.hold,
		Others:   d.node.others,
		Boot:     d.boot,
		Node:     decide.Node{Unschedulable: d.node.unschedulable || d.pretended, Foreign: d.node.cordonForeign, Unprotected: d.node.unprotected()},
		Slot:     d.slot,
		Room:     d.room, NodeLease: d.nodeLease,
		Drain: decide.Drain{
			Key: d.drainKey, Done: d.isDrained(), Blocked: d.shown.blocked, Summary: d.shown.summary, Detail: d.drain.Detail,
		},
		Child:        d.child,
		Shutdown:     d.shutdown,
		Hooks:        d.hooks,
		HealthySince: d.healthySince,
		Ailing:       d.ailing,
	}
}

// shown is what people are told of the drain: its text does not change more often
// than each showPause, whatever the drain itself sees.
type shown struct {
	key     string
	blocked int
	summary string
	at      time.Time
}

const showPause = 10 * time.Second

// show brings shown up to date if it may be, and returns when it next may.
func (d *Daemon) show(now time.Time) time.Time {
	p := &d.drain
	due := d.shown.at.Add(showPause)
	fresh := shown{key: d.drainKey, blocked: len(p.Blocked), summary: p.Summary, at: now}
	switch {
	case d.shown.key == fresh.key && d.shown.summary == fresh.summary:
		return now.Add(heartbeat)
	case d.shown.key == fresh.key && now.Before(due) && !p.Drained:
		return due
	}
	d.shown = fresh
	return now.Add(heartbeat)
}

// readBoot reads the boot's identity. The boot time is read anew each time: it
// moves when the clock is set.
func (d *Daemon) readBoot() {
	b, err := d.Host.Boot()
	if err != nil {
		if d.boot.ID == "" {
			d.boot.Problem = err.Error()
		} else {
			d.Log.Warn().Err(err).Msg("cannot read the boot's identity again; goes on with what was read before")
		}
	} else {
		d.boot = decide.Boot{ID: b.ID, Time: b.Time, Userspace: d.boot.Userspace}
	}
	d.bootRead = true
}

// readUserspace asks once: a soft reboot ends the daemon.
func (d *Daemon) readUserspace(ctx context.Context) {
	u, err := d.Userspace(ctx)
	d.post(ctx, func() {
		d.userspaceRead = true
		if err != nil {
			d.Log.Debug().Err(err).Msg("nothing is known of soft reboots: none is ordered")
			return
		}
		d.boot.Userspace = decide.Userspace{Known: true, SoftReboots: u.SoftReboots, Since: u.Since}
	})
}

// health finds out whether the node is healthy, and since when.
func (d *Daemon) health(now time.Time) {
	switch {
	case d.node.others != "":
		d.ailing = d.node.others
	case d.nodeLease.State == decide.LeaseForeign:
		d.ailing = d.nodeLease.Why
	case d.node.bootID != d.boot.ID:
		d.ailing = "the kubelet has not reported this boot yet"
	case d.boot.Userspace.SoftReboots > 0 && d.node.heartbeat.Before(d.boot.Userspace.Since.Truncate(time.Second)):
		// Within a boot the kubelet's last word may be from before.
		d.ailing = "the kubelet has not reported since the soft reboot"
	case !d.node.ready:
		d.ailing = "the Node is not Ready: " + d.node.readyMessage
	case len(d.Checks) > 0 && d.checksTask == nil:
		d.ailing = "the checks have not begun"
	default:
		d.ailing = d.failing
	}
	switch {
	case d.ailing != "":
		d.healthySince = time.Time{}
	case d.healthySince.IsZero():
		d.healthySince = now
	}
}

// newInstance names one start of the daemon.
func newInstance() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // crypto/rand never fails
	return hex.EncodeToString(b)
}
