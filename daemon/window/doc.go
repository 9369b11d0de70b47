// Package window says when a reboot may begin: maintenance windows, which permit, and
// freezes, which forbid. It reads no clock and asks nobody.
//
//	Mon-Fri 22:00-04:00 Europe/Berlin          a window: days, times, zone
//	last Sun 02:00-06:00 America/New_York      the last Sunday of each month
//	1st,3rd Tue 01:00-05:00                    without a zone: UTC
//	00:00-24:00                                without days: every day
//	freeze: 2026-12-20..2027-01-03 Europe/Berlin
//	freeze: 2026-12-20T18:00..2027-01-03T08:00 Europe/Berlin
//	freeze: 12-20..01-03 Europe/Berlin         every year
//
// A window belongs to the day on which it opens; one whose end is not after its start
// ends on the next day. The dates of a freeze are both included; a time at its end is not.
//
// A freeze without years is in force on each day whose date is between the two, both
// included, over the turn of the year if the first is the later one. In a year without 29
// February, one that ends on it ends with 28 February, one that starts on it starts with 1
// March, and one of that day alone is left out.
//
// On the days of a clock change there is one rule, and every other fact follows from it:
// in doubt, closed.
//
//   - A window is open while the local clock shows a time inside it. It closes when the
//     clock first shows its end or later, and opens when the clock has shown a time
//     before its start for the last time until then. Where the clock skips start or end,
//     that is the moment of the change; where it shows them twice, a window closes at the
//     first and opens at the second. If nothing is left, there is no window on that day.
//   - A freeze lasts from when the clock first shows its start or later until it has
//     shown a time before its end for the last time.
//
// So no reboot begins at a time of day that is outside the window, or inside the freeze,
// by the clock on the wall, and a window has one opening a day at most.
package window
