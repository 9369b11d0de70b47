package reboot

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":                     "",
		"sleep 5 & exit 0":           "",
		"echo fine":                  "",
		"echo disk full >&2; exit 1": "exit status 1: disk full",
		"kill -KILL $$":              "signal: killed",
		"head -c 100000 /dev/zero | tr '\\0' x; exit 2": "exit status 2: x",
	} {
		err := Check(t.Context(), []string{"sh", "-c", script})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 2*maxTail) {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
	}
	if err := Check(t.Context(), []string{"/nonexistent/check"}); err == nil {
		t.Error("a check that is not there passes")
	}
}

// A check that takes too long is ended, with what it has started.
func TestCheckTakesTooLong(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := Check(ctx, []string{"sh", "-c", "sleep 60 & sleep 60"})
	if err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}
