package daemon_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sim"
)

// What is checked of a fleet. The judge reads what is written in the cluster by its own
// means; of the daemon it knows no more than its documentation says.

const (
	// fenced is how long before the reboot something may have happened that the last
	// requests before it must see.
	fenced = 3 * time.Second
	// soon is the same for what the last decision before it must see: it is some requests
	// old, and has waited for Events to be sent.
	soon = 6 * time.Second
	// known is how long after something has happened, or after it can reach the API server
	// again, a daemon must know of it: watches are begun again after pauses. Some are slow.
	known     = 45 * time.Second
	knownSlow = 2 * time.Minute
	// late is how long after that it must have done what follows: it retries what fails
	// with pauses.
	late = 5 * time.Minute
	// refusal is for how long it may leave it at that when the API server has refused it.
	refusal = 45 * time.Minute
)

// judge keeps the truth about a fleet.
type judge struct {
	mu       sync.Mutex
	world    *sim.World
	byName   map[string]*truth
	breach   string
	slots    int
	drains   bool
	hooked   bool
	leases   bool
	zones    bool
	onLimit  decide.TimeoutPolicy
	onMove   func(t *truth, was written)
	gates    fleetGates
	alerts   since     // an alert fires
	quiet    since     // none does
	robbed   bool      // somebody has taken a slot away: nodes without one are at work
	pausedAt time.Time // zero: not paused
}

// truth is what is true of one node.
type truth struct {
	name         string
	zone         string
	controlPlane bool

	// The Node.
	record               written
	raw                  string
	since                time.Time // it has this phase
	cordoned, uncordoned since
	ours                 bool // the cordon is rebootd's
	held                 since
	annotated            bool
	taken                since // others are at work
	unready              since
	healthy              since
	rebooted             string // the boot that the kubelet has reported

	// The machine.
	boot      string
	requests  int // how often a reboot was asked for anew
	served    int // the last of them that a reboot has served
	unasked   since
	goesDown  []time.Time // reboots that were agreed to and are to come
	scheduled time.Time   // the last of them that the machine has told
	abort     abort
	broken    brokenKind
	byRebootd int  // reboots
	off       bool // down, by rebootd
	inhibited since
	foreign   since // another operator has the node lease

	// The daemon.
	runs      since     // and can reach the API server
	slow      bool      // its watches are
	refusedAt time.Time // when the API server has last refused it a write
	killedAt  time.Time
	slotless  since // its slot was seen to be nobody's, or another's, at a check

	drain attempt
	hooks hooks
	gateTruth

	ended                 map[string]string // operations that have ended, by their ID: how the history says
	missed                int               // operations that it may lack
	clocks, clocksAtFirst int               // how often the clock has become another; and when the operation began

	second  time.Time
	sent    int // requests in it
	instant time.Time
	turned  int // turns of the loop in it
}

// attempt is what has become of the drain since the cordon.
type attempt struct {
	drained since
	last    time.Time // when it was
	listed  time.Time // this run has begun its work; zero: none runs
	ran     time.Duration
}

func (a *attempt) total() time.Duration {
	if a.listed.IsZero() {
		return a.ran
	}
	return a.ran + time.Since(a.listed)
}

// hooks is what an admin's hooks have left on a node.
type hooks struct {
	running int
	did     bool // and it was not undone
	undone  bool // in part or in whole, since they were done
}

// since is something that is so since a time, or is not; the zero since is not.
type since struct{ at time.Time }

func (s *since) set(is bool) {
	switch {
	case is && s.at.IsZero():
		s.at = time.Now()
	case !is:
		s.at = time.Time{}
	}
}

func (s since) is() bool { return !s.at.IsZero() }

// isFor says whether it is so for as long.
func (s since) isFor(d time.Duration) bool { return s.is() && time.Since(s.at) > d }

// written is what the judge reads in a record.
type written struct {
	ID        string `json:"id"`
	Phase     string `json:"phase"`
	BootID    string `json:"bootID"`
	Annotated bool   `json:"annotated"`

	Deadline  time.Time `json:"deadline"`
	Deferrals int       `json:"deferrals"`
	Order     *struct {
		At  time.Time `json:"at"`
		Try int       `json:"try"`
	} `json:"order"`
	Failure *struct {
		Reason string `json:"reason"`
	} `json:"failure"`
	Undo *struct {
		Reason string `json:"reason"`
	} `json:"undo"`
}

