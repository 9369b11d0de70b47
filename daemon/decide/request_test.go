package decide

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rebootd.dev/daemon/api"
)

// aSentinel is one that was changed then.
func aSentinel(path string, changed time.Time) Sentinel {
	return Sentinel{SentinelFile: api.SentinelFile{Path: path, Device: 1, Inode: 2, Changed: changed, Sum: "s", Volatile: strings.HasPrefix(path, "/run/")}, ModTime: changed}
}

func TestRequestOf(t *testing.T) {
	boot := Boot{ID: "b", Time: t0, Userspace: Userspace{Known: true, SoftReboots: 1, Since: t0.Add(2 * time.Hour)}}
	file := aSentinel("/run/reboot-needed", t0.Add(1))
	full := Sentinel{SentinelFile: aSentinel("/run/reboot-required", t0.Add(1)).SentinelFile, Content: "*** System restart required ***", Packages: []string{"a", "b", "c", "d", "e"}}
	old := aSentinel("/var/old", t0.Add(-1))
	soft := Sentinel{SentinelFile: aSentinel("/run/soft", t0.Add(time.Hour)).SentinelFile, Content: "soft-reboot"}
	of := func(s Sentinel) []api.SentinelFile { return []api.SentinelFile{s.SentinelFile} }
	byBoot, bySoft := "it is of 2026-05-04T11:59:59.999Z, before the boot of 2026-05-04T12:00:00Z", "it is of 2026-05-04T13:00:00.000Z, before the soft reboot of 2026-05-04T14:00:00Z"
	judged := func(s Sentinel, because string) []api.ServedFile {
		return []api.ServedFile{{SentinelFile: s.SentinelFile, Because: because, Judged: true}}
	}
	for name, c := range map[string]struct {
		sentinels  []Sentinel
		annotation string
		want       Request
	}{
		"nothing":                    {nil, "", Request{}},
		"one":                        {[]Sentinel{file}, "", Request{Wanted: true, Level: api.FullReboot, Files: of(file), Why: "/run/reboot-needed since 2026-05-04T12:00:00Z"}},
		"older than the boot":        {[]Sentinel{old}, "", Request{Judged: judged(old, byBoot), Spent: "/var/old is spent, because " + byBoot, Problems: []string{"/var/old is spent, because " + byBoot}}},
		"older than the soft reboot": {[]Sentinel{soft}, "", Request{Judged: judged(soft, bySoft), Spent: "/run/soft is spent, because " + bySoft, Problems: []string{"/run/soft is spent, because " + bySoft}}},
		"one older, one not":         {[]Sentinel{old, file}, "", Request{Wanted: true, Judged: judged(old, byBoot), Problems: []string{"/var/old is spent, because " + byBoot}, Level: api.FullReboot, Files: of(file), Why: "/run/reboot-needed since 2026-05-04T12:00:00Z"}},
		"content and packages":       {[]Sentinel{full}, "", Request{Wanted: true, Level: api.FullReboot, Files: of(full), Why: "/run/reboot-required since 2026-05-04T12:00:00Z (*** System restart required ***) for a, b, c and 2 more"}},
		"annotation":                 {nil, "reboot", Request{Wanted: true, Level: api.FullReboot, Annotated: true, Why: "annotation rebootd.dev/request"}},
		"annotation of another word": {nil, "please", Request{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, RequestOf(c.sentinels, boot, c.annotation, nil, nil)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	idle := Next(Policy{}, nil, Facts{Boot: boot, Request: RequestOf([]Sentinel{old}, boot, "", nil, nil)})
	if idle.Reason != api.ReasonNotRequired || !strings.Contains(idle.More, "/var/old") {
		t.Errorf("a sentinel that is older than the boot: %s (%s), want %s and the sentinel's name", idle.Reason, idle.More, api.ReasonNotRequired)
	}
	long := file
	long.Content = strings.Repeat("ä", maxWhy)
	if got := RequestOf([]Sentinel{long}, boot, "", nil, nil).Why; len(got) > maxWhy || strings.ContainsRune(got, '�') {
		t.Errorf("a long reason became %d bytes: %s", len(got), got)
	}
}

// Levels are only raised, and a sentinel that wants a soft reboot is spent by one.
func TestLevels(t *testing.T) {
	at := func(content string, d time.Duration) Sentinel {
		return Sentinel{SentinelFile: aSentinel("/run/s", t0.Add(d)).SentinelFile, Content: content}
	}
	soft := Boot{ID: "b", Time: t0, Userspace: Userspace{Known: true, SoftReboots: 1, Since: t0.Add(time.Hour)}}
	for name, c := range map[string]struct {
		boot       Boot
		sentinels  []Sentinel
		annotation string
		want       api.Level // "": nothing is wanted
	}{
		"soft":                             {Boot{Time: t0}, []Sentinel{at("soft-reboot", 1)}, "", api.SoftReboot},
		"soft and more words":              {Boot{Time: t0}, []Sentinel{at("soft-reboot for openssl", 1)}, "", api.SoftReboot},
		"kexec":                            {Boot{Time: t0}, []Sentinel{at("kexec", 1)}, "", api.Kexec},
		"empty, as while it is written":    {Boot{Time: t0}, []Sentinel{at("", 1)}, "", api.FullReboot},
		"another word":                     {Boot{Time: t0}, []Sentinel{at("soft-rebooted", 1)}, "", api.FullReboot},
		"soft and kexec":                   {Boot{Time: t0}, []Sentinel{at("soft-reboot", 1), at("kexec", 1)}, "", api.Kexec},
		"kexec and a reboot":               {Boot{Time: t0}, []Sentinel{at("reboot", 1), at("kexec", 1)}, "", api.FullReboot},
		"soft and the annotation":          {Boot{Time: t0}, []Sentinel{at("soft-reboot", 1)}, "reboot", api.FullReboot},
		"soft, before a soft reboot":       {soft, []Sentinel{at("soft-reboot", 1)}, "", ""},
		"soft, after a soft reboot":        {soft, []Sentinel{at("soft-reboot", 2*time.Hour)}, "", api.SoftReboot},
		"a reboot, before a soft reboot":   {soft, []Sentinel{at("reboot", 1)}, "", api.FullReboot},
		"kexec, before a soft reboot":      {soft, []Sentinel{at("kexec", 1)}, "", api.Kexec},
		"soft, before the userspace began": {Boot{Time: t0, Userspace: Userspace{Known: true, Since: t0.Add(time.Hour)}}, []Sentinel{at("soft-reboot", 1)}, "", api.SoftReboot},
	} {
		t.Run(name, func(t *testing.T) {
			got := RequestOf(c.sentinels, c.boot, c.annotation, nil, nil)
			if got.Level != c.want || got.Wanted != (c.want != "") {
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}
