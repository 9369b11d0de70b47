package daemon

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
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