// disturbed says whether the node is drained, or down, or may be.
func (r written) disturbed() bool {
	return r.Phase == "Draining" || r.Phase == "Rebooting" || r.Phase == "Verifying" || r.Phase == "Halted"
}

// follows are the phases that may follow a phase, "" being none.
var follows = map[string][]string{
	"":          {"Waiting", "Queued"},
	"Waiting":   {"Queued", ""},
	"Queued":    {"Waiting", "Draining", ""},
	"Draining":  {"Rebooting", "Waiting", "Verifying", ""},
	"Rebooting": {"Draining", "Waiting", "Verifying", "Halted", ""},
	"Verifying": {"Halted", ""},
	"Halted":    {"Verifying", ""},
}

func (j *judge) begin(w *sim.World) {
	j.world, j.byName = w, map[string]*truth{}
	tell := w.Nodes.Changed
	w.Nodes.Changed = func(before, after *corev1.Node, by string) {
		tell(before, after, by)
		if after != nil {
			j.changed(before, after, by)
		}
	}
}

func (j *judge) add(name string, t *truth) {
	t.name, t.boot = name, "boot-1-"+name
	t.unasked.set(true)
	j.byName[name] = t
}

func (j *judge) violated(node, format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	j.world.Note(node, "BROKEN", "%s", s)
	if j.breach == "" {
		j.breach = node + ": " + s
	}
}

