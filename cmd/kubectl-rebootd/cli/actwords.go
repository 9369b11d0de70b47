package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"rebootd.dev/daemon/days"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/printable"
)

// maxWhy is how much of a reason the daemons show, in bytes.
const maxWhy = 300

// writeFlags adds the flags of whatever writes.
func writeFlags(c *cobra.Command, dryRun *string, yes *bool, o *output) {
	f := c.Flags()
	f.StringVar(dryRun, "dry-run", "", "have the API server check it, and change nothing: server")
	f.Lookup("dry-run").NoOptDefVal = "server"
	f.BoolVarP(yes, "yes", "y", false, "do not ask")
	outputFlag(c, o, "name", "json", "yaml")
	pre := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		switch given := f.Changed("dry-run"); {
		case *dryRun == "none":
			*dryRun = ""
		case *dryRun == "" && !given, *dryRun == "server":
		default: // nothing, too: a variable that is not set would have it write
			return usagef("--dry-run=%s is not known: server is, since only the API server knows what it would refuse", *dryRun)
		}
		return pre(c, args)
	}
}

// nodeNamed is the name of a node as people write it: node/NAME, too, as -o name prints it.
func nodeNamed(arg string) (string, error) {
	name := arg
	for _, prefix := range []string{"node/", "nodes/", "no/"} {
		if rest, ok := strings.CutPrefix(arg, prefix); ok {
			name = rest
		}
	}
	if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
		return "", usagef("%.80q is not a valid name of a node", arg)
	}
	return name, nil
}

// checkReason checks a reason: what the daemons would show of it has to be all of it.
func checkReason(why string) (string, error) {
	if len(why) > maxWhy {
		return "", usagef("--reason has %d bytes; %d are shown to people", len(why), maxWhy)
	}
	if line := printable.Line(why, maxWhy); line != why {
		return "", usagef("--reason has characters that are not printable, or needless white space; use %q", line)
	}
	return why, nil
}

// future reads a moment to come: a duration from now such as 2d, or a time by RFC 3339.
// What it returns is in whole seconds, as it is written down.
func (e *env) future(flag, text string) (time.Time, error) {
	now := e.now()
	if d, err := days.Parse(text); err == nil {
		t := now.Add(d).UTC().Truncate(time.Second)
		if !t.After(now) || t.Year() > 9999 {
			return time.Time{}, usagef("--%s=%s is not a time to come", flag, text)
		}
		return t, nil
	}
	t, err := decide.ParseDeadline(text)
	switch {
	case err != nil:
		return time.Time{}, usagef("--%s: %.60q is neither a duration such as 2d or 1d12h nor a time by RFC 3339 such as 2026-12-01T00:00:00Z", flag, text)
	case !t.After(now):
		return time.Time{}, usagef("--%s=%s is past", flag, text)
	}
	return t, nil
}

// many is from how many nodes on people are asked whether they mean it.
const many = 10

// sure asks whether people mean so many nodes.
func (e *env) sure(ctx context.Context, n int, doing string, yes bool) error {
	if n <= many || yes {
		return nil
	}
	if !e.interactive() {
		return usagef("this would %s %d nodes; nobody can be asked here: add --yes if you mean it", doing, n)
	}
	answer, err := e.ask(ctx, "this will %s %d nodes. Continue? [y/N] ", doing, n)
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return fmt.Errorf("nothing was changed")
	}
	return nil
}

// interactive says whether somebody is there who can answer.
func (e *env) interactive() bool { return e.asks != nil && e.asks() }

// ask asks on the terminal, until ctx ends.
func (e *env) ask(ctx context.Context, format string, args ...any) (string, error) {
	fmt.Fprintf(e.err, "%s: %s", e.name, fmt.Sprintf(format, args...))
	var line string
	var err error
	answered := make(chan struct{})
	go func() { // what reads a terminal cannot be called off
		defer close(answered)
		line, err = bufio.NewReader(e.in).ReadString('\n')
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(e.err)
		return "", errors.New("interrupted: nothing was changed")
	case <-answered:
	}
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}
