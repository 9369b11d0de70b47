package kit

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A wait that comes to nothing says what was waited for, how long, and what there was
// instead.
func TestEventuallyInVain(t *testing.T) {
	if os.Getenv("KIT_TEST_VAIN") != "" {
		b := New(t, nil, "x", 50*time.Millisecond)
		b.Eventually("the slot is free", func() bool { return false }, func() string { return "it is held by n1" })
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEventuallyInVain$")
	cmd.Env = append(os.Environ(), "KIT_TEST_VAIN=1")
	out, err := cmd.CombinedOutput()
	want := "waited until the slot is free: the test's limit of 50ms has passed; instead: it is held by n1\n"
	if err == nil || !strings.Contains(string(out), "kit_test.go:16: "+want) {
		t.Errorf("%v, want %q in\n%s", err, want, out)
	}
}

func TestEventually(t *testing.T) {
	b := New(t, nil, "x", time.Minute)
	n := 0
	b.Eventually("it has been asked three times", func() bool { n++; return n == 3 })
	if n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// No two tests have the same name on a control plane.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		seen[New(t, nil, "x", time.Minute).Name] = true
	}
	if len(seen) != 3 {
		t.Errorf("names %v", seen)
	}
}
