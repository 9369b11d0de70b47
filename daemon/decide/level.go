package decide

import (
	"strings"
	"time"
)

// Level is how much of the machine a reboot begins anew.
type Level string

// The levels, from the least to the most (systemctl(1)): userspace alone; the kernel,
// without the firmware; everything.
const (
	SoftReboot Level = "soft-reboot"
	Kexec      Level = "kexec"
	FullReboot Level = "reboot"
)

// Userspace is what the machine's service manager knows of its own starts; where it
// does not count soft reboots nothing is known.
type Userspace struct {
	Known       bool
	SoftReboots int       // in this boot
	Since       time.Time // when the userspace that runs was started
}

// levelOf is the level that a sentinel asks for: its first word, as openSUSE's tools
// write it. Anything else asks for everything.
func levelOf(content string) Level {
	word, _, _ := strings.Cut(content, " ")
	switch l := Level(word); l {
	case SoftReboot, Kexec:
		return l
	default:
		return FullReboot
	}
}

// higher is the level that does what both do.
func higher(a, b Level) Level {
	switch {
	case a == FullReboot || b == FullReboot:
		return FullReboot
	case a == Kexec || b == Kexec:
		return Kexec
	default:
		return SoftReboot
	}
}

// level is the level to order: what is asked for where that is allowed, and could be
// proved afterwards; else a reboot.
func (p Policy) level(f Facts) Level {
	switch {
	case f.Request.Level == SoftReboot && p.AllowSoftReboot && f.Boot.Userspace.Known:
		return SoftReboot
	case f.Request.Level == Kexec && p.AllowKexec:
		return Kexec
	default:
		return FullReboot
	}
}

// spent says whether the reboot that a sentinel asks for has happened since.
func spent(s Sentinel, boot Boot) bool {
	if s.ModTime.Before(boot.Time) {
		return true
	}
	// It survives a soft reboot, as all of /run does.
	return levelOf(s.Content) == SoftReboot && boot.Userspace.Known && boot.Userspace.SoftReboots > 0 && s.ModTime.Before(boot.Userspace.Since)
}

// softRebooted says whether the machine has soft-rebooted since the order.
func softRebooted(r *Record, f Facts) bool {
	u := f.Boot.Userspace
	return f.Boot.ID == r.BootID && r.Order != nil && r.SoftReboots != nil && u.Known && u.SoftReboots > *r.SoftReboots
}

// anew says whether what the order was to begin anew runs, after it was given.
func anew(r *Record, f Facts) bool { return f.Boot.ID != r.BootID || r.Soft }
