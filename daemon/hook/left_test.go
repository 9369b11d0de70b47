package hook

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary is the program that runs a hook, as rebootd is, and the daemon that
// is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Command {
		os.Exit(Supervise(os.Args[2:]))
	}
	if dir := os.Getenv("HOOK_TEST_DAEMON"); dir != "" {
		limit, _ := time.ParseDuration(os.Getenv("HOOK_TEST_LIMIT"))
		r := &Runner{Dir: dir, Limit: limit, Log: func(string, ...any) {}, Output: func(string, string, string) { fmt.Println("began") }}
		fmt.Println("starting")
		_, err := r.Do(context.Background(), PreDrain)
		fmt.Println("ended", err)
		select {}
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // or the race detector has each of them end a second later
	os.Exit(m.Run())
}

// daemon is a daemon in a process of its own that does the stage pre-drain.
type daemon struct {
	*exec.Cmd
	t   *testing.T
	out *os.File
}

func (b *bed) daemon() *daemon { return b.daemonWith(nil) }

// daemonWith is a daemon with a standard error of its own.
func (b *bed) daemonWith(errors *os.File) *daemon {
	b.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	d := &daemon{exec.Command("/proc/self/exe"), b.t, read}
	d.Stdout = write
	if errors != nil {
		d.Stderr = errors
	}
	d.Env = append(os.Environ(), "HOOK_TEST_DAEMON="+b.Dir, "HOOK_TEST_LIMIT="+b.Limit.String())
	if err := d.Start(); err != nil {
		b.t.Fatal(err)
	}
	write.Close()
	b.t.Cleanup(func() { d.kill(); read.Close() })
	return d
}

// says waits until the daemon says it.
func (d *daemon) says(what string) {
	d.t.Helper()
	var got []byte
	buf := make([]byte, 100)
	for !strings.Contains(string(got), what) {
		n, err := d.out.Read(buf)
		if err != nil {
			d.t.Fatalf("%q, and not %q: %v", got, what, err)
		}
		got = append(got, buf[:n]...)
	}
}

func (d *daemon) kill() {
	_ = d.Process.Kill()
	_ = d.Wait()
}

// next is the next start of the daemon. It closes waits when it waits for a hook that
// the last one has left running.
func (b *bed) next() (waits chan struct{}) {
	waits = make(chan struct{})
	var once sync.Once
	b.Log = func(format string, args ...any) {
		b.t.Logf(format, args...)
		if strings.Contains(format, "waiting") {
			once.Do(func() { close(waits) })
		}
	}
	return waits
}

func (b *bed) read(name string) string {
	data, err := os.ReadFile(filepath.Join(b.Dir, name))
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// waitFor waits until a file has a text in it.
func (b *bed) waitFor(name, text string) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(b.read(name), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s has %q, and not %q", name, b.read(name), text)
		}
	}
}

// slow is a hook that begins, waits until somebody writes to a pipe, prints, and ends.
func (b *bed) slow() {
	if err := syscall.Mkfifo(filepath.Join(b.Dir, "go"), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.add(PreDrain+"/a", `cd `+b.Dir+`; echo $1 begins >>log; echo begins; read x <go; echo ends; echo $1 ends >>log`, 0o755)
}

func (b *bed) let() {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.Dir, "go"), []byte("go\n"), 0); err != nil {
		b.t.Fatal(err)
	}
}

// A hook that a daemon has left running when it was killed runs on, and to its end: the
// next start waits for it before it runs it again, or undoes it.
func TestLeftRunning(t *testing.T) {
	for what, undo := range map[string]bool{"do": false, "undo": true} {
		t.Run(what, func(t *testing.T) {
			b := newBed(t)
			b.slow()
			d := b.daemon()
			d.says("began")
			d.kill()
			waits := b.next()
			done := make(chan error)
			go func() {
				var err error
				if undo {
					_, err = b.Undo(t.Context(), PreDrain)
				} else {
					_, err = b.Do(t.Context(), PreDrain)
				}
				done <- err
			}()
			for again := false; !again; {
				select {
				case <-waits:
					again = true
				case <-time.After(10 * time.Millisecond):
					if log := b.read("log"); log != "do begins" {
						t.Fatalf("beside the one that runs:\n%s", log)
					}
				}
			}
			b.let()
			b.waitFor("log", "do ends\n"+what+" begins")
			b.let()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if log := b.read("log"); log != "do begins\ndo ends\n"+what+" begins\n"+what+" ends" {
				t.Errorf("the hook ran so:\n%s", log)
			}
		})
	}
}

