package decide

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
			// On the boot that wrote it, and on the next.
			for _, boot := range []string{r.BootID, "another"} {
				if step := Next(policy, r, Facts{Now: r.Since.Add(time.Second), Instance: "me", Boot: Boot{ID: boot, Time: r.Since}}); step.Reason == RecordInvalid && r.Phase != Verifying {
					t.Errorf("on boot %s it leads to %+v", boot, step)
				}
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
			r, err := ParseRecord([]byte(bad))
			if err == nil {
				t.Fatalf("was read as %+v", r)
			}
			if step := HandsOff(err); step.Do != Wait || step.Reason != RecordInvalid {
				t.Errorf("leads to %+v", step)
			}
		})
	}
	_, err := ParseRecord([]byte(`{"v":2,"phase":{"of":"another kind"}}`))
	if !errors.Is(err, ErrTooNew) {
		t.Fatalf("a record of schema 2: %v, want ErrTooNew", err)
	}
	if step := HandsOff(err); step.Do != Wait || step.Reason != RecordTooNew {
		t.Errorf("a record of schema 2 leads to %+v", step)
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
		// Whatever was read leads to a decision, and can be written and read again.
		facts := Facts{Now: t0, Instance: "me", Boot: Boot{ID: "b", Time: t0}}
		if step := Next(policy, r, facts); step.Message == "" {
			t.Errorf("%+v leads to a step without a message", r)
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

// The decision has no client, no clock and no file.
func TestDecisionIsPure(t *testing.T) {
	allowed := []string{"cmp", "encoding/json", "errors", "fmt", "maps", "slices", "strconv", "strings", "time"}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range file.Imports {
			if path, _ := strconv.Unquote(imp.Path.Value); !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, sel.Sel.Name) {
					t.Errorf("%s asks a clock: time.%s", name, sel.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestRequestOf(t *testing.T) {
	boot := Boot{ID: "b", Time: t0}
	file := Sentinel{Path: "/run/reboot-needed", ModTime: t0.Add(1)}
	full := Sentinel{Path: "/run/reboot-required", ModTime: t0.Add(1), Content: "*** System restart required ***", Packages: []string{"a", "b", "c", "d", "e"}}
	old := Sentinel{Path: "/run/old", ModTime: t0.Add(-1)}
	for name, c := range map[string]struct {
		sentinels  []Sentinel
		annotation string
		want       Request
	}{
		"nothing":                    {nil, "", Request{}},
		"one":                        {[]Sentinel{file}, "", Request{Wanted: true, Level: FullReboot, Why: "/run/reboot-needed since 2026-05-04T12:00:00Z"}},
		"older than the boot":        {[]Sentinel{old}, "", Request{}},
		"one older, one not":         {[]Sentinel{old, file}, "", Request{Wanted: true, Level: FullReboot, Why: "/run/reboot-needed since 2026-05-04T12:00:00Z"}},
		"content and packages":       {[]Sentinel{full}, "", Request{Wanted: true, Level: FullReboot, Why: "/run/reboot-required since 2026-05-04T12:00:00Z (*** System restart required ***) for a, b, c and 2 more"}},
		"annotation":                 {nil, "reboot", Request{Wanted: true, Level: FullReboot, Annotated: true, Why: "annotation rebootd.dev/request"}},
		"annotation of another word": {nil, "please", Request{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, RequestOf(c.sentinels, boot, c.annotation)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	long := file
	long.Content = strings.Repeat("ä", maxWhy)
	if got := RequestOf([]Sentinel{long}, boot, "").Why; len(got) > maxWhy || strings.ContainsRune(got, '�') {
		t.Errorf("a long reason became %d bytes: %s", len(got), got)
	}
}

// Levels are only raised, and a sentinel that wants a soft reboot is spent by one.
func TestLevels(t *testing.T) {
	at := func(content string, d time.Duration) Sentinel {
		return Sentinel{Path: "/s", ModTime: t0.Add(d), Content: content}
	}
	soft := Boot{ID: "b", Time: t0, Userspace: Userspace{Known: true, SoftReboots: 1, Since: t0.Add(time.Hour)}}
	for name, c := range map[string]struct {
		boot       Boot
		sentinels  []Sentinel
		annotation string
		want       Level // "": nothing is wanted
	}{
		"soft":                             {Boot{Time: t0}, []Sentinel{at("soft-reboot", 1)}, "", SoftReboot},
		"soft and more words":              {Boot{Time: t0}, []Sentinel{at("soft-reboot for openssl", 1)}, "", SoftReboot},
		"kexec":                            {Boot{Time: t0}, []Sentinel{at("kexec", 1)}, "", Kexec},
		"empty, as while it is written":    {Boot{Time: t0}, []Sentinel{at("", 1)}, "", FullReboot},
		"another word":                     {Boot{Time: t0}, []Sentinel{at("soft-rebooted", 1)}, "", FullReboot},
		"soft and kexec":                   {Boot{Time: t0}, []Sentinel{at("soft-reboot", 1), at("kexec", 1)}, "", Kexec},
		"kexec and a reboot":               {Boot{Time: t0}, []Sentinel{at("reboot", 1), at("kexec", 1)}, "", FullReboot},
		"soft and the annotation":          {Boot{Time: t0}, []Sentinel{at("soft-reboot", 1)}, "reboot", FullReboot},
		"soft, before a soft reboot":       {soft, []Sentinel{at("soft-reboot", 1)}, "", ""},
		"soft, after a soft reboot":        {soft, []Sentinel{at("soft-reboot", 2*time.Hour)}, "", SoftReboot},
		"a reboot, before a soft reboot":   {soft, []Sentinel{at("reboot", 1)}, "", FullReboot},
		"kexec, before a soft reboot":      {soft, []Sentinel{at("kexec", 1)}, "", Kexec},
		"soft, before the userspace began": {Boot{Time: t0, Userspace: Userspace{Known: true, Since: t0.Add(time.Hour)}}, []Sentinel{at("soft-reboot", 1)}, "", SoftReboot},
	} {
		t.Run(name, func(t *testing.T) {
			got := RequestOf(c.sentinels, c.boot, c.annotation)
			if got.Level != c.want || got.Wanted != (c.want != "") {
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}
