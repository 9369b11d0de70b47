package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rebootd.dev/reboot"
)

// Tell says how the machine stands, for whoever wants to know why a test failed.
func (m *Machine) Tell() string {
	boot, err := reboot.Host{Root: m.Root}.Boot()
	booted := clock(boot.Time)
	if err != nil {
		booted = err.Error()
	}
	sentinel := "none"
	if info, err := os.Lstat(filepath.Join(m.Root, Sentinel)); err == nil {
		sentinel = "of " + clock(info.ModTime())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var outages []string
	for _, o := range m.outages {
		outages = append(outages, clock(o.From)+" to "+clock(o.To))
	}
	return fmt.Sprintf("boot %s of %s, down %t, sentinel %s, reboot command called %d times and obeyed %d times, outages [%s], arguments %q",
		m.bootID, booted, m.down, sentinel, m.calls, m.orders, strings.Join(outages, ", "), m.Args)
}

// clock is a time as the daemon's log has it.
func clock(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
