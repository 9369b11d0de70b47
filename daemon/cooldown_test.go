package daemon_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/cooldown"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sim"
)

// cools has reboots an interval apart.
func cools(interval time.Duration) settings {
	return settings{noDrain: true, change: func(c *daemon.Config, _ *sim.Process) {
		c.Gates = append(c.Gates[:len(c.Gates):len(c.Gates)], &cooldown.Interval{Least: interval})
	}}
}

// vacated is what the slot says of the last node that was worked on; zero for nothing.
func vacated(t *testing.T, w *sim.World) time.Time {
	t.Helper()
	l, err := w.Leases.GetLease(t.Context(), sim.Namespace, slot0)
	if err != nil || l.Annotations[api.VacatedAnnotation] == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, l.Annotations[api.VacatedAnnotation])
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// After one node has released its slot the next takes it, and waits with it, at no cost,
// until the interval has passed to the second. A restart changes nothing of that, and one
// that gives the slot up unused neither shortens the time nor has it begin again.
func TestInterval(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		s := cools(2 * time.Hour)
		first, second, third := w.AddMachine("first"), w.AddMachine("second"), w.AddMachine("third")
		for _, m := range []*sim.Machine{first, second, third} {
			rebootsInASecond(t, m, s)
		}
		start(t, first, s)
		pass(time.Minute)
		first.Touch(sentinelPath, "")
		pass(5 * time.Minute)
		at := vacated(t, w)
		if age := time.Since(at); where(first) != "idle" || age < 0 || age > 5*time.Minute {
			t.Fatalf("the first is %s, the slot was vacated at %s", where(first), at)
		}
		p := start(t, second, s)
		second.Touch(sentinelPath, "")
		pass(5 * time.Minute)
		until := at.Add(2 * time.Hour).Format(time.RFC3339)
		told(t, second, "Queued, with a slot", api.ReasonCoolingDown, "cooling down after another node, which was done at "+at.Format(time.RFC3339), "2h0m0s must lie between two, until "+until+"; keeping the slot rebootd-0")
		version := second.Node().ResourceVersion
		pass(20 * time.Minute)
		if now := second.Node().ResourceVersion; now != version {
			t.Errorf("the Node is written while it waits: %s, then %s", version, now)
		}
		p.Kill()
		start(t, second, s)
		pass(time.Minute)
		told(t, second, "Queued, with a slot", api.ReasonCoolingDown, "until "+until)
		second.Annotate(api.HoldAnnotation, "a disk")
		pass(10 * time.Minute)
		told(t, second, "Waiting", api.ReasonHeld)
		if now := vacated(t, w); !now.Equal(at) {
			t.Errorf("a slot that was given up unused was vacated at %s, and now at %s", at, now)
		}
		start(t, third, s)
		third.Touch(sentinelPath, "")
		pass(time.Minute)
		told(t, third, "Queued, with a slot", api.ReasonCoolingDown, "until "+until)
		booted := third.BootID()
		pass(time.Until(at.Add(2*time.Hour)) - time.Second)
		if got := where(third); got != "Queued, with a slot" {
			t.Errorf("a second before the time it is %s", got)
		}
		pass(2 * time.Second)
		if got := where(third); got == "Queued, with a slot" {
			t.Errorf("a second after the time it is %s", got)
		}
		pass(5 * time.Minute)
		if third.BootID() == booted || !vacated(t, w).After(at) {
			t.Errorf("it is %s, vacated at %s", where(third), vacated(t, w))
		}
	})
}

