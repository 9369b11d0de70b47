package api

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func parsedPast(t *testing.T, past string) *Report {
	t.Helper()
	r, err := ParseReport([]byte(`{"v":1,"id":"op","started":"2026-05-04T12:00:00Z","totals":{},"pods":[],"past":` + past + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The past is read as it was written, with what a newer version has added to it.
func TestPastIsKept(t *testing.T) {
	p := parsedPast(t, `{"results":{"RebootVerified":2,"Later":1},"later":{"a":[1]}}`).Past.Clone()
	p.Ended(ReasonRebootVerified)
	p.Verified = started
	p.Reboot.Add(90 * time.Second)
	p.Reboot.Add(3 * time.Hour)
	p.Reboot.Add(-time.Hour)
	data, err := json.Marshal(&Report{V: 1, ID: "op", Past: p})
	if err != nil {
		t.Fatal(err)
	}
	const want = `"past":{"later":{"a":[1]},"reboot":{"last":0,"sum":10890,"counts":[1,0,0,0,1,0,0,0,0,0,0,1]},"results":{"Later":1,"RebootVerified":3},"verified":"2026-05-04T12:00:00Z"}`
	if !strings.Contains(string(data), want) {
		t.Errorf("%s\nlacks %s", data, want)
	}
	r, err := ParseReport(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(r); string(again) != string(data) {
		t.Errorf("%s\nbecomes %s", data, again)
	}
}

// A copy shares nothing with what it was made of.
func TestPastClone(t *testing.T) {
	p := new(Past)
	p.Ended(ReasonCancelled)
	p.Drain.Add(time.Second)
	p.Left(map[Outcome]int{OutcomeFailed: 1})
	c := p.Clone()
	c.Ended(ReasonCancelled)
	c.Drain.Add(time.Second)
	if c.Left(map[Outcome]int{OutcomeFailed: 2, "later": 1, OutcomeSkipped: -1, OutcomeDrained: 1 << 60}); p.Pods[OutcomeFailed] != 1 || c.Pods[OutcomeFailed] != 3 || len(c.Pods) != 2 || c.Pods[OutcomeDrained] != 1<<20 {
		t.Errorf("%v of %v", c.Pods, p.Pods)
	}
	if p.Results[ReasonCancelled] != 1 || p.Drain.Total() != 1 || c.Drain.Total() != 2 {
		t.Errorf("%+v of %+v", c, p)
	}
	if (*Past)(nil).Clone() == nil {
		t.Error("a copy of nil is nil")
	}
}

// What anybody may have written is no reason not to read the report, and never makes a
// count negative or of a shape that no version has.
func TestPastThatCannotBe(t *testing.T) {
	for _, text := range []string{
		`null`, `3`, `[]`, `"x"`, `{"results":3}`, `{"results":{"RebootVerified":-1}}`, `{"verified":7}`,
		`{"pods":{"failed":-1}}`, `{"pods":3}`, `{"reboots":-1}`, `{"reboots":"x"}`, `{"drain":{"counts":[1]}}`, `{"drain":{"sum":-1}}`, `{"downSeconds":-1}`, `{"reboot":{"counts":[0,0,0,0,0,0,0,0,0,0,0,-1]}}`,
	} {
		p := parsedPast(t, text).Past.Clone()
		if len(p.Results)+len(p.Pods)+p.RebootsTotal() > 0 || !p.Verified.IsZero() || p.Drain.Total()+p.Reboot.Total() > 0 || p.Drain.Sum != 0 || p.DownSeconds != 0 {
			t.Errorf("%s is read as %+v", text, p)
		}
		p.Drain.Add(time.Second)
		if !p.Drain.valid() {
			t.Errorf("%s: %+v", text, p.Drain)
		}
	}
}

func TestDurations(t *testing.T) {
	var d Durations
	for _, s := range []float64{0, 5, 5.001, 7200, 7201} {
		d.Add(time.Duration(s * float64(time.Second)))
	}
	if want := []int{2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1}; !slices.Equal(d.Counts, want) || d.Total() != 5 {
		t.Errorf("%+v, want %v", d, want)
	}
}

// Versions that did not count reboots have counted those that were verified.
func TestRebootsAreCounted(t *testing.T) {
	p := new(Past)
	p.Booted()
	p.Booted()
	p.Reboot.Add(time.Minute)
	if p.RebootsTotal() != 2 {
		t.Errorf("%d", p.RebootsTotal())
	}
	for range 4 {
		p.Reboot.Add(time.Minute)
	}
	if p.Booted(); p.RebootsTotal() != 6 {
		t.Errorf("%d", p.RebootsTotal())
	}
}
