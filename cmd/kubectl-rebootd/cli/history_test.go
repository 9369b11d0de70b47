package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
)

// remembered is a cluster whose nodes remember a night.
func remembered() *fakeAPI {
	f := newFake()
	summary := func(id string, ended time.Duration, change func(*api.Summary)) api.Summary {
		at := func(d time.Duration) time.Time { return before(ended + d) }
		s := api.Summary{
			ID: id, Request: "/run/reboot-needed since 2026-11-27T09:12:44Z", Result: api.ReasonRebootVerified, Message: "rebooted and healthy",
			Requested: at(12 * time.Hour), Queued: at(20 * time.Minute), Cordoned: at(4 * time.Minute), Drained: at(100 * time.Second), Ordered: at(98 * time.Second), Back: at(20 * time.Second), Ended: at(0),
			BootID: "1b671a64-40d5-491e-99b0-da01ff1f3341", NewBootID: "9f2c7e10-6a37-4f7c-8a52-1d1c36f0a1b7", Kernel: "6.12.48+deb13-amd64", NewKernel: "6.12.57+deb13-amd64",
			Totals: map[api.Outcome]int{api.OutcomeDrained: 8, api.OutcomeRelocated: 9, api.OutcomeSkipped: 6},
		}
		if change != nil {
			change(&s)
		}
		return s
	}
	remembers := func(s ...api.Summary) func(*corev1.Node) {
		return has(api.HistoryAnnotation, api.History{V: api.HistorySchema, Operations: s})
	}
	week := func(s *api.Summary) { s.Kernel, s.NewKernel = "6.12.43+deb13-amd64", "6.12.48+deb13-amd64" }
	f.idle("node-00", remembers(summary("a", 3*time.Hour, nil), summary("z", 8*24*time.Hour, week)))
	f.idle("node-01", remembers(summary("b", 170*time.Minute, func(s *api.Summary) { // two pods by force
		s.Totals[api.OutcomeForceStopped] = 2
		s.Pods = []api.SummaryPod{{Namespace: "shop", Name: "db-0", Outcome: api.OutcomeForceStopped, Reason: api.PodBudgetNeverAllows}}
	})))
	f.idle("node-02", remembers(summary("c", 2*time.Hour, func(s *api.Summary) { // came back late
		s.Halted, s.Attempts = s.Ordered.Add(30*time.Second), 1
		s.Failure = &api.Failure{Reason: api.ReasonRebootOverdue, Message: "the machine is still up 10m0s after the reboot was ordered"}
	})))
	f.idle("node-03", remembers(summary("d", time.Hour, func(s *api.Summary) {
		s.Result, s.Message = api.ReasonCancelled, "the sentinel /run/reboot-needed was removed"
		s.Ordered, s.Back, s.NewBootID, s.NewKernel = time.Time{}, time.Time{}, "", ""
	})))
	f.idle("node-04", remembers(summary("e", 50*time.Minute, func(s *api.Summary) { // its clock was set
		s.Requested, s.Queued, s.Back = before(-time.Hour), before(10*time.Minute), time.Unix(5, 0)
	})))
	f.idle("node-05", has(api.ReportAnnotation, &api.Report{ // an older version
		V: 1, ID: "f", Started: before(40 * time.Minute), Finished: before(37 * time.Minute), Totals: map[api.Outcome]int{api.OutcomeDrained: 9, api.OutcomeSkipped: 4},
		Past: &api.Past{Verified: before(35 * time.Minute), DownSeconds: 75, Reboot: api.Durations{Last: 95, Sum: 95}},
	}))
	f.idle("node-06", has(api.HistoryAnnotation, `{"v":2,"operations":[]}`))
	f.draining("node-07", 4*time.Minute, 12, 5)
	f.queued("node-08", 2*time.Hour, "rebootd-0 is held by node-07")
	f.idle("node-09")
	f.slot(0, "node-07", 4*time.Minute)
	return f
}

var historyLines = []string{
	"history", "history -o wide", "history --since 24h node/node-00 node-03 node-00", "history --since 2026-11-28 -o yaml node-01 node-06", "history node-09", "history --since 1h node-00",
	"history node-77 node-00", "history -l kubernetes.io/hostname=node-02 -o json", "report", "report --since 7d --title Test node-00",
}

// TestHistory has goldens of its own: go test -run TestHistory -rewrite.
func TestHistory(t *testing.T) {
	for _, line := range historyLines {
		golden(t, filepath.Join("remembered", fileOf(line)), transcript(remembered(), line))
	}
}

// TestHistoryForbidden has who may not read Nodes told so.
func TestHistoryForbidden(t *testing.T) {
	f := remembered()
	f.denied["EachNode"] = true
	f.denied["Node"] = true
	for _, line := range []string{"history", "history node-00", "report"} {
		if r := runIn(f, strings.Fields(line)); r.status != exitFailed || !strings.Contains(r.err, "forbidden") || r.out != "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
	f.denied = map[string]bool{"Leases": true}
	if r := runIn(f, []string{"history"}); r.status != exitOK {
		t.Errorf("without rights on Leases: %+v", r)
	}
}

func TestParseSince(t *testing.T) {
	zone := time.FixedZone("X", 2*3600)
	for text, want := range map[string]time.Time{
		"": {}, "24h": before(24 * time.Hour), "90m": before(90 * time.Minute), "7d": before(7 * 24 * time.Hour),
		"2026-11-27": time.Date(2026, 11, 27, 0, 0, 0, 0, zone), "2026-11-27T22:00:00+01:00": time.Date(2026, 11, 27, 21, 0, 0, 0, time.UTC),
	} {
		if got, err := parseSince(text, at, zone); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"yesterday", "-5h", "0h", "0d", "-1d", "xd", "9999999d", "2026-13-01", "2026-11-29", "2026-11-27 22:00", "24", "2e9h"} {
		if got, err := parseSince(text, at, zone); err == nil {
			t.Errorf("%q: %v; want an error", text, got)
		} else if e := new(exit); !asExit(err, &e) || e.status != exitUsage {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func asExit(err error, e **exit) bool {
	with, ok := err.(*exit)
	*e = with
	return ok
}

// TestReportFile has the page in a file, whole, and the headline said.
func TestReportFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "roll.html")
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runIn(remembered(), []string{"report", "--html", file, "--title", "<CHG>"})
	data, err := os.ReadFile(file)
	if err != nil || r.status != exitOK || r.out != "" || !strings.Contains(r.err, "5 of 10 nodes rebooted") {
		t.Fatalf("%+v, %v", r, err)
	}
	if !strings.HasPrefix(string(data), "<!DOCTYPE html>") || !strings.Contains(string(data), "<h1>&lt;CHG&gt;</h1>") || !strings.HasSuffix(string(data), "</html>\n") {
		t.Errorf("%.200s", data)
	}
	if there, _ := os.ReadDir(dir); len(there) != 1 {
		t.Errorf("left behind: %v", there)
	}
	if r := runIn(remembered(), []string{"report", "--html", "-", "--title", "<CHG>"}); r.out != string(data) {
		t.Errorf("to standard output: %.200s", r.out)
	}
	if r := runIn(remembered(), []string{"report", "--html", filepath.Join(dir, "none", "roll.html")}); r.status != exitFailed || !strings.Contains(r.err, "write the report") {
		t.Errorf("no such directory: %+v", r)
	}
}
