package roll

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
)

// Clock says times in a zone.
type Clock struct{ Zone *time.Location }

// ZoneName is the name of the zone, with how far it is from UTC at a moment.
func (c Clock) ZoneName(at time.Time) string {
	name, short := c.Zone.String(), at.In(c.Zone).Format("MST")
	offset := at.In(c.Zone).Format("-07:00")
	switch {
	case name == "UTC":
		return "UTC"
	case name == "Local" || name == "" || name == short:
		name = short
	default:
		name += ", " + short
	}
	if strings.HasPrefix(short, "+") || strings.HasPrefix(short, "-") {
		return name
	}
	return name + ", UTC" + offset
}

// Minute is a moment as people say it, without the zone: "Fri 27 Nov 22:04"; "-" for none.
func (c Clock) Minute(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(c.Zone).Format("Mon 2 Jan 15:04")
}

// Full is a moment with its year and zone.
func (c Clock) Full(t time.Time) string {
	return t.In(c.Zone).Format("Mon 2 Jan 2006, 15:04 MST")
}

// Range is a stretch of time: "Fri 27 Nov 22:04–23:40", "Fri 27 Nov 22:04 – Sat 28 Nov 01:12".
func (c Clock) Range(from, to time.Time) string {
	f, t := from.In(c.Zone), to.In(c.Zone)
	if f.Year() != t.Year() || f.Format("MST") != t.Format("MST") { // in summer time, and after it
		return c.Full(f) + " – " + c.Full(t)
	}
	if f.Format(time.DateOnly) == t.Format(time.DateOnly) {
		return f.Format("Mon 2 Jan 2006, 15:04") + "–" + t.Format("15:04 MST")
	}
	return f.Format("Mon 2 Jan, 15:04") + " – " + c.Full(t)
}

// After is a moment without its day if that is the day of the one before.
func (c Clock) After(before, t time.Time) string {
	if !t.IsZero() && before.In(c.Zone).Format(time.DateOnly) == t.In(c.Zone).Format(time.DateOnly) {
		return t.In(c.Zone).Format("15:04")
	}
	return c.Minute(t)
}

// Short is a stretch of time without year and zone: "Fri 27 Nov 22:04–23:40".
func (c Clock) Short(from, to time.Time) string {
	if end := c.After(from, to); len(end) == len("15:04") {
		return c.Minute(from) + "–" + end
	}
	return c.Minute(from) + " – " + c.Minute(to)
}

// between is a stretch of time in a sentence.
func (c Clock) between(from, to time.Time) string {
	const minute = time.DateOnly + " 15:04"
	f, t := from.In(c.Zone), to.In(c.Zone)
	switch {
	case f.Format("MST") != t.Format("MST"):
		return "between " + c.Full(from) + " and " + c.Full(to)
	case f.Format(minute) == t.Format(minute):
		return "on " + t.Format("Mon 2 Jan 2006 at 15:04 MST")
	case f.Format(time.DateOnly) == t.Format(time.DateOnly):
		return "on " + f.Format("Mon 2 Jan 2006") + " between " + f.Format("15:04") + " and " + t.Format("15:04 MST")
	case f.Year() == t.Year():
		return "between " + c.Minute(from) + " and " + c.Full(to)
	default:
		return "between " + c.Full(from) + " and " + c.Full(to)
	}
}

// Took says how long something lasted, in one unit or two: 45s, 3m20s, 1h05m, 2d3h; "-"
// for [Unknown].
func Took(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", s)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", m, s)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", h, m)
	default:
		return fmt.Sprintf("%dd%dh", h/24, h%24)
	}
}

// ResultLine is what became of an operation in a word or two: the reason why it ended, or the
// phase in which it is.
func (o Operation) ResultLine() string {
	switch {
	case o.IsHalted() && o.Failure != nil:
		return "Halted: " + string(o.Failure.Reason)
	case o.UnderWay:
		return string(o.Phase)
	case o.Result == "":
		return "-"
	case o.HasHalted() && o.Rebooted():
		return string(o.Result) + ", had halted"
	default:
		return string(o.Result)
	}
}

