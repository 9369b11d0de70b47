package reboot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// start starts a command and returns it with what it prints.
func start(t *testing.T, argv ...string) (*Child, func() []string) {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	c, err := Start(argv, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), lines...)
	}
}

func ended(t *testing.T, c *Child) Result {
	t.Helper()
	select {
	case <-c.Done():
		return c.Result()
	case <-time.After(20 * time.Second):
		t.Fatal("the command does not end")
		return Result{}
	}
}

func TestResults(t *testing.T) {
	for script, want := range map[string]string{
		"exit 0":                    "",
		"echo fine; exit 0":         "",
		"exit 3":                    "exit status 3",
		"echo no such unit; exit 1": "exit status 1: no such unit",
		"echo broken >&2; exit 1":   "exit status 1: broken",
		"kill -TERM $$":             "ended by signal: terminated",
	} {
		t.Run(script, func(t *testing.T) {
			c, _ := start(t, "sh", "-c", script)
			got := ""
			if err := ended(t, c).Failure(); err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("failure %q, want %q", got, want)
			}
		})
	}
}

func TestCannotBeStarted(t *testing.T) {
	notExecutable := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(notExecutable, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{nil, {"/nonexistent/reboot"}, {"no-such-program-at-all"}, {notExecutable}} {
		if c, err := Start(argv, func(string) {}); err == nil {
			t.Errorf("Start(%q) started %d", argv, c.PID())
		} else if len(argv) > 0 && !strings.Contains(err.Error(), argv[0]) {
			t.Errorf("Start(%q): %v, which does not say what was started", argv, err)
		}
	}
}

// Its output comes line by line while it runs.
func TestOutputWhileItRuns(t *testing.T) {
	c, lines := start(t, "sh", "-c", "echo one; echo two >&2; read wait < "+pipe(t))
	for deadline := time.Now().Add(10 * time.Second); len(lines()) < 2; {
		if time.Now().After(deadline) {
			t.Fatalf("only %q after 10 s", lines())
		}
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case <-c.Done():
		t.Fatal("has ended already")
	default:
	}
	if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, c)
	if got := lines(); len(got) != 2 || got[0] != "one" || got[1] != "two" {
		t.Errorf("output %q", got)
	}
}

// pipe is a pipe that nobody writes to.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A command that prints without end is neither blocked for ever nor allowed more
// memory.
func TestOutputWithoutEnd(t *testing.T) {
	c, lines := start(t, "sh", "-c", "yes $(printf %4095s | tr ' ' x) | head -c 10000000; echo status $?")
	ended(t, c)
	n := 0
	for _, l := range lines() {
		n += len(l) + 1
	}
	if n > outputSize {
		t.Errorf("%d bytes of output were taken, more than %d", n, outputSize)
	}
	if n < outputSize/2 {
		t.Errorf("only %d bytes of output were taken", n)
	}
}

// What it writes beyond the limit is refused, not kept.
func TestOutputBeyondTheLimit(t *testing.T) {
	c, _ := start(t, "head", "-c", "10000000", "/dev/zero")
	if r := ended(t, c); r.ExitCode == 0 {
		t.Error("ten megabytes of output were taken")
	}
}

// Many short lines do not fill the log.
func TestEndlessLines(t *testing.T) {
	c, lines := start(t, "sh", "-c", "yes | head -n 100000; exit 1")
	if r := ended(t, c); r.ExitCode != 1 {
		t.Errorf("%+v", r)
	}
	if all := lines(); len(all) < 100 || len(all) > 300 || !strings.HasPrefix(all[len(all)-1], "(lines left out: ") {
		t.Errorf("%d lines, the last %q", len(all), all[max(0, len(all)-1)])
	}
}

// What a command leaves behind does not keep it from having ended.
func TestGrandchild(t *testing.T) {
	began := time.Now()
	c, _ := start(t, "sh", "-c", "sleep 30 & echo $!")
	r := ended(t, c)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if pid, err := strconv.Atoi(r.Output); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// It has a session and a process group of its own.
func TestOwnSession(t *testing.T) {
	c, _ := start(t, "sh", "-c", "cat /proc/$$/stat")
	r := ended(t, c)
	fields := strings.Fields(r.Output[strings.LastIndex(r.Output, ")")+1:])
	pid := fmt.Sprint(c.PID())
	if pgrp, session := fields[2], fields[3]; pgrp != pid || session != pid {
		t.Errorf("process %s has group %s and session %s", pid, pgrp, session)
	}
}

// The environment keeps systemctl from choosing another kind of reboot.
func TestEnvironment(t *testing.T) {
	c, _ := start(t, "sh", "-c", "echo $SYSTEMCTL_SKIP_AUTO_KEXEC $SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT")
	if r := ended(t, c); r.Output != "1 1" {
		t.Errorf("output %q", r.Output)
	}
}

// The daemon's death neither ends the command nor breaks its output: the test
// starts itself as the daemon, and kills it.
func TestOutlivesTheDaemon(t *testing.T) {
	if path := os.Getenv("REBOOT_TEST_DAEMON"); path != "" {
		_, err := Start([]string{"sh", "-c", "read wait < " + path + ".pipe && echo still here && echo yes > " + path + ".done"}, func(string) {})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("started")
		select {}
	}
	path := filepath.Join(t.TempDir(), "x")
	if err := syscall.Mkfifo(path+".pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(os.Args[0], "-test.run=^TestOutlivesTheDaemon$")
	daemon.Env = append(os.Environ(), "REBOOT_TEST_DAEMON="+path)
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 7)
	if _, err := out.Read(buf); err != nil || string(buf) != "started" {
		t.Fatalf("%q, %v", buf, err)
	}
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait()
	if err := os.WriteFile(path+".pipe", []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		if data, err := os.ReadFile(path + ".done"); err == nil && string(data) == "yes\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the command did not come to its end")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
