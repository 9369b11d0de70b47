package daemon_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/availability"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/possible"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/daemon/windows"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/reboot"
)

// step is how much time each event of a story takes, but those that say it themselves.
const step = 15 * time.Second

// The stories in testdata/stories are what happens to one node, event by event, and what
// its daemon does and says. The daemon and the lock are the real ones, in a simulated world
// (package sim); after each event a quarter of a minute passes. `go test ./daemon -run
// Stories -rewrite` writes anew what happens then; read the difference before you keep it.
//
//	says, warns  a line of the log that is an Event of the Node, too, by its severity
//	log, event   one that is only the one or the other
//	node         what the daemon has changed of its Node
//	slot, drain, hook, machine, node-lease   what has become of these
//	shows        the Node's condition and systemd's status, where they have changed
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		simulate(t, func(t *testing.T, w *sim.World) {
			s := &story{t: t, w: w, m: w.AddMachine("a"), other: newOther(t, w)}
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				if !s.event(d) {
					return ""
				}
				pass(s.takes - othersTurn)
				s.other.takesWhatIsFree()
				return s.tell() + s.agrees(d.Pos+": "+d.Cmd)
			})
		})
	})
}

// story is a node and its daemon, with everything outside them in the hands of the script.
type story struct {
	t     *testing.T
	w     *sim.World
	m     *sim.Machine
	other *other
	cfg   settings
	p     *sim.Process // nil: the daemon does not run
	begun bool
	takes time.Duration // the event

	mu         sync.Mutex
	impossible *reboot.ImpossibleError // why the machine cannot be rebooted; nil: it can

	told       int        // entries of the journal
	said       sentence   // the last of a state, in the log and as an Event
	before     []sentence // what was told before
	apiTrouble bool
	condition  string
	status     string
}

// othersTurn is how much of an event's time is the other node's.
const othersTurn = 2 * time.Second

// other is another node, b, which holds the slot whenever it can.
type other struct {
	lock lock.Locker
	held bool
}

