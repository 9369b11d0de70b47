package daemon

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestForeignCordon(t *testing.T) {
	entry := func(manager, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	const cordon, labels = `{"f:spec":{"f:unschedulable":{}}}`, `{"f:metadata":{"f:labels":{"f:x":{}}}}`
	for name, c := range map[string]struct {
		fields []metav1.ManagedFieldsEntry
		want   bool
	}{
		"nobody has set it":         {nil, false},
		"ours":                      {[]metav1.ManagedFieldsEntry{entry("rebootd", cordon), entry("kubectl", labels)}, false},
		"somebody else's":           {[]metav1.ManagedFieldsEntry{entry("rebootd", labels), entry("kubectl-cordon", cordon)}, true},
		"an entry without a fields": {[]metav1.ManagedFieldsEntry{{Manager: "x"}}, false},
	} {
		if got := foreignCordon(c.fields); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// The answer to a patch may overtake the watch: what is older is not taken, but
// another Node of the same name is, whatever its version.
func TestOlderState(t *testing.T) {
	v := func(uid, version string) *nodeView {
		return viewOf(nodeOf(uid, version))
	}
	for _, c := range []struct {
		new, old *nodeView
		want     bool
	}{
		{v("a", "9"), v("a", "10"), true},
		{v("a", "10"), v("a", "9"), false},
		{v("a", "10"), v("a", "10"), false},
		{v("b", "1"), v("a", "10"), false},
		{v("a", "x"), v("a", "10"), false},
		{v("a", "1"), nil, false},
	} {
		if got := c.new.older(c.old); got != c.want {
			t.Errorf("%+v older than %+v: %t", c.new, c.old, got)
		}
	}
}

func nodeOf(uid, version string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), ResourceVersion: version}}
}

// Pauses grow, and a server that asks for one gets it, with room for a crowd to
// spread.
func TestPauseAfter(t *testing.T) {
	asks := fmt.Errorf("patch the Node: %w", apierrors.NewTooManyRequests("too many", 3))
	for range 1000 {
		for failed := range 20 {
			usual := min(lastBackoff, firstBackoff<<min(failed, 10))
			if p := pauseAfter(failed, errors.New("refused")); p < usual/2 || p > usual {
				t.Fatalf("after %d failures: %s, want from %s to %s", failed, p, usual/2, usual)
			}
			if p := pauseAfter(failed, asks); p < 3*time.Second || p > 3*time.Second+min(lastBackoff, 3*time.Second<<min(failed, 4)) {
				t.Fatalf("asked to wait 3s, after %d failures: %s", failed, p)
			}
		}
	}
}
