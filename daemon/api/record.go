package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Schema is the number of the record's schema that this version writes. Within a
// number, fields are only added, and fields that a reader does not know are kept.
const Schema = 1

// maxRecord bounds what is parsed: the record is an annotation that anybody who
// may edit the Node can write.
const maxRecord = 64 << 10

// ErrTooNew says that a record was written by a newer version of rebootd, whose
// meaning this version cannot know.
var ErrTooNew = errors.New("the record was written by a newer version of rebootd")

// Record is what one start of the daemon tells the next: the annotation
// rebootd.dev/operation of the Node. Times are wall-clock times of the node.
type Record struct {
	V         int       `json:"v"`
	ID        string    `json:"id"`        // of the operation
	Phase     Phase     `json:"phase"`     //
	Since     time.Time `json:"since"`     // when the phase began
	BootID    string    `json:"bootID"`    // of the boot that is to be ended
	Cordoned  bool      `json:"cordoned"`  // the cordon is ours, and ours to remove
	Requested time.Time `json:"requested"` // when the request was first seen
	Request   string    `json:"request,omitempty"`
	// Lock is the name of the lock in whose queue the node stands: there may be more
	// than one in a cluster. "" in records from before there was this field.
	Lock string `json:"lock,omitempty"`
	// Annotated says that the annotation rebootd.dev/request was seen before the
	// boot, and so is served by it; one that comes after it is a new request.
	Annotated bool `json:"annotated,omitempty"`

	// Files are the sentinels that request the reboot, as they were seen last before it: it
	// serves them.
	Files []SentinelFile `json:"files,omitempty"`

	// Protected are the annotations by which the node is protected from autoscalers
	// while it is cordoned, and which are ours to remove.
	Protected []string `json:"protected,omitempty"`

	// Deadline is by when the reboot is to begin, whatever soft gates say; zero: there is
	// none. It is what the request and the settings said last.
	Deadline time.Time `json:"deadline,omitzero"`
	// Deferrals are how often in a row the node had its turn and gave its slot up, since a
	// gate was closed.
	Deferrals int `json:"deferrals,omitempty"`

	// Times are when the operation came how far, for its [Summary]: nothing is decided by
	// them.
	Times *Times `json:"times,omitempty"`
	// Kernel is the one of the boot that is to be ended, as the kubelet has reported it.
	Kernel string `json:"kernel,omitempty"`

	Attempts  int       `json:"attempts,omitempty"` // that have failed and were undone
	NotBefore time.Time `json:"notBefore,omitzero"` // pause after the last of them, or after the node was put back
	Failure   *Failure  `json:"failure,omitempty"`  // why that was, or why it halted
	Order     *Order    `json:"order,omitempty"`    // of the reboot
	// DrainSince is when the drain began after which the reboot was ordered: it goes on
	// until the command is spawned. It is believed only where Began names the phase, since
	// an older version keeps it for the orders that it gives itself.
	DrainSince time.Time `json:"drainSince,omitzero"`
	// Hooked says that hooks may have run, and are to be undone before the node is put back.
	Hooked bool `json:"hooked,omitempty"`
	// Undo is there as soon as the stages are being undone: there is no way on but back.
	Undo *Undo `json:"undo,omitempty"`
	// DrainRan is for how long the drain has run, as far as it was noted.
	DrainRan *Ran `json:"drainRan,omitempty"`
	// Began is when the phase began, by the machine's uptime.
	Began *Began `json:"began,omitempty"`

	Due   time.Time `json:"due,omitzero"`    // the machine has scheduled it for then
	Level Level     `json:"level,omitempty"` // of the order; "" is a reboot
	// SoftReboots is how many there had been in this boot when the order was given; nil:
	// not known.
	SoftReboots *int `json:"softReboots,omitempty"`
	// Soft says that a soft reboot, which was ordered, has happened: the boot is the same.
	Soft bool `json:"soft,omitempty"`

	unknown map[string]json.RawMessage
}

