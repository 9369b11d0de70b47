package main

import (
	"fmt"
	"time"

	"rebootd.dev/daemon/days"
)

// timing is when a reboot is due, and what lies between two.
type timing struct{ Deadline, Interval, MinUptime time.Duration }

// timingOptions say when a reboot is due, and what lies between two.
func timingOptions() []option {
	return []option{
		longSpan("deadline", "0s", "how long after the request was first seen soft gates, such as maintenance windows, may keep the reboot waiting; `0` = for ever", func(c *config) *time.Duration { return &c.Deadline }),
		longSpan("interval", "0s", "how much time must pass after a node has released its slot before the next is cordoned under that slot; with several `--slots` for each of them; `0` = none", func(c *config) *time.Duration { return &c.Interval }),
		longSpan("min-uptime", "0s", "how long the machine must have been up before it is rebooted, such as `10m`. With it, a sentinel that has come back soon after each of the last two reboots gets no further one within a day; with `0` that is only told", func(c *config) *time.Duration { return &c.MinUptime }),
	}
}

// longSpan is a duration that may be given in days.
func longSpan(flag, def, usage string, field func(*config) *time.Duration) option {
	return option{
		flag: flag, def: def, usage: usage,
		set: func(c *config, v string) error {
			d, err := days.Parse(v)
			if err != nil {
				return fmt.Errorf("it must be a duration such as 7d, 1d12h or 36h: %w", err)
			}
			*field(c) = d
			return nil
		},
		get: func(c *config) any { return days.Format(*field(c)) },
	}
}
