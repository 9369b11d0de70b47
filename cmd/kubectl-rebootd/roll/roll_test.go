package roll

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

var now = time.Date(2026, 11, 28, 1, 30, 0, 0, time.UTC)

// ago is so many minutes before now.
func ago(minutes int) time.Time { return now.Add(-time.Duration(minutes) * time.Minute) }

func nodeOf(name string, annotations map[string]any, change ...func(*corev1.Node)) fleet.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}}
	n.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: "new", BootID: "b2"}
	for k, v := range annotations {
		if text, is := v.(string); is {
			n.Annotations[k] = text
			continue
		}
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		n.Annotations[k] = string(data)
	}
	for _, c := range change {
		c(n)
	}
	return fleet.NodeOf(n)
}

// whole is an operation that went as it should.
func whole() api.Summary {
	return api.Summary{
		ID: "1", Result: api.ReasonRebootVerified, Requested: ago(60), Queued: ago(50), Cordoned: ago(40), Drained: ago(30), Ordered: ago(29), Back: ago(27), Ended: ago(26),
		BootID: "b1", NewBootID: "b2", Kernel: "old", NewKernel: "new", Totals: map[api.Outcome]int{api.OutcomeDrained: 3, api.OutcomeRelocated: 2, api.OutcomeSkipped: 4},
	}
}

func history(s ...api.Summary) map[string]any {
	return map[string]any{api.HistoryAnnotation: api.History{V: api.HistorySchema, Operations: s}}
}

// of is the only operation of a node.
func of(t *testing.T, n fleet.Node) Operation {
	t.Helper()
	all, err := Of(n, now)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d operations, %v", len(all), err)
	}
	return all[0]
}

func took(o Operation) string {
	var out []string
	for s := range spanCount {
		out = append(out, Took(o.Span(Span(s))))
	}
	return strings.Join(out, " ")
}

// TestSpans has the times of an operation say how long what took, and nothing where they
// cannot be true.
func TestSpans(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*api.Summary)
		want   string // waited, in queue, drain, down, verify, out, total
	}{
		"whole":           {func(*api.Summary) {}, "20m00s 10m00s 10m00s 2m00s 1m00s 14m00s 34m00s"},
		"older: no queue": {func(s *api.Summary) { s.Queued = time.Time{} }, "20m00s - 10m00s 2m00s 1m00s 14m00s 34m00s"},
		"cancelled in the drain": {
			func(s *api.Summary) {
				s.Drained, s.Ordered, s.Back, s.Ended = time.Time{}, time.Time{}, time.Time{}, ago(35)
			},
			"20m00s 10m00s - - - 5m00s 25m00s",
		},
		"clock set back an hour after the queue": {func(s *api.Summary) { s.Requested, s.Queued = ago(-5), ago(-2) }, "- - 10m00s 2m00s 1m00s 14m00s -"},
		"no clock in the new boot":               {func(s *api.Summary) { s.Back = time.Unix(12, 0) }, "20m00s 10m00s 10m00s - - 14m00s 34m00s"},
		"no clock at the request":                {func(s *api.Summary) { s.Requested = time.Unix(100, 0) }, "- 10m00s 10m00s 2m00s 1m00s 14m00s -"},
		"an old clock in the new boot":           {func(s *api.Summary) { s.Back = ago(60 * 24 * 400) }, "20m00s 10m00s 10m00s - - 14m00s 34m00s"},
		"far ahead":                              {func(s *api.Summary) { s.Ended = now.Add(time.Hour) }, "20m00s 10m00s 10m00s 2m00s - - -"},
		"a little ahead":                         {func(s *api.Summary) { s.Ended = now.Add(time.Minute) }, "20m00s 10m00s 10m00s 2m00s 28m00s 41m00s 1h01m"},
		"some to the second, others not": {func(s *api.Summary) {
			s.Requested, s.Ordered = s.Requested.Add(700*time.Millisecond), s.Ordered.Add(900*time.Millisecond)
			s.Queued, s.Back, s.Halted = s.Requested.Truncate(time.Second), s.Ordered.Truncate(time.Second), s.Ordered.Truncate(time.Second)
		}, "20m00s 20m00s 10m00s 0s 3m00s 14m00s 34m00s"},
		"nothing is known": {func(s *api.Summary) { *s = api.Summary{ID: "1"} }, "- - - - - - -"},
	} {
		s := whole()
		tt.change(&s)
		if got := took(of(t, nodeOf("a", history(s)))); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// TestInOrder has as many times stay as are in order.
func TestInOrder(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"123", "123"}, {"321", "--1"}, {"132", "1-2"}, {"9123", "-123"}, {"1293", "12-3"}, {"1922", "1-22"}, {"-1-2", "-1-2"}, {"", ""}, {"---", "---"}, {"5612", "--12"},
	} {
		times := make([]time.Time, len(tt.in))
		var steps []*time.Time
		for i, c := range tt.in {
			if c != '-' {
				times[i] = now.Add(time.Duration(c-'0') * time.Hour)
			}
			steps = append(steps, &times[i])
		}
		inOrder(steps)
		got := ""
		for _, at := range times {
			if at.IsZero() {
				got += "-"
			} else {
				got += fmt.Sprint(int(at.Sub(now).Hours()))
			}
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, got, tt.want)
		}
	}
}

