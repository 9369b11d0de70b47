package drain

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Outcome is what became of a pod.
type Outcome string

// The outcomes. Every pod that was seen has exactly one in the end.
const (
	Drained      Outcome = "drained"       // it has left the node
	Relocated    Outcome = "relocated"     // and its replacement is Ready elsewhere
	ForceStopped Outcome = "force-stopped" // it was deleted although it could not be evicted
	Failed       Outcome = "failed"        // it is still there
	Skipped      Outcome = "skipped"       // it was never ours to move
)

// Outcomes lists them in the order in which they are documented.
func Outcomes() []Outcome { return []Outcome{Drained, Relocated, ForceStopped, Failed, Skipped} }

const (
	// reportSchema is the number of the report's schema.
	reportSchema = 1
	// MaxReport is how large a report may be in JSON, in bytes.
	MaxReport = 32 << 10
)

// Report is the outcome of a drain for every pod: the annotation
// rebootd.dev/report of the Node.
type Report struct {
	V        int             `json:"v"`
	ID       string          `json:"id"` // of the operation
	Started  time.Time       `json:"started"`
	Finished time.Time       `json:"finished,omitzero"`
	Totals   map[Outcome]int `json:"totals"`
	Pods     []PodReport     `json:"pods"`
	// LeftOut are marks of the pods that are counted and not told, for a later run of
	// the same drain.
	LeftOut marks `json:"leftOut,omitempty"`
	// Hooks are an admin's own programs that ran before the drain and the reboot.
	Hooks []HookOutcome `json:"hooks,omitempty"`

	unknown map[string]json.RawMessage
}

// PodReport is the outcome for one pod.
type PodReport struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	Outcome   Outcome   `json:"outcome"`
	Reason    string    `json:"reason,omitempty"`
	Seconds   float64   `json:"seconds"`      // from when it was first seen to its outcome
	To        string    `json:"to,omitempty"` // the node of its replacement
}

// HookOutcome is what became of one program. Nothing here runs any.
type HookOutcome struct {
	Stage   string  `json:"stage"`
	Name    string  `json:"name"`
	Undo    bool    `json:"undo,omitempty"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"` // "": it succeeded
}

// ParseReport reads a report. One of a newer schema is refused.
func ParseReport(data []byte) (*Report, error) {
	if len(data) > 2*MaxReport {
		return nil, fmt.Errorf("the report has %d bytes, more than %d", len(data), 2*MaxReport)
	}
	r := new(Report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("the report is not the JSON of a report: %w", err)
	}
	if r.V < 1 || r.V > reportSchema {
		return nil, fmt.Errorf("the report has schema %d; this version knows %d", r.V, reportSchema)
	}
	if err := json.Unmarshal(data, &r.unknown); err != nil {
		return nil, fmt.Errorf("the report is not the JSON of a report: %w", err)
	}
	for _, k := range []string{"v", "id", "started", "finished", "totals", "pods", "leftOut", "hooks"} {
		delete(r.unknown, k)
	}
	return r, nil
}

// MarshalJSON writes the report in at most MaxReport bytes. The totals are
// always complete; of the pods, those are left out first that went as they
// should.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	pods := slices.Clone(r.Pods)
	slices.SortStableFunc(pods, func(a, b PodReport) int {
		return cmp.Or(
			cmp.Compare(keepRank(a.Outcome), keepRank(b.Outcome)),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID),
		)
	})
	all := pods
	c := plain(*r)
	for {
		c.Pods = pods
		if c.Pods == nil {
			c.Pods = []PodReport{}
		}
		c.LeftOut = r.leftOut(all[len(pods):])
		data, err := json.Marshal(&c)
		if err != nil {
			return nil, err
		}
		if len(r.unknown) > 0 {
			whole := maps.Clone(r.unknown)
			if err := json.Unmarshal(data, &whole); err != nil {
				return nil, err
			}
			if data, err = json.Marshal(whole); err != nil {
				return nil, err
			}
		}
		if len(data) <= MaxReport {
			return data, nil
		}
		if len(pods) == 0 {
			return nil, errors.New("the report is too large without a single pod")
		}
		// Most of what is too much goes at once.
		drop := max(1, (len(data)-MaxReport)*len(pods)/len(data))
		pods = pods[:len(pods)-drop]
	}
}

// leftOut are the marks of the pods that an earlier report had left out and of those
// that this one does.
func (r *Report) leftOut(pods []PodReport) marks {
	out, left := marks{}, maxMarks
	for _, o := range slices.Sorted(maps.Keys(r.LeftOut)) {
		if n := min(len(r.LeftOut[o]), left); n > 0 {
			out[o] = slices.Clip(r.LeftOut[o][:n])
			left -= n
		}
	}
	for _, p := range pods[:min(len(pods), left)] {
		out[p.Outcome] = append(out[p.Outcome], markOf(p.UID))
	}
	return out
}

// keepRank orders the outcomes by how long they stay in a report that is cut.
func keepRank(o Outcome) int {
	return slices.Index([]Outcome{Failed, ForceStopped, Relocated, Drained, Skipped}, o)
}
