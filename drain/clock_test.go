package drain

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
)

func neverEvicts(string) error {
	return refused(403, metav1.StatusReasonForbidden, `admission webhook "w" denied the request: no`, nil)
}

// What passes before the node's pods are known is not taken from their time: each gets
// its whole grace, however long the API server was away.
func TestClockStartsWithTheFirstList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode("web")
		n.evict = neverEvicts
		api := &cutNode{fakeNode: n}
		api.cut.Store(true)
		began := time.Now()
		d := n.drain(t, func(c *Config, o *Options) { c.API, o.Limit = api, time.Minute })
		defer d.stop()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if p := d.last(); p.Listed || !p.ClockStart.IsZero() || time.Since(p.UnlistedSince) != time.Since(began) {
			t.Errorf("without a list: listed %t, clock started %s, without a list since %s", p.Listed, p.ClockStart, p.UnlistedSince)
		}
		if evicted, deleted, _, _ := n.count(); evicted+deleted > 0 {
			t.Fatalf("%d evictions and %d deletions without a list", evicted, deleted)
		}
		api.cut.Store(false)
		for !d.last().Listed {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		p := d.last()
		start := p.ClockStart
		if time.Since(start) > time.Second || !p.UnlistedSince.IsZero() {
			t.Errorf("at the first list the clock shows %s; without a list since %s", time.Since(start), p.UnlistedSince)
		}
		time.Sleep(time.Until(start.Add(29 * time.Second)))
		if _, deleted, _, _ := n.count(); deleted > 0 {
			t.Error("deleted before its grace has to begin")
		}
		time.Sleep(time.Until(start.Add(time.Minute)))
		expectWholeGrace(t, n)
	})
}

func expectWholeGrace(t *testing.T, n *fakeNode) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.deleted) != 1 || n.deleted[0].GracePeriodSeconds != nil {
		t.Errorf("deletions: %+v, want one with the pod's own grace", n.deleted)
	}
}

// Earlier runs count.
func TestClockOfEarlierRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode("web")
		n.evict = neverEvicts
		d := n.drain(t, func(_ *Config, o *Options) { o.Ran, o.Limit = 50*time.Minute, time.Hour })
		defer d.stop()
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		if ran := time.Since(d.last().ClockStart); ran < 59*time.Minute || ran > 59*time.Minute+time.Second {
			t.Errorf("the clock shows %s after 9 minutes", ran)
		}
		if _, deleted, _, _ := n.count(); deleted > 0 {
			t.Error("deleted before its grace has to begin")
		}
		time.Sleep(time.Minute)
		expectWholeGrace(t, n)
	})
}

// Without a list nothing is known of the pods, and none is deleted.
func TestNothingIsForcedWithoutAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode("web")
		d := n.drain(t, func(c *Config, o *Options) { c.API, o.Ran, o.Limit = awayNode{n}, time.Hour, time.Minute })
		defer d.stop()
		time.Sleep(24 * time.Hour)
		if evicted, deleted, _, left := n.count(); evicted+deleted > 0 || left != 1 || d.drained() {
			t.Errorf("%d evictions, %d deletions, %d pods left, drained %t", evicted, deleted, left, d.drained())
		}
	})
}

// A pod that is on its way out is judged by the API server's clock, whose timestamps it
// has: not by the machine's, however wrong that is.
func TestMachineClockIsWrong(t *testing.T) {
	for _, skew := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour} {
		for graceLeft, cut := range map[time.Duration]bool{5 * time.Minute: false, time.Hour: true} {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode("web")
				n.remove = func(string) error { return nil }
				seconds, ends := int64(graceLeft/time.Second), metav1.NewTime(time.Now().Add(graceLeft-skew))
				n.pods["web"].DeletionTimestamp, n.pods["web"].DeletionGracePeriodSeconds = &ends, &seconds
				d := n.drain(t, func(c *Config, o *Options) {
					c.ClockSkew, o.Limit = func() time.Duration { return skew }, 10*time.Minute
				})
				defer d.stop()
				time.Sleep(4 * time.Minute)
				synctest.Wait()
				if _, deleted, _, _ := n.count(); deleted > 0 != cut {
					t.Errorf("ahead by %s, %s of grace left: %d deletions under a limit of 10 minutes", skew, graceLeft, deleted)
				}
				if p := d.last(); len(p.Blocked) > 0 {
					t.Errorf("ahead by %s, %s of grace left: told as overdue: %+v", skew, graceLeft, p.Blocked)
				}
				time.Sleep(graceLeft + overdueAfter + time.Second - 4*time.Minute)
				synctest.Wait()
				if p := d.last(); len(p.Blocked) != 1 {
					t.Errorf("ahead by %s: not told that it is overdue: %+v", skew, p)
				}
			})
		}
	}
}

