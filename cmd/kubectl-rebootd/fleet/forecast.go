package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/printable"
)

// Step is when a node is expected to have its turn.
type Step struct {
	Node       string
	Lock       string
	Begin, End time.Time // a zero End cannot be said
	// Why the begin is what it is: "after node-3", "window opens", ...; "" for at once.
	Why string
}

// Forecast is what is to be expected of the reboots that are under way or wait. Times come
// from how long reboots took before, so they are about right at best.
type Forecast struct {
	Steps []Step // in order of their begin
	// Unknown are nodes of which nothing can be said, and why.
	Unknown map[string]string
	// Done is when all of Steps will have ended; zero: that cannot be said, since no node has
	// said yet how long a reboot takes.
	Done time.Time
	// Halts says for each lock on which nothing proceeds by itself why that is.
	Halts []string
	// Notes are what was assumed.
	Notes []string
}

const (
	// maxSteps bounds how many turns of a lock are foreseen: what is months away is no
	// forecast.
	maxSteps = 500
	// horizon is how far ahead windows are looked for.
	horizon = 400 * 24 * time.Hour
)

// Forecast is what is to be expected. The order is package decide's, at each moment at which
// a slot is expected to become free, of those that can go then by what their daemons have
// written of gates and windows.
func (f Fleet) Forecast() Forecast {
	out := Forecast{Unknown: map[string]string{}}
	took := f.took()
	byLock := map[string][]Node{}
	for _, n := range f.Nodes {
		switch {
		case n.Going:
		case n.RecordErr != nil:
			out.Unknown[n.Name] = "it " + n.unreadable()
		case n.Record != nil:
			lock := cmp.Or(n.Record.Lock, DefaultLock)
			byLock[lock] = append(byLock[lock], n)
		case n.State() == Needed:
			out.Unknown[n.Name] = "no operation has begun there: " + n.says()
		}
	}
	calendar := calendar{load: f.Zones}
	for _, lock := range sortedKeys(byLock) {
		c := course{f: f, lock: lock, took: took, calendar: &calendar, out: &out}
		c.begin(byLock[lock])
		c.run()
	}
	slices.SortStableFunc(out.Steps, func(a, b Step) int { return a.Begin.Compare(b.Begin) })
	for _, s := range out.Steps {
		if s.End.After(out.Done) {
			out.Done = s.End
		}
	}
	for name, why := range out.Unknown { // words of others are in it
		out.Unknown[name] = printable.Line(why, maxWords)
	}
	return out
}

// says is what the node's condition says, in short.
func (n Node) says() string {
	if n.Condition == nil {
		return "its daemon says nothing"
	}
	return n.Condition.Reason + ": " + n.Condition.Message
}

// work is a node that has a slot, or is expected to have one then.
type work struct {
	c    decide.Candidate
	end  time.Time // zero: not known
	why  string    // that is so, in a sentence
	halt bool
}

// course is what is to be expected of one lock.
type course struct {
	f        Fleet
	lock     string
	took     took
	calendar *calendar
	out      *Forecast

	slots  int
	at     []work    // at work
	wait   []*waiter // by name
	zone   string    // of the last that was at work
	opened string    // who has freed the slot last
	line   []string  // the order as it was made last, without those that have gone since
	of     int       // how many could go when it was made
}

// begin takes in the nodes as they are now.
func (c *course) begin(nodes []Node) {
	known := 0
	for _, s := range c.f.Slots {
		if s.Lock == c.lock {
			known = max(known, s.Index+1)
		}
	}
	for _, n := range nodes {
		if n.Status != nil {
			c.slots = max(c.slots, n.Status.Slots)
		}
		holds := c.f.holds(n.Name, c.lock)
		if n.Record.Phase == api.PhaseWaiting || n.Record.Phase == api.PhaseQueued && !holds {
			c.waits(n)
		} else {
			c.works(n)
		}
	}
	c.keptBySlot()
	if c.slots == 0 {
		if known == 0 {
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("how many slots the lock %s has is not known; one is assumed", c.lock))
		}
		c.slots = max(1, known)
	}
	if len(c.wait) > 0 && c.took.nodes == 0 {
		c.out.Notes = append(c.out.Notes, "how long a reboot takes is not known, since no node remembers one")
	}
}

// run follows the slots until all that wait have had their turn, or nothing more can be
// said.
func (c *course) run() {
	pause, why := c.paused()
	if why != "" {
		c.giveUp(why)
		return
	}
	now := c.f.At
	if pause.After(now) {
		for _, w := range c.wait {
			w.notBefore(pause, "the pause of the lock ends")
		}
	}
	for begun := 0; len(c.wait) > 0; {
		c.leave(now)
		if len(c.at) >= c.slots {
			next, ok := c.nextEnd(now)
			if !ok {
				c.giveUp(c.stuck())
				return
			}
			now = next
			continue
		}
		able, next := c.able(now)
		if len(able) == 0 {
			if next.IsZero() {
				return // all were given up
			}
			now = next
			continue
		}
		w := c.next(able, now)
		if c.bars(w.c) {
			next, ok := c.nextEnd(now)
			if !ok {
				c.giveUp(c.stuck())
				return
			}
			now = next
			continue
		}
		if begun == maxSteps {
			c.giveUp(fmt.Sprintf("more than %d nodes go before it", maxSteps))
			return
		}
		begun++
		c.start(w, now)
	}
}

