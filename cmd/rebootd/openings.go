package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"rebootd.dev/daemon/days"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/window"
	"rebootd.dev/daemon/window/zones"
)

// openingsShown is how many openings of each window check-config prints.
const openingsShown = 5

// checkConfig prints the configuration, and when its windows open next as comments, and
// warns of what is valid and cannot be meant so.
func checkConfig(cfg *config, now time.Time, stdout, stderr io.Writer) error {
	if err := cfg.write(stdout); err != nil {
		return err
	}
	s, err := window.Parse(cfg.Windows, zones.Load)
	if err != nil {
		return err // refused by load already
	}
	if _, err := io.WriteString(stdout, openings(s, now)); err != nil {
		return err
	}
	for _, w := range cfg.warnings(s, now) {
		fmt.Fprintf(stderr, "rebootd: warning: %s\n", w)
	}
	return nil
}

// openings are the next openings of each window, in its zone and in UTC, and the freezes.
func openings(s window.Schedule, now time.Time) string {
	var b strings.Builder
	for _, e := range s.Entries() {
		fmt.Fprintf(&b, "# %s\n", e)
		for _, span := range e.Openings(now, openingsShown) {
			const local = "Mon 2006-01-02 15:04 MST"
			fmt.Fprintf(&b, "#   %s to %s", span.Start.In(e.Location()).Format(local), span.End.In(e.Location()).Format(local))
			if e.Location() != time.UTC {
				fmt.Fprintf(&b, " = %s to %s", span.Start.Format(time.RFC3339), span.End.Format(time.RFC3339))
			}
			if until, _, frozen := s.Frozen(span.Start); frozen && !e.IsFreeze() {
				if until.Before(span.End) {
					fmt.Fprintf(&b, ", frozen until %s", until.Format(time.RFC3339))
				} else {
					b.WriteString(", frozen")
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// warnings are what people should know of windows and freezes that are valid.
func (c *config) warnings(s window.Schedule, now time.Time) (out []string) {
	for _, e := range s.Entries() {
		if e.Past(now) {
			out = append(out, fmt.Sprintf("%q is past; remove it", e))
		}
	}
	never := s.NeverOpen(now)
	for _, e := range never {
		out = append(out, fmt.Sprintf("the window %q never opens: a freeze covers every opening of it within 400 days", e))
	}
	if len(never) > 0 {
		return out
	}
	w, f := c.windowGates()
	for _, g := range []gate.Looker{w, f} {
		if v := g.Look(gate.View{Now: now}); v.State == gate.Closed && v.Until.IsZero() {
			return append(out, v.Why)
		}
	}
	if c.Deadline == 0 {
		return out
	}
	if from, to := longestClosed(s, now); to.Sub(from) > c.Deadline {
		out = append(out, fmt.Sprintf("--deadline=%s is shorter than the %s from %s to %s in which no window is open: past the deadline reboots begin outside the windows",
			days.Format(c.Deadline), days.Format(to.Sub(from)), from.Format(time.RFC3339), to.Format(time.RFC3339)))
	}
	if c.Approval {
		out = append(out, fmt.Sprintf("--deadline=%[1]s overrides --approval: once %[1]s have passed after the request, reboots begin though nobody has approved them", days.Format(c.Deadline)))
	}
	return out
}

// longestClosed is the longest time between two windows of which not everything is frozen,
// and which open within 400 days.
func longestClosed(s window.Schedule, now time.Time) (from, to time.Time) {
	closed := time.Time{} // since when
	span, is := s.Open(now)
	if !is {
		span, is = s.Next(now)
	}
	for last := now.Add(400 * days.Day); is && span.Start.Before(last); span, is = s.Next(span.End) {
		if until, _, frozen := s.Frozen(span.Start); frozen && !until.Before(span.End) {
			continue
		}
		if !closed.IsZero() && span.Start.Sub(closed) > to.Sub(from) {
			from, to = closed, span.Start
		}
		closed = span.End
	}
	return from, to
}
