package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/kit"
)

// A node waits for its own window, though the configured one is open; is put back when a
// freeze begins, and when its windows are taken away from it; waits while they cannot be
// read; and reboots when they are removed. It is cordoned only while they let it.
func TestWindows(t *testing.T) {
	t.Parallel()
	b := newBed(t, 4*time.Minute)
	m := b.machine("--window=00:00-24:00 Europe/Berlin", "--window-end=put-back", "--window-reserve=0")
	b.Namespace(b.prefix)
	b.must(shared.Deployment(b.ctx, b.prefix, "web", 1, map[string]string{"ready-seconds": "1", "term-seconds": "8"}, kit.On(m.Name)))
	before := m.BootID()
	day := func(days int) string { return time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly) }
	tomorrow := fmt.Sprintf("%.3s 10:00-11:00 Asia/Kathmandu", time.Now().UTC().AddDate(0, 0, 2).Weekday())
	const always = "00:00-24:00 America/New_York"
	windows := func(text string) { b.kubectl("annotate", "node", m.Name, "rebootd.dev/windows="+text, "--overwrite") }
	putBack := func(reason string) {
		b.node(m, "put back: "+reason, func(n *corev1.Node) bool { return !n.Spec.Unschedulable && condition(n).Reason == reason })
		b.released()
	}

	windows(tomorrow)
	b.must(m.Touch("x"))
	b.says(m, "OutsideWindow", "outside the maintenance windows, until "+day(2))
	if got := b.metric(m, `rebootd_gate_opens_timestamp_seconds{gate="window"}`); got == "" {
		t.Error("the metrics do not say when the window opens")
	}
	windows(tomorrow + "; " + always)
	b.phase(m, "Draining")
	windows(always + "; freeze: " + day(-1) + ".." + day(1))
	putBack("Frozen")
	b.says(m, "Frozen", "a freeze is in force ("+day(-1)+".."+day(1)+" UTC), until "+day(2)+"T00:00:00Z")
	windows("whenever")
	b.says(m, "OutsideWindow", `the annotation rebootd.dev/windows must be corrected or removed: "whenever"`)
	windows(always)
	b.phase(m, "Draining")
	windows(tomorrow)
	putBack("OutsideWindow")
	b.kubectl("annotate", "node", m.Name, "rebootd.dev/windows-")
	b.rebooted(m, before)

	cordons := b.cordons(m, func(w written) (open, is bool) {
		is = patches(m, w, "rebootd.dev/windows") && !strings.HasPrefix(w.User.Username, "rebootd:")
		body := string(w.RequestObject)
		return strings.Contains(body, `"rebootd.dev/windows":null`) || strings.Contains(body, always) && !strings.Contains(body, "freeze"), is
	})
	if cordons != 3 {
		t.Errorf("the Node was cordoned %d times, want 3", cordons)
	}
}
