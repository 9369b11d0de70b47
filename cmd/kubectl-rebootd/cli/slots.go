package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// lockView is what -o json prints of a lock.
type lockView struct {
	Lock  string     `json:"lock"`
	Slots []slotView `json:"slots"`
	// Zone is what the nodes that are down share, by the lock's own Lease; "" for none.
	Zone         string      `json:"zone,omitempty"`
	ControlPlane string      `json:"controlPlane,omitempty"` // the control-plane node that has a slot
	Line         []string    `json:"line,omitempty"`         // who waits for a slot, in order
	Pauses       []pauseView `json:"pauses,omitempty"`
}

// slotView is a slot.
type slotView struct {
	Slot   string    `json:"slot"`
	Holder string    `json:"holder,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Phase  api.Phase `json:"phase,omitempty"`
	// Note is what else is to be known of it.
	Note     string   `json:"note,omitempty"`
	Reserved []string `json:"reserved,omitempty"` // for whom it is kept, while it is free
}

// pauseView is a pause.
type pauseView struct {
	Lease  string    `json:"lease"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`
	Over   bool      `json:"over,omitempty"`
	Note   string    `json:"note,omitempty"`
}

func newSlots(e *env) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "slots", Short: "Show the slots: who holds them, since when, and who is next", Args: e.args(cobra.NoArgs),
		Long: `Show the slots: who holds them, since when, and who is next.

A slot does not expire: a holder that halts, or does not come back, keeps it until a person acts.
This needs the right to list Leases in the namespace of rebootd.`,
		Example: "  " + e.name + " slots",
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := e.limited(c.Context())
			defer cancel()
			a, err := e.connect()
			if err != nil {
				return err
			}
			f, err := e.read(ctx, a, "")
			if err != nil {
				return err
			}
			if f.Unread != nil {
				return fmt.Errorf("%w\nthe slots are Leases: this needs the right to list leases.coordination.k8s.io in the namespace %s (the Role rebootd-viewer has it)", f.Unread, e.flags.namespace)
			}
			all := []lockView{}
			for _, lock := range f.Locks() {
				all = append(all, lockOf(f, lock))
			}
			if o != "" {
				return e.encode(o, struct {
					object
					Locks []lockView `json:"locks"`
				}{kind("Slots"), all})
			}
			return e.printSlots(f, all)
		},
	}
	outputFlag(c, &o, "json", "yaml")
	return c
}

// lockOf is a lock with its slots, those included that nobody has ever taken.
func lockOf(f fleet.Fleet, lock string) lockView {
	v := lockView{Lock: lock, Slots: []slotView{}, Zone: f.OpenZones[lock], ControlPlane: f.ControlPlanes[lock], Line: f.Queue(lock)}
	slots := 0
	for _, n := range f.Nodes {
		if n.Status != nil && n.Record != nil && cmp.Or(n.Record.Lock, fleet.DefaultLock) == lock {
			slots = max(slots, n.Status.Slots)
		}
	}
	there := map[int]bool{}
	for _, s := range f.Slots {
		if s.Lock != lock {
			continue
		}
		there[s.Index] = true
		view := slotOf(f, s)
		if slots > 0 && s.Index >= slots {
			view.Note = joinNotes(view.Note, "not used any more: the lock has "+count(slots, "slot"))
		}
		v.Slots = append(v.Slots, view)
	}
	for i := range slots {
		if !there[i] {
			v.Slots = append(v.Slots, slotView{Slot: api.SlotName(lock, i), Note: "nobody has taken it yet"})
		}
	}
	for _, p := range f.Pauses {
		if p.Lock != lock {
			continue
		}
		view := pauseView{Lease: p.Lease, Reason: p.Why, Until: p.Until, Over: p.Over(f.At)}
		if p.UntilText != "" && p.Until.IsZero() {
			view.Note = fmt.Sprintf("its end %q is not a time by RFC 3339, so it does not end by itself", p.UntilText)
		}
		v.Pauses = append(v.Pauses, view)
	}
	return v
}

// slotOf is a slot and what its holder does.
func slotOf(f fleet.Fleet, s fleet.Slot) slotView {
	v := slotView{Slot: s.Name, Holder: s.Holder, Since: s.Since, Reserved: s.Next}
	if s.TooNew {
		v.Note = "a newer version of rebootd has written it; this program may not understand it"
	}
	if s.Holder == "" {
		return v
	}
	n, there := f.Node(s.Holder)
	switch {
	case !there:
		v.Note = joinNotes(v.Note, "its holder is not a Node any more: the next that needs it takes it")
	case n.Newer():
		v.Note = joinNotes(v.Note, "a newer version is at work there; this program cannot read its record")
	case n.RecordErr != nil:
		v.Note = joinNotes(v.Note, "its holder's record cannot be read: it keeps the slot until a person acts")
	case n.Record == nil:
		_, why := f.Lingers(s)
		v.Note = joinNotes(v.Note, cmp.Or(why, "its holder has nothing to do, and releases it soon"))
	default:
		v.Phase = n.Record.Phase
		if n.Record.Phase == api.PhaseHalted {
			v.Note = joinNotes(v.Note, "it keeps the slot until that is resolved")
		}
	}
	return v
}

func joinNotes(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

func (e *env) printSlots(f fleet.Fleet, all []lockView) error {
	if len(all) == 0 {
		fmt.Fprintf(e.out, "No slot of a lock is in the namespace %s, and no node waits for one: nobody has taken one yet.\n", e.flags.namespace)
		return nil
	}
	rows := [][]string{{"SLOT", "HOLDER", "SINCE", "PHASE", "NOTE"}}
	for _, l := range all {
		for _, s := range l.Slots {
			rows = append(rows, e.slotRow(f, s))
		}
	}
	if err := table(e.out, rows); err != nil {
		return err
	}
	for _, l := range all {
		of := ""
		if len(all) > 1 {
			of = " (" + l.Lock + ")"
		}
		if len(l.Line) > 0 {
			fmt.Fprintf(e.out, "Next%s: %s\n", of, some(l.Line, 8))
		} else {
			fmt.Fprintf(e.out, "Next%s: no node waits for a slot\n", of)
		}
		if l.Zone != "" {
			fmt.Fprintf(e.out, "Zone%s: only nodes of %s are started\n", of, l.Zone)
		}
		if l.ControlPlane != "" {
			fmt.Fprintf(e.out, "Control plane%s: %s, and no other until it is done\n", of, l.ControlPlane)
		}
		for _, p := range l.Pauses {
			fmt.Fprintf(e.out, "Pause%s: %s\n", of, e.pauseWords(p))
		}
	}
	return nil
}

func (e *env) slotRow(f fleet.Fleet, s slotView) []string {
	holder, since, note := s.Holder, "-", s.Note
	if holder == "" {
		holder = "-"
		if len(s.Reserved) > 0 {
			note = joinNotes(note, "kept for "+some(s.Reserved, 3))
		}
		note = joinNotes("free", note)
	} else if !s.Since.IsZero() {
		since = fmt.Sprintf("%s (%s)", e.clock(s.Since), ago(f.At.Sub(s.Since)))
	}
	row := []string{s.Slot, holder, since, cmp.Or(string(s.Phase), "-"), note}
	if note == "" {
		return row[:4]
	}
	return row
}

// slotWords is a slot in words.
func (e *env) slotWords(f fleet.Fleet, s slotView) string {
	row := e.slotRow(f, s)
	if s.Holder == "" {
		return row[4]
	}
	words := "held by " + s.Holder
	if !s.Since.IsZero() {
		words += " since " + row[2]
	}
	return words + joinIf(", ", string(s.Phase)) + joinIf("; ", s.Note)
}

func (e *env) pauseWords(p pauseView) string {
	words := fmt.Sprintf("%s (Lease %s)", cmp.Or(p.Reason, "no reason given"), p.Lease)
	switch {
	case p.Over:
		return words + ", over since " + e.clock(p.Until)
	case !p.Until.IsZero():
		return words + ", until " + e.clock(p.Until)
	}
	return words + joinIf("; ", p.Note)
}

func joinIf(with, text string) string {
	if text == "" {
		return ""
	}
	return with + text
}

// maxSentence bounds what is shown of one sentence, in bytes.
const maxSentence = 1000

// line makes words of anybody fit to be shown.
func line(words string) string { return printable.Line(words, maxSentence) }

// some names a few of many.
func some(names []string, most int) string {
	if more := len(names) - most; more > 1 {
		return strings.Join(append(slices.Clone(names[:most]), fmt.Sprintf("and %d more", more)), ", ")
	}
	return strings.Join(names, ", ")
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
