package host

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// janitor is a process that outlives the tests, however they end, and removes what a
// machine has of the one that they run on: its processes, its mount, its cgroups.
type janitor struct {
	cmd  *exec.Cmd
	life io.Closer // until it is closed, or its owner is gone
}

// cleaning waits until nobody holds the other end of its input any more. A cgroup can be
// removed once the last process in it is reaped.
const cleaning = `
read -r _
root=$1; shift
for try in $(seq 50); do
	for p in $(find "$@" -name cgroup.procs -exec cat {} + 2>/dev/null); do kill -9 $p 2>/dev/null; done
	find "$@" -depth -type d -exec rmdir {} ';' 2>/dev/null
	ls -d "$@" >/dev/null 2>&1 || break
	sleep 0.05
done
umount -l "$root"
`

func hire(root string, groups []string) (*janitor, error) {
	j := &janitor{cmd: exec.Command("/bin/sh", append([]string{"-c", cleaning, "janitor", root}, groups...)...)}
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var err error
	if j.life, err = j.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("clean up after %s: %w", root, err)
	}
	if err := j.cmd.Start(); err != nil {
		return nil, fmt.Errorf("clean up after %s: %w", root, err)
	}
	return j, nil
}

// clean cleans, and waits until that is done.
func (j *janitor) clean() {
	j.life.Close()
	_ = j.cmd.Wait()
}
