package page

import (
	"bytes"
	"fmt"
	"strings"

	"rebootd.dev/cmd/kubectl-rebootd/roll"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// text is a text being written, in Markdown that reads well as it is.
type text struct{ bytes.Buffer }

func (t *text) sayf(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// marked are the characters that Markdown, or HTML within it, gives a meaning.
var marked = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "|", `\|`, "&", `\&`, "~", `\~`)

// plain is a text of whomever that Markdown shows as it is.
func plain(s string) string { return marked.Replace(printable.Line(s, maxText)) }

// Text is a roll in short, for a ticket.
func Text(r roll.Roll, o Options) []byte {
	t, v := new(text), r.Verdict(o.Clock)
	t.sayf("# %s\n", plain(o.title()))
	t.sayf("%s, times in %s\n", plain(upper(o.period(r))), plain(o.Clock.ZoneName(r.At)))
	t.sayf("**%s.** %s\n", plain(v.Word), plain(v.Headline))
	for _, l := range v.Lines {
		t.sayf("- %s", plain(l))
	}
	if slowest, median := r.Longest(roll.Out, 1); len(slowest) > 0 {
		t.sayf("- A node was out of service for %s (median), at most for %s (%s).", roll.Took(median), roll.Took(slowest[0].Span(roll.Out)), plain(slowest[0].Node))
	}
	p := &page{Roll: r, Options: o}
	if remarks := p.remarks(); len(remarks) > 0 {
		t.sayf("\n## What did not go as planned\n")
		for _, m := range remarks {
			t.sayf("- **%s**: %s, %s: %s", plain(m.Node), plain(m.what), m.when, plain(m.why))
		}
	}
	for _, outcome := range []api.Outcome{api.OutcomeForceStopped, api.OutcomeFailed} {
		pods, others := r.Pods(outcome)
		if len(pods)+others == 0 {
			continue
		}
		t.sayf("\n## Pods that were %s\n", map[api.Outcome]string{api.OutcomeForceStopped: "stopped by force", api.OutcomeFailed: "still there when the drain ended"}[outcome])
		for _, d := range pods {
			line := fmt.Sprintf("- %s on %s", plain(d.Namespace+"/"+d.Name), plain(d.Node))
			if d.Reason != "" {
				line += ": " + plain(string(d.Reason))
			}
			t.sayf("%s", line)
		}
		if others > 0 {
			t.sayf("- and %d more, for whose names there was no room", others)
		}
	}
	if shown := r.Those(func(o roll.Operation) bool { return !o.Waits() }); len(shown) > 0 {
		t.sayf("\n## Nodes\n")
		t.sayf("| Node | Result | Cordoned | Ended | Waited | Drain | Down | Out of service | Pods moved |")
		t.sayf("|---|---|---|---|--:|--:|--:|--:|--:|")
		for _, s := range shown {
			ended := o.Clock.After(s.Cordoned, s.Ended)
			if s.UnderWay {
				ended = "under way"
			}
			t.sayf("| %s | %s | %s | %s | %s | %s | %s | %s | %s |", plain(s.Node), plain(s.ResultLine()), o.Clock.Minute(s.Cordoned), ended,
				roll.Took(s.Span(roll.Waited)), roll.Took(s.Span(roll.Drain)), roll.Took(s.Span(roll.Down)), roll.Took(s.Span(roll.Out)), s.PodsLine())
		}
	}
	return t.Bytes()
}
