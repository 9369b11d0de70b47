package drain

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// The report says of each pod why it has its outcome: a bare word of the vocabulary,
// and the sentence beside it.
func TestWhatTheReportSaysOfAPod(t *testing.T) {
	refusal := judge(budgetError("The disruption budget web needs 2 healthy pods and has 2 currently", 0))
	evict := func(c *core, seconds float64, v verdict) {
		for _, r := range c.due(at(seconds)) {
			c.answered(r, v, at(seconds))
		}
	}
	for name, tc := range map[string]struct {
		pod     func(podInfo) podInfo
		limit   time.Duration
		happens func(*core)
		outcome api.Outcome
		reason  api.PodReason
		message string
	}{
		"evicted": {
			happens: func(c *core) { evict(c, 0, judge(nil)); c.gone("1", nil, at(1)) }, outcome: api.OutcomeDrained,
		},
		"waiting for an answer": {
			happens: func(c *core) { c.due(at(0)) }, outcome: api.OutcomeFailed, reason: api.PodEvicting, message: "being evicted",
		},
		"blocked": {
			happens: func(c *core) { evict(c, 0, refusal) }, outcome: api.OutcomeFailed, reason: api.PodBudgetExhausted, message: "needs 2 healthy pods",
		},
		"told to end": {
			pod:     func(p podInfo) podInfo { return deleting(p, at(30)) },
			outcome: api.OutcomeFailed, reason: api.PodTerminating, message: "12:00:30 UTC",
		},
		"finished before": {
			pod:     func(p podInfo) podInfo { p.ended = true; return p },
			outcome: api.OutcomeSkipped, reason: api.PodCompleted, message: "has finished",
		},
		"finished by itself": {
			happens: func(c *core) { p := pod("a", "1"); p.ended = true; c.seen(p, at(1)) },
			outcome: api.OutcomeDrained, reason: api.PodCompleted, message: "finished by itself",
		},
		"deleted before": {
			pod:     func(p podInfo) podInfo { return deleting(p, at(30)) },
			happens: func(c *core) { c.gone("1", nil, at(1)) },
			outcome: api.OutcomeDrained, reason: api.PodDeletedByOthers, message: "already being deleted",
		},
		"deleted by others": {
			happens: func(c *core) { c.gone("1", nil, at(1)) },
			outcome: api.OutcomeDrained, reason: api.PodDeletedByOthers, message: "by another client",
		},
		"preempted": {
			pod:     func(p podInfo) podInfo { p.disrupted = "PreemptionByScheduler"; return p },
			happens: func(c *core) { c.gone("1", nil, at(1)) },
			outcome: api.OutcomeDrained, reason: api.PodDeletedByOthers, message: "(PreemptionByScheduler)",
		},
		"with less grace": {
			pod: func(p podInfo) podInfo { p.grace = time.Hour; return p }, limit: 40 * time.Second,
			happens: func(c *core) { evict(c, 0, judge(nil)); c.gone("1", nil, at(1)) },
			outcome: api.OutcomeDrained, reason: api.PodGraceShortened, message: "shortened to 40 s",
		},
		"by force, with less grace": {
			pod: func(p podInfo) podInfo { p.grace = time.Hour; return p }, limit: 40 * time.Second,
			happens: func(c *core) { evict(c, 0, refusal); evict(c, 0, judge(nil)); c.gone("1", nil, at(1)) },
			outcome: api.OutcomeForceStopped, reason: api.PodGraceShortened, message: "shortened to 40 s",
		},
		"by force": {
			limit:   40 * time.Second,
			happens: func(c *core) { evict(c, 0, refusal); evict(c, 10, judge(nil)); c.gone("1", nil, at(11)) },
			outcome: api.OutcomeForceStopped,
		},
		"skipped": {
			pod:     func(p podInfo) podInfo { p.skip = note{api.PodStaticPod, "is a static pod"}; return p },
			outcome: api.OutcomeSkipped, reason: api.PodStaticPod, message: "is a static pod",
		},
	} {
		t.Run(name, func(t *testing.T) {
			timing := testTiming
			timing.limit = tc.limit
			c := newCore(timing, t0)
			p := pod("a", "1")
			if tc.pod != nil {
				p = tc.pod(p)
			}
			c.list([]podInfo{p}, t0)
			if tc.happens != nil {
				tc.happens(c)
			}
			got := c.report("op", at(15), time.Time{}).Pods[0]
			if got.Outcome != tc.outcome || got.Reason != tc.reason || !strings.Contains(got.Message, tc.message) || (got.Message == "") != (tc.message == "") {
				t.Errorf("the report says %s, %s, %q", got.Outcome, got.Reason, got.Message)
			}
			if got.Reason != "" && got.Reason.Info().Meaning == "" {
				t.Errorf("%s is not in the vocabulary", got.Reason)
			}
		})
	}
}

// What a later version has added to the report of an interrupted drain stays in it.
func TestReportOfALaterVersionIsContinued(t *testing.T) {
	earlier, err := api.ParseReport([]byte(`{"v":1,"id":"op","started":"2026-05-04T11:00:00Z","totals":{"drained":1},"later":[1],
		"pods":[{"namespace":"ns","name":"b","uid":"2","outcome":"drained","seconds":1,"zone":"eu"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := testCore(pod("a", "1")).report("op", at(1), time.Time{})
	inherit(r, earlier)
	data, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(data), `"later":[1]`) || !strings.Contains(string(data), `"zone":"eu"`) {
		t.Errorf("%s, %v", data, err)
	}
}
