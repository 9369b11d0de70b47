package cluster

import (
	"os"
	"testing"
)

// What every machine of a test needs is built for the first.
func TestBuiltOnce(t *testing.T) {
	t.Setenv("REBOOTD_TEST_CACHE", t.TempDir())
	var built [2]os.FileInfo
	for i := range built {
		path, err := Simreboot()
		if err == nil {
			built[i], err = os.Stat(path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !os.SameFile(built[0], built[1]) {
		t.Error("the second machine has another reboot command than the first: it was built again")
	}
}
