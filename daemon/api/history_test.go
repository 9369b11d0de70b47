package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What any version has written, every later one reads, and writes back to the last field.
func TestHistoriesOfEveryVersion(t *testing.T) {
	for name, data := range historiesOfEveryVersion(t) {
		h, err := ParseHistory(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if err := errors.Join(json.Unmarshal(data, &want), json.Unmarshal(again, &got)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: written back, it has changed, though fields that are not known must be kept (-before +after):\n%s", name, diff)
		}
		h.Add(operation(0))
		if h.Operations[0].ID != operation(0).ID || len(h.unknown) == 0 || len(h.Operations[1].unknown) == 0 {
			t.Errorf("%s: with another operation %+v", name, h)
		}
	}
}

func historiesOfEveryVersion(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("testdata/histories/v*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no histories: %v", err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = data
	}
	return out
}

func TestEveryFieldOfTheHistoryIsKnown(t *testing.T) {
	for of, known := range map[reflect.Type][]string{reflect.TypeFor[History](): historyFields, reflect.TypeFor[Summary](): summaryFields} {
		var tags []string
		for f := range of.Fields() {
			if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" {
				tags = append(tags, tag)
			}
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(tags)), slices.Sorted(slices.Values(known))); diff != "" {
			t.Errorf("%s (-fields +known):\n%s", of, diff)
		}
	}
}

// A newer version's is told from what nobody can read: the one is left alone, and the other
// replaced.
func TestHistoriesThatCannotBeRead(t *testing.T) {
	for text, newer := range map[string]bool{
		"": false, "no JSON": false, "null": false, "[]": false, `{}`: false, `{"v":0}`: false, `{"v":"1"}`: false, `{"v":1,"operations":3}`: false,
		`{"v":1,"operations":[{"id":3}]}`: false, `{"v":1,"x":"` + strings.Repeat("x", 2*MaxHistory) + `"}`: false,
		`{"v":2}`: true, `{"v":2,"operations":"of another kind"}`: true, `{"v":2,"x":"` + strings.Repeat("x", 2*MaxHistory) + `"}`: true,
	} {
		if h, err := ParseHistory([]byte(text)); err == nil || errors.Is(err, ErrHistoryTooNew) != newer {
			t.Errorf("%.50s: %+v, %v", text, h, err)
		}
	}
}

// operation is the summary of one that has cordoned the node.
func operation(n int) Summary {
	at := started.Add(time.Duration(n) * time.Hour)
	return Summary{ID: fmt.Sprintf("op-%d", n), Result: ReasonRebootVerified, Message: "rebooted", Requested: at, Cordoned: at, Ended: at}
}

// waited is the summary of one that has not.
func waited(n int) Summary {
	s := operation(n)
	s.Cordoned, s.Result = time.Time{}, ReasonCancelled
	return s
}

func ids(h *History) (out []string) {
	for _, s := range h.Operations {
		out = append(out, s.ID)
	}
	return out
}

