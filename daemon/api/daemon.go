package api

import (
	"encoding/json"
	"fmt"
)

// Daemon is which daemon runs on a node, and with which settings: [DaemonAnnotation]. It is
// what the daemon has said when it started, or when its settings changed last. Within the
// format fields are only added.
type Daemon struct {
	Version string `json:"version"`
	// Settings is a hash of the effective settings that may differ by pool: nodes of one
	// version that have the same have the same settings.
	Settings string `json:"settings"`
	// Pool is the name of the pool of the configuration file that the node is in, "" for
	// none.
	Pool string `json:"pool,omitempty"`
}

// maxDaemon bounds what is parsed, in bytes.
const maxDaemon = 4 << 10

// String is the annotation's value.
func (d Daemon) String() string {
	data, _ := json.Marshal(d) // strings always can be
	return string(data)
}

// ParseDaemon reads the annotation's value.
func ParseDaemon(text string) (d Daemon, err error) {
	if len(text) > maxDaemon {
		return d, fmt.Errorf("the annotation %s has %d bytes; the limit is %d", DaemonAnnotation, len(text), maxDaemon)
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return Daemon{}, fmt.Errorf("the annotation %s is not valid: %w", DaemonAnnotation, err)
	}
	return d, nil
}
