package api

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var changed = time.Date(2026, 5, 4, 12, 0, 0, 123_456_789, time.UTC)

// A sentinel is served as long as nothing is done to it. On a file system that is made at
// boot nothing is, after the next; elsewhere the numbers of devices and files may be others
// then.
func TestServedFind(t *testing.T) {
	disk := SentinelFile{Path: "/var/lib/reboot", Device: 8, Inode: 12, Changed: changed, Sum: "abc"}
	run := SentinelFile{Path: "/run/reboot-needed", Device: 24, Inode: 900, Changed: changed, Sum: "abc", Volatile: true}
	text, err := json.Marshal((*Served)(nil).With("boot-1", changed, []ServedFile{{SentinelFile: disk, Because: "of this"}, {SentinelFile: run, Because: "of that"}}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseServed(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file   SentinelFile
		change func(*SentinelFile)
		boot   string
		want   bool
	}{
		"the same":                        {disk, func(*SentinelFile) {}, "boot-1", true},
		"the same, after the boot":        {disk, func(*SentinelFile) {}, "boot-2", true},
		"a disk has got another number":   {disk, func(f *SentinelFile) { f.Device, f.Inode = 7, 13 }, "boot-2", true},
		"touched a nanosecond later":      {disk, func(f *SentinelFile) { f.Changed = f.Changed.Add(1) }, "boot-2", false},
		"touched, with the clock back":    {disk, func(f *SentinelFile) { f.Changed = f.Changed.Add(-24 * time.Hour) }, "boot-2", false},
		"other content":                   {disk, func(f *SentinelFile) { f.Sum = "abd" }, "boot-2", false},
		"another path":                    {disk, func(f *SentinelFile) { f.Path = "/var/lib/other" }, "boot-2", false},
		"in /run":                         {run, func(*SentinelFile) {}, "boot-1", true},
		"in /run, after the boot":         {run, func(*SentinelFile) {}, "boot-2", false},
		"in /run, another in its place":   {run, func(f *SentinelFile) { f.Inode++ }, "boot-1", false},
		"in /run, of another file system": {run, func(f *SentinelFile) { f.Device++ }, "boot-1", false},
		"no longer made at boot":          {run, func(f *SentinelFile) { f.Volatile = false }, "boot-1", false},
	} {
		f := c.file
		c.change(&f)
		got, is := s.Find(f, c.boot)
		if is != c.want || is && (got.Because == "" || !got.Same(f)) {
			t.Errorf("%s: served %t, as %+v; want %t", name, is, got, c.want)
		}
	}
	if _, is := (*Served)(nil).Find(disk, "boot-1"); is {
		t.Error("where nothing is remembered something is served")
	}
}

func TestParseServed(t *testing.T) {
	if s, err := ParseServed(""); s != nil || err != nil {
		t.Errorf("the absent annotation: %+v, %v", s, err)
	}
	for name, bad := range map[string]string{
		"no JSON":           `hello`,
		"null":              `null`,
		"a list":            `[]`,
		"no schema":         `{"bootID":"b","files":[]}`,
		"a newer schema":    `{"v":2,"bootID":"b","files":[]}`,
		"a time is no time": `{"v":1,"bootID":"b","at":"noon","files":[]}`,
		"a file is no file": `{"v":1,"bootID":"b","at":"2026-05-04T12:00:00Z","files":[1]}`,
		"too long":          `{"v":1,"bootID":"` + strings.Repeat("b", maxRecord) + `"}`,
	} {
		if s, err := ParseServed(bad); err == nil || s != nil {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

// What a newer version has added is kept, and what is served is replaced.
func TestServedWith(t *testing.T) {
	s, err := ParseServed(`{"v":1,"bootID":"b","at":"2026-05-04T12:00:00Z","files":[{"path":"/a","sum":"1"},{"path":"/b"}],"by":{"whom":["it"]}}`)
	if err != nil {
		t.Fatal(err)
	}
	a := s.Files[0]
	a.Sum = "2"
	got, err := json.Marshal(s.With("c", changed, []ServedFile{a}))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"at":"2026-05-04T12:00:00.123456789Z","bootID":"c","by":{"whom":["it"]},"files":[{"path":"/a","device":0,"inode":0,"changed":"0001-01-01T00:00:00Z","sum":"2","because":""}],"v":1}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
