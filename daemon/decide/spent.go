package decide

import (
	"slices"
	"time"

	"rebootd.dev/daemon/api"
)

// answer is to a question that cannot always be answered.
type answer int

const (
	no answer = iota
	yes
	unclear
)

// verdict is whether the reboot that a sentinel asks for has happened.
type verdict struct {
	spent   answer
	because string // it has
	kept    bool   // as is remembered, by the file's identity
	judged  bool   // by the file's time
}

// judge says whether a sentinel is spent. It is if it was served, which is remembered by
// its identity. Where nothing is remembered it has to be found out, once:
//
//   - What the operation has seen in this boot asks until it is served, whatever has become
//     of the clocks since.
//   - A file system that is made at boot has nothing that is older than the boot. It
//     survives a soft reboot, though, and so do sentinels that one serves.
//   - Elsewhere a file whose times say that it is from before the boot was there before it,
//     as far as the clock was right.
func judge(s Sentinel, boot Boot, r *api.Record, served *api.Served) verdict {
	u, soft := boot.Userspace, levelOf(s.Content) == api.SoftReboot
	if f, is := served.Find(s.SentinelFile, boot.ID); is {
		return verdict{spent: yes, because: f.Because, kept: true, judged: f.Judged}
	}
	switch {
	case servedByBoot(s, boot, r):
		return verdict{spent: yes, because: "the reboot of this operation has happened"}
	case soft && u.Pending && !beforeBoot(s, boot):
		return verdict{spent: unclear}
	case seen(s, boot, r):
		if soft && u.Known && r.SoftReboots != nil && u.SoftReboots > *r.SoftReboots {
			return verdict{spent: yes, because: "the machine has soft-rebooted since it was seen"}
		}
		return verdict{}
	case beforeBoot(s, boot):
		return verdict{spent: yes, judged: true, because: "it is of " + s.of().UTC().Format(fileTime) + ", before the boot of " + boot.Time.UTC().Format(time.RFC3339)}
	case soft && u.Known && u.SoftReboots > 0 && s.Changed.Before(u.Since):
		return verdict{spent: yes, judged: true, because: "it is of " + s.Changed.UTC().Format(fileTime) + ", before the soft reboot of " + u.Since.UTC().Format(time.RFC3339)}
	}
	return verdict{}
}

// beforeBoot says whether a file was there before the boot, by the clock.
func beforeBoot(s Sentinel, boot Boot) bool { return !s.Volatile && s.of().Before(boot.Time) }

// of is the earlier of the file's times: the other may have been set, or be that of a move.
func (s Sentinel) of() time.Time {
	if s.Changed.Before(s.ModTime) {
		return s.Changed
	}
	return s.ModTime
}

// servedByBoot says whether the operation has seen the sentinel ask, and the boot has
// followed.
func servedByBoot(s Sentinel, boot Boot, r *api.Record) bool {
	if r == nil || r.BootID == boot.ID && !r.Soft || s.Volatile && r.BootID != boot.ID {
		return false
	}
	return slices.ContainsFunc(r.Files, s.Same)
}

// seen says whether the operation has seen the sentinel ask in this boot: the file may have
// been changed since. A record of an older version does not say what has asked; where it
// was not the annotation alone, any sentinel may have.
func seen(s Sentinel, boot Boot, r *api.Record) bool {
	if r == nil || r.BootID != boot.ID || r.Soft {
		return false
	}
	if len(r.Files) == 0 {
		return !r.Annotated
	}
	return slices.ContainsFunc(r.Files, func(f api.SentinelFile) bool { return f.Path == s.Path })
}