// Times are when an operation came how far, by the machine's clock as it was set then;
// zero: it has not, or a version that does not note them has brought it there. They are
// read by [Record.Came].
type Times struct {
	Since    time.Time `json:"since"`             // as [Record.Since]
	Queued   time.Time `json:"queued,omitzero"`   // first
	Cordoned time.Time `json:"cordoned,omitzero"` // last, with a slot
	Drained  time.Time `json:"drained,omitzero"`  // last
	Ordered  time.Time `json:"ordered,omitzero"`  // last
	Back     time.Time `json:"back,omitzero"`     // the daemon ran after the reboot
	Halted   time.Time `json:"halted,omitzero"`   // last
	// Failure is why it halted, or why its last attempt failed, whichever came last.
	Failure *Failure `json:"failure,omitempty"`
}

// Failure says what went wrong, in the words that people are shown.
type Failure struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

// Order is the order to reboot. It is written before the command is spawned.
type Order struct {
	At time.Time `json:"at"`
	// UptimeMillis is how long the machine had been up: a time that no setting of
	// the clock moves, and that every start of the daemon on the same boot shares.
	UptimeMillis int64 `json:"uptimeMillis"`

	By       string `json:"by"`  // the start of the daemon that gives it
	Try      int    `json:"try"` // from 1
	Accepted bool   `json:"accepted,omitempty"`
}

// The three types below, and Times, name the time of the phase that they belong to. An older
// version keeps them as it keeps every field that it does not know, in later phases,
// too: what names another phase is not believed.

// Undo is why a node is put back, from before the first stage is undone until the node
// is as it was.
type Undo struct {
	Since   time.Time `json:"since"` // of the drain, as [Record.DrainBegan]
	Reason  Reason    `json:"reason"`
	Message string    `json:"message"`
	Failed  bool      `json:"failed,omitempty"` // counts as a failed attempt
	Ends    bool      `json:"ends,omitempty"`   // ends the operation
}

// Ran is for how long a drain has run, over all starts of the daemon and without the
// time between them.
type Ran struct {
	Since   time.Time `json:"since"` // of the drain, as [Record.DrainBegan]
	Seconds int       `json:"seconds"`
}

// Began is the begin of a phase by a clock that no setting moves: the time since the
// boot that ran then.
type Began struct {
	Since        time.Time `json:"since"` // as [Record.Since]
	UptimeMillis int64     `json:"uptimeMillis"`
	BootID       string    `json:"bootID,omitempty"` // of that boot
}

// ParseRecord reads a record. A record of a newer schema gives ErrTooNew;
// anything else that cannot be obeyed gives an error that says what is wrong
// with it.
func ParseRecord(data []byte) (*Record, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("the record has %d bytes; the limit is %d", len(data), maxRecord)
	}
	var version struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("the record is not valid JSON of a record: %w", err)
	}
	switch {
	case version.V == nil:
		return nil, errors.New("the record has no schema number v")
	case *version.V > Schema:
		return nil, fmt.Errorf("%w (schema %d; this version knows %d)", ErrTooNew, *version.V, Schema)
	case *version.V < 1:
		return nil, fmt.Errorf("the record has schema number %d; the first one was 1", *version.V)
	}
	r := new(Record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("the record is not valid JSON of a record: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &r.unknown); err != nil {
		return nil, fmt.Errorf("the record is not valid JSON of a record: %w", err)
	}
	for _, k := range knownFields {
		delete(r.unknown, k)
	}
	return r, nil
}

// knownFields are the JSON names of Record's own fields.
var knownFields = []string{
	"v", "id", "phase", "since", "bootID", "cordoned", "requested", "request",
	"lock", "annotated", "files", "deadline", "deferrals", "times", "kernel", "protected", "attempts", "notBefore", "failure", "order", "drainSince", "hooked", "undo", "drainRan", "began", "due", "level", "softReboots", "soft",
}

