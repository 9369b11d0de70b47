package reboot

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxConfig is how much of a configuration file is looked at.
const maxConfig = 1 << 20

// AutomaticReboots says, in a sentence for each, which other programs are configured to
// reboot the machine by themselves: unattended-upgrades, dnf-automatic and rebootmgr. It
// is a hint, from their usual files in /etc; files that cannot be read are left out.
func (h Host) AutomaticReboots() (out []string) {
	warn := func(path, format string, args ...any) {
		out = append(out, fmt.Sprintf("%s: %s", path, fmt.Sprintf(format, args...)))
	}
	apt, _ := filepath.Glob(filepath.Join(h.Root, "etc/apt/apt.conf.d/*"))
	apt = slices.DeleteFunc(apt, func(path string) bool { return !aptReads.MatchString(filepath.Base(path)) })
	value, at := "", ""
	for _, path := range append(apt, filepath.Join(h.Root, "etc/apt/apt.conf")) { // the last word counts
		for _, line := range h.lines(path) {
			if m := automaticReboot.FindStringSubmatch(line); m != nil && !strings.HasPrefix(line, "//") && !strings.HasPrefix(line, "#") {
				value, at = m[1], h.name(path)
			}
		}
	}
	if value == "true" || value == "1" || value == "yes" {
		warn(at, "unattended-upgrades reboots this machine (Automatic-Reboot %q)", value)
	}

	path := filepath.Join(h.Root, "etc/dnf/automatic.conf")
	reboot, command := "", ""
	for _, line := range h.lines(path) {
		switch k, v, _ := strings.Cut(line, "="); strings.TrimSpace(k) {
		case "reboot":
			reboot = strings.TrimSpace(v)
		case "reboot_command":
			command = strings.TrimSpace(v)
		}
	}
	if (reboot == "when-changed" || reboot == "when-needed") && !strings.Contains(command, "touch ") {
		warn(h.name(path), "dnf-automatic reboots this machine (reboot = %s, reboot_command = %s)", reboot, command)
	}

	path = filepath.Join(h.Root, "etc/rebootmgr.conf")
	for _, line := range h.lines(path) {
		if k, v, _ := strings.Cut(line, "="); strings.TrimSpace(k) == "strategy" && strings.TrimSpace(v) != "off" {
			warn(h.name(path), "rebootmgr reboots this machine (strategy = %s)", strings.TrimSpace(v))
		}
	}
	return out
}

var automaticReboot = regexp.MustCompile(`(?i)^Unattended-Upgrade::Automatic-Reboot\s+"?([a-z0-9]+)"?\s*;`)

// aptReads are the names of the files that apt reads: not what editors and package managers
// leave behind (apt.conf(5)).
var aptReads = regexp.MustCompile(`^([A-Za-z0-9_-]+|[A-Za-z0-9_.-]+\.conf)$`)

func (h Host) name(path string) string {
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, h.Root), "/")
}

// lines are the lines of a file, without the space around them.
func (Host) lines(path string) (out []string) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, maxConfig))
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		out = append(out, strings.TrimSpace(s.Text()))
	}
	return out
}