// broken is the first rule that was broken, "" for none.
func (j *judge) broken() string {
	if all := j.world.Violations(); len(all) > 0 {
		return all[0]
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.breach
}

// holders are the slots that are held, by the word of the Leases, and by whom.
func (j *judge) holders() map[string]string {
	out := map[string]string{}
	all, _ := j.world.Leases.Leases(context.Background())
	for _, l := range all {
		number := strings.TrimPrefix(l.Name, lockName+"-")
		if h := l.Spec.HolderIdentity; h != nil && *h != "" && len(number) == 1 && number[0] >= '0' && number[0] <= '9' {
			out[l.Name] = *h
		}
	}
	return out
}

func (j *judge) holds(node string) bool {
	for _, h := range j.holders() {
		if h == node {
			return true
		}
	}
	return false
}

// changed is called with each change of a Node.
func (j *judge) changed(before, after *corev1.Node, by string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.byName[after.Name]
	was := t.record
	if raw := after.Annotations["rebootd.dev/operation"]; raw != t.raw {
		t.raw, t.record = raw, written{}
		if raw != "" {
			if err := json.Unmarshal([]byte(raw), &t.record); err != nil {
				j.violated(t.name, "the record cannot be read: %v", err)
			}
		}
	}
	_, held := after.Annotations["rebootd.dev/hold"]
	t.held.set(held)
	t.taken.set(len(after.Spec.Taints) > 0)
	asks := after.Annotations["rebootd.dev/request"] == "reboot"
	if asks && !t.annotated {
		t.requests++
	}
	if t.annotated = asks; asks {
		t.unasked.set(false)
		t.abort.wanted.set(true)
	}
	for _, c := range after.Status.Conditions {
		if c.Type == corev1.NodeReady {
			t.unready.set(c.Status != corev1.ConditionTrue)
		}
	}
	t.rebooted = after.Status.NodeInfo.BootID
	t.approvals(after)
	t.judgeHealth()
	j.cordon(t, was, before, after, by)
	j.aborts(t, was, before, after, by)
	j.remembers(t, was, before, after, by)
	j.onMove(t, was)
	if was.Phase != t.record.Phase {
		t.since = time.Now()
		j.moved(t, was)
	}
	if was.ID != t.record.ID && was.ID != "" && t.record.ID != "" {
		j.violated(t.name, "the operation %s takes the place of %s", t.record.ID, was.ID)
	}
}

// cordon judges who cordons and uncordons.
func (j *judge) cordon(t *truth, was written, before, after *corev1.Node, by string) {
	had, has := before != nil && before.Spec.Unschedulable, after.Spec.Unschedulable
	t.cordoned.set(has)
	t.uncordoned.set(!has)
	switch {
	case !had && has:
		t.ours = by == "rebootd"
	case had && !has:
		if by == "rebootd" {
			j.uncordons(t, was, before)
		}
		t.ours = false
	}
}

// uncordons is called when rebootd uncordons a node.
func (j *judge) uncordons(t *truth, was written, before *corev1.Node) {
	if !t.ours {
		j.violated(t.name, "somebody else's cordon was removed")
	}
	if t.record.disturbed() {
		j.violated(t.name, "uncordoned, and %s by its record", t.record.Phase)
	}
	aborted := before.Annotations["rebootd.dev/abort"] != "" || was.Undo != nil && was.Undo.Reason == "Aborted"
	if was.Phase != "Verifying" && was.Phase != "Halted" || aborted {
		return
	}
	switch {
	case t.rebooted != t.boot:
		j.violated(t.name, "uncordoned though the kubelet has not reported the boot %s", t.boot)
	case j.knows(t, t.unready):
		j.violated(t.name, "uncordoned though it is not Ready")
	case j.knows(t, t.taken):
		j.violated(t.name, "uncordoned while others are at work on it")
	case j.gates.ailment && t.ailing.isFor(heard):
		j.violated(t.name, "uncordoned though a gate that binds before that is closed")
	case j.leases && t.foreign.isFor(75*time.Second):
		j.violated(t.name, "uncordoned while another operator has its node lease")
	}
}

// knows says whether the daemon must know of something.
func (j *judge) knows(t *truth, s since) bool {
	d := known
	if t.slow {
		d = knownSlow
	}
	return s.isFor(d) && t.runs.isFor(d)
}

// moved judges a change of the phase.
func (j *judge) moved(t *truth, was written) {
	now := t.record
	legal := false
	for _, p := range follows[was.Phase] {
		legal = legal || p == now.Phase
	}
	if !legal {
		j.violated(t.name, "%q follows %q", now.Phase, was.Phase)
	}
	atWork := was.disturbed() || now.disturbed()
	if atWork && !j.robbed && !j.holds(t.name) {
		j.violated(t.name, "%q follows %q, and it holds no slot", now.Phase, was.Phase)
	}
	switch now.Phase {
	case "Draining":
		if was.Phase != "Rebooting" {
			t.drain, t.hooks.undone = attempt{}, false
		}
		if was.Phase == "Queued" {
			j.neighbours(t)
			j.cordonsBehindGates(t)
		}
	case "Halted":
		j.halts(t)
	case "Waiting", "":
		if was.disturbed() && t.boot == was.BootID && t.hooks.did {
			j.violated(t.name, "put back, and its hooks are not undone")
		}
	}
	j.defers(t, was)
	j.count(t)
}

// neighbours judges a node that begins by those that are at work.
func (j *judge) neighbours(t *truth) {
	if j.robbed {
		return
	}
	for _, x := range j.byName {
		switch {
		case x == t || !x.record.disturbed():
		case j.zones && t.zone != x.zone:
			j.violated(t.name, "%s, of another zone, is drained or down at the same time", x.name)
		case t.controlPlane && x.controlPlane:
			j.violated(t.name, "%s, of the control plane, too, is drained or down at the same time", x.name)
		}
	}
}

// halts judges whether there is a reason to halt the rollout.
func (j *judge) halts(t *truth) {
	if f := t.record.Failure; f != nil && f.Reason == "Unhealthy" && t.healthy.isFor(knownSlow+time.Minute) && t.runs.isFor(knownSlow) {
		j.violated(t.name, "halted though it is healthy")
	}
}

// judgeHealth is called whenever something has changed that counts for that.
func (t *truth) judgeHealth() {
	t.healthy.set(!t.ailing.is() && !t.unready.is() && !t.taken.is() && t.rebooted == t.boot && !t.foreign.is())
}

// count counts those that are disturbed.
func (j *judge) count(t *truth) {
	disturbed := 0
	for _, x := range j.byName {
		if x.record.disturbed() {
			disturbed++
		}
	}
	if disturbed > j.slots && !j.robbed {
		j.violated(t.name, "%d nodes are drained or down under %d slots", disturbed, j.slots)
	}
}

// checkAll holds the truth against what must be so at any time, and, if all is true, also
// against what must have happened in time.
func (j *judge) checkAll(all bool) {
	if !all {
		return
	}
	slots := map[string]string{} // by who holds them
	for slot, h := range j.holders() {
		slots[h] = slot
	}
	leases := map[string]bool{}
	for _, m := range j.world.Machines() {
		leases[m.Name] = m.Lease.Holder() == "rebootd"
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for name, t := range j.byName {
		t.slotless.set(slots[name] == "")
		j.keepsOn(t, slots[name])
		if t.runs.isFor(late) && time.Since(t.refusedAt) > refusal {
			j.overdue(t)
		}
		tries := t.runs.isFor(late) && time.Since(t.refusedAt) > refusal && time.Since(t.since) > late
		switch {
		case !tries:
		case t.record.Phase == "" && slots[name] != "":
			j.violated(name, "idle, and it holds a slot")
		case t.record.Phase == "" && leases[name]:
			j.violated(name, "idle, and it holds its node lease")
		case t.record.Phase == "Draining" && t.slotless.isFor(late):
			j.violated(name, "is drained for %s without a slot", late)
		case t.record.Phase == "Draining" && !j.pausedAt.IsZero() && time.Since(j.pausedAt) > late+15*time.Minute:
			j.violated(name, "is drained on and on under a lock that is paused")
		}
	}
}

// unrestOf is what is left to do on a node.
func (j *judge) unrestOf(t *truth) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case t.raw != "":
		return "its record is " + t.raw
	case t.cordoned.is() && t.ours:
		return "cordoned by rebootd"
	case t.abort.asked.is():
		return "it is aborted: " + t.abort.value
	case t.requests > max(t.served, t.abort.maybe):
		return "a request was not served"
	}
	return ""
}

