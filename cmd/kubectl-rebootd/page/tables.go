package page

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"rebootd.dev/cmd/kubectl-rebootd/roll"
	"rebootd.dev/daemon/api"
)

// column is a column of a table.
type column struct {
	name  string
	class literal
}

// table writes a table with a heading. Each cell has its column's name for narrow screens,
// on which it stands before the cell.
func (p *page) table(look literal, caption string, columns []column, rows int, cell func(row, column int)) {
	p.in("table", func() {
		p.el("caption", caption)
		p.in("thead", func() {
			p.in("tr", func() {
				for _, c := range columns {
					p.el("th", c.name, at("scope", "col"), class(c.class))
				}
			})
		})
		p.line()
		p.in("tbody", func() {
			for row := range rows {
				p.in("tr", func() {
					for i, c := range columns {
						if i == 0 {
							p.in("th", func() { cell(row, i) }, at("scope", "row"), class(c.class))
							continue
						}
						p.in("td", func() { cell(row, i) }, class(c.class), at("data-label", c.name))
					}
				})
				p.line()
			}
		})
	}, class(look))
	p.line()
}

// remark is something that did not go as it should.
type remark struct {
	roll.Operation
	what, when, why, meaning string
}

// trouble is what did not go as it should: what has halted, ended otherwise or was tried
// again, and the pods that were stopped by force or failed.
func (p *page) trouble() {
	remarks := p.remarks()
	forced, moreForced := p.Pods(api.OutcomeForceStopped)
	failed, moreFailed := p.Pods(api.OutcomeFailed)
	p.section("trouble", "What did not go as planned", func() {
		if len(remarks)+len(forced)+len(failed)+moreForced+moreFailed == 0 {
			p.el("p", "Nothing halted, no attempt failed, and no pod was stopped by force.", class("fine"))
			return
		}
		if len(remarks) > 0 {
			p.table("stack", "Nodes", []column{{"Node", "name"}, {"What", ""}, {"When", "time"}, {"Why", "why"}}, len(remarks), func(row, column int) {
				r := remarks[row]
				switch column {
				case 0:
					p.text(p.short(r.Node))
				case 1:
					p.el("span", r.what, class(look(r.Operation)))
				case 2:
					p.text(r.when)
				default:
					p.text(r.why)
					if r.meaning != "" {
						p.el("small", r.meaning)
					}
				}
			})
		}
		pods := slices.Concat(forced, failed)
		if len(pods) > 0 {
			p.table("stack", "Pods", []column{{"Pod", "name"}, {"Outcome", "what"}, {"Node", "name"}, {"Why", "why"}}, len(pods), func(row, column int) {
				d := pods[row]
				switch column {
				case 0:
					p.text(d.Namespace + "/" + d.Name)
				case 1:
					p.text(string(d.Outcome))
				case 2:
					p.text(p.short(d.Node))
				default:
					p.text(cmp.Or(string(d.Reason), "-"))
					p.el("small", meaningOf(d.Reason))
				}
			})
		}
		if moreForced > 0 {
			p.el("p", fmt.Sprintf("%d more were stopped by force, for whose names there was no room.", moreForced))
		}
		if moreFailed > 0 {
			p.el("p", fmt.Sprintf("%d more failed, for whose names there was no room.", moreFailed))
		}
	})
}

func (p *page) remarks() (out []remark) {
	add := func(o roll.Operation, what, when string) {
		r := remark{Operation: o, what: what, when: when, why: o.Message}
		reason := o.Result
		if o.Failure != nil {
			r.why, reason = o.Failure.Message, o.Failure.Reason
		}
		r.why = cmp.Or(r.why, string(reason), "-")
		r.meaning = strings.ReplaceAll(reason.Info().Meaning, "`", "")
		out = append(out, r)
	}
	for _, o := range p.Those(roll.Operation.IsHalted) {
		add(o, o.ResultLine(), "since "+p.Clock.Minute(o.Halted))
	}
	for _, o := range p.Those(func(o roll.Operation) bool { return !o.UnderWay && o.HasHalted() }) {
		add(o, o.ResultLine(), p.Clock.Short(o.Halted, o.Ended))
	}
	for _, o := range p.Those(func(o roll.Operation) bool { return o.GivenUp() && !o.HasHalted() }) {
		add(o, o.ResultLine(), p.Clock.Minute(o.Ended))
	}
	for _, o := range p.Those(func(o roll.Operation) bool { return o.Attempts > 0 && !o.HasHalted() && (o.UnderWay || o.Rebooted()) }) {
		add(o, fmt.Sprintf("%s; failed attempts before: %d", o.ResultLine(), o.Attempts), "until "+p.Clock.Minute(o.Ended))
		if o.UnderWay {
			out[len(out)-1].when = "under way"
		}
	}
	return out
}

