package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":                     "",
		"echo fine":                  "",
		"echo disk full >&2; exit 1": "exit status 1: disk full",
		"echo one; echo two; exit 1": "exit status 1: two",
		"echo $GREETING; exit 1":     "exit status 1: hello",
		"kill -KILL $$":              "signal: killed",
		"head -c 100000 /dev/zero | tr '\\0' x; exit 2": "exit status 2: x",
	} {
		err := Run(t.Context(), Command{Argv: []string{"sh", "-c", script}, Env: []string{"GREETING=hello"}, Limit: time.Minute})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 2*maxReason) {
			t.Errorf("%s: %v, want %q", script, err, want)
		}
	}
	if err := Run(t.Context(), Command{Argv: []string{"/nonexistent/program"}, Limit: time.Minute}); err == nil {
		t.Error("no error")
	}
}

// What it leaves running is neither waited for nor killed.
func TestLeavesSomethingRunning(t *testing.T) {
	began := time.Now()
	pid := ""
	err := Run(t.Context(), Command{Argv: []string{"sh", "-c", "sleep 60 & echo $!"}, Limit: time.Minute, Output: func(line string) { pid = line }})
	if err != nil || time.Since(began) > 30*time.Second || !lives(pid) {
		t.Errorf("%v after %s; %q", err, time.Since(began), pid)
	}
	_ = exec.Command("kill", pid).Run()
}

func lives(pid string) bool {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	return err == nil && !strings.Contains(string(data), ") Z ")
}

// One that takes too long is killed with what it has started, as is one that is no longer
// wanted.
func TestTakesTooLong(t *testing.T) {
	for limit, want := range map[time.Duration]string{2 * time.Second: "took longer than 2s: ", time.Hour: "context canceled: "} {
		ctx, cancel := context.WithCancel(t.Context())
		pid := ""
		err := Run(ctx, Command{Argv: []string{"sh", "-c", "sleep 60 & echo $!; sleep 60"}, Limit: limit, Output: func(line string) {
			if pid = line; limit == time.Hour {
				cancel()
			}
		}})
		cancel()
		if err == nil || err.Error() != want+pid || pid == "" {
			t.Errorf("%v, want %q", err, want)
		}
		for deadline := time.Now().Add(10 * time.Second); lives(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("what it has started lives")
			}
		}
	}
}
