package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// run counts events, given as "action package test: output".
func run(t *testing.T, events ...event) (out string, ok bool) {
	t.Helper()
	var in, text strings.Builder
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&in, "%s\n", line)
	}
	c := counter{out: &text, output: map[string]*strings.Builder{}}
	if err := c.read(strings.NewReader(in.String())); err != nil {
		t.Fatal(err)
	}
	ok = c.end()
	return text.String(), ok
}

func says(test string, lines ...string) (out []event) {
	for _, l := range lines {
		out = append(out, event{Action: "output", Package: "p", Test: test, Output: l + "\n"})
	}
	return out
}

// A failed test's own message stands at the end, after the log that it printed of a
// program, and the log does not stand there again.
func TestWhyStandsLast(t *testing.T) {
	log := []string{"    main_test.go:72: log of t1-n1:"}
	for i := range 40 {
		log = append(log, fmt.Sprintf(`        {"level":"debug","line":%d}`, i))
	}
	var events []event
	events = append(events, says("TestA", "=== RUN   TestA", "    x_test.go:12: waited until the node is idle: the test's limit of 1m has passed", "        last seen: phase Queued")...)
	events = append(events, says("TestA", log...)...)
	events = append(events, says("TestA", "--- FAIL: TestA (60.00s)")...)
	events = append(events, event{Action: "fail", Package: "p", Test: "TestA", Elapsed: 60})
	events = append(events, says("", "FAIL")...)
	events = append(events, event{Action: "fail", Package: "p", Elapsed: 61}, event{Action: "pass", Package: "q", Test: "TestB"}, event{Action: "pass", Package: "q"})
	out, ok := run(t, events...)
	want := `why:
  p TestA
    x_test.go:12: waited until the node is idle: the test's limit of 1m has passed
            last seen: phase Queued
    main_test.go:72: log of t1-n1:
            (40 lines, above)
1 passed, 1 failed, 0 skipped
`
	if ok || !strings.HasSuffix(out, want) {
		t.Errorf("ok %t, the end is\n%s\nwant\n%s", ok, out[max(0, len(out)-600):], want)
	}
	if !strings.Contains(out, `"line":39`) {
		t.Error("the log is not shown at all")
	}
}

func TestWhy(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events []event
		want   string // the end
	}{
		{"all is well", []event{{Action: "pass", Package: "p", Test: "TestA"}, {Action: "pass", Package: "p"}}, "pass  p 0.0s\n1 passed, 0 failed, 0 skipped\n"},
		{"nothing ran", nil, "0 passed, 0 failed, 0 skipped\n"},
		{
			"a panic in a test that never ends",
			append(says("TestA", "=== RUN   TestA", "panic: test timed out after 1s", "\trunning tests:", "\t\tTestA (1s)"), event{Action: "fail", Package: "p"}),
			"why:\n  p TestA\n    panic: test timed out after 1s\n    \trunning tests:\n    \t\tTestA (1s)\n0 passed, 1 failed, 0 skipped\n",
		},
		{
			"a race",
			append(says("TestA", "WARNING: DATA RACE", "Read at 0x0 by goroutine 7:", "    testing.go:1617: race detected during execution of test"), event{Action: "fail", Package: "p", Test: "TestA"}, event{Action: "fail", Package: "p"}),
			"why:\n  p TestA\n    WARNING: DATA RACE\n    Read at 0x0 by goroutine 7:\n    testing.go:1617: race detected during execution of test\n0 passed, 1 failed, 0 skipped\n",
		},
		{
			"no control plane",
			append(says("", "start the control plane in /tmp/x: etcd ended with status 1", "FAIL\tp\t0.1s"), event{Action: "fail", Package: "p"}),
			"why:\n  p\n    start the control plane in /tmp/x: etcd ended with status 1\n0 passed, 1 failed, 0 skipped\n",
		},
		{
			"does not compile",
			[]event{{Action: "build-output", ImportPath: "p [p.test]", Output: "# p\n"}, {Action: "build-output", ImportPath: "p [p.test]", Output: "p/x.go:3:2: undefined: y\n"}, {Action: "build-fail", ImportPath: "p [p.test]"}},
			"why:\n  p [p.test]\n    p/x.go:3:2: undefined: y\n0 passed, 1 failed, 0 skipped\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if out, _ := run(t, tt.events...); !strings.HasSuffix(out, tt.want) {
				t.Errorf("the end is\n%s\nwant\n%s", out, tt.want)
			}
		})
	}
}

// What one test says in the end is bounded.
func TestWhyIsShort(t *testing.T) {
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "    x_test.go:%d: %s\n", i, strings.Repeat("é", 1000))
	}
	got := messages(text.String())
	if len(got) != mostMessages+1 || got[0] != "(85 messages before these stand above)" || !strings.HasPrefix(got[mostMessages], "x_test.go:99: ") {
		t.Errorf("%d lines, the first is %q", len(got), got[0])
	}
	for _, l := range got {
		if len(l) > widest+len("…") || !strings.HasSuffix(l, "…") && l != got[0] {
			t.Errorf("%d bytes: %q", len(l), l)
		}
	}
}
