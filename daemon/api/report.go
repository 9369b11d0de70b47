package api

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Outcome is what became of a pod. Every pod that a drain has seen has exactly one in
// the end.
type Outcome string

// The outcomes.
const (
	OutcomeDrained      Outcome = "drained"       // it has left the node
	OutcomeRelocated    Outcome = "relocated"     // it has left, and its replacement is Ready on another node
	OutcomeForceStopped Outcome = "force-stopped" // it was deleted although it could not be evicted
	OutcomeFailed       Outcome = "failed"        // it is still on the node
	OutcomeSkipped      Outcome = "skipped"       // it was not for the drain to move
)

// Outcomes lists them in the order in which they are documented.
func Outcomes() []Outcome {
	return []Outcome{OutcomeDrained, OutcomeRelocated, OutcomeForceStopped, OutcomeFailed, OutcomeSkipped}
}

const (
	// ReportSchema is the number of the report's schema that this version writes. Within
	// a number, fields are only added, and fields that a reader does not know are kept.
	ReportSchema = 1
	// MaxReport is how large a report may be in JSON, in bytes. Reports of up to twice
	// that are read: the annotation can be written by anybody who may edit the Node.
	MaxReport = 32 << 10
)

// Report is the outcome of a drain for every pod: the annotation rebootd.dev/report of
// the Node. Times are wall-clock times of the node.
type Report struct {
	V        int       `json:"v"`
	ID       string    `json:"id"`                // of the operation
	Started  time.Time `json:"started"`           // zero: the operation has had no drain
	Finished time.Time `json:"finished,omitzero"` // the node is drained since then; zero: it is not
	// Totals count every pod by outcome, also those that Pods has no room for.
	Totals map[Outcome]int `json:"totals"`
	Pods   []PodReport     `json:"pods"`
	// LeftOut are marks of the pods that are counted and not in Pods, for a later run of
	// the same drain.
	LeftOut Marks `json:"leftOut,omitempty"`
	// Hooks are the programs of an admin that ran before the drain and the reboot.
	Hooks []HookOutcome `json:"hooks,omitempty"`
	// Past is what all operations of the node have come to, this one included once it has
	// ended.
	Past *Past `json:"past,omitempty"`

	unknown map[string]json.RawMessage
}

// PodReport is the outcome of one pod.
type PodReport struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       string    `json:"uid"`
	Outcome   Outcome   `json:"outcome"`
	Reason    PodReason `json:"reason,omitempty"`  // a bare word; "": nothing special
	Message   string    `json:"message,omitempty"` // the reason in a sentence
	Seconds   float64   `json:"seconds"`           // from when the pod was first seen to its outcome
	To        string    `json:"to,omitempty"`      // the node of its replacement

	unknown map[string]json.RawMessage
}

// HookOutcome is what became of one program.
type HookOutcome struct {
	Stage   string  `json:"stage"`
	Name    string  `json:"name"`
	Undo    bool    `json:"undo,omitempty"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"` // "": it succeeded
}

// The JSON names of the fields of Report and PodReport.
var (
	reportFields    = []string{"v", "id", "started", "finished", "totals", "pods", "leftOut", "hooks", "past"}
	podReportFields = []string{"namespace", "name", "uid", "outcome", "reason", "message", "seconds", "to"}
)

// ParseReport reads a report. One of a newer schema is refused.
func ParseReport(data []byte) (*Report, error) {
	if len(data) > 2*MaxReport {
		return nil, fmt.Errorf("the report has %d bytes; the limit is %d", len(data), 2*MaxReport)
	}
	r, err := decodeReport(data)
	if err != nil {
		return nil, fmt.Errorf("the report is not valid JSON of a report: %w", err)
	}
	if r.V < 1 || r.V > ReportSchema {
		return nil, fmt.Errorf("the report has schema %d; this version knows schema %d", r.V, ReportSchema)
	}
	for i := range r.Pods {
		r.Pods[i].splitReason()
	}
	return r, nil
}

// decodeReport decodes a report. In most there is no field that this version does not
// know, and nothing has to be kept.
func decodeReport(data []byte) (*Report, error) {
	r := new(Report)
	strict := json.NewDecoder(bytes.NewReader(data))
	strict.DisallowUnknownFields()
	if strict.Decode(r) == nil && len(bytes.TrimSpace(data[strict.InputOffset():])) == 0 {
		return r, nil
	}
	r = new(Report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	return r, r.keepUnknown(data)
}

// keepUnknown keeps the fields that this version does not know.
func (r *Report) keepUnknown(data []byte) error {
	if err := json.Unmarshal(data, &r.unknown); err != nil {
		return err
	}
	var pods []map[string]json.RawMessage
	if raw, ok := r.unknown["pods"]; ok {
		if err := json.Unmarshal(raw, &pods); err != nil {
			return err
		}
	}
	for _, name := range reportFields {
		delete(r.unknown, name)
	}
	for i, fields := range pods {
		for _, name := range podReportFields {
			delete(fields, name)
		}
		if len(fields) > 0 && i < len(r.Pods) {
			r.Pods[i].unknown = fields
		}
	}
	return nil
}

// splitReason reads what versions wrote that had no message: the word and the sentence,
// or a sentence alone, in place of the reason.
func (p *PodReport) splitReason() {
	text := string(p.Reason)
	if p.Message != "" || !strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
		return
	}
	word, sentence, ok := strings.Cut(text, ": ")
	if reason := PodReason(word); ok && reason.Info().Meaning != "" {
		p.Reason, p.Message = reason, sentence
		return
	}
	p.Reason, p.Message = "", text
}

