package decide

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestSuccessor(t *testing.T) {
	first, second := t0, t0.Add(time.Minute)
	for name, tc := range map[string]struct {
		waiting []Candidate
		want    string
	}{
		"nobody waits":                   {nil, ""},
		"the longest waiting":            {[]Candidate{{Node: "b", Since: second}, {Node: "a", Since: first}}, "a"},
		"by name in the end":             {[]Candidate{{Node: "b", Since: first}, {Node: "a", Since: first}}, "a"},
		"priority before time":           {[]Candidate{{Node: "a", Since: first}, {Node: "b", Since: second, Priority: 1}}, "b"},
		"a negative priority":            {[]Candidate{{Node: "a", Since: first, Priority: -1}, {Node: "b", Since: second}}, "b"},
		"workers first":                  {[]Candidate{{Node: "a", Since: first, ControlPlane: true}, {Node: "b", Since: second}}, "b"},
		"priority before that":           {[]Candidate{{Node: "a", Since: first}, {Node: "b", Since: second, ControlPlane: true, Priority: 5}}, "b"},
		"one that has failed is behind":  {[]Candidate{{Node: "a", Since: first, Failed: true, Priority: 9}, {Node: "b", Since: second}}, "b"},
		"the zone is finished first":     {[]Candidate{{Node: "a", Since: first, Zone: "z=2"}, {Node: "b", Since: second, Zone: "z=1"}}, "b"},
		"and then comes the next":        {[]Candidate{{Node: "a", Since: first, Zone: "z=2"}, {Node: "b", Since: second, Zone: "z=3"}}, "a"},
		"all have failed, one is to try": {[]Candidate{{Node: "a", Since: second, Failed: true}, {Node: "b", Since: first, Failed: true}}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 5 { // in whatever order they are listed
				rand.Shuffle(len(tc.waiting), func(i, j int) { tc.waiting[i], tc.waiting[j] = tc.waiting[j], tc.waiting[i] })
				if got := Successor(tc.waiting, "z=1"); got != tc.want {
					t.Errorf("%+v: %q, want %q", tc.waiting, got, tc.want)
				}
			}
		})
	}
}

func TestCandidateOf(t *testing.T) {
	asked := time.Date(2026, 5, 4, 1, 0, 0, 0, time.UTC)
	record := func(phase Phase, attempts int) string {
		return fmt.Sprintf(`{"v":1,"id":"x","phase":%q,"since":"2026-05-04T02:00:00Z","bootID":"b","requested":"2026-05-04T01:00:00Z","attempts":%d}`, phase, attempts)
	}
	for name, tc := range map[string]struct {
		record, priority string
		want             Candidate
		ok               bool
	}{
		"waits":                     {record(Queued, 0), "", Candidate{Node: "n", Since: asked}, true},
		"with a priority":           {record(Queued, 0), "7", Candidate{Node: "n", Since: asked, Priority: 7}, true},
		"that makes no sense":       {record(Queued, 0), "high", Candidate{Node: "n", Since: asked}, true},
		"has failed":                {record(Queued, 2), "", Candidate{Node: "n", Since: asked, Failed: true}, true},
		"in this lock's queue":      {strings.Replace(record(Queued, 0), "{", `{"lock":"lock",`, 1), "", Candidate{Node: "n", Since: asked}, true},
		"in another lock's queue":   {strings.Replace(record(Queued, 0), "{", `{"lock":"other",`, 1), "", Candidate{}, false},
		"a gate is closed":          {record(Waiting, 0), "", Candidate{}, false},
		"not readable":              {`{"v":99}`, "", Candidate{}, false},
		"no operation":              {"", "", Candidate{}, false},
		"is draining: holds a slot": {record(Draining, 0), "", Candidate{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := CandidateOf("lock", "n", tc.record, tc.priority, "", false); got != tc.want || ok != tc.ok {
				t.Errorf("%+v %t, want %+v %t", got, ok, tc.want, tc.ok)
			}
		})
	}
}
