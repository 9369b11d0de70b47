package drain

import (
	"math"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
)

// Numbers of objects may be anything that fits into them.
var bounds = []int64{math.MinInt64, math.MinInt64 + 1, -9_300_000_000, -30, -1, 0, 1, 30, 9_000_000_000, 9_223_372_036, 9_223_372_037, 9_300_000_000, math.MaxInt64 - 1, math.MaxInt64}

// Whatever a pod's grace, by force it is gone by the deadline, and never with less than
// it could have had.
func TestGraceOutOfBounds(t *testing.T) {
	for _, grace := range bounds {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p"}}
		p.Spec.TerminationGracePeriodSeconds = &grace
		timing := testTiming
		timing.limit = 600 * time.Second
		c := newCore(timing, t0)
		c.list([]podInfo{viewer{}.info(p)}, t0)
		refusal := judge(budgetError("The disruption budget web needs 2 healthy pods and has 2 currently", 0))
		var removed *request
		for s := 0.0; s < 620 && removed == nil; s++ {
			for _, r := range c.due(at(s)) {
				if r.remove {
					removed = &r
					least := min(max(grace, 0), 600)
					if left := 600 - int64(s); left < least-1 || r.grace != 0 && r.grace < least-1 {
						t.Errorf("grace %d: deleted at %g s with %d s", grace, s, r.grace)
					}
					if r.grace == 0 && s+max(float64(grace), 0) > 602 {
						t.Errorf("grace %d: deleted at %g s with its own grace", grace, s)
					}
					break
				}
				c.answered(r, refusal, at(s))
			}
		}
		if removed == nil {
			t.Errorf("grace %d: never deleted", grace)
		}
	}
}

// A pod that somebody has deleted with a grace that the API server itself cannot add
// up gets, by force, what is left.
func TestDeletedWithAGraceOutOfBounds(t *testing.T) {
	for _, grace := range bounds {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p", DeletionGracePeriodSeconds: &grace}}
		when := metav1.NewTime(t0.Add(time.Second * time.Duration(grace))) // as the API server does
		p.DeletionTimestamp = &when
		timing := testTiming
		timing.limit = 600 * time.Second
		c := newCore(timing, t0)
		c.list([]podInfo{viewer{}.info(p)}, t0)
		if d := c.diagnose(c.pods["p"], at(1)); d.reason != api.PodTerminating {
			t.Errorf("grace %d: told as %+v", grace, d)
		}
		rs := c.due(at(1))
		if long := grace > 600 || when.After(at(600)); long && (len(rs) != 1 || !rs[0].remove || rs[0].grace != 599) {
			t.Errorf("grace %d: asks %+v, want a deletion with 599 s", grace, rs)
		} else if !long && len(rs) != 0 {
			t.Errorf("grace %d: asks %+v", grace, rs)
		}
	}
}

// Any place in the order has its turn.
func TestOrderOutOfBounds(t *testing.T) {
	for _, order := range []int{math.MinInt, math.MinInt + 1, -1, 0, 1, math.MaxInt - 1, math.MaxInt} {
		for _, tier := range []tier{ordinary, critical, controlPath} {
			c := testCore(ranked("a", "1", order, tier))
			if got := uids(c.due(t0)); got != "1" {
				t.Errorf("order %d, tier %d: asks %q", order, tier, got)
			}
			c = testCore(ranked("a", "1", order, tier), ranked("b", "2", 0, ordinary))
			asked := ""
			for range 2 {
				for _, r := range c.due(t0) {
					asked += string(r.pod.uid)
					c.answered(r, verdict{gone: true}, t0)
				}
			}
			if len(asked) != 2 {
				t.Errorf("order %d, tier %d: asks %q of two", order, tier, asked)
			}
		}
	}
}

// A time of another day is told with its day.
func TestClock(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "12:00:00 UTC", time.Hour: "13:00:00 UTC", 20 * time.Hour: "2026-05-05 08:00:00 UTC", -48 * time.Hour: "2026-05-02 12:00:00 UTC",
	} {
		if got := timeOfDay(t0.Add(in), t0); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	if got := timeOfDay(never, t0); !strings.Contains(got, "UTC") {
		t.Error(got)
	}
}
