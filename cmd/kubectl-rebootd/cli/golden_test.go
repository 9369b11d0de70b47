package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rebootd.dev/cmd/kubectl-rebootd/client"
)

var rewrite = flag.Bool("rewrite", false, "write what the commands print to testdata")

// lines are the command lines that are run in every situation; a command has its own where
// it is tested.
var lines = slices.Concat(statusLines)

// TestGolden runs commands in situations that people know. What they print stands in
// testdata, to be read: go test ./cmd/kubectl-rebootd/cli -run Golden -rewrite.
func TestGolden(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(situations)) {
		t.Run(name, func(t *testing.T) {
			for _, line := range lines {
				golden(t, filepath.Join(name, fileOf(line)), transcript(situations[name](), line))
			}
		})
	}
}

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	file = filepath.Join("testdata", file)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// fileOf is the name of the golden file of a command line.
func fileOf(line string) string {
	return strings.NewReplacer(" ", "_", "/", "-").Replace(line) + ".txt"
}

// result is what a command has printed.
type result struct {
	out, err string
	status   int
}

// runIn runs a command line. change may change what it has of the world.
func runIn(api client.API, line []string, change ...func(*env)) result {
	return runUntil(context.Background(), api, line, change...)
}

// runUntil is runIn, interrupted when ctx ends.
func runUntil(ctx context.Context, api client.API, line []string, change ...func(*env)) result {
	var out, errs bytes.Buffer
	e := &env{
		version: "v1.2.0", name: "kubectl rebootd", in: strings.NewReader(""), out: &out, err: &errs,
		now: func() time.Time { return at }, zone: time.UTC, connect: func() (client.API, error) { return api, nil },
		terminal: func() (int, int, bool) { return 0, 0, false }, getenv: func(string) string { return "" },
	}
	for _, c := range change {
		c(e)
	}
	status := e.run(ctx, line)
	return result{out.String(), errs.String(), status}
}

// transcript is a command line and what it printed, as in a terminal, with the exit status
// if that is not 0, and what it has written to the API server.
func transcript(f *fakeAPI, line string) string { return transcriptOf(f, line, strings.Fields(line)) }

func transcriptOf(f *fakeAPI, line string, words []string) string {
	r := runIn(f, words)
	s := "$ kubectl rebootd " + line + "\n" + firstLines(r.out)
	if r.err != "" {
		s += "--- stderr\n" + r.err
	}
	if r.status != exitOK {
		s += fmt.Sprintf("--- exit status %d\n", r.status)
	}
	for _, w := range f.wrote {
		s += "--- " + w + "\n"
	}
	return s
}

// firstLines are those of what a fleet of thousands has printed, and how many more there are.
func firstLines(out string) string {
	const most = 150
	all := strings.SplitAfter(out, "\n")
	if len(all) <= most+1 {
		return out
	}
	return strings.Join(all[:most], "") + fmt.Sprintf("--- %d more lines\n", len(all)-1-most)
}

// TestUsage has mistyped command lines end with a clear word and status 2.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"nonsense":           `kubectl rebootd: unknown command "nonsense"; see kubectl rebootd help`,
		"version x":          "kubectl rebootd: unknown command \"x\" for \"kubectl rebootd version\"; see kubectl rebootd version --help",
		"version --wrong":    "kubectl rebootd: unknown flag: --wrong",
		"status --color red": `kubectl rebootd: --color must be auto, always or never, and is "red"`,
	} {
		r := runIn(newFake(), strings.Fields(line))
		if r.status != exitUsage || strings.TrimSpace(r.err) != want || r.out != "" {
			t.Errorf("%s: %+v; want %s", line, r, want)
		}
	}
}