func newOther(t testing.TB, w *sim.World) *other {
	l, err := lease.New(lease.Config{API: w.NewClient("b"), Namespace: sim.Namespace, Name: lockName, Slots: 1, Node: "b", Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return &other{lock: l}
}

func (o *other) takesWhatIsFree() {
	// It takes a time that is random, and the same time passes always.
	end := time.Now().Add(othersTurn)
	defer func() { time.Sleep(time.Until(end)) }()
	if o.held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := o.lock.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {})
	o.held = err == nil
}

func (o *other) releases(t testing.TB) {
	if err := o.lock.Release(context.Background(), api.Line{}); err != nil {
		t.Error(err)
	}
	o.held = false
}

// start starts the daemon.
func (s *story) start() {
	cfg := s.cfg
	cfg.change = func(c *daemon.Config, p *sim.Process) {
		connect(p) // before it asks for anything
		if s.cfg.change != nil {
			s.cfg.change(c, p)
		}
	}
	s.p = start(s.t, s.m, cfg)
}

// connect has what is asked for at the same time be answered in a certain order.
func connect(p *sim.Process) {
	p.Link.DelayEvents(func() time.Duration { return 40 * time.Millisecond })
	p.Link.Meet(inOrder)
}

func inOrder(r sim.Request) sim.Fate {
	delays := map[string]time.Duration{"nodes": 2 * time.Millisecond, "leases": 5 * time.Millisecond, "node-lease": 11 * time.Millisecond, "events": 17 * time.Millisecond}
	return sim.Fate{Delay: delays[r.Resource]}
}

// event has something happen. It returns false for a directive that nothing follows from.
func (s *story) event(d *datadriven.TestData) bool {
	text := func(key string) string {
		for _, a := range d.CmdArgs {
			if a.Key == key && len(a.Vals) > 0 {
				return strings.ReplaceAll(a.Vals[0], "_", " ")
			}
		}
		return ""
	}
	word := func() string {
		if len(d.CmdArgs) == 0 {
			return ""
		}
		return d.CmdArgs[0].Key
	}
	duration := func() time.Duration {
		v, err := time.ParseDuration(word())
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		return v
	}
	if d.Cmd == "policy" {
		s.policy(d)
		if s.begun {
			s.p.Stop()
			s.start()
			s.takes = step
		}
		return s.begun
	}
	if !s.begun && d.Cmd == "systemd" {
		s.systemd(d, word())
		return false
	}
	if !s.begun {
		s.begun = true
		s.other.takesWhatIsFree()
		s.start()
		pass(step)
		s.tell() // that nothing is asked for
	}
	s.takes = step
	m := s.m
	switch d.Cmd {
	case "touch":
		path := cmp.Or(text("path"), sentinelPath)
		if d.HasArg("old") {
			m.TouchOld(path, text("content"))
		} else {
			m.Touch(path, text("content"))
		}
	case "problem":
		m.Problem(text("says"))
	case "clock":
		m.SetClock(m.Now().Add(duration()))
	case "remove-sentinel":
		m.RemoveSentinel(cmp.Or(text("path"), sentinelPath))
	case "request":
		m.Annotate(api.RequestAnnotation, api.RequestReboot)
	case "hold":
		m.Annotate(api.HoldAnnotation, text("reason"))
	case "abort":
		m.Annotate(api.AbortAnnotation, cmp.Or(text("reason"), "a reason"))
	case "windows":
		m.Annotate(api.WindowsAnnotation, text("are"))
	case "unhold":
		m.Annotate(api.HoldAnnotation, "")
	case "slot":
		m.Drain.Pods(4)
		s.other.releases(s.t)
	case "slot-is-deleted":
		s.w.DeleteSlot(slot0)
	case "node-lease":
		switch {
		case d.HasArg("unavailable"):
			m.Lease.Unavailable(text("unavailable"))
		default:
			m.Lease.Unavailable("")
			m.Lease.Give(text("holder"))
		}
	case "taint":
		m.Edit(func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: word(), Effect: corev1.TaintEffectNoSchedule}}
		})
	case "untaint":
		m.Edit(func(n *corev1.Node) { n.Spec.Taints = nil })
	case "pause":
		if until := text("until"); until != "" {
			s.w.PauseUntil(lockName, text("why"), until)
		} else {
			s.w.Pause(lockName, text("why"))
		}
	case "unpause":
		s.w.Pause(lockName, "")
	case "record":
		m.Annotate(api.OperationAnnotation, text("writes"))
	case "admin-cordons":
		if d.HasArg("anew") {
			m.Edit(func(n *corev1.Node) { n.Spec.Unschedulable = false })
		}
		m.Edit(func(n *corev1.Node) { n.Spec.Unschedulable = true })
	case "admin-uncordons":
		m.Edit(func(n *corev1.Node) { n.Spec.Unschedulable = false })
	case "blocked":
		m.Drain.Blocked(text("why"))
	case "stuck":
		m.Drain.Stuck()
	case "pods-cannot-be-listed":
		m.Drain.Unlisted(true)
	case "pods-can-be-listed":
		m.Drain.Unlisted(false)
	case "drained":
		m.Drain.Pods(0)
	case "pods-come":
		m.Drain.Pods(1)
	case "api":
		s.apiTrouble = word() != "back" && word() != "admits"
		switch word() {
		case "away":
			s.p.Link.Cut()
		case "back":
			s.p.Link.Mend()
			s.p.Link.Meet(inOrder)
		case "loses-writes-of":
			of := d.CmdArgs[1].Key
			s.p.Link.Meet(func(r sim.Request) sim.Fate {
				f := inOrder(r)
				f.RequestLost = r.Resource == of && (r.Verb == "apply" || r.Verb == "patch")
				return f
			})
		case "refuses":
			what, words := text("patches-with"), text("words")
			s.w.Admit(func(r sim.Request) error {
				if !strings.Contains(r.Body, what) {
					return nil
				}
				return sim.Forbidden("a", words)
			})
		case "admits":
			s.w.Admit(nil)
		}
	case "hook":
		switch {
		case d.HasArg("undo-takes-long"):
			m.Hooks.SlowUndo()
		case text("removed") != "":
			m.Hooks.Remove(text("removed"))
		case text("added") != "":
			m.Hooks.Add(text("added"))
		case text("ends") != "":
			m.Hooks.End(text("ends"), "")
		default:
			m.Hooks.End(text("fails"), "exit status 1: replica lags")
		}
	case "soft-reboots":
		m.SoftReboots()
		s.start()
	case "systemd":
		s.systemd(d, word())
	case "cannot-reboot":
		s.mu.Lock()
		s.impossible = &reboot.ImpossibleError{Why: text("why"), Passing: d.HasArg("passing")}
		s.mu.Unlock()
	case "can-reboot":
		s.mu.Lock()
		s.impossible = nil
		s.mu.Unlock()
	case "kernel-is-loaded":
		m.LoadKernel()
	case "inhibited":
		m.Logind.Set(func(x *reboot.Shutdown) { x.Inhibited = text("by") })
	case "logind":
		m.Logind.Silence(word() == "silent")
	case "scheduled":
		at := time.Now().Add(duration()).Truncate(time.Second)
		m.Logind.Set(func(x *reboot.Shutdown) { x.Kind, x.At = "reboot", at })
	case "nothing-scheduled":
		m.Logind.Set(func(x *reboot.Shutdown) { x.Kind, x.At = "", time.Time{} })
	case "prepares-to-go-down":
		m.Logind.Set(func(x *reboot.Shutdown) { x.Preparing = true })
	case "does-not-go-down":
		m.Logind.Set(func(x *reboot.Shutdown) { x.Preparing = false })
	case "command":
		switch c := m.Command(); {
		case c == nil:
			d.Fatalf(s.t, "no command runs")
		case d.HasArg("fails"):
			c.End(1, "Failed to talk to init daemon")
		default:
			c.End(0, "")
		}
	case "pass":
		s.takes = duration()
	case "daemon-restarts":
		s.p.Stop()
		s.start()
	case "daemon-is-killed":
		if after := text("after-writing"); after != "" {
			p := s.p
			p.Link.Meet(func(r sim.Request) sim.Fate {
				f := inOrder(r)
				if r.Verb == "patch" && strings.Contains(r.Body, `\"phase\":\"`+after) {
					f.Then = p.Kill
				}
				return f
			})
			break
		}
		s.p.Kill()
	case "daemon-starts":
		s.start()
	case "goes-down":
		m.GoesDown()
	case "boots":
		m.Boots()
		s.takes = 2 * step // the daemon comes up a quarter of a minute after the machine
		if !d.HasArg("without-daemon") {
			pass(step)
			s.start()
			s.takes = step
		}
	case "healthy":
		m.KubeletReports(true, "")
	case "unhealthy":
		m.KubeletReports(false, "PLEG is not healthy")
	case "node-is-deleted":
		m.Leave()
	case "node-joins":
		m.Join()
	case "nodes-are-down":
		for _, name := range strings.Fields(text("names")) {
			s.w.Nodes.Edit(name, "kubelet", func(n *corev1.Node) { n.Status.Conditions = nil })
		}
	case "nodes-are-up":
		for _, name := range strings.Fields(text("names")) {
			s.w.Nodes.Edit(name, "kubelet", ready)
		}
	case "queues":
		s.w.Nodes.Edit(word(), "rebootd", func(n *corev1.Node) {
			n.Annotations = map[string]string{api.OperationAnnotation: fmt.Sprintf(
				`{"v":1,"id":"%s","phase":"Queued","since":"2000-01-01T00:00:00Z","bootID":"%s","lock":"%s"}`, n.Name, n.Name, lockName)}
		})
	case "drains", "halts":
		phase := map[string]string{"drains": "Draining", "halts": "Halted"}[d.Cmd]
		n := &corev1.Node{}
		n.Name = word()
		n.Annotations = map[string]string{api.OperationAnnotation: fmt.Sprintf(
			`{"v":1,"id":"x","phase":"%s","since":"%s","bootID":"x","failure":{"reason":"Unhealthy","message":"not healthy within 15m0s"}}`, phase, time.Now().UTC().Format(time.RFC3339))}
		s.w.Nodes.Delete(n.Name)
		s.w.Nodes.Create(n)
	default:
		d.Fatalf(s.t, "no such event: %s", d.Cmd)
	}
	return true
}

