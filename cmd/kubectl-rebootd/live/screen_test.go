package live

import (
	"strings"
	"testing"
)

// TestScreen: only what has changed is written, what does not fit is cut off, and the
// terminal is given back.
func TestScreen(t *testing.T) {
	var out strings.Builder
	s := NewScreen(&out)
	draw := func(height int, lines ...string) string {
		out.Reset()
		if err := s.Draw(lines, 80, height); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := draw(3, "one", "two", "three", "four"); !strings.HasPrefix(got, enter) || !strings.Contains(got, "three") || strings.Contains(got, "four") {
		t.Errorf("the first frame: %q", got)
	}
	if got := draw(3, "one", "two", "three"); got != "" {
		t.Errorf("nothing has changed: %q", got)
	}
	if got := draw(3, "one", "2"); got != "\x1b[2;1H\x1b[K2\x1b[0m\x1b[3;1H\x1b[K" {
		t.Errorf("one line has changed, one is gone: %q", got)
	}
	if got := draw(4, "one", "2"); !strings.HasPrefix(got, clearAll) || !strings.Contains(got, "one") {
		t.Errorf("another size: %q", got)
	}
	out.Reset()
	if err := s.Close(); err != nil || out.String() != leave {
		t.Errorf("closed: %q, %v", out.String(), err)
	}
	out.Reset()
	if err := s.Close(); err != nil || out.Len() > 0 {
		t.Errorf("closed twice: %q, %v", out.String(), err)
	}
}