// What it prints without a daemon goes to the daemon's standard error, within the same
// bounds, and fit for a terminal.
func TestLeftRunningAndPrintsWithoutEnd(t *testing.T) {
	b := newBed(t)
	if err := syscall.Mkfifo(filepath.Join(b.Dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.add(PreDrain+"/a", `cd `+b.Dir+`; echo begins; read x <go; printf '\033[2Jnoise\n'; yes | head -n 100000; echo ends >>log`, 0o755)
	errors, err := os.Create(filepath.Join(b.Dir, "errors"))
	if err != nil {
		t.Fatal(err)
	}
	defer errors.Close()
	d := b.daemonWith(errors)
	d.says("began")
	d.kill()
	b.let()
	b.waitFor("log", "ends")
	b.waitFor("errors", "lines left out")
	if got := b.read("errors"); strings.Count(got, "\n") > 300 || strings.Contains(got, "\x1b") || !strings.HasPrefix(got, "[2Jnoise\ny\n") {
		t.Errorf("%d lines: %.100q", strings.Count(got, "\n"), got)
	}
}

// One that takes too long, by its own begin, is killed with what it has started. What
// has left its group, as daemons do, is left alone.
func TestLeftRunningTooLong(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", `cd `+b.Dir+`; [ -e pids ] && exit 0; setsid sleep 300 & echo $! >daemon; sleep 300 & echo $$ $! >pids; echo began; wait`, 0o755)
	b.Limit = time.Minute
	d := b.daemon()
	d.says("began")
	d.kill()
	began := time.Now()
	b.next()
	b.Limit = 3 * time.Second
	if _, err := b.Do(t.Context(), PreDrain); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > b.Limit+10*time.Second {
		t.Errorf("it took %s", took)
	}
	for pid := range strings.FieldsSeq(b.read("pids")) {
		b.dead(pid)
	}
	if !lives(b.read("daemon")) {
		t.Error("the daemon that the hook started was killed")
	}
	b.killed("daemon")
}

// Nor does one run for longer than it may when there is no next start.
func TestLeftRunningAndNobodyComes(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "cd "+b.Dir+"; sleep 300 & echo $$ $! >pids; echo began; wait", 0o755)
	b.Limit = time.Second
	d := b.daemon()
	d.says("began")
	d.kill()
	for pid := range strings.FieldsSeq(b.read("pids")) {
		b.dead(pid)
	}
}

// A hook of another directory keeps nobody waiting, and neither does a process of somebody
// else that looks like a hook.
func TestNotOurs(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	b, other := newBed(t), newBed(t)
	other.slow()
	d := other.daemon()
	d.says("began")
	d.kill()
	b.add(PreDrain+"/a", "echo $1", 0o755)
	// tee reads on, although it may not write. Its parent is not this process.
	cmd := exec.Command("sh", "-c", `exec 3<&0; tee "$@" <&3 >/dev/null 2>&1 & echo $!`, "sh", Command, "1", "1m", b.Dir, PreDrain, "a", "do")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	stdin, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer write.Close()
	cmd.Stdin = stdin
	pid, err := cmd.Output()
	if err != nil || !lives(strings.TrimSpace(string(pid))) {
		t.Fatal(err)
	}
	waits := b.next()
	if _, err := b.Do(t.Context(), PreDrain); err != nil {
		t.Error(err)
	}
	select {
	case <-waits:
		t.Error("it waited")
	default:
	}
	other.let()
	other.waitFor("log", "do ends")
}

// lives says whether a process runs.
func lives(pid string) bool {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(data), ") Z ")
}