// PodsLine says what became of the pods: "12", "12 (1 forced, 2 failed)"; "-" for nothing
// known.
func (o Operation) PodsLine() string {
	if len(o.Totals) == 0 {
		return "-"
	}
	var odd []string
	if n := o.Totals[api.OutcomeForceStopped]; n > 0 {
		odd = append(odd, fmt.Sprintf("%d forced", n))
	}
	if n := o.Totals[api.OutcomeFailed]; n > 0 {
		odd = append(odd, fmt.Sprintf("%d failed", n))
	}
	if len(odd) == 0 {
		return fmt.Sprint(o.Moved())
	}
	return fmt.Sprintf("%d (%s)", o.Moved(), strings.Join(odd, ", "))
}

// KernelLine says the kernel before and after: one if it is the same, "-" for none known.
func (o Operation) KernelLine() string {
	switch {
	case o.Kernel == "" && o.NewKernel == "":
		return "-"
	case o.NewKernel == "" || o.Kernel == o.NewKernel:
		return o.Kernel
	case o.Kernel == "":
		return "→ " + o.NewKernel
	default:
		return o.Kernel + " → " + o.NewKernel
	}
}

// Tone is how a roll went.
type Tone int

// The tones.
const (
	Nothing  Tone = iota // nothing rebooted
	Good                 // all that began has rebooted
	Remarks              // so, and something should be looked at
	Running              // nodes are out of service
	Attended             // a node has halted: a person is needed
)

// Verdict is what a roll came to.
type Verdict struct {
	Tone     Tone
	Word     string   // the tone, for people
	Headline string   // a sentence
	Lines    []string // more sentences
}

// Verdict says what the roll came to.
func (r Roll) Verdict(c Clock) Verdict {
	var v Verdict
	rebooted := names(r.Those(Operation.Rebooted))
	var begin, end time.Time
	for _, o := range r.Those(Operation.Rebooted) {
		begin, end = earliest(begin, o.Begin()), latest(end, o.Ended)
	}
	switch {
	case len(rebooted) > 0 && !begin.IsZero() && !end.Before(begin):
		v.Headline = fmt.Sprintf("%d of %s rebooted %s.", len(rebooted), count(r.Nodes, "node"), c.between(begin, end))
	case len(rebooted) > 0:
		v.Headline = fmt.Sprintf("%d of %s rebooted.", len(rebooted), count(r.Nodes, "node"))
	case len(r.Unread) > 0:
		v.Headline = fmt.Sprintf("No reboot of %s is known in this period; of %s it cannot be read.", count(r.Nodes, "node"), count(len(r.Unread), "node"))
	case r.Nodes == 1:
		v.Headline = "The node has not rebooted in this period."
	default:
		v.Headline = fmt.Sprintf("None of %s rebooted in this period.", count(r.Nodes, "node"))
	}
	say := func(format string, args ...any) { v.Lines = append(v.Lines, fmt.Sprintf(format, args...)) }

	if again := len(r.Those(Operation.Rebooted)) - len(rebooted); again > 0 {
		say("That is %s: some nodes rebooted more than once.", count(len(rebooted)+again, "reboot"))
	}
	halted := names(r.Those(Operation.IsHalted))
	if len(halted) > 0 {
		say("%s halted and %s a person: %s.", isOrAre(len(halted), "node"), plural1(len(halted), "needs", "need"), some(halted))
	}
	recovered := names(r.Those(func(o Operation) bool { return o.Rebooted() && o.HasHalted() }))
	if len(recovered) > 0 {
		say("%s had halted and came back: %s.", count(len(recovered), "node"), some(recovered))
	}
	out := names(r.Those(func(o Operation) bool { return o.UnderWay && o.Touched() && !o.IsHalted() }))
	if len(out) > 0 {
		say("%s out of service now: %s.", isOrAre(len(out), "node"), some(out))
	}
	waiting := names(r.Those(Operation.Waits))
	if len(waiting) > 0 {
		say("%s for a reboot: %s.", plural(len(waiting), "node waits", "nodes wait"), some(waiting))
	}
	gave := names(r.Those(Operation.GivenUp))
	if len(gave) > 0 {
		say("%s out of service without a verified reboot: %s.", plural(len(gave), "node was", "nodes were"), some(gave))
	}
	withdrawn := names(r.Those(func(o Operation) bool { return !o.UnderWay && !o.Rebooted() && !o.Touched() && !o.Older }))
	if len(withdrawn) > 0 {
		say("The %s of %s ended before the node was touched: %s.", plural1(len(withdrawn), "request", "requests"), count(len(withdrawn), "node"), some(withdrawn))
	}
	tried := names(r.Those(func(o Operation) bool { return o.Attempts > 0 }))
	if len(tried) > 0 {
		say("%s more than one attempt: %s.", plural(len(tried), "node needed", "nodes needed"), some(tried))
	}
	if line := r.podsLine(); line != "" {
		say("%s", line)
	}
	if line := r.kernelLine(); line != "" {
		say("%s", line)
	}

	if len(r.Unread) > 0 {
		var nodes []string
		for _, u := range r.Unread {
			nodes = append(nodes, u.Node)
		}
		say("The history of %s cannot be read: %s.", count(len(nodes), "node"), some(nodes))
	}

	totals := r.Totals()
	switch {
	case len(halted) > 0:
		v.Tone, v.Word = Attended, "Halted: a person is needed"
	case len(out) > 0:
		v.Tone, v.Word = Running, "Under way"
	case len(r.Unread) > 0:
		v.Tone, v.Word = Remarks, "Not all is known"
	case len(recovered)+len(gave)+len(tried) > 0 || totals[api.OutcomeForceStopped]+totals[api.OutcomeFailed] > 0:
		v.Tone, v.Word = Remarks, "Complete, with remarks"
	case len(rebooted) > 0:
		v.Tone, v.Word = Good, "Complete"
	default:
		v.Tone, v.Word = Nothing, "No reboots"
	}
	if len(waiting) > 0 && (v.Tone == Remarks || v.Tone == Good) {
		v.Word = strings.Replace(v.Word, "Complete", "Not all yet", 1)
	}
	return v
}

