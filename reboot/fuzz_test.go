package reboot

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Whatever the files say, a boot is either not known or one that survives being
// written into the record and read again: otherwise a reboot would seem to have
// happened.
func FuzzBoot(f *testing.F) {
	f.Add([]byte("4f8d6e1a-52b7-4b3e-9a51-0d8f6d1c2b3a\n"), []byte("cpu 1 2\nbtime 1777896000\n"))
	f.Add([]byte("\xff\xfe\n"), []byte("btime -1"))
	f.Add([]byte("a\u2028b"), []byte("btime 99999999999999999999"))
	f.Fuzz(func(t *testing.T, id, stat []byte) {
		root := t.TempDir()
		dir := filepath.Join(root, "proc/sys/kernel/random")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{filepath.Join(dir, "boot_id"): id, filepath.Join(root, "proc/stat"): stat} {
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b, err := Host{Root: root}.Boot()
		if err != nil {
			return
		}
		data, err := json.Marshal(b.ID)
		var again string
		if err != nil || json.Unmarshal(data, &again) != nil || again != b.ID || b.ID == "" {
			t.Errorf("the boot ID %q is %q when it is read again", b.ID, again)
		}
	})
}