// leave frees the slots of those that have ended.
func (c *course) leave(now time.Time) {
	c.at = slices.DeleteFunc(c.at, func(w work) bool {
		over := !w.end.IsZero() && !w.end.After(now)
		if over {
			c.opened, c.zone = w.c.Node, w.c.Zone
		}
		return over
	})
}

// nextEnd is when the next of those at work ends; false if that cannot be said of any.
func (c *course) nextEnd(now time.Time) (next time.Time, ok bool) {
	for _, w := range c.at {
		if w.end.After(now) && (next.IsZero() || w.end.Before(next)) {
			next = w.end
		}
	}
	return next, !next.IsZero()
}

// able are those that can go now, and when the next can if there are none. Those that never
// can are given up.
func (c *course) able(now time.Time) (able []*waiter, next time.Time) {
	var keep []*waiter
	for _, w := range c.wait {
		why := w.look(now)
		switch {
		case why != "":
			c.out.Unknown[w.c.Node] = why
			continue
		case !w.from.After(now):
			able = append(able, w)
		case next.IsZero() || w.from.Before(next):
			next = w.from
		}
		keep = append(keep, w)
	}
	c.wait = keep
	return able, next
}

// enough is up to how many the order is made anew for each turn. Of more it is made for as
// many turns as the line has names, as the daemons make it.
const enough = 60

// next is the one of those that can go that is to have the slot.
func (c *course) next(able []*waiter, now time.Time) *waiter {
	find := func(name string) *waiter {
		for _, w := range able {
			if w.c.Node == name {
				return w
			}
		}
		return nil
	}
	if len(able) > enough && c.of == len(able) && len(c.line) > 0 {
		if w := find(c.line[0]); w != nil {
			return w
		}
	}
	zone := c.zone
	var all []decide.Candidate
	for _, w := range c.at {
		all, zone = append(all, w.c), w.c.Zone
	}
	for _, w := range able {
		all = append(all, w.c)
	}
	c.line, c.of = decide.Line(all, zone, now).Nodes, len(able)
	if w := find(c.line[0]); w != nil {
		return w
	}
	return able[0] // two of one name: never, by the API server
}

// bars says whether a node cannot go beside those that are at work: it is of another zone,
// or another control-plane node is.
func (c *course) bars(next decide.Candidate) bool {
	return slices.ContainsFunc(c.at, func(w work) bool {
		return w.c.Zone != next.Zone || w.c.ControlPlane && next.ControlPlane
	})
}

// start gives a node the slot.
func (c *course) start(w *waiter, now time.Time) {
	s := Step{Node: w.c.Node, Lock: c.lock, Begin: now}
	switch {
	case !now.After(c.f.At):
	case w.from.Equal(now) && w.why != "":
		s.Why = w.why
	case c.opened != "":
		s.Why = "after " + c.opened
	}
	job := work{c: w.c, why: w.c.Node + " " + lengthUnknown}
	job.c.Phase = api.PhaseDraining
	if w.takes > 0 {
		s.End = now.Add(w.takes)
		job.end = s.End
	}
	c.out.Steps, c.at = append(c.out.Steps, s), append(c.at, job)
	c.wait = slices.DeleteFunc(c.wait, func(x *waiter) bool { return x == w })
	if len(c.line) > 0 {
		c.line, c.of = c.line[1:], c.of-1
	}
}

// giveUp says of all that wait that nothing can be said.
func (c *course) giveUp(why string) {
	for _, w := range c.wait {
		c.out.Unknown[w.c.Node] = why
	}
	c.wait = nil
}

// stuck is why no time can be said for those that wait for a slot.
func (c *course) stuck() string {
	var halted, other []string
	for _, w := range c.at {
		if w.halt {
			halted = append(halted, w.c.Node)
		} else {
			other = append(other, w.why)
		}
	}
	if len(other) > 0 {
		return "waits for a slot: " + other[0]
	}
	why := fmt.Sprintf("halted; nothing proceeds until %s is resolved", joined(halted))
	c.out.Halts = append(c.out.Halts, why)
	return why
}

// paused is until when people have paused the lock, or, where that is not known, why.
func (c *course) paused() (until time.Time, why string) {
	for _, p := range c.f.Pauses {
		switch {
		case p.Lock != c.lock:
		case p.Until.IsZero():
			why = fmt.Sprintf("the lock %s is paused, and nothing ends that by itself: %s", c.lock, p.Why)
			c.out.Halts = append(c.out.Halts, why)
			return until, why
		case p.Until.After(until):
			until = p.Until
		}
	}
	return until, ""
}
