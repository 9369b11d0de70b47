package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

const (
	// StatusSchema is the number of the status' schema that this version writes. Within a
	// number, fields are only added.
	StatusSchema = 1
	// MaxStatus is how large a status may be in JSON, in bytes. Up to twice that is read.
	MaxStatus = 8 << 10
)

// Status says for programs what the condition [RebootRequired] says for people: the
// annotation rebootd.dev/status of the Node. It is written together with the condition, is
// as old as that one, and is removed with the record. One whose ID or Phase is not the
// record's is stale.
type Status struct {
	V      int       `json:"v"`
	ID     string    `json:"id"` // of the operation
	Phase  Phase     `json:"phase"`
	At     time.Time `json:"at,omitzero"` // when this was so
	Reason Reason    `json:"reason"`
	// Gates are all that were asked, in their order of precedence.
	Gates []GateStatus `json:"gates,omitempty"`
	// Drain is there while the node drains.
	Drain *DrainStatus `json:"drain,omitempty"`
	// Windows are the maintenance windows and freezes that count for this node, in the
	// words of the settings or of the node's annotation.
	Windows []string `json:"windows,omitempty"`
	// Zone is what nodes that are down together share, as [ZoneOf] has it; "" without such a
	// rule. Slots is how many slots the lock has by the settings.
	Zone  string `json:"zone,omitempty"`
	Slots int    `json:"slots,omitempty"`
	// Next is when the daemon tries again by itself, after a failure or a turn that came to
	// nothing; zero: it does not wait for that.
	Next time.Time `json:"next,omitzero"`
}

// GateState is how a gate stands.
type GateState string

// The states of gates.
const (
	GateOpen    GateState = "open"
	GateClosed  GateState = "closed"
	GateUnknown GateState = "unknown" // has not answered yet
)

// GateStatus is one gate.
type GateStatus struct {
	Name   string    `json:"name"`
	State  GateState `json:"state"`
	Reason Reason    `json:"reason,omitempty"` // while closed
	Why    string    `json:"why,omitempty"`    // while closed, or what an open one has to note
	Until  time.Time `json:"until,omitzero"`   // when it opens by itself
	Soft   bool      `json:"soft,omitempty"`   // passed over once the deadline has passed
}

// DrainStatus is how far a drain has come.
type DrainStatus struct {
	Started time.Time `json:"started,omitzero"`
	Total   int       `json:"total"` // pods that have to leave
	Left    int       `json:"left"`  // that are still there
	// Blocked are those that cannot be evicted at present, as far as there is room.
	Blocked []BlockedPod `json:"blocked,omitempty"`
	// BlockedTotal is how many those are.
	BlockedTotal int `json:"blockedTotal,omitempty"`
}

// BlockedPod is a pod that cannot be evicted at present.
type BlockedPod struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Reason    PodReason `json:"reason"`
	Message   string    `json:"message,omitempty"` // in a sentence
	Since     time.Time `json:"since,omitzero"`
}

// ParseStatus reads a status. One of a newer schema is refused.
func ParseStatus(data []byte) (*Status, error) {
	if len(data) > 2*MaxStatus {
		return nil, fmt.Errorf("the status has %d bytes; the limit is %d", len(data), 2*MaxStatus)
	}
	s := new(Status)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("the status is not valid JSON of a status: %w", err)
	}
	if s.V < 1 {
		return nil, errors.New("the status has no schema number v")
	}
	if s.V > StatusSchema {
		return nil, fmt.Errorf("the status has schema %d; this version knows schema %d", s.V, StatusSchema)
	}
	return s, nil
}