func (s *story) systemd(d *datadriven.TestData, does string) {
	switch does {
	case "counts-soft-reboots":
		s.m.Systemd.Counts()
	case "does-not-answer":
		s.m.Systemd.Fail(errors.New("dial unix /run/systemd/private: connection refused"))
	case "answers":
		s.m.Systemd.Fail(nil)
	default:
		d.Fatalf(s.t, "systemd does no such thing: %s", does)
	}
}

func ready(n *corev1.Node) {
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
}

// rebootPossible is what package reboot says of the machine.
func (s *story) rebootPossible(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.impossible == nil {
		return nil
	}
	return s.impossible
}

// policy configures the daemon.
func (s *story) policy(d *datadriven.TestData) {
	changes := []func(*daemon.Config, *sim.Process){s.cfg.change}
	for _, a := range d.CmdArgs {
		value := ""
		if len(a.Vals) > 0 {
			value = a.Vals[0]
		}
		length, _ := time.ParseDuration(value)
		switch a.Key {
		case "max-unavailable":
			for n := range 8 {
				node := &corev1.Node{}
				node.Name = string(rune('b' + n))
				ready(node)
				s.w.Nodes.Create(node)
			}
			limit, err := decide.ParseLimit(value)
			if err != nil {
				d.Fatalf(s.t, "%v", err)
			}
			changes = append(changes, func(c *daemon.Config, p *sim.Process) {
				c.Gates = append(c.Gates, &availability.Gate{API: p.Client, Lock: c.Lock, Node: p.Name, Name: lockName, Limit: limit, Log: c.Log})
			})
		case "windows":
			set := windows.Settings{Zone: time.LoadLocation, Auto: true, Longest: time.Hour, PutBack: d.HasArg("put-back")}
			for entry := range strings.SplitSeq(value, ";") {
				if entry != "" {
					set.Entries = append(set.Entries, strings.ReplaceAll(entry, "_", " "))
				}
			}
			window, freeze := windows.New(set)
			changes = append(changes, func(c *daemon.Config, _ *sim.Process) { c.Gates = append(c.Gates, freeze, window) })
		case "put-back": // of windows
		case "reboot-possible":
			changes = append(changes, func(c *daemon.Config, _ *sim.Process) {
				c.Gates = append(c.Gates, &possible.Gate{Ask: s.rebootPossible})
			})
		case "node-lease":
			s.cfg.nodeLease = value
		case "drain":
			s.cfg.noDrain = value == "false"
		case "drain-timeout":
			s.cfg.limit = length
		case "on-timeout":
			s.cfg.onLimit = decide.TimeoutPolicy(value)
		case "hooks":
			s.cfg.pre, s.cfg.last = []daemon.Stage{daemon.PreDrainHooks(s.m.Hooks)}, []daemon.Stage{daemon.PreRebootHooks(s.m.Hooks)}
		case "allow":
			changes = append(changes, func(c *daemon.Config, _ *sim.Process) {
				c.Policy.AllowSoftReboot, c.Policy.AllowKexec = value == "soft-reboot", value == "kexec"
			})
		case "settle":
			changes = append(changes, func(c *daemon.Config, _ *sim.Process) { c.Policy.Settle = length })
		case "dry-run":
			s.cfg.dryRun = true
		default:
			d.Fatalf(s.t, "no such option: %s", a.Key)
		}
	}
	s.cfg.change = func(c *daemon.Config, p *sim.Process) {
		for _, f := range changes {
			if f != nil {
				f(c, p)
			}
		}
	}
}