func (r *Record) check() error {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	known := false
	for _, p := range Phases() {
		known = known || r.Phase == p
	}
	if !known {
		bad("the record's phase %q is not one of %v", r.Phase, Phases())
	}
	if r.ID == "" {
		bad("the record has no id")
	}
	if r.BootID == "" {
		bad("the record has no bootID")
	}
	if r.Since.IsZero() {
		bad("the record has no since")
	}
	if r.Attempts < 0 {
		bad("the record has a negative number of attempts: %d", r.Attempts)
	}
	if r.Deferrals < 0 {
		bad("the record has a negative number of deferrals: %d", r.Deferrals)
	}
	if r.Phase == PhaseRebooting && r.Order == nil {
		bad("the record has phase %s but no order", r.Phase)
	}
	if r.Phase == PhaseHalted && (r.Failure == nil || r.Failure.Reason != ReasonRebootOverdue && r.Failure.Reason != ReasonUnhealthy) {
		bad("the record has phase %s, but its failure is neither %s nor %s", r.Phase, ReasonRebootOverdue, ReasonUnhealthy)
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; ")) // one line: it is shown as a status, too
}

// MarshalJSON writes the record with the fields of it that this version does
// not know.
func (r *Record) MarshalJSON() ([]byte, error) {
	type plain Record
	own, err := json.Marshal((*plain)(r))
	if err != nil {
		return nil, err
	}
	return withKept(own, r.unknown)
}

// DrainKey tells the drains of an operation apart: one that is tried again is
// drained again.
func (r *Record) DrainKey() string { return r.ID + " " + r.DrainBegan().UTC().Format(time.RFC3339Nano) }

// DrainBegan is when the drain began that is under way, or has led to the order.
func (r *Record) DrainBegan() time.Time {
	if r.Phase == PhaseRebooting && !r.DrainSince.IsZero() && r.Entered() != nil {
		return r.DrainSince
	}
	return r.Since // also where an older version has kept what it does not know
}

// Entered is the begin of the phase by the machine's uptime, nil where the version that
// entered the phase has not noted it.
func (r *Record) Entered() *Began {
	if r.Began == nil || !r.Began.Since.Equal(r.Since) {
		return nil
	}
	return r.Began
}

// OrderKey tells the orders of an operation apart; "" without one.
func (r *Record) OrderKey() string {
	if r.Order == nil {
		return ""
	}
	return r.ID + " " + r.Order.At.UTC().Format(time.RFC3339Nano)
}

// Undoing is why the node is being put back, nil when it is not.
func (r *Record) Undoing() *Undo {
	if r.Undo == nil || !r.Undo.Since.Equal(r.DrainBegan()) {
		return nil
	}
	return r.Undo
}

// DrainHasRun is for how long the drain that is under way had run when that was noted
// last.
func (r *Record) DrainHasRun() time.Duration {
	if r.DrainRan == nil || !r.DrainRan.Since.Equal(r.DrainBegan()) {
		return 0
	}
	return time.Duration(r.DrainRan.Seconds) * time.Second
}

// Came is when the operation came how far. Where an older version has entered the phase,
// perhaps after an attempt of its own, what was noted before says nothing any more, but for
// what comes first: then it is what the rest of the record says.
func (r *Record) Came() Times {
	t := Times{Since: r.Since}
	if r.Times != nil {
		if t.Queued = r.Times.Queued; r.Times.Since.Equal(r.Since) {
			t = *r.Times
			t.Failure = copied(t.Failure)
			return t
		}
	}
	switch r.Phase {
	case PhaseDraining:
		t.Cordoned = r.Since
	case PhaseVerifying:
		t.Back = r.Since
	case PhaseHalted:
		t.Halted = r.Since
	}
	if r.Order != nil { // of this attempt: it goes with that
		t.Ordered = r.Order.At
	}
	if r.Phase == PhaseHalted || r.Attempts > 0 {
		t.Failure = copied(r.Failure)
	}
	return t
}

// Clone copies a record to the last field.
func (r *Record) Clone() *Record {
	if r == nil {
		return nil
	}
	c := *r
	c.Failure, c.Order, c.Undo, c.DrainRan, c.Began = copied(r.Failure), copied(r.Order), copied(r.Undo), copied(r.DrainRan), copied(r.Began)
	if c.SoftReboots, c.Times = copied(r.SoftReboots), copied(r.Times); c.Times != nil {
		c.Times.Failure = copied(c.Times.Failure)
	}
	c.Files, c.Protected, c.unknown = slices.Clone(r.Files), slices.Clone(r.Protected), maps.Clone(r.unknown)
	return &c
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}