func recordOf(phase api.Phase, change func(*api.Record)) api.Record {
	r := api.Record{V: api.Schema, ID: "now", Phase: phase, Since: ago(5), BootID: "b1", Requested: ago(60), Kernel: "old"}
	if change != nil {
		change(&r)
	}
	return r
}

// TestUnderWay has the record say how far an operation has come.
func TestUnderWay(t *testing.T) {
	same := func(n *corev1.Node) { n.Status.NodeInfo.BootID = "b1" }
	order := &api.Order{At: ago(8)}
	times := &api.Times{Queued: ago(50), Cordoned: ago(20), Drained: ago(10), Back: ago(6)}
	for name, tt := range map[string]struct {
		record api.Record
		want   string
		stages string
	}{
		"waiting":             {recordOf(api.PhaseWaiting, nil), "1h00m - - - - - 1h00m", "0!"},
		"waiting after a try": {recordOf(api.PhaseWaiting, func(r *api.Record) { r.Times, r.Order = times, order }), "1h00m - - - - - 1h00m", "01!"},
		"queued":              {recordOf(api.PhaseQueued, nil), "1h00m 5m00s - - - - 1h00m", "01!"},
		"queued for long":     {recordOf(api.PhaseQueued, func(r *api.Record) { r.Times = times }), "1h00m 50m00s - - - - 1h00m", "01!"},
		"draining":            {recordOf(api.PhaseDraining, func(r *api.Record) { r.Times = &api.Times{Queued: ago(50), Cordoned: ago(5)} }), "55m00s 45m00s 5m00s - - 5m00s 1h00m", "012!"},
		"draining, older":     {recordOf(api.PhaseDraining, nil), "55m00s - 5m00s - - 5m00s 1h00m", "02!"},
		"rebooting": {recordOf(api.PhaseRebooting, func(r *api.Record) {
			r.Times, r.Order = &api.Times{Queued: ago(50), Cordoned: ago(20), Drained: ago(10)}, order
		}), "40m00s 30m00s 10m00s 8m00s - 20m00s 1h00m", "0123!"},
		"verifying":        {recordOf(api.PhaseVerifying, func(r *api.Record) { r.Times, r.Order = times, order }), "40m00s 30m00s 10m00s 2m00s 6m00s 20m00s 1h00m", "01234!"},
		"verifying, older": {recordOf(api.PhaseVerifying, func(r *api.Record) { r.Order = order }), "- - - 3m00s 5m00s - 1h00m", "034!"},
		"halted, not down": {recordOf(api.PhaseHalted, func(r *api.Record) {
			r.Times, r.Order, r.Failure = &api.Times{Cordoned: ago(20), Drained: ago(10)}, order, &api.Failure{Reason: api.ReasonRebootOverdue}
		}), "40m00s - 10m00s - - 20m00s 1h00m", "0235!"},
		"halted, not healthy": {recordOf(api.PhaseHalted, func(r *api.Record) {
			r.Times, r.Order, r.Failure = times, order, &api.Failure{Reason: api.ReasonUnhealthy}
		}), "40m00s 30m00s 10m00s 2m00s - 20m00s 1h00m", "012345!"},
		"halted before a time": {recordOf(api.PhaseHalted, func(r *api.Record) { r.Failure = &api.Failure{Reason: api.ReasonUnhealthy}; r.Requested = time.Time{} }), "- - - - - - -", "5!"},
	} {
		o := of(t, nodeOf("a", map[string]any{api.OperationAnnotation: &tt.record}, same))
		if got := took(o); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		stages := ""
		for _, s := range o.Stretches() {
			stages += fmt.Sprint(int(s.Stage))
			if s.Open {
				stages += "!"
			}
		}
		if stages != tt.stages {
			t.Errorf("%s: stages %s, want %s", name, stages, tt.stages)
		}
	}
}

