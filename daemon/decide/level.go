package decide

import (
	"strings"
	"time"

	"rebootd.dev/daemon/api"
)

// levelOf is the level that a sentinel asks for: its first word, as openSUSE's tools
// write it. Anything else asks for everything.
func levelOf(content string) api.Level {
	word, _, _ := strings.Cut(content, " ")
	switch l := api.Level(word); l {
	case api.SoftReboot, api.Kexec:
		return l
	default:
		return api.FullReboot
	}
}

// higher is the level that does what both do.
func higher(a, b api.Level) api.Level {
	switch {
	case a == api.FullReboot || b == api.FullReboot:
		return api.FullReboot
	case a == api.Kexec || b == api.Kexec:
		return api.Kexec
	default:
		return api.SoftReboot
	}
}

// level is the level to order: what is asked for where that is allowed, and could be
// proved afterwards; else a reboot.
func (p Policy) level(f Facts) api.Level {
	switch {
	case f.Request.Level == api.SoftReboot && p.AllowSoftReboot && f.Boot.Userspace.Known:
		return api.SoftReboot
	case f.Request.Level == api.Kexec && p.AllowKexec:
		return api.Kexec
	default:
		return api.FullReboot
	}
}

// ordered is the level that the record's order is for.
func ordered(r *api.Record) api.Level {
	if r.Level == "" {
		return api.FullReboot
	}
	return r.Level
}

// answer is to a question that cannot always be answered.
type answer int

const (
	no answer = iota
	yes
	unclear
)

// spent says whether the reboot that a sentinel asks for has happened since, and by what.
func spent(s Sentinel, boot Boot) (by string, is answer) {
	// Where a soft reboot will do: the sentinel survives it, as all of /run does.
	u, soft := boot.Userspace, levelOf(s.Content) == api.SoftReboot
	switch {
	case s.ModTime.Before(boot.Time):
		return "boot of " + boot.Time.UTC().Format(time.RFC3339), yes
	case soft && u.Pending:
		return "", unclear
	case soft && u.Known && u.SoftReboots > 0 && s.ModTime.Before(u.Since):
		return "soft reboot of " + u.Since.UTC().Format(time.RFC3339), yes
	default:
		return "", no
	}
}

// softRebooted says whether the machine has soft-rebooted since the order.
func softRebooted(r *api.Record, f Facts) bool {
	u := f.Boot.Userspace
	return f.Boot.ID == r.BootID && r.Order != nil && r.SoftReboots != nil && u.Known && u.SoftReboots > *r.SoftReboots
}

// mayBeSoftRebooted says whether it cannot be known at present whether the machine has
// soft-rebooted since an order that another start of the daemon gave.
func mayBeSoftRebooted(r *api.Record, f Facts) bool {
	return f.Boot.ID == r.BootID && r.Order != nil && r.Order.By != f.Instance && r.SoftReboots != nil && f.Boot.Userspace.Pending
}

// startedOver says whether what the order was to start over runs, after it was given.
func startedOver(r *api.Record, f Facts) bool { return f.Boot.ID != r.BootID || r.Soft }