// slow are the longest drains and reboots.
func (p *page) slow() {
	const most = 5
	one := func(caption string, s roll.Span) {
		longest, median := p.Longest(s, most)
		if len(longest) < 2 {
			return
		}
		p.table("short", caption+", median "+roll.Took(median), []column{{"Node", "name"}, {"Took", "number"}, {"Cordoned", "time"}}, len(longest), func(row, column int) {
			o := longest[row]
			switch column {
			case 0:
				p.text(p.short(o.Node))
			case 1:
				p.text(roll.Took(o.Span(s)))
			default:
				p.text(p.Clock.Minute(o.Begin()))
			}
		})
	}
	if drains, _ := p.Longest(roll.Drain, 2); len(drains) < 2 {
		return
	}
	p.section("slow", "What took longest", func() {
		p.in("div", func() {
			one("Drain", roll.Drain)
			one("Down", roll.Down)
			one("Verify", roll.Verify)
		}, class("columns"))
	})
}

// meanings are of the outcomes.
var meanings = map[api.Outcome]string{
	api.OutcomeDrained:      "has left the node",
	api.OutcomeRelocated:    "has left the node, and its replacement was Ready on another one",
	api.OutcomeForceStopped: "was deleted although it could not be evicted",
	api.OutcomeFailed:       "was still on the node",
	api.OutcomeSkipped:      "was not for the drain to move: of a DaemonSet, static, finished, or marked so",
}

// pods are the outcomes of all pods.
func (p *page) pods() {
	totals, all := p.Totals(), 0
	for _, n := range totals {
		all += n
	}
	if all == 0 {
		return
	}
	outcomes := api.Outcomes()
	p.section("pods", "Pods", func() {
		p.table("short wide", fmt.Sprintf("All %d pods that the drains have seen, by outcome", all), []column{{"Outcome", "name"}, {"Pods", "number"}, {"Share", "share"}, {"Meaning", "why"}}, len(outcomes), func(row, column int) {
			o := outcomes[row]
			switch column {
			case 0:
				p.text(string(o))
			case 1:
				p.text(fmt.Sprint(totals[o]))
			case 2:
				p.in("svg", func() {
					p.tag("rect", class("part"), percent("width", 100*float64(totals[o])/float64(all)), at("height", "100%"))
					p.end("rect")
				}, at("aria-hidden", "true"))
			default:
				p.text(meanings[o])
			}
		})
	})
}

// all are the operations, a line each.
func (p *page) all() {
	kernels := p.Kernels()
	columns := []column{
		{"Node", "name"},
		{"Result", "what"},
		{"Cordoned", "time"},
		{"Ended", "time"},
		{"Waited", "number"},
		{"Drain", "number"},
		{"Down", "number"},
		{"Verify", "number"},
		{"Out of service", "number"},
		{"Pods moved", "number"},
	}
	if len(kernels) != 1 { // else the verdict says it
		columns = append(columns, column{"Kernel", "kernel"})
	}
	spans := map[string]roll.Span{"Waited": roll.Waited, "Drain": roll.Drain, "Down": roll.Down, "Verify": roll.Verify, "Out of service": roll.Out}
	shown := p.Those(func(o roll.Operation) bool { return !o.Waits() })
	waiting := p.Those(roll.Operation.Waits)
	p.section("all", "Every node", func() {
		if len(waiting) > 0 {
			p.in("p", func() {
				p.el("b", "Waiting for a reboot, and not touched yet:")
				p.raw(" ")
				for i, o := range waiting {
					if i > 0 {
						p.raw(", ")
					}
					p.text(p.short(o.Node))
				}
				p.raw(".")
			}, class("waiting"))
		}
		if len(shown) == 0 {
			return
		}
		p.table("stack dense", "The latest first", columns, len(shown), func(row, i int) {
			o := shown[row]
			switch name := columns[i].name; name {
			case "Node":
				p.text(p.short(o.Node))
			case "Result":
				p.el("span", o.ResultLine(), class(look(o)))
			case "Cordoned":
				p.text(p.Clock.Minute(o.Cordoned))
			case "Ended":
				if o.UnderWay {
					p.text("under way")
				} else {
					p.text(p.Clock.After(o.Cordoned, o.Ended))
				}
			case "Pods moved":
				p.text(o.PodsLine())
			case "Kernel":
				p.text(o.KernelLine())
			default:
				p.text(roll.Took(o.Span(spans[name])))
			}
		})
	})
}
