package main

import (
	"fmt"
	"regexp"
	"strings"
)

const (
	mostMessages  = 15  // of one test: the last ones
	mostContinued = 12  // lines of one message: a longer one is a log, and stands above
	widest        = 500 // characters of a line
)

var (
	// said is the beginning of what a test says by t.Error, t.Fatal or t.Log, and of
	// what the compiler says.
	said = regexp.MustCompile(`^\s*[^\s:]+\.go:\d+(:\d+)?: `)
	// cried is what the runtime says.
	cried = regexp.MustCompile(`^(panic: |fatal error: |WARNING: DATA RACE|\s*testing\.go:\d+: race detected)`)
	// framed are the lines of the testing package itself.
	framed = regexp.MustCompile(`^\s*(=== |--- |FAIL\b|PASS\b|ok\s|exit status \d)`)
)

// messages are the lines of a test's output that say why it failed: its own messages,
// without the logs of the programs that it has run. Where there are none, they are the
// last lines of whatever it printed.
func messages(text string) []string {
	var all [][]string
	in := false // a message, of which more lines may come
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case framed.MatchString(line):
			in = false
		case said.MatchString(line), cried.MatchString(line):
			all = append(all, []string{strings.TrimSpace(line)})
			in = true
		case in:
			all[len(all)-1] = append(all[len(all)-1], line)
		}
	}
	if len(all) == 0 {
		return tail(text)
	}
	var out []string
	if n := len(all) - mostMessages; n > 0 {
		out = append(out, fmt.Sprintf("(%d messages before these stand above)", n))
		all = all[n:]
	}
	for _, m := range all {
		rest := m[1:]
		if len(rest) > mostContinued && cried.MatchString(m[0]) {
			rest = rest[:mostContinued] // the top of the stack
		}
		if len(rest) > mostContinued {
			rest = []string{fmt.Sprintf("        (%d lines, above)", len(rest))}
		}
		out = append(out, clip(m[0]))
		for _, line := range rest {
			out = append(out, clip(line))
		}
	}
	return out
}

// tail is the end of what was printed by no test, such as why TestMain gave up.
func tail(text string) (out []string) {
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" && !framed.MatchString(line) {
			out = append(out, clip(line))
		}
	}
	return out[max(0, len(out)-mostMessages):]
}

func clip(line string) string {
	if len(line) <= widest {
		return line
	}
	return strings.ToValidUTF8(line[:widest], "") + "…"
}
