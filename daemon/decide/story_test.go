package decide

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// The stories in testdata/stories are what happens to one node, event by event,
// and what rebootd does and says. `go test ./daemon/decide -run Stories -rewrite`
// writes anew what it does; read the difference before you keep it.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := newStory()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.out.Reset()
			s.event(t, d)
			s.rest(t)
			return s.out.String()
		})
	})
}

// story is one node and its daemon, with everything outside them in the hands of
// the script.
type story struct {
	p         Policy
	r         *Record
	f         Facts
	out       strings.Builder
	sentinel  *Sentinel
	request   string
	boots     int
	instances int
	shown     string
	held      bool // the slot, in truth
	noSpawn   bool // the API server does not confirm the slot
}

func newStory() *story {
	s := &story{p: Policy{
		Drain: true, DrainTimeout: 30 * time.Minute, OnDrainTimeout: Rollback,
		RebootTimeout: 15 * time.Minute, HealthTimeout: 15 * time.Minute,
	}}
	s.f.Now = time.Date(2026, 5, 4, 2, 0, 0, 0, time.UTC)
	s.boot()
	s.f.HealthySince = s.f.Now
	return s
}

func (s *story) boot() {
	s.boots++
	s.f.Shutdown = Shutdown{}
	s.sentinel = nil
	s.f.Boot = Boot{ID: fmt.Sprintf("boot-%d", s.boots), Time: s.f.Now}
	s.f.HealthySince, s.f.Ailing = time.Time{}, "the kubelet has not reported this boot yet"
	s.start()
}

// start is a new start of the daemon, which knows nothing but what it reads.
func (s *story) start() {
	s.instances++
	s.f.Instance = fmt.Sprintf("start-%d", s.instances)
	s.f.Child, s.f.Drain = Child{}, Drain{}
	s.f.Slot, s.f.NodeLease = Slot{State: SlotNone}, NodeLease{}
	if s.held {
		s.f.Slot, s.f.Room = Slot{State: SlotHeld, Name: "rebootd-0"}, Room{}
	}
	s.shown = ""
}

