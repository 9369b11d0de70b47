// Package page makes a roll of reboots into what goes into a change ticket: one HTML page
// that needs nothing from anywhere ([HTML]), or text ([Text]). It is pure: the same roll is
// the same bytes.
package page

import (
	_ "embed"
	"fmt"
	"strings"

	"rebootd.dev/cmd/kubectl-rebootd/roll"
	"rebootd.dev/daemon/api"
)

//go:embed page.css
var style literal

// Options are what is to be known besides the roll.
type Options struct {
	Title   string // "": [DefaultTitle]
	Version string // of the program
	Clock   roll.Clock
}

// DefaultTitle is the title of a report that is given none.
const DefaultTitle = "Node reboots"

func (o Options) title() string {
	if strings.TrimSpace(o.Title) == "" {
		return DefaultTitle
	}
	return o.Title
}

// period says of which time the roll is.
func (o Options) period(r roll.Roll) string {
	if r.Since.IsZero() {
		return "as far back as the nodes remember, until " + o.Clock.Full(r.At)
	}
	return o.Clock.Range(r.Since, r.At)
}

// page is one page being written.
type page struct {
	writer
	roll.Roll
	Options
	verdict roll.Verdict
	suffix  string // that all nodes' names have
}

// short is a node's name without what all have.
func (p *page) short(node string) string { return strings.TrimSuffix(node, p.suffix) }

// HTML is a roll as a page. It has no script and loads nothing, which its own policy
// (Content-Security-Policy) has the browser enforce.
func HTML(r roll.Roll, o Options) []byte {
	p := &page{Roll: r, Options: o, verdict: r.Verdict(o.Clock), suffix: commonDomain(r.Operations)}
	p.raw("<!DOCTYPE html>\n")
	p.in("html", func() {
		p.line()
		p.head()
		p.line()
		p.in("body", func() { p.in("main", p.body) })
	}, at("lang", "en"))
	p.line()
	return p.b.Bytes()
}

func (p *page) head() {
	p.in("head", func() {
		p.raw(`
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
`)
		p.tag("meta", at("name", "generator"), at("content", "kubectl-rebootd "+p.Version))
		p.line()
		p.el("title", p.title()+": "+p.verdict.Word)
		p.line()
		p.raw("<style>\n")
		p.raw(style)
		p.raw("</style>\n")
	})
}

// marks say the tone besides the colour.
var marks = map[roll.Tone]literal{roll.Nothing: "–", roll.Good: "✓", roll.Remarks: "!", roll.Running: "▸", roll.Attended: "✕"}

// tones are the classes of the tones.
var tones = map[roll.Tone]literal{
	roll.Nothing: "verdict nothing", roll.Good: "verdict good", roll.Remarks: "verdict remarks", roll.Running: "verdict running", roll.Attended: "verdict halted",
}

func (p *page) body() {
	p.in("header", func() {
		p.el("h1", p.title())
		p.in("p", func() {
			p.text(upper(p.period(p.Roll)))
			p.raw(" · ")
			p.text("times in " + p.Clock.ZoneName(p.At))
			if p.suffix != "" {
				p.raw(" · ")
				p.text("names of nodes end in " + p.suffix)
			}
		}, class("period"))
	})
	p.line()
	p.in("section", func() {
		p.in("p", func() {
			p.in("span", func() { p.raw(marks[p.verdict.Tone]) }, class("mark"), at("aria-hidden", "true"))
			p.text(p.verdict.Word)
		}, class("word"))
		p.el("p", p.verdict.Headline, class("headline"))
		if len(p.verdict.Lines) > 0 {
			p.in("ul", func() {
				for _, l := range p.verdict.Lines {
					p.el("li", l)
				}
			})
		}
	}, class(tones[p.verdict.Tone]), at("aria-label", "Verdict"))
	p.line()
	if len(p.Operations) > 0 {
		p.numbers()
		p.trouble()
		p.timelines()
		p.slow()
		p.pods()
		p.all()
	}
	p.notes()
}

// section writes a part of the page with its heading.
func (p *page) section(name literal, heading string, inner func()) {
	p.in("section", func() {
		p.el("h2", heading)
		p.line()
		inner()
	}, class(name))
	p.line()
}

// numbers are the few that people look for first.
func (p *page) numbers() {
	totals := p.Totals()
	number := func(label, value, more string, loud bool) {
		look := class("figure")
		if loud {
			look = class("figure loud")
		}
		p.in("div", func() {
			p.el("dt", label)
			p.in("dd", func() {
				p.el("strong", value)
				if more != "" {
					p.raw(" ")
					p.el("span", more)
				}
			})
		}, look)
	}
	p.in("dl", func() {
		nodes := map[string]bool{}
		for _, o := range p.Those(roll.Operation.Rebooted) {
			nodes[o.Node] = true
		}
		number("Nodes rebooted", fmt.Sprint(len(nodes)), fmt.Sprintf("of %d", p.Nodes), false)
		halted := len(p.Those(roll.Operation.HasHalted))
		number("Halts", fmt.Sprint(halted), "", halted > 0)
		left := totals[api.OutcomeDrained] + totals[api.OutcomeRelocated]
		number("Pods moved", fmt.Sprint(left), "", false)
		forced, failed := totals[api.OutcomeForceStopped], totals[api.OutcomeFailed]
		number("Pods forced", fmt.Sprint(forced), "", forced > 0)
		number("Pods failed", fmt.Sprint(failed), "", failed > 0)
		if slowest, median := p.Longest(roll.Out, 1); len(slowest) > 0 {
			number("Node out of service", roll.Took(median), "median, at most "+roll.Took(slowest[0].Span(roll.Out)), false)
		}
	}, class("numbers"))
	p.line()
}

// notes say how to read the page, and what it cannot know.
func (p *page) notes() {
	p.section("notes", "How to read this", func() {
		p.in("ul", func() {
			if len(p.Unread) > 0 {
				p.in("li", func() {
					p.text(fmt.Sprintf("The history of %d of the nodes cannot be read, and is missing here:", len(p.Unread)))
					p.raw(" ")
					for i, u := range p.Unread {
						if i > 0 {
							p.raw("; ")
						}
						p.el("b", u.Node)
						p.raw(" ")
						p.text("(" + u.Why + ")")
					}
					p.raw(".")
				}, class("loud"))
			}
			if len(p.Older) > 0 {
				p.el("li", "Of these nodes only the last drain is known, since an older version of rebootd runs there: "+strings.Join(p.Older, ", ")+".")
			}
			for _, l := range explanations {
				p.el("li", l)
			}
			p.el("li", fmt.Sprintf("Made by kubectl rebootd %s on %s, from what the daemons have written on the nodes.", p.Version, p.Clock.Full(p.At)))
		})
	})
}

// explanations are of the words that the report uses.
var explanations = []string{
	"Waited: from the request for a reboot until the node was cordoned: gates, maintenance windows, and the queue for a slot.",
	"Drain: from the cordon until every pod that has to leave had left. Down: from the order to reboot until the daemon ran in the next boot. Verify: from there until the node was healthy and put back.",
	"Out of service: from the cordon until the node was put back. After attempts that failed, the times are those of the last attempt.",
	"Pods: drained ones have left their node; relocated ones had their replacement Ready on another node; force-stopped ones were deleted although they could not be evicted; failed ones were still there.",
	"“-” says that something is not known: it has not happened, an older version has not noted it, or a clock was set in between. Each node has noted times by its own clock, and remembers its last ten operations.",
}

// upper is a text that begins with a capital letter.
func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