// line is a line of the log.
type line struct {
	Level, Reason, Message, Error, Output, Detail string
	Phase                                         *string // of a line that tells of a state
	Stage                                         string
	Undo                                          bool
}

func (l line) String() string {
	s := l.Message
	if l.Reason != "" {
		s = l.Reason + ": " + s
	}
	if l.Stage != "" {
		s += fmt.Sprintf(" of %s, undo %t", l.Stage, l.Undo)
	}
	for _, more := range []string{l.Output, l.Error} {
		if more != "" {
			s += ": " + more
		}
	}
	return s
}

// tell is what has happened since it was called last.
func (s *story) tell() string {
	synctest.Wait()
	entries := s.w.Journal(s.told)
	s.told += len(entries)
	// What is ended at the same time ends in any order.
	for i := 1; i < len(entries); i++ {
		for j := i; j > 0 && entries[j].Kind == "drain" && entries[j].Text == "ends" && entries[j-1].Kind == "log" && entries[j-1].At.Equal(entries[j].At); j-- {
			entries[j-1], entries[j] = entries[j], entries[j-1]
		}
	}
	events := map[string]int{} // those to come that a line of the log has told already
	var out strings.Builder
	last, times := "", 0
	write := func(kind, text string) {
		line := fmt.Sprintf("%-8s %s", kind, text)
		switch {
		case line == last:
			times++
			return
		case times > 1:
			fmt.Fprintf(&out, " (%d times)", times)
		}
		if last != "" {
			out.WriteString("\n")
		}
		out.WriteString(line)
		last, times = line, 1
	}
	for i, e := range entries {
		switch {
		case e.Kind == "event" && events[e.Text] > 0:
			events[e.Text]--
		case e.Kind == "event":
			write("event", e.Text)
		case e.Kind == "slot" && e.Node != "a": // the other's
		case e.Kind == "log":
			var l line
			if err := json.Unmarshal([]byte(e.Text), &l); err != nil {
				s.t.Error(err)
			}
			if l.Level == "debug" {
				continue
			}
			kind := "log"
			for _, later := range entries[i+1:] {
				if later.Kind == "event" && later.Text == l.String() {
					kind = map[string]string{"warn": "warns"}[l.Level]
					if kind == "" {
						kind = "says"
					}
					events[later.Text]++
					break
				}
			}
			write(kind, l.String())
			s.heard(l, kind)
		default:
			write(e.Kind, e.Text)
		}
	}
	s.tellShown(write)
	write("", "")
	return clockTimes.ReplaceAllStringFunc(strings.TrimRight(out.String(), " "), func(text string) string {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			s.t.Error(err)
		}
		return at.Truncate(5 * time.Second).Format(time.TimeOnly)
	})
}

// clockTimes are cut down to what does not depend on how long it takes to get a slot, which is
// random.
var clockTimes = regexp.MustCompile(`2000-01-\d\dT[0-9:]{8}Z`)

// tellShown tells what the condition and the status show, if that has changed.
func (s *story) tellShown(write func(kind, text string)) {
	condition, is := "none", ""
	if c := s.w.Condition("a", api.RebootRequired); c != nil {
		condition = fmt.Sprintf("%s: %s", c.Reason, c.Message)
		if c.Status != corev1.ConditionTrue {
			is = string(c.Status) + ", "
		}
	}
	status := s.status
	if s.p != nil && !s.p.Dead() {
		status = s.p.Status()
	}
	newCondition, newStatus := condition != s.condition, status != s.status
	s.condition, s.status = condition, status
	if rest, ok := strings.CutPrefix(status, condition); ok && (rest == "" || strings.HasPrefix(rest, " (")) {
		if newCondition || newStatus {
			write("shows", is+status)
		}
		return
	}
	if newCondition {
		write("shows", "by the condition: "+is+condition)
	}
	if newStatus {
		write("shows", "by the status: "+status)
	}
}

var _ daemon.HookRunner = (*sim.Hooks)(nil)
