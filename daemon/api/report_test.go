package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var started = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// The report keeps to its size, its totals are complete, and what went wrong
// stays longest.
func TestReportIsCut(t *testing.T) {
	r := &Report{V: 1, ID: "op", Started: started, Totals: map[Outcome]int{OutcomeDrained: 1990, OutcomeFailed: 10}}
	for i := range 2000 {
		o := OutcomeDrained
		if i%200 == 0 {
			o = OutcomeFailed
		}
		r.Pods = append(r.Pods, PodReport{Namespace: "namespace", Name: fmt.Sprintf("a-pod-with-a-name-%d", i), UID: fmt.Sprint(i), Outcome: o, Reason: PodEvicting, Message: "why"})
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReport(data)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, p := range got.Pods {
		if p.Outcome == OutcomeFailed {
			failed++
		}
	}
	if len(data) > MaxReport || len(data) < MaxReport/2 || failed != 10 || got.Totals[OutcomeDrained] != 1990 {
		t.Errorf("%d bytes, %d failed pods, totals %v", len(data), failed, got.Totals)
	}
	if left := got.LeftOut[OutcomeDrained]; len(left) != min(maxMarks, len(r.Pods)-len(got.Pods)) || slices.Contains(left, MarkOf("0")) {
		t.Errorf("%d marks for %d pods that were left out", len(left), len(r.Pods)-len(got.Pods))
	}
}

// What any version has ever written every later one reads, and keeps. What versions
// without messages wrote in place of a reason is written back as a reason and a message.
func TestReportsOfEveryVersion(t *testing.T) {
	files, err := filepath.Glob("testdata/reports/v*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no reports: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseReport(data)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		if split, err := os.ReadFile(filepath.Join("testdata/reports/split", filepath.Base(f))); err == nil {
			data = split
		}
		var want, got any
		if err := errors.Join(json.Unmarshal(data, &want), json.Unmarshal(again, &got)); err != nil {
			t.Fatal(err)
		}
		byName := cmpopts.SortSlices(func(a, b any) bool { return fmt.Sprint(a) < fmt.Sprint(b) })
		if diff := cmp.Diff(want, got, byName); diff != "" {
			t.Errorf("%s, written back, has changed (-want +got):\n%s", f, diff)
		}
	}
}

// The version before there were messages reads what this one writes: its fields have
// kept their names and their types.
func TestReportForAnOlderVersion(t *testing.T) {
	data, err := os.ReadFile("testdata/reports/v1-message.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseReport(data)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	var older struct {
		V        int            `json:"v"`
		ID       string         `json:"id"`
		Started  time.Time      `json:"started"`
		Finished time.Time      `json:"finished,omitzero"`
		Totals   map[string]int `json:"totals"`
		Pods     []struct {
			Namespace string  `json:"namespace"`
			Name      string  `json:"name"`
			UID       string  `json:"uid"`
			Outcome   string  `json:"outcome"`
			Reason    string  `json:"reason,omitempty"`
			Seconds   float64 `json:"seconds"`
			To        string  `json:"to,omitempty"`
		} `json:"pods"`
	}
	if err := json.Unmarshal(data, &older); err != nil {
		t.Fatal(err)
	}
	if older.V != 1 || older.ID != r.ID || len(older.Pods) != len(r.Pods) || older.Pods[0].Reason != "BudgetNeverAllows" || older.Pods[0].UID != r.Pods[0].UID {
		t.Errorf("an older version reads %+v", older)
	}
}

func TestReasonsOfOlderVersions(t *testing.T) {
	for _, tc := range []struct{ reason, message, wantReason, wantMessage string }{
		{"BudgetExhausted: budget pg has 2 healthy of 2 needed", "", "BudgetExhausted", "budget pg has 2 healthy of 2 needed"},
		{"Returning: pods like it keep coming: for ever", "", "Returning", "pods like it keep coming: for ever"},
		{"static pod", "", "", "static pod"},
		{"rebootd.dev/drain: skip", "", "", "rebootd.dev/drain: skip"},
		{"Something: of another kind", "", "", "Something: of another kind"},
		{"", "", "", ""},
		{"Terminating", "", "Terminating", ""},
		{"WordOfALaterVersion", "", "WordOfALaterVersion", ""}, // kept
		{"Word: odd", "with a message", "Word: odd", "with a message"},
	} {
		in := PodReport{Reason: PodReason(tc.reason), Message: tc.message}
		p := in
		if p.splitReason(); p.Reason != PodReason(tc.wantReason) || p.Message != tc.wantMessage {
			t.Errorf("%q, %q is read as %q, %q", in.Reason, in.Message, p.Reason, p.Message)
		}
	}
}

// What a later version adds to a report or to a pod of it is kept, also when pods are
// left out and in another order.
func TestUnknownFieldsAreKept(t *testing.T) {
	const in = `{"v":1,"id":"a","started":"2026-05-04T12:00:00Z","totals":{},"later":{"a":1},"pods":[
		{"namespace":"n","name":"b","uid":"2","outcome":"drained","seconds":1,"zone":"eu"},
		{"namespace":"n","name":"a","uid":"1","outcome":"failed","seconds":1},
		{"namespace":"n","name":"c","uid":"3","outcome":"failed","seconds":1,"zone":"us"}]}`
	earlier, err := ParseReport([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{V: 1, ID: "a", Started: started, Pods: earlier.Pods[:2]}
	r.TakeUnknown(earlier)
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for want, there := range map[string]bool{`"later":{"a":1}`: true, `"uid":"2","zone":"eu"`: true, `"zone":"us"`: false, `"name":"a"`: true} {
		if strings.Contains(string(data), want) != there {
			t.Errorf("%s in %s: want %t", want, data, there)
		}
	}
}

// A report that cannot be understood is refused with what is wrong with it.
func TestReportsThatAreRefused(t *testing.T) {
	for in, want := range map[string]string{
		``:                            "not valid JSON",
		`{"v":2,"id":"a"}`:            "schema 2",
		`{"id":"a"}`:                  "schema 0",
		`{"v":1,"id":"a"} {}`:         "not valid JSON",
		`{"v":1,"id":"a"}}`:           "not valid JSON",
		`{"v":1,"pods":[{"name":1}]}`: "not valid JSON",
		`{"v":1,"x":"` + strings.Repeat("x", 2*MaxReport): "limit",
	} {
		if _, err := ParseReport([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %s", in, err, want)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"a","started":"2026-05-04T12:00:00Z","totals":{"drained":1},"pods":[{"namespace":"n","name":"p","uid":"u","outcome":"drained","seconds":1}],"later":{"a":1}}`))
	f.Add([]byte(`{"v":1,"pods":[{"reason":"Returning: x","more":[1]},null,{}],"Pods":[{"reason":"static pod"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReport(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			return // too large without a pod
		}
		if len(again) > MaxReport {
			t.Errorf("written with %d bytes", len(again))
		}
		if _, err := ParseReport(again); err != nil {
			t.Errorf("%s was written as %s: %v", data, again, err)
		}
	})
}

// Each constant of the vocabulary has its line in the table, and says what it is called.
func TestEveryPodReasonIsInTheTable(t *testing.T) {
	words := vocabulary(t, "podreason.go", "Pod")
	for _, w := range words {
		if info := PodReason(w).Info(); info.Meaning == "" || info.Permanent && !info.Blocks {
			t.Errorf("%s has no line in the table, or an odd one: %+v", w, info)
		}
	}
	if len(words) != len(PodReasons()) {
		t.Errorf("%d constants and %d lines", len(words), len(PodReasons()))
	}
}