// dead waits until a process that was killed has ended.
func (b *bed) dead(pid string) {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); lives(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("process %s of the hook lives", pid)
		}
	}
}

func (b *bed) killed(name string) {
	_ = exec.Command("kill", "-9", b.read(name)).Run()
}

// What a hook has left running when it ended is not waited for, and not killed.
func TestLeftBehindOnPurpose(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", `cd `+b.Dir+`; [ -e pid ] || { sleep 300 >/dev/null 2>&1 & echo $! >pid; }; echo again >>log`, 0o755)
	d := b.daemon()
	d.says("ended")
	d.kill()
	waits := b.next()
	if _, err := b.Do(t.Context(), PreDrain); err != nil || b.read("log") != "again\nagain" {
		t.Errorf("%v: %q", err, b.read("log"))
	}
	select {
	case <-waits:
		t.Error("it waited")
	default:
	}
	if !lives(b.read("pid")) {
		t.Error("what the hook left running was killed")
	}
	b.killed("pid")
}

// A daemon that is waiting for a hook can be stopped.
func TestLeftRunningAndNoLongerWanted(t *testing.T) {
	b := newBed(t)
	b.slow()
	d := b.daemon()
	d.says("began")
	d.kill()
	waits := b.next()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-waits
		cancel()
	}()
	if out, err := b.Do(ctx, PreDrain); err == nil || out != nil {
		t.Errorf("%+v, %v", out, err)
	}
	b.let()
	b.waitFor("log", "do ends")
}

// Killed at any moment, from before the fork to after the end: never two at once.
func TestKilledAtAnyMoment(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", `cd `+b.Dir+`; mkdir running || echo two at once >>log; sleep 0.05; rmdir running; echo ran >>log`, 0o755)
	b.next()
	for range 25 {
		d := b.daemon()
		d.says("starting")
		time.Sleep(rand.N(120 * time.Millisecond))
		d.kill()
		if _, err := b.Do(t.Context(), PreDrain); err != nil {
			t.Fatal(err)
		}
	}
	if log := b.read("log"); strings.Contains(log, "two at once") || strings.Count(log, "ran") < 25 {
		t.Errorf("the hook ran so:\n%s", log)
	}
}

// A hook that has been forked when the daemon is killed, and no more, does not run any
// more: the next start cannot have seen it.
func TestKilledRightAfterTheFork(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "echo wrong >"+b.Dir+"/log", 0o755)
	const notOurs = "1"
	cmd := exec.Command("/proc/self/exe", Command, notOurs, "1m", b.Dir, PreDrain, "a", "do")
	if out, err := cmd.CombinedOutput(); err == nil || b.read("log") != "" {
		t.Errorf("%v, %s: %s", err, out, b.read("log"))
	}
}

// The hook does not outlive who watches over it.
func TestSupervisorIsKilled(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "cd "+b.Dir+"; echo $PPID >supervisor; echo $$ >pid; read x <go", 0o755)
	if err := syscall.Mkfifo(filepath.Join(b.Dir, "go"), 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		for b.read("pid") == "" {
			time.Sleep(5 * time.Millisecond)
		}
		b.killed("supervisor")
	}()
	if _, err := b.Do(t.Context(), PreDrain); err == nil {
		t.Error("no error")
	}
	b.dead(b.read("pid"))
}

// When the machine goes down, supervisor and hook are told to end, each: it is the hook's
// to decide how.
func TestToldToEnd(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "cd "+b.Dir+"; trap 'echo ends in order; exit 0' TERM; echo $PPID $$ >pids; while :; do sleep 0.05; done", 0o755)
	go func() {
		b.waitFor("pids", " ")
		_ = exec.Command("kill", strings.Fields(b.read("pids"))...).Run()
	}()
	if _, err := b.Do(t.Context(), PreDrain); err != nil {
		t.Error(err)
	}
	b.said("pre-drain.d/a: ends in order")
}
