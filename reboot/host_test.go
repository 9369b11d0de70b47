package reboot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestThisMachine(t *testing.T) {
	b, err := Host{Root: "/"}.Boot()
	if err != nil {
		t.Fatal(err)
	}
	if len(b.ID) != 36 || b.Time.After(time.Now()) || b.Time.Before(time.Now().AddDate(-10, 0, 0)) {
		t.Errorf("boot %+v", b)
	}
}

func TestBoot(t *testing.T) {
	const id, stat = "4f8d6e1a-52b7-4b3e-9a51-0d8f6d1c2b3a\n", "cpu  1 2\nintr 5 6\nbtime 1777777777\nprocesses 3\n"
	for name, c := range map[string]struct {
		id, stat string
		want     string // part of the error
	}{
		"good":                  {id, stat, ""},
		"no boot ID":            {"", stat, "no such file"},
		"empty boot ID":         {"\n", stat, "is not a boot ID"},
		"several lines":         {"a\nb\n", stat, "is not a boot ID"},
		"endless boot ID":       {strings.Repeat("x", 1<<20), stat, "is not a boot ID"},
		"no stat":               {id, "", "no such file"},
		"stat without btime":    {id, "cpu 1\n", "no btime line"},
		"btime that is no time": {id, "btime soon\n", "is not a time"},
		"negative btime":        {id, "btime -1\n", "is not a time"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, text := range map[string]string{"proc/sys/kernel/random/boot_id": c.id, "proc/stat": c.stat} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
					t.Fatal(err)
				}
				if text != "" {
					if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			b, err := Host{Root: root}.Boot()
			switch {
			case c.want == "" && (err != nil || b.ID != strings.TrimSpace(id) || b.Time.Unix() != 1777777777):
				t.Errorf("boot %+v, %v", b, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// A kernel is loaded for a kexec where the host's kernel says so; a host root without /sys
// is asked about this kernel, which is the host's.
func TestKexecLoaded(t *testing.T) {
	own := Host{Root: "/"}.KexecLoaded()
	for content, want := range map[string]bool{"1\n": true, "0\n": false, "": false} {
		root := t.TempDir()
		if got := (Host{Root: root}).KexecLoaded(); got != own {
			t.Errorf("without /sys: %t, want this machine's own, %t", got, own)
		}
		if err := os.MkdirAll(filepath.Join(root, "sys/kernel"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "sys/kernel/kexec_loaded"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := (Host{Root: root}).KexecLoaded(); got != want {
			t.Errorf("%q: %t", content, got)
		}
	}
}