// TestReportOfUnderWay has the pods of the operation's own drain, not those of the last.
func TestReportOfUnderWay(t *testing.T) {
	report := func(id string) *api.Report {
		return &api.Report{V: 1, ID: id, Started: ago(20), Totals: map[api.Outcome]int{api.OutcomeFailed: 1}, Pods: []api.PodReport{{Namespace: "n", Name: "p", Outcome: api.OutcomeFailed}, {Name: "q", Outcome: api.OutcomeDrained}}}
	}
	record := recordOf(api.PhaseDraining, nil)
	o := of(t, nodeOf("a", map[string]any{api.OperationAnnotation: &record, api.ReportAnnotation: report("now")}))
	if o.Totals[api.OutcomeFailed] != 1 || len(o.Pods) != 1 || o.Pods[0].Name != "p" {
		t.Errorf("%v %v", o.Totals, o.Pods)
	}
	all, err := Of(nodeOf("a", map[string]any{api.OperationAnnotation: &record, api.ReportAnnotation: report("before")}), now)
	if err != nil || len(all) != 2 || len(all[0].Totals) != 0 || !all[1].Older {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestOlder has the report of an older version in place of a history.
func TestOlder(t *testing.T) {
	report := &api.Report{V: 1, ID: "1", Started: ago(40), Finished: ago(30), Totals: map[api.Outcome]int{api.OutcomeDrained: 9}}
	annotated := func() map[string]any { return map[string]any{api.ReportAnnotation: report} }
	o := of(t, nodeOf("a", annotated()))
	if got := took(o); got != "- - 10m00s - - - -" || o.ResultLine() != "-" || !o.Older || o.PodsLine() != "9" {
		t.Errorf("without a past: %s, %+v", got, o)
	}
	report.Past = &api.Past{Verified: ago(26), DownSeconds: 120, Reboot: api.Durations{Last: 180, Sum: 180}}
	o = of(t, nodeOf("a", annotated()))
	if got := took(o); got != "- - 10m00s 2m00s 1m00s 14m00s -" || o.ResultLine() != "RebootVerified" || !o.Rebooted() {
		t.Errorf("verified: %s, %+v", got, o)
	}
	report.Past.Verified = ago(50) // that was the reboot before
	o = of(t, nodeOf("a", annotated()))
	if got := took(o); got != "- - 10m00s - - - -" || o.Rebooted() {
		t.Errorf("verified before: %s, %+v", got, o)
	}
	report.Started = time.Time{} // no drain at all
	if all, err := Of(nodeOf("a", annotated()), now); err != nil || len(all) != 0 {
		t.Errorf("no drain: %v, %v", all, err)
	}
	report.Started = ago(40)
	both := annotated()
	both[api.HistoryAnnotation] = history(whole())[api.HistoryAnnotation]
	if o = of(t, nodeOf("a", both)); o.Older {
		t.Error("there is a history, and the report was taken")
	}
}

// TestSince has what is under way, and what has ended in the period; and what ended no one
// knows when.
func TestSince(t *testing.T) {
	ended := func(id string, at time.Time) api.Summary {
		return api.Summary{ID: id, Result: api.ReasonRebootVerified, Ended: at}
	}
	record := recordOf(api.PhaseQueued, func(r *api.Record) { r.Requested, r.Since = ago(5000), ago(4000) })
	a := history(ended("new", ago(10)), ended("edge", ago(60)), ended("old", ago(61)), ended("unknown", time.Time{}), ended("now", ago(3)))
	a[api.OperationAnnotation] = &record
	r := Build([]fleet.Node{nodeOf("a", a)}, ago(60), now)
	var got []string
	for _, o := range r.Operations {
		got = append(got, o.ID)
	}
	if want := []string{"now", "new", "edge", "unknown"}; !slices.Equal(got, want) || !r.Operations[0].UnderWay {
		t.Errorf("%v, want %v: the record before what the history says of the same operation", got, want)
	}
}

// TestSameSecond has operations of a node that ended in the same second in the order of
// its history.
func TestSameSecond(t *testing.T) {
	withdrawn := api.Summary{ID: "2", Result: api.ReasonCancelled, Requested: ago(26).Add(300 * time.Millisecond), Ended: ago(26).Add(400 * time.Millisecond)}
	r := Build([]fleet.Node{nodeOf("b", history(whole())), nodeOf("a", history(withdrawn, whole()))}, time.Time{}, now)
	var got []string
	for _, o := range r.Operations {
		got = append(got, o.Node+o.ID)
	}
	if want := []string{"a2", "a1", "b1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestUnread has what cannot be read named, and the rest shown.
func TestUnread(t *testing.T) {
	r := Build([]fleet.Node{
		nodeOf("b", map[string]any{api.HistoryAnnotation: `{"v":9}`}), nodeOf("a", map[string]any{api.OperationAnnotation: `{`, api.HistoryAnnotation: history(whole())[api.HistoryAnnotation]}),
		nodeOf("c", history(whole())),
	}, time.Time{}, now)
	if len(r.Unread) != 2 || r.Unread[0].Node != "a" || r.Unread[1].Node != "b" || len(r.Operations) != 2 || r.Nodes != 3 {
		t.Errorf("%+v", r)
	}
	if v := r.Verdict(Clock{time.UTC}); v.Tone != Remarks || v.Word != "Not all is known" {
		t.Errorf("all is well: %+v", v)
	}
	// A newer daemon's history says nothing to this program, not that nothing was.
	r = Build([]fleet.Node{nodeOf("b", map[string]any{api.HistoryAnnotation: `{"v":9}`}), nodeOf("c", nil)}, time.Time{}, now)
	if v := r.Verdict(Clock{time.UTC}); v.Tone != Remarks || v.Word != "Not all is known" || v.Headline != "No reboot of 2 nodes is known in this period; of 1 node it cannot be read." {
		t.Errorf("%+v", v)
	}
}

// TestGroups has what happened at about the same time in one group.
func TestGroups(t *testing.T) {
	var nodes []fleet.Node
	for i, hours := range []int{1, 2, 30, 31, 60, 63, 100} {
		s := whole()
		s.Requested, s.Queued = time.Time{}, time.Time{}
		for _, at := range []*time.Time{&s.Cordoned, &s.Drained, &s.Ordered, &s.Back, &s.Ended} {
			*at = at.Add(-time.Duration(hours) * time.Hour)
		}
		nodes = append(nodes, nodeOf(fmt.Sprint(i), history(s)))
	}
	waits := recordOf(api.PhaseQueued, nil)
	nodes = append(nodes, nodeOf("w", map[string]any{api.OperationAnnotation: &waits}))
	r := Build(nodes, time.Time{}, now)
	for most, want := range map[int]string{9: "6 54 32 10", 3: "6 54 3210", 2: "6 543210", 1: "6543210", 0: "6543210"} {
		var got []string
		for _, g := range r.Groups(most) {
			s := ""
			for _, o := range g.Operations {
				s += o.Node
				if o.Begin().Before(g.From) || o.Last().After(g.To) {
					t.Errorf("%s is not within its group", o.Node)
				}
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%d groups: %v, want %s", most, got, want)
		}
	}
}

// TestVerdict has the tone follow from what happened.
func TestVerdict(t *testing.T) {
	with := func(change func(*api.Summary)) fleet.Node {
		s := whole()
		change(&s)
		return nodeOf("a", history(s))
	}
	halted := recordOf(api.PhaseHalted, func(r *api.Record) {
		r.Order, r.Failure = &api.Order{At: ago(8)}, &api.Failure{Reason: api.ReasonUnhealthy}
	})
	draining, waits := recordOf(api.PhaseDraining, nil), recordOf(api.PhaseWaiting, nil)
	record := func(r *api.Record) fleet.Node { return nodeOf("b", map[string]any{api.OperationAnnotation: r}) }
	good := with(func(*api.Summary) {})
	for name, tt := range map[string]struct {
		nodes []fleet.Node
		tone  Tone
		word  string
		line  string
	}{
		"good":      {[]fleet.Node{good}, Good, "Complete", "Kernel: old → new in 1 reboot."},
		"nothing":   {[]fleet.Node{nodeOf("a", nil)}, Nothing, "No reboots", ""},
		"forced":    {[]fleet.Node{with(func(s *api.Summary) { s.Totals[api.OutcomeForceStopped] = 1 })}, Remarks, "Complete, with remarks", "5 pods left their nodes; 1 was stopped by force."},
		"failed":    {[]fleet.Node{with(func(s *api.Summary) { s.Totals[api.OutcomeFailed] = 2 })}, Remarks, "Complete, with remarks", "5 pods left their nodes; none was stopped by force; 2 were still there when the drain ended."},
		"tried":     {[]fleet.Node{with(func(s *api.Summary) { s.Attempts = 1 })}, Remarks, "Complete, with remarks", "1 node needed more than one attempt: a."},
		"recovered": {[]fleet.Node{with(func(s *api.Summary) { s.Halted = ago(28) })}, Remarks, "Complete, with remarks", "1 node had halted and came back: a."},
		"aborted":   {[]fleet.Node{with(func(s *api.Summary) { s.Result = api.ReasonAborted })}, Remarks, "Complete, with remarks", "1 node was out of service without a verified reboot: a."},
		"withdrawn": {[]fleet.Node{good, nodeOf("w", history(api.Summary{ID: "2", Result: api.ReasonCancelled, Requested: ago(9), Ended: ago(8)}))}, Good, "Complete", "The request of 1 node ended before the node was touched: w."},
		"under way": {[]fleet.Node{good, record(&draining)}, Running, "Under way", "1 node is out of service now: b."},
		"waits":     {[]fleet.Node{good, record(&waits)}, Good, "Not all yet", "1 node waits for a reboot: b."},
		"halted":    {[]fleet.Node{good, record(&halted)}, Attended, "Halted: a person is needed", "1 node is halted and needs a person: b."},
	} {
		v := Build(tt.nodes, time.Time{}, now).Verdict(Clock{time.UTC})
		if v.Tone != tt.tone || v.Word != tt.word || tt.line != "" && !slices.Contains(v.Lines, tt.line) {
			t.Errorf("%s: %+v, want %v %q %q", name, v, tt.tone, tt.word, tt.line)
		}
	}
	v := Build([]fleet.Node{good, nodeOf("c", nil)}, time.Time{}, now).Verdict(Clock{time.UTC})
	if want := "1 of 2 nodes rebooted on Sat 28 Nov 2026 between 00:50 and 01:04 UTC."; v.Headline != want {
		t.Errorf("%s, want %s", v.Headline, want)
	}
}

// TestTwice has nodes counted once that rebooted twice.
func TestTwice(t *testing.T) {
	again := whole()
	again.ID = "2"
	v := Build([]fleet.Node{nodeOf("a", history(again, whole()))}, time.Time{}, now).Verdict(Clock{time.UTC})
	if !strings.HasPrefix(v.Headline, "1 of 1 node rebooted") || v.Lines[0] != "That is 2 reboots: some nodes rebooted more than once." {
		t.Errorf("%+v", v)
	}
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		Unknown: "-", 0: "0s", 59 * time.Second: "59s", 60 * time.Second: "1m00s", 3599 * time.Second: "59m59s", time.Hour: "1h00m", 47*time.Hour + 59*time.Minute: "47h59m", 50 * time.Hour: "2d2h", 59600 * time.Millisecond: "1m00s",
	} {
		if got := Took(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestClock has ranges say the day once, the zone, and the year.
func TestClock(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	c := Clock{berlin}
	for got, want := range map[string]string{
		c.Range(now, now.Add(time.Hour)):                       "Sat 28 Nov 2026, 02:30–03:30 CET",
		c.Range(now, now.Add(24*time.Hour)):                    "Sat 28 Nov, 02:30 – Sun 29 Nov 2026, 02:30 CET",
		c.Range(now, now.AddDate(0, 2, 0)):                     "Sat 28 Nov 2026, 02:30 CET – Thu 28 Jan 2027, 02:30 CET",
		c.Short(now, now.Add(time.Hour)):                       "Sat 28 Nov 02:30–03:30",
		c.Short(now, now.Add(24*time.Hour)):                    "Sat 28 Nov 02:30 – Sun 29 Nov 02:30",
		c.Short(time.Time{}, now):                              "- – Sat 28 Nov 02:30",
		c.After(now, time.Time{}):                              "-",
		c.ZoneName(now):                                        "Europe/Berlin, CET, UTC+01:00",
		Clock{time.UTC}.ZoneName(now):                          "UTC",
		Clock{time.FixedZone("Local", 3600)}.ZoneName(now):     "Local, UTC+01:00",
		Clock{time.FixedZone("+0545", 20700)}.ZoneName(now):    "+0545",
		c.Range(ago(60*24*34+60), ago(60*24*34-60)):            "Sun 25 Oct 2026, 02:30 CEST – Sun 25 Oct 2026, 03:30 CET",
		c.between(now, now.AddDate(0, 0, 1)):                   "between Sat 28 Nov 02:30 and Sun 29 Nov 2026, 02:30 CET",
		c.between(now, now.Add(20*time.Second)):                "on Sat 28 Nov 2026 at 02:30 CET",
		c.between(now.AddDate(0, 0, -1), now.AddDate(0, 2, 0)): "between Fri 27 Nov 2026, 02:30 CET and Thu 28 Jan 2027, 02:30 CET",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestWords has the words of others printable, and counts that cannot be left out.
func TestWords(t *testing.T) {
	s := whole()
	s.Message, s.Kernel, s.Result = "a\x1b[2J\nb", "k\u202e", "R\x00"
	s.Totals = map[api.Outcome]int{api.OutcomeDrained: -3, "nonsense": 4}
	s.Pods = []api.SummaryPod{{Namespace: "n\n", Name: "p\x07", Outcome: "failed\x1b"}}
	s.Attempts = -1
	o := of(t, nodeOf("a", history(s)))
	if o.Message != "a[2J b" || o.Kernel != "k" || o.Result != "R" || len(o.Totals) != 0 || o.Attempts != 0 {
		t.Errorf("%+v", o)
	}
	if diff := cmp.Diff([]api.SummaryPod{{Namespace: "n", Name: "p", Outcome: "failed"}}, o.Pods); diff != "" {
		t.Error(diff)
	}
}

// FuzzTimes has whatever times there are give stretches in order and spans that are not
// negative, and no panic.
func FuzzTimes(f *testing.F) {
	f.Add(uint8(0), 60, 50, 40, 30, 29, 27, 26, 28)
	f.Add(uint8(6), 60, 50, 40, 30, 29, 27, 26, 28)
	f.Add(uint8(6), 60, 50, -39, 30, -20, 65, 26, 128)
	f.Add(uint8(3), -60, 50, 400000, 0, 29, 30, 26, 28)
	f.Fuzz(func(t *testing.T, phase uint8, requested, queued, cordoned, drained, ordered, back, ended, halted int) {
		minutes := func(n int) time.Time {
			if n == 0 {
				return time.Time{}
			}
			return ago(n % 100_000_000)
		}
		s := whole()
		s.Requested, s.Queued, s.Cordoned, s.Drained, s.Ordered, s.Back, s.Ended, s.Halted = minutes(requested), minutes(queued), minutes(cordoned), minutes(drained), minutes(ordered), minutes(back), minutes(ended), minutes(halted)
		annotations := history(s)
		if phases := api.Phases(); int(phase) < len(phases) {
			annotations[api.OperationAnnotation] = api.Record{
				V: 1, ID: "now", Phase: phases[phase], Since: minutes(ended), BootID: "b1", Requested: s.Requested, Order: &api.Order{At: s.Ordered},
				Failure: &api.Failure{Reason: api.ReasonUnhealthy}, Times: &api.Times{Queued: s.Queued, Cordoned: s.Cordoned, Drained: s.Drained, Back: s.Back, Halted: s.Halted},
			}
		}
		r := Build([]fleet.Node{nodeOf("a", annotations)}, time.Time{}, now)
		r.Verdict(Clock{time.UTC})
		r.Groups(3)
		for _, o := range r.Operations {
			last := time.Time{}
			for _, s := range o.Stretches() {
				if s.From.Before(last) || s.To.Before(s.From) {
					t.Errorf("stretches out of order: %+v", o.Stretches())
				}
				last = s.To
			}
			for s := range spanCount {
				if d := o.Span(Span(s)); d < 0 && d != Unknown {
					t.Errorf("span %d is %v", s, d)
				}
			}
		}
	})
}
