package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is printed is enough to reach the control plane, in a shell, and to have a machine
// reboot.
func TestPrintsHowToReachIt(t *testing.T) {
	program := filepath.Join(t.TempDir(), "cluster")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(program, "-nodes", "1")
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ends with %v", err)
		}
	})
	var printed strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		printed.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "# Until") {
			break
		}
	}
	shell := func(command string) string {
		t.Helper()
		sh := exec.Command("sh", "-ec", printed.String()+command)
		sh.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + os.Getenv("HOME")}
		out, err := sh.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s\nwith\n%s", command, err, out, &printed)
		}
		return strings.TrimSpace(string(out))
	}
	touch := regexp.MustCompile(`touch (\S+/reboot-needed)`).FindString(printed.String())
	if touch == "" {
		t.Fatalf("it says nothing to touch:\n%s", &printed)
	}
	const bootID = `kubectl get node node-1 -o 'jsonpath={.status.nodeInfo.bootID}'`
	before := shell(bootID)
	shell(touch)
	for began := time.Now(); shell(bootID) == before; time.Sleep(200 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the machine whose sentinel was touched has not rebooted")
		}
	}
}

// Everything that people are told to try works as they would type it, and shows what it
// promises, sooner or later. What runs until it is ended is ended.
func TestPlay(t *testing.T) {
	program := filepath.Join(t.TempDir(), "cluster")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	script := `until_it_says() {
	for i in $(seq 60); do
		out=$(eval "$1" 2>&1)
		case $out in *"$2"*) break ;; esac
		out="$out
NOT SHOWN: $2"
		sleep 0.5
	done
	printf '\n$ %s\n%s\n' "$1" "$out"
}
`
	quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	for _, try := range tries {
		for _, c := range try.commands {
			if strings.HasSuffix(c.line, "-w") {
				c.line = "timeout -s INT 5 " + c.line
			}
			script += "until_it_says " + quoted(c.line) + " " + quoted(c.says) + "\n"
		}
	}
	cmd := exec.Command(program, "-nodes", "5", "-play")
	cmd.Dir = t.TempDir()
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, l := range regexp.MustCompile(`(?m)^(NOT SHOWN: .*|.*command not found.*)$`).FindAllString(string(out), -1) {
		t.Error(l)
	}
	if page, err := os.ReadFile(filepath.Join(cmd.Dir, "roll.html")); err != nil || !strings.Contains(string(page), "node-2") {
		t.Errorf("the report: %v", err)
	}
	t.Logf("%s", out)
}
