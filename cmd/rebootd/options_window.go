package main

import (
	"fmt"
	"slices"
	"time"

	"rebootd.dev/daemon/window"
	"rebootd.dev/daemon/window/zones"
	"rebootd.dev/daemon/windows"
)

// windowSettings are those of the maintenance windows.
type windowSettings struct {
	Windows       []string // in their canonical form
	WindowEnd     string
	WindowReserve string // a duration, or reserveAuto
}

// The values of --window-end, and the one of --window-reserve that is no duration.
const (
	windowFinish  = "finish"
	windowPutBack = "put-back"

	reserveAuto = "auto"
)

func windowOptions() []option {
	return []option{
		{
			flag: "window", about: "none: at any time", list: true, separator: ";",
			usage: "a maintenance window, outside of which no reboot begins, such as `Mon-Fri 22:00-04:00 Europe/Berlin` or `last Sun 02:00-06:00` (in UTC), or a freeze, in which none does, such as `freeze: 2026-12-20..2027-01-03 Europe/Berlin` or, every year, `freeze: 12-20..01-03 Europe/Berlin`; may be repeated",
			set: func(c *config, v string) error {
				s, err := window.Parse([]string{v}, zones.Load)
				if err != nil {
					return err
				}
				text := s.Entries()[0].String()
				if slices.Contains(c.Windows, text) {
					return fmt.Errorf("%q is given twice", text)
				}
				c.Windows = append(c.Windows, text)
				return nil
			},
			get: func(c *config) any { return c.Windows },
		},
		text("window-end", windowFinish, "", "what becomes of a node that still drains when its window closes or a freeze begins: `finish`: it is drained and rebooted; `put-back`: it is put back. A reboot that was ordered is always finished", func(c *config) *string { return &c.WindowEnd }, func(v string) error {
			return oneOf(v, windowFinish, windowPutBack)
		}),
		{
			flag: "window-reserve", def: reserveAuto, usage: "how much of a window, or of the time before a freeze, must be left for a reboot to begin; `auto`: as much as the last reboot of the node took, drain included, as far as it is known; `0` = none",
			set: func(c *config, v string) error {
				if c.WindowReserve = v; v == reserveAuto {
					return nil
				}
				d, err := time.ParseDuration(v)
				if err != nil || d < 0 {
					return fmt.Errorf("%q is neither %s nor a duration such as 30m or 1h30m", v, reserveAuto)
				}
				c.WindowReserve = d.String()
				return nil
			},
			get: func(c *config) any { return c.WindowReserve },
		},
	}
}

// windowGates are the gates of the windows and of the freezes.
func (c *config) windowGates() (windows.Window, windows.Freeze) {
	reserve, _ := time.ParseDuration(c.WindowReserve) // 0 for reserveAuto
	return windows.New(windows.Settings{
		Entries: c.Windows, Zone: zones.Load, PutBack: c.WindowEnd == windowPutBack,
		Reserve: reserve, Auto: c.WindowReserve == reserveAuto, Longest: rebootLimit(c),
	})
}
