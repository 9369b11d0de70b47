package daemon_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rebootd.dev/daemon/sim"
)

// diskPath is a sentinel that outlives a boot.
const diskPath = "/var/lib/reboot-needed"

// clocks is a machine whose clock is set at any time, by hours and days, forward and back,
// and may be wrong from the boot on, and whose daemon may be killed at any time.
type clocks struct {
	t    *testing.T
	w    *sim.World
	m    *sim.Machine
	p    *sim.Process // nil: none runs
	path string
	rtc  time.Time // what the clock says after a boot; zero: the right time
	cfg  settings

	mu   sync.Mutex
	rng  *rand.Rand
	down time.Time // goes down then

	boots   int
	up      time.Time // boots then
	healthy bool
}

func newClocks(t *testing.T, seed uint64) *clocks {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := sim.NewWorld()
	c := &clocks{t: t, rng: rng, w: w, m: w.AddMachine("a"), path: []string{sentinelPath, diskPath}[rng.IntN(2)], healthy: true}
	switch rng.IntN(3) {
	case 0:
		c.rtc = time.Unix(30, 0) // no battery
	case 1:
		c.rtc = time.Now().Add(time.Duration(rng.IntN(2*365)) * 24 * time.Hour)
	}
	c.cfg.noDrain = rng.IntN(3) == 0
	c.m.Drain.Takes(func() time.Duration { return time.Duration(c.number(40)) * time.Second })
	c.m.OnCommand = func(cmd *sim.Command) error {
		cmd.End(0, "")
		c.goesDownAt(time.Now().Add(time.Duration(1+c.number(20)) * time.Second))
		return nil
	}
	return c
}

// number is one of the dice. The daemon's goroutines roll them, too.
func (c *clocks) number(below int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(below)
}

func (c *clocks) goesDownAt(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = at
}

// isDue says whether the machine was told to go down by now.
func (c *clocks) isDue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.down.IsZero() && time.Now().After(c.down)
}

// jump sets the clock, or does not.
func (c *clocks) jump(oneIn int) {
	if c.m.Up() && c.number(oneIn) == 0 {
		by := time.Duration(c.number(int(8*24*time.Hour)) - int(4*24*time.Hour))
		c.m.SetClock(c.m.Now().Add(by))
	}
}

// tick lets some seconds pass, in which anything may happen to the clock and to the daemon.
func (c *clocks) tick() {
	pass(time.Duration(1+c.number(9)) * time.Second)
	now := time.Now()
	switch {
	case !c.m.Up() && now.After(c.up):
		c.m.Boots()
		c.boots++
		c.healthy = false
		if !c.rtc.IsZero() {
			c.m.SetClock(c.rtc)
		} else {
			c.m.SetClock(time.Now())
		}
	case c.m.Up() && c.isDue():
		c.goesDown()
	}
	if !c.m.Up() {
		return
	}
	c.jump(12)
	switch {
	case c.p == nil && c.number(3) == 0:
		c.p = start(c.t, c.m, c.cfg)
	case c.p != nil && c.number(25) == 0:
		c.p.Kill()
		c.p.Wait()
		c.p = nil
	}
	if !c.healthy && c.number(4) == 0 {
		c.m.KubeletReports(true, "")
		c.healthy = true
	}
}

func (c *clocks) goesDown() {
	c.m.GoesDown()
	c.p = nil
	c.goesDownAt(time.Time{})
	c.up = time.Now().Add(30 * time.Second)
}

// until lets time pass until something is so.
func (c *clocks) until(what string, is func() bool) bool {
	for began := time.Now(); time.Since(began) < 3*time.Hour; {
		if is() {
			return true
		}
		c.tick()
	}
	c.w.Violated("a", "not so in three hours: %s", what)
	return false
}

func (c *clocks) idle() bool {
	return c.w.Record("a") == nil && c.p != nil && c.m.Up() && c.healthy && len(c.w.SlotsOf(lockName, "a")) == 0
}

// withdrawn is what people were told of a request that was withdrawn.
func (c *clocks) withdrawn() (out []string) {
	for _, e := range c.w.Events("a") {
		if e.Reason == "Cancelled" {
			out = append(out, e.Message)
		}
	}
	return out
}

// Whatever becomes of the clock, and whenever: one touch is one reboot, and no touch is
// lost. One on a disk has to have been seen first.
func TestFleetOneTouchIsOneReboot(t *testing.T) {
	usual := 400
	if testing.Short() {
		usual = 40
	}
	from, to := fleets(t, usual)
	for seed := from; seed < to; seed++ {
		var broken string
		synctest.Test(t, func(t *testing.T) {
			c := newClocks(t, seed)
			broken = c.touches()
			c.m.GoesDown()
			time.Sleep(10 * time.Second)
			if broken != "" {
				for _, e := range c.w.Journal(0) {
					t.Logf("%s %s: %s", e.At.UTC().Format(time.TimeOnly), e.Kind, e.Text)
				}
			}
		})
		if broken != "" {
			t.Fatalf("seed %d (FLEET_SEED=%d): %s", seed, seed, broken)
		}
	}
}

// touches touches the sentinel a few times, and says what was not as it must be.
func (c *clocks) touches() string {
	for n := range 3 {
		before := c.boots
		how := fmt.Sprintf("touch %d of %s, by %d boots", n+1, c.path, before)
		c.jump(2)
		c.m.Touch(c.path, "")
		if c.path == diskPath {
			c.until("the touch is seen", func() bool {
				if c.p == nil {
					c.p = start(c.t, c.m, c.cfg)
				}
				pass(time.Second)
				return c.w.Record("a") != nil
			})
		}
		c.jump(2)
		cut := c.number(4) == 0
		if c.number(2) == 0 { // it waits for long
			c.w.Pause(lockName, "for a while")
			for range c.number(60) {
				c.tick()
			}
			c.w.Pause(lockName, "")
		}
		c.until("the reboot", func() bool {
			if r := c.w.Record("a"); cut && r != nil && c.m.Up() && c.boots == before && c.number(5) == 0 {
				c.w.Note("a", "machine", "power cut")
				c.goesDown()
				cut = false
			}
			return c.boots > before && c.idle()
		})
		for range 300 { // and no other
			c.tick()
		}
		c.until("rest", c.idle)
		cancelled := slices.DeleteFunc(c.withdrawn(), func(s string) bool { return s == "the machine has been rebooted by other means" })
		switch {
		case c.boots != before+1:
			return fmt.Sprintf("%s: %d reboots", how, c.boots-before)
		case len(cancelled) > 0:
			return fmt.Sprintf("%s: cancelled: %s", how, strings.Join(cancelled, "; "))
		case c.m.Node().Spec.Unschedulable:
			return how + ": the node is cordoned"
		case len(c.w.Violations()) > 0:
			return how + ": " + c.w.Violations()[0]
		}
	}
	return ""
}
