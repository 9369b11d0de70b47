package api

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What any version has ever written, in any phase, every later one reads, understands
// and writes back to the last field.
func TestRecordsOfEveryVersion(t *testing.T) {
	seen := map[Phase]bool{}
	for name, data := range recordsOfEveryVersion(t) {
		t.Run(name, func(t *testing.T) {
			r, err := ParseRecord(data)
			if err != nil {
				t.Fatal(err)
			}
			seen[r.Phase] = true
			if !strings.Contains(name, strings.ToLower(string(r.Phase))) {
				t.Errorf("is of phase %s", r.Phase)
			}
			again, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var want, got any
			if err := errors.Join(json.Unmarshal(data, &want), json.Unmarshal(again, &got)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("written back, it has changed, though fields that are not known must be kept (-before +after):\n%s", diff)
			}
		})
	}
	for _, p := range Phases() {
		if !seen[p] {
			t.Errorf("no version has left a record of phase %s", p)
		}
	}
}

func recordsOfEveryVersion(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("testdata/records/v*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no records: %v", err)
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

// A field that is cleared must be gone from what is written, and not come back from
// what is kept of fields that are not known.
func TestEveryFieldIsKnown(t *testing.T) {
	var tags []string
	for f := range reflect.TypeFor[Record]().Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag != "" {
			tags = append(tags, tag)
		}
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(tags)), slices.Sorted(slices.Values(knownFields))); diff != "" {
		t.Errorf("fields of the record, and those that are known (-fields +known):\n%s", diff)
	}
}

func TestRecordsThatAreNotObeyed(t *testing.T) {
	good := `"v":1,"id":"a","phase":"Queued","since":"2026-05-04T12:00:00Z","bootID":"b"`
	if _, err := ParseRecord([]byte("{" + good + "}")); err != nil {
		t.Fatalf("the record that the others are made of: %v", err)
	}
	for name, bad := range map[string]string{
		"empty":                  ``,
		"no JSON":                `hello`,
		"a list":                 `[]`,
		"null":                   `null`,
		"no schema":              `{"id":"a"}`,
		"schema zero":            strings.Replace("{"+good+"}", `"v":1`, `"v":0`, 1),
		"schema of a wrong type": strings.Replace("{"+good+"}", `"v":1`, `"v":"1"`, 1),
		"unknown phase":          strings.Replace("{"+good+"}", `Queued`, `Dreaming`, 1),
		"no phase":               strings.Replace("{"+good+"}", `Queued`, ``, 1),
		"no id":                  strings.Replace("{"+good+"}", `"id":"a"`, `"id":""`, 1),
		"no boot ID":             strings.Replace("{"+good+"}", `"bootID":"b"`, `"bootID":""`, 1),
		"no since":               strings.Replace("{"+good+"}", `"since":"2026-05-04T12:00:00Z",`, ``, 1),
		"since is no time":       strings.Replace("{"+good+"}", `2026-05-04T12:00:00Z`, `noon`, 1),
		"negative attempts":      "{" + good + `,"attempts":-1}`,
		"rebooting, no order":    strings.Replace("{"+good+"}", `Queued`, `Rebooting`, 1),
		"halted, no failure":     strings.Replace("{"+good+"}", `Queued`, `Halted`, 1),
		"halted by another":      strings.Replace("{"+good+`,"failure":{"reason":"Held"}}`, `Queued`, `Halted`, 1),
		"too long":               "{" + good + `,"request":"` + strings.Repeat("x", maxRecord) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := ParseRecord([]byte(bad)); err == nil {
				t.Errorf("was read as %+v", r)
			}
		})
	}
	_, err := ParseRecord([]byte(`{"v":2,"phase":{"of":"another kind"}}`))
	if !errors.Is(err, ErrTooNew) {
		t.Fatalf("a record of schema 2: %v, want ErrTooNew", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, data := range recordsOfEveryVersion(f) {
		f.Add(data)
	}
	f.Add([]byte(`{"v":1,"id":"a","phase":"Halted","since":"2026-05-04T12:00:00Z","bootID":"b","failure":{"reason":"Unhealthy"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRecord(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRecord(again); err != nil && len(again) <= maxRecord {
			t.Errorf("%s was written as %s, which cannot be read: %v", data, again, err)
		}
	})
}

// What an older version has kept, in a later phase, is not believed.
func TestWhatBelongsToAnotherPhase(t *testing.T) {
	r, err := ParseRecord([]byte(`{"v":1,"id":"a","phase":"Draining","since":"2026-05-04T12:00:00Z","bootID":"b",
		"undo":{"since":"2026-05-04T11:00:00Z","reason":"Held"},"drainRan":{"since":"2026-05-04T11:00:00Z","seconds":60}}`))
	if err != nil {
		t.Fatal(err)
	}
	if r.Undoing() != nil || r.DrainHasRun() != 0 {
		t.Errorf("undoing %+v, drain has run for %s", r.Undoing(), r.DrainHasRun())
	}
	r.Undo.Since, r.DrainRan.Since = r.Since, r.Since
	if r.Undoing() == nil || r.DrainHasRun().Seconds() != 60 {
		t.Errorf("of this phase: undoing %+v, drain has run for %s", r.Undoing(), r.DrainHasRun())
	}
}

func TestClone(t *testing.T) {
	for name, data := range recordsOfEveryVersion(t) {
		r, err := ParseRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, r.Clone(), cmp.AllowUnexported(Record{})); diff != "" {
			t.Errorf("%s: the copy differs:\n%s", name, diff)
		}
	}
}
