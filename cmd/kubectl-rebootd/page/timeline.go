package page

import (
	"fmt"
	"strings"
	"time"

	"rebootd.dev/cmd/kubectl-rebootd/roll"
	"rebootd.dev/daemon/api"
)

// stages are how the timeline shows and names the stages: by height and by colour.
var stages = []struct {
	class      literal
	y, height  literal // of a bar's 16
	name, says string
}{
	roll.StageWaiting:   {"wait", "7.5", "1", "waiting", "waiting for a gate or a window"},
	roll.StageQueued:    {"queue", "6.5", "3", "queued", "queued for a slot"},
	roll.StageDraining:  {"drain", "3", "10", "draining", "cordoned and draining"},
	roll.StageDown:      {"down", "0", "16", "rebooting", "rebooting"},
	roll.StageVerifying: {"verify", "5", "6", "verifying", "verifying after the boot"},
	roll.StageHalted:    {"halt", "1", "14", "halted", "halted: a person is needed"},
}

// maxGroups is how many timelines there are at most.
const maxGroups = 8

func (p *page) timelines() {
	groups := p.Groups(maxGroups)
	if len(groups) == 0 {
		return
	}
	p.section("timeline", "Timeline", func() {
		p.legend(groups)
		for _, g := range groups {
			p.timeline(g)
		}
	})
}

// legend explains the bars that there are.
func (p *page) legend(groups []roll.Group) {
	used, open := make([]bool, len(stages)), false
	for _, g := range groups {
		for _, o := range g.Operations {
			for _, s := range o.Stretches() {
				used[s.Stage] = true
				open = open || s.Open
			}
		}
	}
	// The pattern for what is halted, for all pictures of the page.
	p.raw(`<svg class="defs" aria-hidden="true"><defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch" width="3" height="6"/></pattern></defs></svg>`)
	p.in("ul", func() {
		for stage, s := range stages {
			if !used[stage] {
				continue
			}
			p.in("li", func() {
				p.raw(`<svg aria-hidden="true">`)
				p.bar(roll.Stage(stage), 0, 100)
				p.raw(`</svg>`)
				p.text(s.says)
			})
		}
		if open {
			p.raw(`<li><svg aria-hidden="true"><path class="open" d="M8 1l8 7l-8 7z"/></svg>under way</li>`)
		}
	}, class("legend"))
	p.line()
}

// bar draws a stage from one percentage to another.
func (p *page) bar(stage roll.Stage, from, to float64) {
	s := stages[stage]
	p.tag("rect", class(s.class), percent("x", from), at("y", string(s.y)), percent("width", to-from), at("height", string(s.height)))
	p.end("rect")
}

func (p *page) timeline(g roll.Group) {
	axis := axisOf(g.From, g.To, p.Clock.Zone)
	p.in("table", func() {
		p.in("caption", func() {
			p.el("b", p.Clock.Range(g.From, g.To))
			p.raw(" · ")
			p.text(countNodes(g.Operations))
		})
		p.line()
		p.in("thead", func() { p.in("tr", func() { p.ticks(axis) }) })
		p.line()
		p.in("tbody", func() {
			for _, o := range g.Operations {
				p.row(o, axis)
			}
		})
	}, class("roll"), at("style", axis.grid()))
	p.line()
}

func (p *page) ticks(axis axis) {
	p.raw(`<th scope="col" class="name">Node</th><th scope="col" class="axis"><span class="unseen">From when to when, by the clock: </span>`)
	for i, t := range axis.ticks {
		look := class("tick")
		if i%2 == 1 {
			look = class("tick odd")
		}
		p.in("span", func() {
			if t.day != "" {
				p.el("b", t.day)
				p.raw(" ")
			}
			p.text(t.time)
		}, look, at("style", "left:"+share(t.x)))
	}
	p.raw(`</th><th scope="col" class="took">Drain<i>·</i>down<i>·</i>out of service</th>`)
}

func (p *page) row(o roll.Operation, axis axis) {
	p.in("tr", func() {
		p.in("th", func() { p.el("span", p.short(o.Node)) }, at("scope", "row"), class("name"))
		p.in("td", func() {
			said := p.said(o)
			p.in("svg", func() {
				p.el("title", said)
				for _, s := range o.Stretches() {
					from, to := axis.x(s.From), axis.x(s.To)
					if to > 0 {
						p.bar(s.Stage, from, to)
					}
				}
				if o.UnderWay {
					p.in("svg", func() { p.raw(`<path class="open" d="M1 1l8 7l-8 7z"/>`) }, percent("x", axis.x(o.Last())), at("overflow", "visible"))
				}
			}, at("role", "img"), at("aria-label", said), class("bar"))
		}, class("track"))
		p.in("td", func() {
			for i, s := range []roll.Span{roll.Drain, roll.Down, roll.Out} {
				if i > 0 {
					p.raw("<i>·</i>")
				}
				p.text(roll.Took(o.Span(s)))
			}
			if !o.Rebooted() {
				p.el("em", o.ResultLine(), class(look(o)))
			}
		}, class("took"))
	})
	p.line()
}