// Before the API server has answered, nothing is known of its clock.
func TestMachineClockIsWrongAndNoAnswerYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode("web")
		n.remove = func(string) error { return nil }
		api := &cutNode{fakeNode: n}
		api.cut.Store(true)
		d := n.drain(t, func(c *Config, o *Options) {
			c.API, o.Limit = api, 10*time.Minute
			c.ClockSkew = func() time.Duration {
				if api.cut.Load() {
					return 0
				}
				return 30 * time.Second
			}
		})
		defer d.stop()
		time.Sleep(time.Minute)
		seconds, ends := int64(3600), metav1.NewTime(time.Now().Add(9*time.Minute+45*time.Second)) // by our clock it is 30 s later
		n.mu.Lock()
		n.pods["web"].DeletionTimestamp, n.pods["web"].DeletionGracePeriodSeconds = &ends, &seconds
		n.mu.Unlock()
		api.cut.Store(false)
		time.Sleep(time.Minute)
		if _, deleted, _, _ := n.count(); deleted == 0 {
			t.Error("a pod whose grace ends after the limit keeps it")
		}
	})
}

// When nobody saw a pod go, the time is taken from the API server's clock, by which pods
// are created: those that were bound late do not count as coming back.
func TestLateBindingsWhileTheMachineClockIsWrong(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Hour, -time.Hour} {
		c := testCore(made("a", -600-skew.Seconds()))
		c.apiClock.read(t0, skew)
		for _, r := range c.due(at(0.1)) {
			c.answered(r, verdict{gone: true}, at(0.2))
			c.gone(r.pod.uid, nil, at(0.2))
		}
		for _, uid := range []string{"b", "c", "d"} {
			c.seen(made(uid, -3-skew.Seconds()), at(1))
		}
		if n := skipped(c); n > 0 {
			t.Errorf("ahead by %s: %d pods were left running", skew, n)
		}
	}
}

// An answer that took long does not move the API server's clock; a clock that was set
// does.
func TestAPIClock(t *testing.T) {
	var c apiClock
	if got := c.at(at(7)); !got.Equal(at(7)) {
		t.Errorf("without an answer: %s", got)
	}
	for _, step := range []struct{ now, skew, want float64 }{
		{0, 100, -100},
		{10, 100, -90},
		{20, 105, -80}, // an answer that took 5 s
		{30, 99.5, -69.5},
		{40, 100, -59.5},
		{50, -3600, 3650}, // set forward
		{60, 3600, -3540}, // and back
	} {
		c.read(at(step.now), time.Duration(step.skew*float64(time.Second)))
		if got := c.at(at(step.now)); !got.Equal(at(step.want)) {
			t.Errorf("at %g s, ahead by %g s: %s, want %s", step.now, step.skew, got, at(step.want))
		}
		if back := c.when(c.at(at(step.now + 5))); !back.Equal(at(step.now + 5)) {
			t.Errorf("at %g s: there and back is %s", step.now+5, back)
		}
	}
	if c.when(never) != never {
		t.Error("never comes")
	}
}

// What a pod says of until when it is not to be disturbed is told as it says so: the
// same words at any time.
func TestWaitEndsByTheAPIClock(t *testing.T) {
	p := pod("job", "j")
	p.wait, p.waitWhy, p.waitEnds = api.PodProtected, "word", at(600)
	c := newCore(testTiming, t0)
	c.apiClock.read(t0, time.Hour)
	c.list([]podInfo{p}, t0)
	d := c.diagnose(c.pods["j"], at(1))
	c.apiClock.read(at(2), 59*time.Minute+59*time.Second)
	if again := c.diagnose(c.pods["j"], at(3)); again != d || !strings.Contains(d.message, "until 12:10:00 UTC") {
		t.Errorf("told %+v, then %+v", d, again)
	}
	for seconds, want := range map[float64]int{4190: 0, 4202: 1} {
		if rs := c.due(at(seconds)); len(rs) != want {
			t.Errorf("at %g s, when the API server's clock shows %s, asks %v", seconds, c.apiClock.at(at(seconds)), rs)
		}
	}
}
