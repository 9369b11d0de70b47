package others

import (
	"os"
	"strings"
	"testing"
)

// Who requests a reboot is warned of all that the daemon would wait for, by a policy that
// has a table of its own.
func TestWarnedOfAll(t *testing.T) {
	data, err := os.ReadFile("../../deploy/base/warn.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range table {
		if want := "'" + strings.TrimSuffix(s.key, "*") + "'"; !strings.Contains(string(data), want) {
			t.Errorf("deploy/base/warn.yaml does not have the %s %s", s.at, want)
		}
	}
}
