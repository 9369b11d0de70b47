package reboot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAutomaticReboots(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string // part of the only sentence; "": none
	}{
		"nothing":                      {nil, ""},
		"unattended-upgrades":          {map[string]string{"etc/apt/apt.conf.d/50unattended-upgrades": "Unattended-Upgrade::Automatic-Reboot \"true\";\n"}, "/etc/apt/apt.conf.d/50unattended-upgrades: unattended-upgrades reboots"},
		"commented out, as it comes":   {map[string]string{"etc/apt/apt.conf.d/50unattended-upgrades": "//Unattended-Upgrade::Automatic-Reboot \"true\";\n"}, ""},
		"with users logged in":         {map[string]string{"etc/apt/apt.conf.d/50u": "Unattended-Upgrade::Automatic-Reboot-WithUsers \"true\";\nUnattended-Upgrade::Automatic-Reboot \"false\";\n"}, ""},
		"turned off later":             {map[string]string{"etc/apt/apt.conf.d/50u": "Unattended-Upgrade::Automatic-Reboot \"true\";\n", "etc/apt/apt.conf.d/90off": "Unattended-Upgrade::Automatic-Reboot \"false\";\n"}, ""},
		"what packages left behind":    {map[string]string{"etc/apt/apt.conf.d/50u": "Unattended-Upgrade::Automatic-Reboot \"false\";\n", "etc/apt/apt.conf.d/50u.ucf-old": "Unattended-Upgrade::Automatic-Reboot \"true\";\n", "etc/apt/apt.conf.d/50u~": "Unattended-Upgrade::Automatic-Reboot \"true\";\n"}, ""},
		"behind what is in use":        {map[string]string{"etc/apt/apt.conf.d/50u.conf": "Unattended-Upgrade::Automatic-Reboot \"true\";\n", "etc/apt/apt.conf.d/50u.conf.dpkg-old": "Unattended-Upgrade::Automatic-Reboot \"false\";\n"}, "/etc/apt/apt.conf.d/50u.conf: unattended-upgrades reboots"},
		"dnf-automatic":                {map[string]string{"etc/dnf/automatic.conf": "[commands]\nreboot = when-needed\nreboot_command = \"shutdown -r +5\"\n"}, "/etc/dnf/automatic.conf: dnf-automatic reboots"},
		"dnf-automatic that asks us":   {map[string]string{"etc/dnf/automatic.conf": "reboot = when-needed\nreboot_command = \"touch /run/reboot-needed\"\n"}, ""},
		"dnf-automatic as it comes":    {map[string]string{"etc/dnf/automatic.conf": "reboot = never\n"}, ""},
		"rebootmgr":                    {map[string]string{"etc/rebootmgr.conf": "[rebootmgr]\nstrategy=best-effort\n"}, "rebootmgr reboots"},
		"rebootmgr that is turned off": {map[string]string{"etc/rebootmgr.conf": "strategy=off\n"}, ""},
		"a directory in its place":     {map[string]string{"etc/rebootmgr.conf/x": ""}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, text := range c.files {
				full := filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got := Host{Root: root}.AutomaticReboots()
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
