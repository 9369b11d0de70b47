package windows

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/window"
)

// noLimit is the most that the last reboot of a node is believed to have taken where there
// is no limit.
const noLimit = 24 * time.Hour

// calendar is what both gates go by. It is safe for concurrent use.
type calendar struct {
	Settings
	configured terms
	frozen     []string // those of the configured entries that are freezes

	mu   sync.Mutex
	own  *terms // by the annotation that was read last; nil: none was
	text string // of that annotation
}

// freeze is one time that a freeze is in force.
type freeze struct {
	window.Span
	entry window.Entry
}

// text is the freeze as it was written.
func (f freeze) text() string { return strings.TrimPrefix(f.entry.String(), "freeze: ") }

// terms are what a node goes by.
type terms struct {
	schedule window.Schedule
	problem  string // why the windows cannot be read; "": they can

	node  string
	takes time.Duration // as long as must be left of a window
}

func newCalendar(s Settings) *calendar {
	c := &calendar{Settings: s}
	var err error
	if c.configured, err = c.read(s.Entries); err != nil {
		c.configured.problem = "the configured maintenance windows cannot be read: " + err.Error()
	}
	for _, e := range c.configured.schedule.Entries() {
		if e.IsFreeze() {
			c.frozen = append(c.frozen, e.String())
		}
	}
	return c
}

// read makes terms of entries.
func (c *calendar) read(entries []string) (t terms, err error) {
	t.schedule, err = window.Parse(entries, c.Zone)
	return t, err
}

// readOwn makes terms of a node's own entries. Its windows, if it has any, replace the
// configured ones; its freezes, and the configured ones, are both in force.
func (c *calendar) readOwn(text string) terms {
	var own []string
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		if line = strings.TrimSpace(line); line != "" {
			own = append(own, line)
		}
	}
	alone, err := c.read(own)
	switch {
	case err == nil && len(own) == 0:
		err = fmt.Errorf("it is empty")
	case err == nil && alone.schedule.HasWindows():
		alone, err = c.read(append(own, c.frozen...))
	case err == nil:
		alone, err = c.read(append(own, c.Entries...))
	}
	if err != nil {
		alone = c.configured
		alone.problem = fmt.Sprintf("the annotation %s must be corrected or removed: %v", api.WindowsAnnotation, err)
	}
	return alone
}

// termsOf is what the node goes by at present.
func (c *calendar) termsOf(v gate.View) terms {
	t := c.configured
	if text, there := v.Node.Annotations[api.WindowsAnnotation]; there {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.own == nil || c.text != text {
			own := c.readOwn(text)
			c.own, c.text = &own, text
		}
		t = *c.own
	}
	t.node, t.takes = v.Node.Name, c.Reserve
	if c.Auto {
		t.takes = lastTook(v.Past, c.Longest)
	}
	return t
}

// lastTook is how long the last reboot of a node took, drain included, rounded up to the
// minute, 0 where that is not known. What is longer than any reboot may take was measured by a clock that was set, or
// has waited for people.
func lastTook(p *api.Past, longest time.Duration) time.Duration {
	if p == nil {
		return 0
	}
	if longest == 0 {
		longest = noLimit
	}
	if took := p.Drain.Last + p.Reboot.Last; took < longest.Seconds() {
		whole := (time.Duration(took*float64(time.Second)) + time.Minute - 1).Truncate(time.Minute)
		return min(whole, longest)
	}
	return longest
}
