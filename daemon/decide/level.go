package decide

import (
	"strings"

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

// level is the level to order: what is asked for where that is allowed, possible, and
// could be proved afterwards; else a reboot. more says why what is asked for and allowed
// gets a reboot, "" if it does not.
func (p Policy) level(f Facts) (l api.Level, more string) {
	switch asked := f.Request.Level; {
	case asked == api.SoftReboot && p.AllowSoftReboot:
		if f.Boot.Userspace.Known {
			return asked, ""
		}
		return api.FullReboot, "a soft reboot is requested, and systemd cannot say whether one has happened (256 and later can): rebooting instead"
	case asked == api.Kexec && p.AllowKexec:
		if f.Boot.KexecLoaded {
			return asked, ""
		}
		return api.FullReboot, "a kexec is requested, and no kernel is loaded for one: rebooting instead"
	default:
		return api.FullReboot, ""
	}
}

// ordered is the level that the record's order is for.
func ordered(r *api.Record) api.Level {
	if r.Level == "" {
		return api.FullReboot
	}
	return r.Level
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
