package decide

import (
	"time"

	"rebootd.dev/daemon/api"
)

var orderAndClaimFaults = map[string][]decision{
	"the reboot command is spawned only for an order that this start": {
		given(func(_ *Policy, r *api.Record, f *Facts) {
			if r != nil && r.Order != nil {
				r.Order.By, f.Child = f.Instance, Child{}
			}
		}),
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
			if s.Do == DoWrite && s.Record != nil && s.Record.Phase == api.PhaseRebooting {
				s.Do = DoSpawn
			}
		}),
	},
	"an order is not older than a minute": {given(func(_ *Policy, r *api.Record, f *Facts) {
		if r != nil && r.Order != nil {
			r.Order.UptimeMillis = f.Uptime.Milliseconds()
		}
	})},
	"the reboot command is spawned only while the slot is held": {
		eachClaim(func(c *Claim) { c.State = ClaimHeld }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Node.Unschedulable = true }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Request.Wanted = true }),
	},
	"nothing is ordered, drained or cordoned on a boot": {given(func(_ *Policy, r *api.Record, f *Facts) {
		if r != nil && r.Phase == api.PhaseDraining {
			f.Boot.ID = r.BootID
		}
	})},
	"nothing is done while the boot ID is unknown": {given(func(_ *Policy, _ *api.Record, f *Facts) { f.Boot.ID = "boot-1" })},
	"after the reboot may have been ordered, nothing is undone": {given(func(_ *Policy, r *api.Record, f *Facts) {
		if r != nil && r.Order != nil && f.Now.After(t0.Add(time.Minute)) {
			f.Child = Child{Key: r.OrderKey(), State: ChildFailed}
		}
	})},
	"while it is not known whether the machine goes down": {given(func(_ *Policy, _ *api.Record, f *Facts) { f.Shutdown.Pending = false })},
	"while the machine goes down nothing is begun":        {given(func(_ *Policy, _ *api.Record, f *Facts) { f.Shutdown.Preparing = false })},
	"that the machine goes down, or is going to, is accepted": {
		given(func(_ *Policy, r *api.Record, f *Facts) {
			if r != nil && f.Child.of(r) == ChildFailed {
				f.Shutdown = Shutdown{Known: true}
			}
		}),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Shutdown.Kind = "" }),
	},
	"a reboot that the machine has scheduled is not overdue": {given(func(_ *Policy, r *api.Record, f *Facts) {
		if r != nil && r.Order != nil {
			r.Due, f.Shutdown = time.Time{}, Shutdown{Known: true}
		}
	})},
	"a soft reboot counts as what was ordered only": {given(func(_ *Policy, r *api.Record, _ *Facts) {
		if r != nil && r.Order != nil {
			r.Level = api.SoftReboot
		}
	})},
	"less than a reboot is ordered only where": {
		given(func(p *Policy, _ *api.Record, _ *Facts) { p.AllowSoftReboot = true }),
		given(func(p *Policy, _ *api.Record, _ *Facts) { p.AllowKexec = true }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Boot.Userspace.Known = true }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Boot.KexecLoaded = true }),
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
			if s.Do == DoSpawn {
				s.Level = api.Kexec
			}
		}),
	},
	"a machine that may have soft-rebooted is not drained": {given(func(_ *Policy, _ *api.Record, f *Facts) { f.Boot.Userspace.Pending = false })},
	"the order is written for a node whose stages are done": {
		given(func(p *Policy, _ *api.Record, f *Facts) { p.Stages, f.Stages = nil, nil }),
		eachStage(func(_ *Policy, _ *Stage, now *Progress) { now.State = StageDone }),
	},
	"while it is not known whether the reboot that is asked for has happened": {
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Request.Pending = false }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Request.Wanted = f.Request.Wanted || f.Request.Pending }),
	},
	"a request that is withdrawn before": {given(func(_ *Policy, r *api.Record, f *Facts) { f.Request.Wanted = r != nil })},

	"claims are given back only when no operation needs them": {altered(func(_ Policy, r *api.Record, f Facts, s *Step) {
		if r != nil && r.Phase == api.PhaseVerifying && len(held(f)) > 0 {
			*s = release(f)
		}
	})},
	"claims that no operation needs are given back": {
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
			if s.Do == DoRelease {
				s.Do = DoWait
			}
		}),
		eachClaim(func(c *Claim) {
			if !c.Queued && c.State == ClaimHeld {
				c.State = ClaimFree
			}
		}),
	},
	"a claim that is not queued for is taken only under a slot": {eachClaim(func(c *Claim) {
		if c.Queued {
			c.State = ClaimHeld
		}
	})},
	"nobody stands in the queue with another claim": {eachClaim(func(c *Claim) {
		if !c.Queued && c.State == ClaimHeld {
			c.State = ClaimFree
		}
	})},
	"the node is cordoned, its stages are run": {
		eachClaim(func(c *Claim) {
			if c.State == ClaimAnothers {
				c.State = ClaimNone
			}
		}),
		eachClaim(func(c *Claim) {
			if !c.Queued {
				c.State = ClaimHeld
			}
		}),
	},
	"a claim that lapses was confirmed just now": {eachClaim(func(c *Claim) { c.At = t0.Add(24 * time.Hour) })},
	"the node is cordoned only under a slot": {
		eachClaim(func(c *Claim) { c.State = ClaimHeld }),
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
			if s.Do == DoCordon {
				s.Record.Cordoned = true
			}
		}),
	},
	"stages are run only while draining": {
		eachClaim(func(c *Claim) { c.State = ClaimHeld }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Node.Unschedulable = true }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Request.Wanted = true }),
	},
	"whoever has lost a claim before the order": {
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Node.Foreign = false }),
		given(func(_ *Policy, r *api.Record, f *Facts) { f.Node.Unschedulable = r != nil }),
		eachClaim(func(c *Claim) {
			if c.State == ClaimLost {
				c.State = ClaimHeld
			}
		}),
		eachClaim(func(c *Claim) {
			if !c.Queued && c.State == ClaimAnothers {
				c.State = ClaimNone
			}
		}),
	},
	"while it is not known whether the slot is ours": {
		eachClaim(func(c *Claim) {
			if c.Queued && c.State == ClaimUnknown {
				c.State = ClaimHeld
			}
		}),
		eachClaim(func(c *Claim) {
			if c.Queued && c.State == ClaimUnknown {
				c.State = ClaimFree
			}
		}),
	},
}
