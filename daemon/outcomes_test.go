package daemon

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/hook"
)

// Of an operation that is tried for days the report tells of the last attempt's hooks,
// and no more is kept.
func TestHooksOfManyAttempts(t *testing.T) {
	o := &outcomes{log: zerolog.Nop()}
	for i := range 1000 {
		o.add("op", []api.HookOutcome{
			{Stage: hook.PreDrain, Name: fmt.Sprintf("10-%d", i)}, {Stage: hook.PreDrain, Name: fmt.Sprintf("20-%d", i), Error: "exit status 1"},
		})
		o.forget(&api.Record{ID: "op"})
	}
	told := o.of("op")
	if last := told[len(told)-1]; len(told) > 32 || last.Name != "20-999" || last.Error != "exit status 1" {
		t.Errorf("tells of %d hooks, the last one is %+v", len(told), last)
	}
	if n := len(o.kept); n > 32 {
		t.Errorf("keeps what became of the hooks %d times", n)
	}
	if told := o.of("another"); len(told) > 0 {
		t.Errorf("of another operation: %+v", told)
	}
	o.add("another", []api.HookOutcome{{Name: "10-x", Error: strings.Repeat("ü", 500)}})
	told = o.of("another")
	if len(told) != 1 || len(told[0].Error) > 210 || !utf8.ValidString(told[0].Error) {
		t.Errorf("of another operation: %+v", told)
	}
	if len(o.of("op")) > 0 {
		t.Error("what became of an operation's hooks outlives it")
	}
	if o.forget(nil); len(o.kept) > 0 {
		t.Error("the outcomes of an operation that has ended are kept")
	}
}
