package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rebootd.dev/test/kit"
)

// TestHistory has what the daemons of real machines remember read back: a reboot, one that
// was cancelled, and one that has halted; and made into a report.
func TestHistory(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	m := b.machine("--health-timeout=2s")
	b.ok("history "+m.Name, "no operation is known of 1 node")
	b.ok("request "+m.Name+" --wait --timeout 90s", m.Name+": done: ")
	b.ok("hold " + m.Name + " --wait --timeout 30s")
	b.ok("request " + m.Name)
	b.reason(m, "Held")
	b.ok("cancel "+m.Name, "request cancelled")
	b.Node(m.Name, "idle", kit.Idle)
	b.ok("unhold " + m.Name)
	m.StayUnhealthy(time.Now().Add(time.Hour))
	b.ends(4, "request "+m.Name+" --wait --timeout 90s", m.Name+": halted: Unhealthy: ")

	b.ok("history "+m.Name+" --since 1h", "Halted: Unhealthy", "Cancelled", "RebootVerified")
	var list struct {
		Kind  string
		Items []struct {
			Node      string
			UnderWay  bool
			Phase     string
			Operation struct {
				Result, BootID, NewBootID string
				Failure                   struct{ Reason string }
			}
			Seconds map[string]int
		}
	}
	if err := json.Unmarshal([]byte(b.ok("history "+m.Name+" -o json").Out), &list); err != nil || list.Kind != "History" || len(list.Items) != 3 {
		t.Fatalf("%v: %+v", err, list)
	}
	halted, cancelled, verified := list.Items[0], list.Items[1], list.Items[2]
	if !halted.UnderWay || halted.Phase != "Halted" || halted.Operation.Failure.Reason != "Unhealthy" {
		t.Errorf("halted: %+v", halted)
	}
	if cancelled.UnderWay || cancelled.Operation.Result != "Cancelled" || len(cancelled.Seconds) != 1 {
		t.Errorf("cancelled before it began: %+v", cancelled)
	}
	if verified.Operation.Result != "RebootVerified" || verified.Operation.BootID == verified.Operation.NewBootID || len(verified.Seconds) != 7 {
		t.Errorf("verified: %+v", verified)
	}

	file := filepath.Join(t.TempDir(), "roll.html")
	b.ok("report "+m.Name+" --html "+file, "1 of 1 node rebooted")
	data, err := os.ReadFile(file)
	b.Must(err)
	for _, want := range []string{"Halted: a person is needed", m.Name + ": Halted: Unhealthy; waiting", "<em class=\"result halted\">Halted: Unhealthy</em>"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	b.ok("abort "+m.Name+" --wait --timeout 30s", "done: ")
	b.ok("report "+m.Name, "Aborted", "**Complete, with remarks.** 1 of 1 node rebooted")
}