// A clock that is ahead, or set back meanwhile, has nobody wait for longer than the interval
// from when the time was seen.
func TestIntervalByAClockThatIsAhead(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		s := cools(2 * time.Hour)
		first, second := w.AddMachine("first"), w.AddMachine("second")
		rebootsInASecond(t, first, s)
		rebootsInASecond(t, second, s)
		first.SetClock(time.Now().Add(240 * time.Hour))
		start(t, first, s)
		pass(time.Minute)
		first.Touch(sentinelPath, "")
		pass(5 * time.Minute)
		if ahead := time.Until(vacated(t, w)); ahead < 200*time.Hour {
			t.Fatalf("the slot was vacated %s ahead", ahead)
		}
		start(t, second, s)
		pass(time.Minute)
		second.Touch(sentinelPath, "")
		pass(time.Minute)
		seen := time.Now()
		told(t, second, "Queued, with a slot", api.ReasonCoolingDown)
		pass(2*time.Hour - 2*time.Minute)
		told(t, second, "Queued, with a slot", api.ReasonCoolingDown)
		pass(5 * time.Minute)
		if got := where(second); got != "idle" {
			t.Errorf("%s after it saw the time it is %s", time.Since(seen), got)
		}
	})
}

// A node that is put back, since its slot would not be released before it is killed, notes
// with the next start that it was worked on. One that had its turn and did nothing does not.
func TestWhatWasWorkedOnIsNotedAfterACrash(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		s := cools(time.Minute)
		m := w.AddMachine("a")
		var p *sim.Process
		m.OnCommand = func(cmd *sim.Command) error {
			cmd.End(0, "")
			time.AfterFunc(time.Second, func() {
				m.Boots()
				m.KubeletReports(true, "")
				p = start(t, m, s)
				p.Link.Meet(func(r sim.Request) sim.Fate {
					return sim.Fate{RequestLost: strings.Contains(r.Body, api.VacatedAnnotation)}
				})
			})
			return nil
		}
		start(t, m, s)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(5 * time.Minute)
		if got := where(m); got != "idle, with a slot" {
			t.Fatalf("it is %s", got)
		}
		p.Kill()
		start(t, m, s)
		pass(time.Minute)
		if got := where(m); got != "idle" || vacated(t, w).IsZero() {
			t.Errorf("it is %s, and the slot was vacated at %s", got, vacated(t, w))
		}
	})
	for name, annotate := range map[string]string{"held": api.HoldAnnotation, "aborted": api.AbortAnnotation} {
		simulate(t, func(t *testing.T, w *sim.World) {
			m := w.AddMachine("a")
			g := newToy("toy", gate.WithSlot, closed)
			s := withGate(g)
			p := start(t, m, s)
			pass(time.Minute)
			m.Touch(sentinelPath, "")
			pass(time.Minute)
			if got := where(m); got != "Queued, with a slot" {
				t.Fatalf("%s: it is %s", name, got)
			}
			p.Kill()
			start(t, m, s)
			pass(time.Minute)
			m.Annotate(annotate, "why")
			pass(time.Minute)
			if got := where(m); strings.Contains(got, "slot") || !vacated(t, w).IsZero() {
				t.Errorf("%s: it is %s, and the slot was vacated at %s", name, got, vacated(t, w))
			}
		})
	}
}

