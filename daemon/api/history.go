package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// HistorySchema is the number of the history's schema that this version writes. Within
	// a number, fields are only added, and fields that a reader does not know are kept.
	HistorySchema = 1
	// MaxHistory is how large a history may be in JSON, in bytes. Histories of up to twice
	// that are read: the annotation can be written by anybody who may edit the Node.
	MaxHistory = 16 << 10
	// MaxSummaries is how many operations it keeps.
	MaxSummaries = 10
)

// History is what the last operations of a node came to, the latest first: the annotation
// rebootd.dev/history of the Node, written with the patch that ends an operation.
type History struct {
	V          int       `json:"v"`
	Operations []Summary `json:"operations"`

	unknown map[string]json.RawMessage
}

// Summary is one operation in short. Times are wall-clock times of the node; one is zero
// where the operation did not come that far. After an attempt that failed they are those
// of the last attempt, but for Requested and Queued.
type Summary struct {
	ID        string    `json:"id"`
	Request   string    `json:"request,omitempty"` // why it was requested
	Result    Reason    `json:"result,omitempty"`  // the reason why it ended
	Message   string    `json:"message,omitempty"` // in a sentence
	Requested time.Time `json:"requested,omitzero"`
	Queued    time.Time `json:"queued,omitzero"`   // when it entered the queue first
	Cordoned  time.Time `json:"cordoned,omitzero"` // with a slot; the drain began
	Drained   time.Time `json:"drained,omitzero"`
	Ordered   time.Time `json:"ordered,omitzero"` // the reboot
	Back      time.Time `json:"back,omitzero"`    // the daemon ran in the next boot
	Ended     time.Time `json:"ended,omitzero"`   // the node was put back; the slot is released next
	// Halted is when it halted, and Failure why it did, or why the last attempt failed.
	Halted    time.Time       `json:"halted,omitzero"`
	Failure   *Failure        `json:"failure,omitempty"`
	Attempts  int             `json:"attempts,omitempty"`  // that failed
	Deferrals int             `json:"deferrals,omitempty"` // turns in a row that came to nothing, at the end
	Level     Level           `json:"level,omitempty"`     // of the order; "" is a reboot
	BootID    string          `json:"bootID,omitempty"`    // of the boot that was to be ended
	NewBootID string          `json:"newBootID,omitempty"` // of the boot that ran at the end, if that is another
	Kernel    string          `json:"kernel,omitempty"`    // before
	NewKernel string          `json:"newKernel,omitempty"` // at the end
	Totals    map[Outcome]int `json:"totals,omitempty"`    // every pod by outcome, as in the report
	// Pods are those that were force-stopped or failed, as far as there is room.
	Pods []SummaryPod `json:"pods,omitempty"`

	unknown map[string]json.RawMessage
}

// SummaryPod is a pod that was force-stopped, or that failed.
type SummaryPod struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Outcome   Outcome   `json:"outcome"`
	Reason    PodReason `json:"reason,omitempty"`
}

// ErrHistoryTooNew says that a history was written by a newer version of rebootd, whose
// meaning this version cannot know.
var ErrHistoryTooNew = errors.New("the history was written by a newer version of rebootd")

// ParseHistory reads a history. One of a newer schema gives ErrHistoryTooNew.
func ParseHistory(data []byte) (*History, error) {
	var version struct {
		V int `json:"v"`
	}
	switch err := json.Unmarshal(data, &version); {
	case err != nil:
		return nil, fmt.Errorf("the history is not valid JSON of a history: %w", err)
	case version.V > HistorySchema:
		return nil, fmt.Errorf("%w (schema %d; this version knows %d)", ErrHistoryTooNew, version.V, HistorySchema)
	case version.V < 1:
		return nil, errors.New("the history has no schema number v")
	case len(data) > 2*MaxHistory:
		return nil, fmt.Errorf("the history has %d bytes; the limit is %d", len(data), 2*MaxHistory)
	}
	h := new(History)
	if err := errors.Join(json.Unmarshal(data, h), json.Unmarshal(data, &h.unknown)); err != nil {
		return nil, fmt.Errorf("the history is not valid JSON of a history: %w", err)
	}
	for _, k := range historyFields {
		delete(h.unknown, k)
	}
	return h, nil
}