func (s *story) event(t *testing.T, d *datadriven.TestData) {
	text := func(key string) string {
		for _, a := range d.CmdArgs {
			if a.Key == key && len(a.Vals) > 0 {
				return strings.ReplaceAll(a.Vals[0], "_", " ")
			}
		}
		return ""
	}
	duration := func() time.Duration {
		v, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return v
	}
	switch d.Cmd {
	case "policy":
		for _, a := range d.CmdArgs {
			switch a.Key {
			case "max-unavailable":
				s.p.MaxUnavailable, _ = ParseLimit(a.Vals[0])
			case "node-lease":
				s.p.NodeLease = LeaseMode(a.Vals[0])
			case "drain":
				s.p.Drain = a.Vals[0] == "true"
			case "on-timeout":
				s.p.OnDrainTimeout = TimeoutPolicy(a.Vals[0])
			case "hooks":
				s.p.Hooks = true
			case "allow":
				s.p.AllowSoftReboot, s.p.AllowKexec = a.Vals[0] == "soft-reboot", a.Vals[0] == "kexec"
			case "settle":
				s.p.Settle, _ = time.ParseDuration(a.Vals[0])
			}
		}
	case "touch":
		s.sentinel = &Sentinel{Path: "/run/reboot-needed", ModTime: s.f.Now, Content: text("content")}
		if d.HasArg("old") {
			s.sentinel.ModTime = s.f.Boot.Time.Add(-time.Hour)
		}
	case "remove-sentinel":
		s.sentinel = nil
	case "request":
		s.request = "reboot"
	case "hold":
		s.f.Held, s.f.Hold = true, text("reason")
	case "unhold":
		s.f.Held, s.f.Hold = false, ""
	case "slot":
		s.held = true
		s.f.Slot, s.f.Room = Slot{State: SlotHeld, Name: "rebootd-0"}, Room{}
	case "slot-taken-away":
		s.held = false
		s.f.Slot = Slot{State: SlotGone, Note: "the slot rebootd-0 was deleted"}
	case "room":
		s.f.Room = Room{Key: s.r.DrainKey(), At: s.f.Now, OK: d.HasArg("ok"), Why: text("why"), Way: strings.Fields(text("way"))}
	case "lease":
		states := map[string]LeaseState{"free": LeaseFree, "held": LeaseHeld, "foreign": LeaseForeign, "unavailable": LeaseUnavailable, "lost": LeaseLost}
		s.f.NodeLease = NodeLease{State: states[text("state")], At: s.f.Now, Why: text("why")}
	case "others":
		s.f.Others = text("who")
	case "pause":
		s.f.Slot.Paused = text("why")
	case "unpause":
		s.f.Slot.Paused = ""
	case "admin-cordons":
		s.f.Node.Unschedulable, s.f.Node.Foreign = true, true
	case "admin-uncordons":
		s.f.Node.Unschedulable, s.f.Node.Foreign = false, false
	case "blocked":
		s.f.Drain = Drain{Key: s.r.DrainKey(), Blocked: 1, Summary: text("why")}
	case "drained":
		s.f.Drain = Drain{Key: s.r.DrainKey(), Done: true, Summary: "drained: 4 drained, 2 skipped"}
	case "pods-come":
		s.f.Drain.Done, s.f.Drain.Summary = false, ""
	case "cannot-spawn":
		s.noSpawn = true
	case "can-spawn":
		s.noSpawn = false
	case "hooks":
		if s.f.Hooks.Key != s.r.DrainKey() {
			s.f.Hooks = Hooks{Key: s.r.DrainKey()}
		}
		s.f.Hooks.Running = Stage(text("runs"))
		switch {
		case text("runs") != "":
		case text("fail") != "":
			s.f.Hooks.Failed = Stage(text("fail"))
			s.f.Hooks.Problem = "the hook " + text("fail") + ".d/10-db do: exit status 1: replica lags"
		default:
			s.f.Hooks.Undoing = text("done") == "undo"
			s.f.Hooks.Done = append(s.f.Hooks.Done, Stage(text("done")))
		}
	case "soft-reboots":
		u := s.f.Boot.Userspace
		u.SoftReboots, u.Since = u.SoftReboots+1, s.f.Now
		s.f.Boot.Userspace, s.f.Shutdown = u, Shutdown{}
		s.start()
	case "counts-soft-reboots":
		s.f.Boot.Userspace.Known = true
	case "inhibited":
		s.f.Shutdown = Shutdown{Known: true, Inhibited: text("by")}
	case "logind-is-asked":
		s.f.Shutdown = Shutdown{Pending: true}
	case "scheduled":
		s.f.Shutdown = Shutdown{Known: true, Kind: "reboot", At: s.f.Now.Add(duration())}
	case "nothing-scheduled":
		s.f.Shutdown = Shutdown{Known: true}
	case "command":
		s.f.Child.Ended = s.f.Now
		s.f.Child.State = ChildSucceeded
		if d.HasArg("fails") {
			s.f.Child.State, s.f.Child.Problem = ChildFailed, "exit status 1: Failed to talk to init daemon"
		}
	case "pass":
		s.f.Now = s.f.Now.Add(duration())
	case "daemon-restarts":
		s.start()
	case "boots":
		s.boot()
	case "healthy":
		s.f.HealthySince, s.f.Ailing = s.f.Now, ""
	case "unhealthy":
		s.f.HealthySince, s.f.Ailing = time.Time{}, "the Node is not Ready: KubeletNotReady"
	default:
		d.Fatalf(t, "no such event: %s", d.Cmd)
	}
}

// rest takes steps until there is nothing more to do, and tells them.
func (s *story) rest(t *testing.T) {
	for range 20 {
		var sentinels []Sentinel
		if s.sentinel != nil {
			sentinels = []Sentinel{*s.sentinel}
		}
		s.f.Request = RequestOf(sentinels, s.f.Boot, s.request)
		s.f.Uptime = s.f.Now.Sub(s.f.Boot.Time)
		step := Next(s.p, s.r, s.f)
		phase := state(Idle)
		if s.r != nil {
			phase = string(s.r.Phase)
		}
		line := fmt.Sprintf("%-9s  %-7s  %-15s  %s\n", phase, step.Do, step.Reason, step.Message)
		switch step.Do {
		case Spawn:
			if !s.noSpawn {
				break
			}
			fallthrough
		case Wait, Acquire, Evict, Count, Take, Look, Hook:
			if line != s.shown {
				s.out.WriteString(line)
			}
			s.shown = line
			return
		}
		s.out.WriteString(line)
		if step.ClearRequest {
			s.request = ""
		}
		switch step.Do {
		case Write:
			s.r = step.Record
		case Cordon:
			s.r, s.f.Node.Foreign = step.Record, s.f.Node.Foreign && s.f.Node.Unschedulable
			s.f.Node.Unschedulable = true
		case Restore:
			if step.Uncordon {
				s.f.Node.Unschedulable = false
				s.out.WriteString("           (uncordoned)\n")
			}
			s.r = step.Record
		case Release:
			s.held, s.f.Slot = false, Slot{State: SlotNone, Paused: s.f.Slot.Paused}
			if s.f.NodeLease.State == LeaseHeld {
				s.f.NodeLease.State = LeaseFree
			}
		case Spawn:
			s.f.Child = Child{Key: s.r.OrderKey(), State: ChildRunning}
		}
	}
	t.Fatal("does not come to rest")
}
