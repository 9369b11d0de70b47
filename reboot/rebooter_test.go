package reboot

import (
	"os"
	"strings"
	"testing"
)

// Each level has its command, and what is no level has none.
func TestRebooter(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := []string{"systemctl", "reboot"}
	for _, c := range []struct {
		Rebooter
		level, want string // "": refused
	}{
		{Rebooter{Command: command}, "reboot", "systemctl reboot"},
		{Rebooter{Command: command}, "kexec", "systemctl kexec"},
		{Rebooter{Command: command}, "soft-reboot", "systemctl soft-reboot"},
		{Rebooter{Command: command}, "poweroff", ""},
		{Rebooter{Command: command}, "", ""},
		{Rebooter{Command: []string{"/sbin/reboot", "-f"}}, "reboot", "/sbin/reboot -f"},
		{Rebooter{Logind: true}, "reboot", self + " logind-reboot reboot"},
		{Rebooter{Logind: true}, "soft-reboot", self + " logind-reboot soft-reboot"},
		{Rebooter{Logind: true}, "poweroff", ""},
		{Rebooter{Command: command, Message: "soon"}, "reboot", "systemctl reboot --message=soon"},
		{Rebooter{Command: command, Message: "soon"}, "kexec", "systemctl kexec --message=soon"},
		{Rebooter{Logind: true, Message: "at nine"}, "reboot", self + " logind-reboot reboot at nine"},
	} {
		argv, err := c.argv(c.level)
		if (err == nil) != (c.want != "") || strings.Join(argv, " ") != c.want {
			t.Errorf("%+v, %q: %q, %v; want %q", c.Rebooter, c.level, argv, err, c.want)
		}
	}
	if c, err := (Rebooter{Command: command}).Start("poweroff", func(string) {}); err == nil || c != nil {
		t.Error("poweroff is started")
	}
	out := ""
	c, err := Rebooter{Command: []string{"echo", "reboots"}, Message: "soon"}.Start("reboot", func(line string) { out += line })
	if err != nil {
		t.Fatal(err)
	}
	if err := ended(t, c).Failure(); err != nil || out != "reboots --message=soon" {
		t.Errorf("%q, %v", out, err)
	}
}
