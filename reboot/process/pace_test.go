package process

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// However much is printed, a few hundred lines are passed on at once and then so many in a
// second; how many were left out is said.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		var p Pace
		run := p.Start(func(line string) { said = append(said, line) })
		for i := range 100_000 {
			run.Line(fmt.Sprint(i))
		}
		if len(said) != paceBurst || said[paceBurst-1] != fmt.Sprint(paceBurst-1) {
			t.Errorf("%d lines of a burst", len(said))
		}
		time.Sleep(10 * time.Second)
		for i := range 100_000 {
			run.Line(fmt.Sprint("later ", i))
		}
		if n := len(said) - paceBurst; n != 10*paceRate+1 || said[paceBurst] != fmt.Sprintf("(lines left out: %d)", 100_000-paceBurst) || said[paceBurst+1] != "later 0" {
			t.Errorf("%d lines in ten seconds, the first %q", n, said[paceBurst])
		}
		run.End()
		if last := said[len(said)-1]; last != fmt.Sprintf("(lines left out: %d)", 100_000-10*paceRate) {
			t.Errorf("in the end: %q", last)
		}
		said = nil
		next := p.Start(func(line string) { said = append(said, line) })
		if next.Line("x"); len(said) != 0 {
			t.Errorf("the next run has a pace of its own: %q", said)
		}
		time.Sleep(time.Hour)
		next.Line("y")
		if next.End(); fmt.Sprint(said) != "[(lines left out: 1) y]" {
			t.Errorf("after an hour: %q", said)
		}
		// A slow one is passed on to its end, up to the most of a run.
		said = nil
		slow := p.Start(func(line string) { said = append(said, line) })
		for range 10_000 {
			time.Sleep(time.Second)
			slow.Line("z")
		}
		if slow.End(); len(said) != mostLines+1 || !strings.Contains(said[mostLines], fmt.Sprint(10_000-mostLines)) {
			t.Errorf("%d lines of a slow run", len(said))
		}
	})
}

// What is left out neither blocks the program nor ends it, and its last line is the error's.
func TestRunWithMuchOutput(t *testing.T) {
	var said []string
	err := Run(t.Context(), Command{
		Argv: []string{"sh", "-c", "i=0; while [ $i -lt 30000 ]; do echo $i; i=$((i+1)); done; echo the end; exit 3"}, Limit: time.Minute,
		Output: func(line string) { said = append(said, line) },
	})
	if err == nil || err.Error() != "exit status 3: the end" {
		t.Errorf("%v", err)
	}
	if n := len(said); n < paceBurst || n > paceBurst+60*(paceRate+1) || !strings.HasPrefix(said[n-1], "(lines left out: ") {
		t.Errorf("%d lines, the last %q", n, said[max(0, n-1)])
	}
}
