package sim

import (
	"sync"

	"rebootd.dev/daemon/api"
	"rebootd.dev/reboot"
)

// Command is a reboot command that was started. It implements daemon.Child.
type Command struct {
	Level   api.Level
	Process *Process // that has started it

	output func(string)
	once   sync.Once
	done   chan struct{}
	result reboot.Result
}

// Done implements daemon.Child.
func (c *Command) Done() <-chan struct{} { return c.done }

// Result implements daemon.Child.
func (c *Command) Result() reboot.Result { return c.result }

// End ends the command, with what it has printed. The exit status 0 says that it has
// succeeded.
func (c *Command) End(exitCode int, output string) {
	c.once.Do(func() {
		if output != "" {
			c.output(output)
		}
		c.result = reboot.Result{ExitCode: exitCode, Output: output}
		close(c.done)
	})
}

// forget ends a command with the machine.
func (c *Command) forget() {
	if c != nil {
		c.once.Do(func() {
			c.result = reboot.Result{ExitCode: -1, Signal: "killed"}
			close(c.done)
		})
	}
}
