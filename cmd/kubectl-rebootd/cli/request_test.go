package cli

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
)

// TestRequestOfWhatIsGivenUp has people told that an operation that is given up serves no
// request, and that an abort takes the request with it.
func TestRequestOfWhatIsGivenUp(t *testing.T) {
	undone := func(reason api.Reason) func(*corev1.Node) {
		return inPhase("x-1", api.PhaseDraining, func(r *api.Record) { r.Undo = &api.Undo{Since: r.DrainBegan(), Reason: reason, Ends: true} })
	}
	for _, tt := range []struct {
		name  string
		state []func(*corev1.Node)
		want  string
	}{
		{"aborted", []func(*corev1.Node){undone(api.ReasonAborted), has(api.AbortAnnotation, "wrong kernel")}, "warning: n: it is being aborted (wrong kernel), and this request is given up with that, unless the abort comes too late: request it again when the annotation rebootd.dev/abort is gone"},
		{"aborted, and nothing done yet", []func(*corev1.Node){has(api.AbortAnnotation, "")}, "warning: n: it is being aborted (no reason is given), and"},
		{"aborted, and the annotation removed", []func(*corev1.Node){undone(api.ReasonAborted)}, "warning: n: its reboot is being aborted, and this request is given up with that: request it again when that is done"},
		{"cancelled", []func(*corev1.Node){undone(api.ReasonCancelled)}, "warning: n: its last reboot is being given up; this requests another one after that"},
	} {
		f := newFake()
		f.idle("n", tt.state...)
		r := runIn(f, []string{"request", "n"})
		if !strings.Contains(r.err, tt.want) || strings.Contains(r.err, "serves this request") || r.status != exitOK {
			t.Errorf("%s: %+v; want %s", tt.name, r, tt.want)
		}
	}
}