// A sentinel that comes back after each boot has its machine reboot twice more, ten minutes
// apart, and then once a day; people are told why. What people request happens all the same,
// and once the sentinel stays away all is as before.
func TestASentinelThatComesBackAfterEachBoot(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		boots, comesBack := new(atomic.Int64), new(atomic.Bool)
		comesBack.Store(true)
		s := settings{noDrain: true, change: func(c *daemon.Config, _ *sim.Process) {
			c.MinUptime = 10 * time.Minute
			c.Gates = append(c.Gates[:len(c.Gates):len(c.Gates)], &cooldown.MinUptime{Least: c.MinUptime})
		}}
		m.OnCommand = func(cmd *sim.Command) error {
			cmd.End(0, "")
			time.AfterFunc(time.Second, func() {
				m.Boots()
				m.KubeletReports(true, "")
				start(t, m, s)
				boots.Add(1)
				if comesBack.Load() {
					time.AfterFunc(time.Minute, func() { m.Touch(sentinelPath, "again") })
				}
			})
			return nil
		}
		start(t, m, s)
		pass(time.Hour)
		m.Touch(sentinelPath, "kernel")
		pass(5 * time.Minute)
		if boots.Load() != 1 {
			t.Fatalf("%d boots", boots.Load())
		}
		told(t, m, "Waiting", api.ReasonCoolingDown, "the machine has been up for less than 10m0s, until ")
		pass(10 * time.Minute)
		if boots.Load() != 2 {
			t.Fatalf("%d boots after the first pause", boots.Load())
		}
		const named = "/run/reboot-needed has come back after each of the last 2 boots; something on the host raises it at every boot; not rebooting for it again, until "
		pass(3 * time.Hour)
		told(t, m, "Waiting", api.ReasonCoolingDown, named)
		if boots.Load() != 2 {
			t.Fatalf("%d boots after three hours", boots.Load())
		}
		pass(22 * time.Hour)
		if boots.Load() != 3 {
			t.Fatalf("%d boots after a day", boots.Load())
		}
		told(t, m, "Waiting", api.ReasonCoolingDown, "after each of the last 3 boots")
		m.Annotate(api.RequestAnnotation, api.RequestReboot)
		comesBack.Store(false)
		pass(5 * time.Minute)
		if boots.Load() != 4 || where(m) != "idle" {
			t.Errorf("%d boots after people have requested one; it is %s", boots.Load(), where(m))
		}
		pass(time.Hour)
		m.Touch(sentinelPath, "kernel")
		pass(5 * time.Minute)
		if boots.Load() != 5 {
			t.Errorf("%d boots after a request long after: it is %s", boots.Load(), where(m))
		}
		m.Touch(sentinelPath, "kernel")
		pass(3 * time.Minute)
		told(t, m, "Waiting", api.ReasonCoolingDown, "the machine has been up for less than 10m0s")
	})
}

// A node that is cordoned and put back without a reboot was worked on.
func TestANodeThatIsPutBackWasWorkedOn(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		start(t, m, settings{})
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		if got := where(m); got != "Draining, with a slot, cordoned" || !vacated(t, w).IsZero() {
			t.Fatalf("it is %s", got)
		}
		m.Annotate(api.HoldAnnotation, "a disk")
		pass(time.Minute)
		if got, age := where(m), time.Since(vacated(t, w)); got != "Waiting" || age < 0 || age > time.Minute {
			t.Errorf("it is %s, and the slot was vacated %s ago", got, age)
		}
	})
}

// Without a least uptime a node is rebooted each time that its sentinel comes back, and
// people are told once for each operation what it is that comes back.
func TestASentinelThatComesBackIsNamed(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		boots := new(atomic.Int64)
		s := settings{noDrain: true, change: func(c *daemon.Config, _ *sim.Process) {
			c.Gates = append(c.Gates[:len(c.Gates):len(c.Gates)], new(cooldown.MinUptime))
		}}
		m.OnCommand = func(cmd *sim.Command) error {
			cmd.End(0, "")
			time.AfterFunc(time.Second, func() {
				m.Boots()
				m.KubeletReports(true, "")
				start(t, m, s)
				if boots.Add(1) < 4 {
					time.AfterFunc(time.Minute, func() { m.Touch(sentinelPath, "again") })
				}
			})
			return nil
		}
		start(t, m, s)
		pass(time.Hour)
		m.Touch(sentinelPath, "kernel")
		pass(time.Hour)
		if boots.Load() != 4 || where(m) != "idle" {
			t.Fatalf("%d boots; it is %s", boots.Load(), where(m))
		}
		var named []string
		for _, e := range w.Events("a") {
			if e.Reason == string(api.ReasonCoolingDown) {
				named = append(named, e.Message)
			}
		}
		const says = "/run/reboot-needed has come back after each of the last %d boots; something on the host raises it at every boot; rebooting for it again, since --min-uptime is 0"
		if want := []string{fmt.Sprintf(says, 2), fmt.Sprintf(says, 3)}; !slices.Equal(named, want) {
			t.Errorf("people are told %q, want %q", named, want)
		}
	})
}