// TakeUnknown takes over the fields of an earlier report of the same drain that this
// version does not know.
func (r *Report) TakeUnknown(earlier *Report) { r.unknown = maps.Clone(earlier.unknown) }

// MarshalJSON writes the report in at most MaxReport bytes. The totals are always
// complete; of the pods, those are left out first that went as they should.
func (r *Report) MarshalJSON() ([]byte, error) {
	pods := slices.Clone(r.Pods)
	slices.SortStableFunc(pods, func(a, b PodReport) int {
		return cmp.Or(
			cmp.Compare(keepRank(a.Outcome), keepRank(b.Outcome)),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID),
		)
	})
	all := pods
	for {
		data, err := r.marshal(pods, all[len(pods):])
		if err != nil {
			return nil, err
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

// marshal writes the report with some of its pods and the marks of the others.
func (r *Report) marshal(pods, others []PodReport) ([]byte, error) {
	type plain Report
	c := plain(*r)
	if c.Pods = pods; pods == nil {
		c.Pods = []PodReport{}
	}
	c.LeftOut = r.leftOut(others)
	data, err := json.Marshal(&c)
	if err != nil {
		return nil, err
	}
	odd := slices.ContainsFunc(pods, func(p PodReport) bool { return len(p.unknown) > 0 })
	if len(r.unknown) == 0 && !odd {
		return data, nil
	}
	whole := maps.Clone(r.unknown)
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, err
	}
	if odd {
		if whole["pods"], err = withUnknown(whole["pods"], pods); err != nil {
			return nil, err
		}
	}
	return json.Marshal(whole)
}

// withUnknown adds to pods in JSON what this version does not know of them.
func withUnknown(data json.RawMessage, pods []PodReport) (json.RawMessage, error) {
	var out []map[string]json.RawMessage
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, err
	}
	for i, p := range pods {
		maps.Copy(out[i], p.unknown)
	}
	return json.Marshal(out)
}

// leftOut are the marks of the pods that an earlier report had left out and of those
// that this one does.
func (r *Report) leftOut(pods []PodReport) Marks {
	out, left := Marks{}, maxMarks
	for _, o := range slices.Sorted(maps.Keys(r.LeftOut)) {
		if n := min(len(r.LeftOut[o]), left); n > 0 {
			out[o] = slices.Clip(r.LeftOut[o][:n])
			left -= n
		}
	}
	for _, p := range pods[:min(len(pods), left)] {
		out[p.Outcome] = append(out[p.Outcome], MarkOf(p.UID))
	}
	return out
}

// keepRank orders the outcomes by how long they stay in a report that is cut.
func keepRank(o Outcome) int {
	return slices.Index([]Outcome{OutcomeFailed, OutcomeForceStopped, OutcomeRelocated, OutcomeDrained, OutcomeSkipped}, o)
}

// Mark stands for the UID of a pod that was left out of a report for its size. Two
// pods of one node have the same with a chance of one in four thousand million.
type Mark uint32

// MarkOf is the mark of a pod's UID.
func MarkOf(uid string) Mark {
	h := fnv.New32a()
	_, _ = h.Write([]byte(uid))
	return Mark(h.Sum32())
}

// Marks are those of the pods that were left out, by outcome. In JSON they are
// base64 of four bytes each.
type Marks map[Outcome]MarkList

// MarkList is a list of marks.
type MarkList []Mark

// maxMarks bounds the marks of a report, to an eighth of what it may have. Of what is
// beyond that only the totals are known.
const maxMarks = MaxReport / 8 * 3 / 4 / 4

// MarshalText implements encoding.TextMarshaler.
func (l MarkList) MarshalText() ([]byte, error) {
	data := make([]byte, 0, 4*len(l))
	for _, m := range l {
		data = binary.BigEndian.AppendUint32(data, uint32(m))
	}
	return base64.RawStdEncoding.AppendEncode(nil, data), nil
}

// UnmarshalText implements encoding.TextUnmarshaler. What is not a list of marks
// is none: those pods are known by the totals only.
func (l *MarkList) UnmarshalText(text []byte) error {
	*l = nil
	data, err := base64.RawStdEncoding.DecodeString(string(text))
	if err != nil {
		return nil
	}
	for ; len(data) >= 4; data = data[4:] {
		*l = append(*l, Mark(binary.BigEndian.Uint32(data)))
	}
	return nil
}