// The JSON names of the fields of History and Summary.
var (
	historyFields = []string{"v", "operations"}
	summaryFields = []string{
		"id", "request", "result", "message", "requested", "queued", "cordoned", "drained", "ordered", "back", "ended", "halted", "failure",
		"attempts", "deferrals", "level", "bootID", "newBootID", "kernel", "newKernel", "totals", "pods",
	}
)

// Add puts the summary of an operation that has ended before the others: in the place of
// one of the same operation. Of more than MaxSummaries, the oldest goes that never touched
// the node; else the oldest.
func (h *History) Add(s Summary) {
	h.V = HistorySchema
	h.Operations = slices.DeleteFunc(h.Operations, func(o Summary) bool { return o.ID == s.ID })
	h.Operations = slices.Insert(h.Operations, 0, s)
	for n := len(h.Operations); n > MaxSummaries; n-- {
		i := n - 1
		for i > 0 && h.Operations[i].Touched() {
			i--
		}
		if i == 0 {
			i = n - 1
		}
		h.Operations = slices.Delete(h.Operations, i, i+1)
	}
}

// Touched says whether the operation has done anything to the node, as far as is known.
func (s Summary) Touched() bool {
	return !s.Cordoned.IsZero() || !s.Ordered.IsZero() || !s.Back.IsZero() || !s.Halted.IsZero() || s.Attempts > 0 || len(s.Totals) > 0
}

// MarshalJSON writes the history in at most MaxHistory bytes. What is too much is left out:
// pods first, then messages, then operations, each of the oldest first, but before them
// whatever takes more than half of the room: somebody has made it up.
func (h *History) MarshalJSON() ([]byte, error) {
	c := History{V: h.V, Operations: slices.Clone(h.Operations), unknown: h.unknown}
	if c.Operations == nil {
		c.Operations = []Summary{}
	}
	for {
		data, err := c.marshal()
		if err != nil || len(data) <= MaxHistory {
			return data, err
		}
		if !c.cut() {
			return nil, errors.New("the history is too large without a single operation")
		}
	}
}

// cut leaves out a little more, and says whether there was anything left.
func (h *History) cut() bool {
	for i := range slices.Backward(h.Operations) {
		if s := &h.Operations[i]; len(s.Pods) > 0 {
			s.Pods = s.Pods[:len(s.Pods)/2]
			return true
		}
	}
	for i := range slices.Backward(h.Operations) {
		s := &h.Operations[i]
		if s.Message == "" && (s.Failure == nil || s.Failure.Message == "") {
			continue
		}
		if s.Message = ""; s.Failure != nil {
			s.Failure = &Failure{Reason: s.Failure.Reason}
		}
		return true
	}
	if n := len(h.Operations); n > 0 {
		if h.cutHuge() {
			return true
		}
		h.Operations = h.Operations[:n-1]
		return true
	}
	had := len(h.unknown) > 0
	h.unknown = nil
	return had
}

// cutHuge leaves out one thing that takes more than half of the room, if there is one.
func (h *History) cutHuge() bool {
	huge := func(v any) bool {
		data, err := json.Marshal(v)
		return err == nil && len(data) > MaxHistory/2
	}
	if huge(h.unknown) {
		h.unknown = nil
		return true
	}
	for i := range slices.Backward(h.Operations) {
		if huge(h.Operations[i]) {
			h.Operations = slices.Delete(h.Operations, i, i+1)
			return true
		}
	}
	return false
}

func (h *History) marshal() ([]byte, error) {
	type plain History
	own, err := json.Marshal((*plain)(h))
	if err != nil {
		return nil, err
	}
	return withKept(own, h.unknown)
}

// UnmarshalJSON reads it, and keeps what this version does not know.
func (s *Summary) UnmarshalJSON(data []byte) error {
	type plain Summary
	var read plain
	if err := errors.Join(json.Unmarshal(data, &read), json.Unmarshal(data, &read.unknown)); err != nil {
		return err
	}
	for _, k := range summaryFields {
		delete(read.unknown, k)
	}
	*s = Summary(read)
	return nil
}

// MarshalJSON writes it with the fields of it that this version does not know.
func (s Summary) MarshalJSON() ([]byte, error) {
	type plain Summary
	own, err := json.Marshal(plain(s))
	if err != nil {
		return nil, err
	}
	return withKept(own, s.unknown)
}
