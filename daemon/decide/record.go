package decide

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Schema is the number of the record's schema that this version writes. Within a
// number, fields are only added, and fields that a reader does not know are kept.
const Schema = 1

// maxRecord bounds what is parsed: the record is an annotation that anybody who
// may edit the Node can write.
const maxRecord = 64 << 10

// Phase is how far an operation has come.
type Phase string

// The phases. Idle is the absence of a record.
const (
	Idle      Phase = ""
	Waiting   Phase = "Waiting"   // a gate is closed, or a pause after a failure runs
	Queued    Phase = "Queued"    // waits for a slot
	Draining  Phase = "Draining"  // cordoned, holds a slot, pods leave
	Rebooting Phase = "Rebooting" // the reboot is about to be, or has been, ordered
	Verifying Phase = "Verifying" // another boot; waits for the node to be healthy
	Halted    Phase = "Halted"    // not down in time, or not healthy in time
)

// Phases lists every phase but Idle, in the order of an operation.
func Phases() []Phase {
	return []Phase{Waiting, Queued, Draining, Rebooting, Verifying, Halted}
}

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

	// Protected are the annotations by which the node is protected from autoscalers
	// while it is cordoned, and which are ours to remove.
	Protected []string `json:"protected,omitempty"`

	Attempts  int       `json:"attempts,omitempty"` // that have failed and were undone
	NotBefore time.Time `json:"notBefore,omitzero"` // pause after the last of them
	Failure   *Failure  `json:"failure,omitempty"`  // why the last one failed, or why it halted
	Order     *Order    `json:"order,omitempty"`    // of the reboot
	// DrainSince is when the drain began after which the reboot was ordered: it goes on
	// until the command is spawned.
	DrainSince time.Time `json:"drainSince,omitzero"`
	// Hooked says that hooks may have run, and are to be undone before the node is put back.
	Hooked bool `json:"hooked,omitempty"`

	Due   time.Time `json:"due,omitzero"`    // the machine has scheduled it for then
	Level Level     `json:"level,omitempty"` // of the order; "" is a reboot
	// SoftReboots is how many there had been in this boot when the order was given; nil:
	// not known.
	SoftReboots *int `json:"softReboots,omitempty"`
	// Soft says that a soft reboot, which was ordered, has happened: the boot is the same.
	Soft bool `json:"soft,omitempty"`

	unknown map[string]json.RawMessage
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

// ParseRecord reads a record. A record of a newer schema gives ErrTooNew;
// anything else that cannot be obeyed gives an error that says what is wrong
// with it.
func ParseRecord(data []byte) (*Record, error) {
	if len(data) > maxRecord {
		return nil, fmt.Errorf("the record has %d bytes, more than %d", len(data), maxRecord)
	}
	var version struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, fmt.Errorf("the record is not the JSON of a record: %w", err)
	}
	switch {
	case version.V == nil:
		return nil, errors.New("the record has no schema number v")
	case *version.V > Schema:
		return nil, fmt.Errorf("%w (schema %d; this version knows %d)", ErrTooNew, *version.V, Schema)
	case *version.V < 1:
		return nil, fmt.Errorf("the record has the schema number %d, which never was", *version.V)
	}
	r := new(Record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("the record is not the JSON of a record: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &r.unknown); err != nil {
		return nil, fmt.Errorf("the record is not the JSON of a record: %w", err)
	}
	for _, k := range knownFields {
		delete(r.unknown, k)
	}
	return r, nil
}

// knownFields are the JSON names of Record's own fields.
var knownFields = []string{
	"v", "id", "phase", "since", "bootID", "cordoned", "requested", "request",
	"lock", "annotated", "protected", "attempts", "notBefore", "failure", "order", "drainSince", "hooked", "due", "level", "softReboots", "soft",
}

func (r *Record) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	known := false
	for _, p := range Phases() {
		known = known || r.Phase == p
	}
	if !known {
		bad("the record's phase %q is none of %v", r.Phase, Phases())
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
		bad("the record's attempts are %d", r.Attempts)
	}
	if r.Phase == Rebooting && r.Order == nil {
		bad("the record's phase is %s, and it has no order", r.Phase)
	}
	if r.Phase == Halted && (r.Failure == nil || r.Failure.Reason != RebootOverdue && r.Failure.Reason != Unhealthy) {
		bad("the record's phase is %s, and its failure is neither %s nor %s", r.Phase, RebootOverdue, Unhealthy)
	}
	return errors.Join(errs...)
}

// MarshalJSON writes the record with the fields of it that this version does
// not know.
func (r *Record) MarshalJSON() ([]byte, error) {
	type plain Record
	own, err := json.Marshal((*plain)(r))
	if err != nil || len(r.unknown) == 0 {
		return own, err
	}
	all := maps.Clone(r.unknown)
	if err := json.Unmarshal(own, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// DrainKey tells the drains of an operation apart: one that is tried again is
// drained again.
func (r *Record) DrainKey() string { return r.ID + " " + r.drainSince().UTC().Format(time.RFC3339Nano) }

// drainSince is when the drain began that is under way, or has led to the order.
func (r *Record) drainSince() time.Time {
	if r.Phase == Rebooting && !r.DrainSince.IsZero() {
		return r.DrainSince
	}
	return r.Since // also where an older version has kept what it does not know
}

// OrderKey tells the orders of an operation apart; "" without one.
func (r *Record) OrderKey() string {
	if r.Order == nil {
		return ""
	}
	return r.ID + " " + r.Order.At.UTC().Format(time.RFC3339Nano)
}

// in is a copy of the record that enters a phase.
func (r *Record) in(p Phase, now time.Time) *Record {
	c := *r
	c.Phase, c.Since = p, now.UTC()
	return &c
}