// look is the class of an operation's result.
func look(o roll.Operation) literal {
	switch {
	case o.IsHalted():
		return "result halted"
	case o.UnderWay:
		return "result running"
	case o.Rebooted() && !o.HasHalted():
		return "result good"
	default:
		return "result remarks"
	}
}

// said says what a row shows.
func (p *page) said(o roll.Operation) string {
	parts := []string{o.Node + ": " + o.ResultLine()}
	for _, s := range o.Stretches() {
		if s.Open {
			parts = append(parts, fmt.Sprintf("%s since %s", stages[s.Stage].name, p.Clock.Minute(s.From)))
		} else {
			parts = append(parts, fmt.Sprintf("%s %s from %s", stages[s.Stage].name, roll.Took(s.To.Sub(s.From)), p.Clock.Minute(s.From)))
		}
	}
	return strings.Join(parts, "; ")
}

func countNodes(operations []roll.Operation) string {
	nodes, rebooted := map[string]bool{}, map[string]bool{}
	for _, o := range operations {
		nodes[o.Node] = true
		if o.Rebooted() {
			rebooted[o.Node] = true
		}
	}
	if len(nodes) == 1 {
		return "1 node"
	}
	if len(nodes) == len(rebooted) {
		return fmt.Sprintf("%d nodes", len(nodes))
	}
	return fmt.Sprintf("%d nodes, of which %d rebooted", len(nodes), len(rebooted))
}

// commonDomain is the end, from a dot on, that all of at least two nodes' names have in
// common: to be said once.
func commonDomain(operations []roll.Operation) string {
	if len(operations) < 2 {
		return ""
	}
	_, end, ok := strings.Cut(operations[0].Node, ".")
	for ok {
		all := true
		for _, o := range operations {
			all = all && strings.HasSuffix(o.Node, "."+end)
		}
		if all {
			return "." + end
		}
		_, end, ok = strings.Cut(end, ".")
	}
	return ""
}

// axis is the common axis of time of a group.
type axis struct {
	from, to time.Time
	ticks    []tick
}

type tick struct {
	x         float64 // percent
	day, time string  // day: where another begins
}

// steps are the distances of ticks, in minutes.
var steps = []int{1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7 * 1440, 28 * 1440}

const (
	mostTicks = 10
	dayLayout = "Mon 2 Jan"
)

func axisOf(from, to time.Time, zone *time.Location) axis {
	margin := max(to.Sub(from)/40, 10*time.Second)
	a := axis{from: from.Add(-margin), to: to.Add(margin)}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if a.to.Sub(a.from) <= time.Duration(mostTicks*s)*time.Minute {
			step = s
			break
		}
	}
	y, m, d := a.from.In(zone).Date()
	day := a.from.In(zone).Format(dayLayout)
	if a.to.In(zone).Format(dayLayout) != day {
		day = "" // else the caption says it
	}
	for i := 0; ; i += step {
		t := time.Date(y, m, d, 0, i, 0, 0, zone) // by the clock on the wall, also on the days on which it is set
		if t.After(a.to) {
			return a
		}
		x := a.x(t)
		if x < 3 || x > 97 || len(a.ticks) > 0 && x <= a.ticks[len(a.ticks)-1].x {
			continue
		}
		k := tick{x: x, time: t.Format("15:04")}
		if step >= 1440 {
			k.time = ""
		}
		if today := t.Format(dayLayout); today != day {
			k.day, day = today, today
		}
		a.ticks = append(a.ticks, k)
	}
}

// x is where a moment is, in percent.
func (a axis) x(t time.Time) float64 {
	all := a.to.Sub(a.from)
	x := 100 * float64(t.Sub(a.from)) / float64(all)
	return min(100, max(0, float64(int(x*1000))/1000))
}

// grid is the lines of the ticks, as a background.
func (a axis) grid() string {
	var lines []string
	for _, t := range a.ticks {
		lines = append(lines, "linear-gradient(var(--rule),var(--rule)) "+share(t.x)+" 0/1px 100% no-repeat")
	}
	if len(lines) == 0 {
		return ""
	}
	return "--grid:" + strings.Join(lines, ",")
}

// meaningOf is a reason of a pod in a sentence.
func meaningOf(r api.PodReason) string { return strings.ReplaceAll(r.Info().Meaning, "`", "") }
