package daemon

import (
	"fmt"
	"testing"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/hook"
)

// Of an operation that is tried for days the report tells of the last attempt's hooks,
// and no more is kept.
func TestHooksOfManyAttempts(t *testing.T) {
	d := &Daemon{Config: Config{Log: zerolog.Nop()}}
	d.record = &decide.Record{ID: "op"}
	for i := range 1000 {
		key := fmt.Sprint(i)
		d.hooks = decide.Hooks{Key: key, Running: decide.PreDrain}
		d.seeHooks(key, decide.PreDrain, []hook.Outcome{
			{Stage: hook.PreDrain, Name: fmt.Sprintf("10-%d", i)}, {Stage: hook.PreDrain, Name: fmt.Sprintf("20-%d", i), Error: "exit status 1"},
		}, nil, false)
	}
	told := d.reportHooks()
	if last := told[len(told)-1]; len(told) > 32 || last.Name != "20-999" || last.Error != "exit status 1" {
		t.Errorf("tells of %d hooks, the last one is %+v", len(told), last)
	}
	if n := len(d.hookOutcomes); n > 32 {
		t.Errorf("keeps what became of the hooks %d times", n)
	}
	d.record = &decide.Record{ID: "another"}
	if told := d.reportHooks(); len(told) > 0 {
		t.Errorf("of another operation: %+v", told)
	}
}