func (r Roll) podsLine() string {
	t := r.Totals()
	moved := t[api.OutcomeDrained] + t[api.OutcomeRelocated]
	if moved+t[api.OutcomeForceStopped]+t[api.OutcomeFailed] == 0 {
		return ""
	}
	line := plural(moved, "pod left its node", "pods left their nodes")
	if n := t[api.OutcomeForceStopped]; n > 0 {
		line += fmt.Sprintf("; %s stopped by force", plural(n, "was", "were"))
	} else {
		line += "; none was stopped by force"
	}
	if n := t[api.OutcomeFailed]; n > 0 {
		line += fmt.Sprintf("; %s still there when the drain ended", plural(n, "was", "were"))
	}
	return line + "."
}

func (r Roll) kernelLine() string {
	all := r.Kernels()
	if len(all) == 0 {
		return ""
	}
	var parts []string
	for _, k := range all[:min(3, len(all))] {
		if k.From == k.To {
			parts = append(parts, fmt.Sprintf("%s, unchanged, in %s", k.From, count(k.Reboots, "reboot")))
		} else {
			parts = append(parts, fmt.Sprintf("%s → %s in %s", k.From, k.To, count(k.Reboots, "reboot")))
		}
	}
	if n := len(all) - len(parts); n > 0 {
		parts = append(parts, fmt.Sprintf("and %s more", count(n, "change")))
	}
	return "Kernel: " + strings.Join(parts, "; ") + "."
}

// names are the nodes of operations, each once, by name.
func names(operations []Operation) (out []string) {
	for _, o := range operations {
		out = append(out, o.Node)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// some are the first names of many.
func some(names []string) string {
	const most = 8
	if n := len(names) - most; n > 1 {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(names, ", ")
}

func count(n int, what string) string { return plural(n, what, what+"s") }

func plural(n int, one, many string) string { return fmt.Sprintf("%d %s", n, plural1(n, one, many)) }

func plural1(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func isOrAre(n int, what string) string { return plural(n, what+" is", what+"s are") }