// The latest comes first, and is there once however often it is added. Of more than ten,
// those go first that have not touched the node, though never the one that has just ended.
func TestHistoryAdd(t *testing.T) {
	h := new(History)
	for n := range 9 {
		if h.Add(operation(n)); n == 3 {
			h.Add(waited(100))
		}
	}
	h.Add(operation(8))
	if got, want := ids(h), []string{"op-8", "op-7", "op-6", "op-5", "op-4", "op-100", "op-3", "op-2", "op-1", "op-0"}; !slices.Equal(got, want) || h.V != HistorySchema {
		t.Errorf("schema %d: %v, want %v", h.V, got, want)
	}
	h.Add(operation(9))
	if got := ids(h); slices.Contains(got, "op-100") || len(got) != MaxSummaries {
		t.Errorf("%v, where one has not touched the node", got)
	}
	h.Add(waited(101))
	h.Add(waited(102))
	if got, want := ids(h), []string{"op-102", "op-9", "op-8", "op-7", "op-6", "op-5", "op-4", "op-3", "op-2", "op-1"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	h.Add(operation(10))
	h.Add(operation(11))
	if got := ids(h); got[0] != "op-11" || got[9] != "op-2" || len(got) != MaxSummaries {
		t.Errorf("%v", got)
	}
}

// written is a history as it is read again.
func written(t testing.TB, h *History) *History {
	data, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > MaxHistory {
		t.Errorf("it has %d bytes", len(data))
	}
	again, err := ParseHistory(data)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// Of what is too much, pods go first, then messages, then operations, each of the oldest
// first.
func TestHistoryIsCut(t *testing.T) {
	pods := func(n int) (out []SummaryPod) {
		for i := range n {
			out = append(out, SummaryPod{Namespace: "prod", Name: fmt.Sprintf("db-%d", i), Outcome: OutcomeFailed})
		}
		return out
	}
	h := new(History)
	for n := range MaxSummaries {
		s := operation(n)
		s.Pods, s.Totals = pods(30), map[Outcome]int{OutcomeFailed: 30}
		h.Add(s)
	}
	got := written(t, h)
	if len(got.Operations) != MaxSummaries || len(got.Operations[0].Pods) != 30 || len(got.Operations[9].Pods) != 0 || got.Operations[9].Message == "" {
		t.Errorf("%+v", got)
	}
	if len(h.Operations[9].Pods) != 30 {
		t.Error("writing it has changed it")
	}
	h.Operations[0].Pods = pods(1000)
	got = written(t, h)
	if n := len(got.Operations[0].Pods); n < 100 || len(got.Operations[1].Pods) != 0 || got.Operations[9].Message == "" || got.Operations[0].Totals[OutcomeFailed] != 30 {
		t.Errorf("%d pods of the latest: %+v", n, got)
	}
	for i := range h.Operations {
		h.Operations[i].Message, h.Operations[i].Failure = strings.Repeat("m", 1000), &Failure{ReasonUnhealthy, strings.Repeat("f", 1000)}
	}
	got = written(t, h)
	if first, last := got.Operations[0], got.Operations[9]; first.Message == "" || first.Failure.Message == "" || len(first.Pods) > 0 || last.Message != "" || last.Failure.Message != "" || last.Failure.Reason != ReasonUnhealthy {
		t.Errorf("%+v", got)
	}
	for i := range h.Operations {
		h.Operations[i].Request = strings.Repeat("r", 2000)
	}
	got = written(t, h)
	if ids := ids(got); !slices.Equal(ids, []string{"op-9", "op-8", "op-7", "op-6", "op-5", "op-4", "op-3"}) {
		t.Errorf("%v", ids)
	}
	h.unknown = map[string]json.RawMessage{"later": json.RawMessage(`"` + strings.Repeat("x", MaxHistory) + `"`)}
	if got = written(t, h); len(got.Operations) != 7 || len(got.unknown) > 0 {
		t.Errorf("%+v", got)
	}
}

// Whatever is there, and is read, what is written with another operation can be read, is
// not too large, and has that one first.
func FuzzHistory(f *testing.F) {
	for _, data := range historiesOfEveryVersion(f) {
		f.Add(data, 3, "message")
	}
	f.Add([]byte(`{"v":1,"operations":[null,{"id":"a"},{"id":"a","x":[1]}],"x":"`+strings.Repeat("<", 3000)+`"}`), 1000, strings.Repeat("\x01", 600))
	f.Fuzz(func(t *testing.T, data []byte, pods int, message string) {
		h, err := ParseHistory(data)
		if err != nil {
			h = new(History)
		}
		s := operation(1)
		s.Message = message[:min(len(message), 600)]
		for i := range min(pods, 500) {
			s.Pods = append(s.Pods, SummaryPod{Name: fmt.Sprint(i), Outcome: OutcomeForceStopped})
		}
		h.Add(s)
		again := written(t, h)
		if len(again.Operations) > MaxSummaries || len(again.Operations) == 0 || again.Operations[0].ID != s.ID {
			t.Errorf("%v", ids(again))
		}
		if twice, once := written(t, again), again; !slices.Equal(ids(twice), ids(once)) {
			t.Errorf("%v, written again %v", ids(once), ids(twice))
		}
	})
}

// What somebody has written that fills the history goes before the operations that it would
// push out.
func TestHistoryKeepsWhatFits(t *testing.T) {
	full := strings.Repeat("x", MaxHistory)
	for name, text := range map[string]string{
		"a field":                    `{"v":1,"operations":[{"id":"old"}],"new":"` + full + `"}`,
		"a field of an operation":    `{"v":1,"operations":[{"id":"huge","new":"` + full + `"},{"id":"old"}]}`,
		"a reason":                   `{"v":1,"operations":[{"id":"huge","failure":{"reason":"` + full + `"}},{"id":"old"}]}`,
		"the ID of an old operation": `{"v":1,"operations":[{"id":"old"},{"id":"` + full + `"}]}`,
	} {
		h, err := ParseHistory([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		h.Add(Summary{ID: "now", Result: ReasonRebootVerified})
		data, err := json.Marshal(h)
		if err != nil || len(data) > MaxHistory {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
			continue
		}
		if h, err = ParseHistory(data); err != nil || len(h.Operations) != 2 || h.Operations[0].ID != "now" || h.Operations[1].ID != "old" {
			t.Errorf("%s: %v, %.300s", name, err, data)
		}
	}
	h := new(History)
	h.Add(Summary{ID: "old"})
	h.Add(Summary{ID: "now", BootID: full})
	if data, err := json.Marshal(h); err != nil || !strings.Contains(string(data), `"old"`) {
		t.Errorf("of a record that somebody has written: %v, %.300s", err, data)
	}
}
