package decide

import (
	"slices"
	"testing"

	"rebootd.dev/daemon/api"
)

// ofOtherGates are results of gates that the situations do not have.
var ofOtherGates = []api.Reason{api.ReasonCannotReboot, api.ReasonConfigRefused, api.ReasonFrozen, api.ReasonOutsideWindow, api.ReasonAwaitingApproval}

// The results of operations and attempts are those that are known beforehand, and each
// of those is one. Of gates it knows some that stand for all (cmd/rebootd knows the rest).
func TestResults(t *testing.T) {
	t.Parallel()
	got := map[string]bool{}
	for s := range situations(every(61)) {
		step := s.step()
		if !step.Ends(s.r) {
			continue
		}
		if !slices.Contains(api.Results(), step.Reason) && !got[string(step.Reason)] {
			t.Errorf("%s is not one of the results: %+v\n%s", step.Reason, step, s)
		}
		got[string(step.Reason)] = true
	}
	for _, r := range api.Results() {
		if !got[string(r)] && !slices.Contains(ofOtherGates, r) && !testing.Short() {
			t.Errorf("%s is never the result", r)
		}
	}
}
