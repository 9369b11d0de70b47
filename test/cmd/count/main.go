// Command count reads what `go test -json` prints from standard input, shows
// each package's result and the output of what failed or was skipped, and ends
// with what the failed tests themselves say and with one line that counts the
// tests. It fails if a test failed, if a package did, or if nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// key tells the outputs apart.
func (e event) key() string { return e.Package + e.ImportPath + " " + e.Test }

// counter is what is known so far.
type counter struct {
	out    io.Writer
	output map[string]*strings.Builder // by key, of what has not ended
	why    []failure

	passed, failed, skipped, broken int
}

// failure is a test or a package that failed, and everything that it printed.
type failure struct{ name, text string }

func main() {
	c := counter{out: os.Stdout, output: map[string]*strings.Builder{}}
	if err := c.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "count: read the tests' output:", err)
		os.Exit(1)
	}
	if !c.end() {
		os.Exit(1)
	}
}

func (c *counter) read(r io.Reader) error {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(c.out, in.Text()) // not from a test: a build's own words
			continue
		}
		c.event(e)
	}
	return in.Err()
}

func (c *counter) event(e event) {
	switch e.Action {
	case "output", "build-output":
		if c.output[e.key()] == nil {
			c.output[e.key()] = new(strings.Builder)
		}
		c.output[e.key()].WriteString(e.Output)
		if strings.HasPrefix(e.Output, "measured: ") { // worth knowing of a test that passes, too
			fmt.Fprint(c.out, e.Output)
		}
	case "pass", "fail", "skip", "build-fail":
		text := c.take(e.key())
		if e.Test == "" {
			c.packageEnds(e, text)
			return
		}
		switch e.Action {
		case "pass":
			c.passed++
		case "fail":
			c.failed++
			c.fails(e.Package+" "+e.Test, text)
		case "skip":
			c.skipped++
			fmt.Fprint(c.out, text)
		}
	}
}

func (c *counter) packageEnds(e event, text string) {
	if e.Action == "fail" || e.Action == "build-fail" {
		c.broken++
		// Tests that have not ended were running when the package ended: one of them
		// has the panic, or the stacks of one that took too long.
		for _, key := range c.unfinished(e.Package) {
			c.fails(key, c.take(key))
		}
		c.fails(e.Package+e.ImportPath, text)
	}
	if e.Action != "skip" && e.Package != "" {
		fmt.Fprintf(c.out, "%-5s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
	}
}

func (c *counter) unfinished(pkg string) (keys []string) {
	for key := range c.output {
		if test, of := strings.CutPrefix(key, pkg+" "); of && pkg != "" && test != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// fails prints what a test or a package printed, and keeps it for the end.
func (c *counter) fails(name, text string) {
	fmt.Fprint(c.out, text)
	c.why = append(c.why, failure{name, text})
}

// take removes what was printed under a key.
func (c *counter) take(key string) string {
	b := c.output[key]
	if b == nil {
		return ""
	}
	delete(c.output, key)
	return b.String()
}

// end prints why tests failed, after everything else so that a summary that shows only
// the end shows it, and the counts. It says whether all is well.
func (c *counter) end() bool {
	first := true
	for _, f := range c.why {
		lines := messages(f.text)
		if len(lines) == 0 {
			continue
		}
		if first {
			fmt.Fprintln(c.out, "why:")
			first = false
		}
		fmt.Fprintf(c.out, "  %s\n", f.name)
		for _, l := range lines {
			fmt.Fprintf(c.out, "    %s\n", l)
		}
	}
	failed := c.failed
	if failed == 0 {
		failed = c.broken
	}
	fmt.Fprintf(c.out, "%d passed, %d failed, %d skipped\n", c.passed, failed, c.skipped)
	return failed == 0 && c.passed > 0
}
