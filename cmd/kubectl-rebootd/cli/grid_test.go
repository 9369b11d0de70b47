package cli

import (
	"slices"
	"strings"
	"testing"
)

// TestVisible has a text take as many columns as a terminal shows.
func TestVisible(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "node-1": 6, "\x1b[31mred\x1b[0m": 3, "Größe": 5, "重启": 4, "ディスク": 8, "e\u0301": 1, "🙂": 2, "한": 2, "x重": 3, "…": 1, "→": 1,
	} {
		if got := visible(text); got != want {
			t.Errorf("%q: %d columns, want %d", text, got, want)
		}
	}
}

// TestWrapLosesNothing: on a screen that does not wrap by itself, what is too wide is lost.
func TestWrapLosesNothing(t *testing.T) {
	for _, text := range []string{
		"node-1: held: " + strings.Repeat("磁盘正在更换", 20),
		"node-1: " + strings.Repeat("x", 300) + " and more",
		strings.Repeat("y", 100),
		"  a " + strings.Repeat("z重", 70) + " b",
		"\x1b[1mnode-1\x1b[0m: all is well, and it goes on for more than one line",
		"\x1b[1m" + strings.Repeat("n", 60) + "\x1b[0m: short",
	} {
		for _, width := range []int{1, 3, 5, 6, 7, 20, 40, 80} {
			lines := wrap(text, width, "    ")
			bare := func(s string) string { return strings.ReplaceAll(s, " ", "") }
			if got := bare(strings.Join(lines, "")); got != bare(text) {
				t.Errorf("width %d: %q became %q", width, text, lines)
			}
			if width >= 20 && slices.ContainsFunc(lines, func(l string) bool { return visible(l) > width && !strings.Contains(l, "\x1b") }) {
				t.Errorf("width %d: %q is too wide in %q", width, text, lines)
			}
		}
	}
}
