package reboot

import (
	"fmt"
	"os"
	"slices"
)

// LogindCommand is the argument by which this program asks logind to reboot instead of
// what it else does, as a child of its own: main gives [Logind] the level and the message
// that follow it.
const LogindCommand = "logind-reboot"

// Rebooter knows the command for each level of a reboot: reboot, kexec or soft-reboot.
type Rebooter struct {
	// Logind asks logind, for every level, and uses no Command.
	Logind bool
	// Command is for the level reboot; the others are systemctl's.
	Command []string
	// Message is what users who are logged in are told. Command takes it as systemctl does.
	Message string
}

// Start starts the command for a level, as [Start] does.
func (r Rebooter) Start(level string, output func(line string)) (*Child, error) {
	argv, err := r.argv(level)
	if err != nil {
		return nil, fmt.Errorf("find the command for a %s: %w", level, err)
	}
	return Start(argv, output)
}

func (r Rebooter) argv(level string) ([]string, error) {
	if _, ok := levels[level]; !ok {
		return nil, fmt.Errorf("%q is not a level of a reboot", level)
	}
	if r.Logind {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		argv := []string{self, LogindCommand, level}
		if r.Message != "" {
			argv = append(argv, r.Message)
		}
		return argv, nil
	}
	argv := []string{"systemctl", level}
	if level == "reboot" {
		argv = slices.Clone(r.Command)
	}
	if r.Message != "" {
		argv = append(argv, "--message="+r.Message)
	}
	return argv, nil
}
