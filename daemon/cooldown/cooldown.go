// Package cooldown has the gates that keep reboots apart: in the cluster by the time since
// a node was last worked on under the same slot, and on one node by its uptime. Both follow
// from what the daemon knows anyway: they ask nobody.
package cooldown

import (
	"fmt"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/days"
	"rebootd.dev/daemon/gate"
)

// Interval is the gate of the time between two nodes that are rebooted one after the other
// under one slot. A node waits with the slot in hand, or its place would go from node to
// node meanwhile. It counts from what the last node that was worked on says as it releases
// the slot ([gate.View.Vacated]).
type Interval struct{ Least time.Duration }

// Kind is what is to be known of the gate. It is not soft: the time is there to see what
// the last reboot has done, and many deadlines may pass at once.
func (*Interval) Kind() gate.Kind {
	return gate.Kind{
		Name: "interval", Reason: api.ReasonCoolingDown, Binds: gate.WithSlot,
		Meaning: "the last node that was worked on under the slot has released it less than `--interval` ago",
	}
}

// Look says whether enough time has passed.
func (g *Interval) Look(v gate.View) gate.Verdict {
	opens := v.Vacated.Add(g.Least)
	if v.Vacated.IsZero() || !v.Now.Before(opens) {
		return gate.Verdict{State: gate.Open}
	}
	return gate.Verdict{
		State: gate.Closed, Until: opens,
		Why: fmt.Sprintf("cooling down after another node, which was done at %s: %s must lie between two", v.Vacated.UTC().Format(time.RFC3339), days.Format(g.Least)),
	}
}

// MinUptime is the gate of the time for which a machine must have been up before it is
// rebooted. Where a sentinel comes back after each boot, it keeps the machine from going
// round in a circle; with Least 0 it only says so.
type MinUptime struct{ Least time.Duration }

const (
	// inCircle is how often in a row a sentinel must have come back for that to be named
	// as the cause: updates that need two reboots do so once.
	inCircle = 2
	// circlePause lies between two reboots then.
	circlePause = days.Day
	// maxPaths bounds the sentinels that are named.
	maxPaths = 3
)

// Kind is what is to be known of the gate.
func (*MinUptime) Kind() gate.Kind {
	return gate.Kind{
		Name: "min-uptime", Reason: api.ReasonCoolingDown, Binds: gate.BeforeQueue, Opens: api.ReasonCoolingDown,
		Meaning: "the machine has been up for less than `--min-uptime`; or a sentinel has come back soon after each of the last two reboots or more, and the last was verified less than a day ago",
	}
}

// Look says whether the machine has been up for long enough.
func (g *MinUptime) Look(v gate.View) gate.Verdict {
	if n := g.circle(v); n >= inCircle {
		named := fmt.Sprintf("%s come back after each of the last %d boots; something on the host raises it at every boot", sentinels(v.Record), n)
		opens := v.Past.Verified.Add(max(g.Least, circlePause))
		switch {
		case g.Least == 0:
			named += "; rebooting for it again, since --min-uptime is 0"
			return gate.Verdict{State: gate.Open, Note: named, Opened: named}
		case v.Now.Before(opens):
			return gate.Verdict{State: gate.Closed, Until: opens, Why: named + "; not rebooting for it again"}
		}
	}
	if v.Uptime >= g.Least {
		return gate.Verdict{State: gate.Open}
	}
	return gate.Verdict{State: gate.Closed, Why: "the machine has been up for less than " + days.Format(g.Least), Until: booted(v).Add(g.Least)}
}

// circle is after how many verified reboots in a row a sentinel has requested the next one
// soon. What people request by the annotation is no part of a circle.
func (g *MinUptime) circle(v gate.View) int {
	requested := v.Now
	if v.Record != nil {
		if v.Record.Annotated {
			return 0
		}
		requested = v.Record.Requested
	}
	if !v.Past.CameBack(requested, max(g.Least, api.Soon)) {
		return 0
	}
	return v.Past.Returned + 1
}

// booted is when the machine booted, by the clock as it is set at present. Readings differ
// by moments, and what people are told must not: where the kernel's own account, which is
// read once, is not another one, it counts.
func booted(v gate.View) time.Time {
	at := v.Now.Add(-v.Uptime)
	if v.Booted.Sub(at).Abs() < 2*time.Second {
		return v.Booted
	}
	return at.Add(time.Minute - 1).Truncate(time.Minute)
}

// sentinels are the names of those that ask, with their verb.
func sentinels(r *api.Record) string {
	if r == nil || len(r.Files) == 0 {
		return "the request has"
	}
	var paths []string
	for _, f := range r.Files[:min(len(r.Files), maxPaths)] {
		paths = append(paths, f.Path)
	}
	if len(paths) > 1 {
		return strings.Join(paths, " and ") + " have"
	}
	return paths[0] + " has"
}