// starts notes that a daemon starts.
func (j *judge) starts(t *truth, reaches, slow bool, skew time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t.runs, t.slow = since{}, slow
	t.runs.set(reaches)
	t.killedAt = time.Time{}
	if skew != t.skew {
		t.clocks++
	}
	t.setAt, t.skew = time.Now(), skew
}

// hurries judges how often a daemon asks the API server.
func (j *judge) hurries(t *truth) bool {
	const most = 300
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := time.Now(); now.Sub(t.second) > time.Second {
		t.second, t.sent = now, 0
	}
	if t.sent++; t.sent > most {
		j.violated(t.name, "more than %d requests in a second", most)
	}
	return t.sent > most
}

// spins judges how often the loop turns while no time passes.
func (j *judge) spins(t *truth) bool {
	const most = 1000
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := time.Now(); !now.Equal(t.instant) {
		t.instant, t.turned = now, 0
	}
	if t.turned++; t.turned > most {
		j.violated(t.name, "more than %d turns in an instant", most)
	}
	return t.turned > most
}

// spawned judges a reboot command that is started. It is called without the lock.
func (j *judge) spawned(t *truth, c *sim.Command) {
	holds := j.holds(t.name)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ordersBehindGates(t)
	switch r := t.record; {
	case r.Phase != "Rebooting" || r.Order == nil || r.BootID != t.boot:
		j.violated(t.name, "the reboot command was started for an order that is not on record")
	case len(t.goesDown) > 0:
		j.violated(t.name, "a reboot was ordered although one was still to come")
	case t.unasked.isFor(soon):
		j.violated(t.name, "a reboot was ordered for a request that was served already, or withdrawn")
	case j.knows(t, t.uncordoned):
		j.violated(t.name, "a reboot was ordered on a node that is not cordoned")
	case !holds && t.slotless.isFor(fenced):
		j.violated(t.name, "a reboot was ordered without a slot")
	case !j.pausedAt.IsZero() && time.Since(j.pausedAt) > fenced:
		j.violated(t.name, "a reboot was ordered although the lock is paused")
	case j.leases && t.foreign.isFor(fenced):
		j.violated(t.name, "a reboot was ordered while another operator has the node")
	case t.inhibited.isFor(soon) && t.runs.is():
		j.violated(t.name, "a reboot was ordered although it is inhibited")
	case j.knows(t, t.held):
		j.violated(t.name, "a reboot was ordered although the node is held")
	case j.knows(t, t.abort.asked):
		j.violated(t.name, "a reboot was ordered although it is aborted")
	case j.knows(t, t.taken):
		j.violated(t.name, "a reboot was ordered although others are at work on the node")
	case j.hooked && (!t.hooks.did || t.hooks.undone || t.hooks.running > 0):
		j.violated(t.name, "a reboot was ordered though its hooks have not run, or are undone: %+v", t.hooks)
	case j.drains && !t.drain.drained.is() && time.Since(t.drain.last) > soon && (j.onLimit == decide.Rollback || t.drain.total() < fleetDrain-time.Second):
		j.violated(t.name, "a reboot was ordered on a node that is not drained, after %s", t.drain.total())
	}
}
