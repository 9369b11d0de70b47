package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ServedSchema is the number of the schema of [ServedAnnotation] that this version writes.
// Within a number, fields are only added, and fields that a reader does not know are kept.
const ServedSchema = 1

// SentinelFile is what one state of a sentinel is known by. Whatever is done to the file
// (it is touched, written, or another is moved in its place) makes another of it.
type SentinelFile struct {
	Path   string `json:"path"` // on the host, as configured
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	// Changed is when the file was changed last by the kernel's word (ctime), which nobody
	// can set: the time of day as it was then, right or wrong.
	Changed time.Time `json:"changed"`
	Sum     string    `json:"sum"` // of its content and of the packages beside it
	// Volatile says that its file system is made at boot: it cannot have been there before.
	Volatile bool `json:"volatile,omitempty"`
}

// Same says whether both are one state of one file. The numbers of a disk's devices and
// files may be others after a boot, so they count only where the file cannot outlive one.
func (f SentinelFile) Same(g SentinelFile) bool {
	if f.Volatile && (f.Device != g.Device || f.Inode != g.Inode) {
		return false
	}
	return f.Volatile == g.Volatile && f.Path == g.Path && f.Sum == g.Sum && f.Changed.Equal(g.Changed)
}

// ServedFile is a sentinel whose request has been served.
type ServedFile struct {
	SentinelFile
	Because string `json:"because"` // for people: the end of a sentence, in a few words
	// Judged says that no reboot is known that has served it: it was found to be spent by
	// the time that it has.
	Judged bool `json:"judged,omitempty"`
}

// Served are the sentinels whose requests have been served: the annotation
// [ServedAnnotation]. They request nothing, whatever any clock says, until they are
// changed.
type Served struct {
	V      int          `json:"v"`
	BootID string       `json:"bootID"` // of the boot in which they were seen
	At     time.Time    `json:"at"`     // when that was written, by the node's clock
	Files  []ServedFile `json:"files"`

	unknown map[string]json.RawMessage
}

var servedFields = []string{"v", "bootID", "at", "files"}

// ParseServed reads the annotation; nil when text is "". What cannot be read, or has a newer
// schema, gives an error: nothing is known then.
func ParseServed(text string) (*Served, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxRecord {
		return nil, fmt.Errorf("it has %d bytes; the limit is %d", len(text), maxRecord)
	}
	s := new(Served)
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return nil, fmt.Errorf("it is not valid JSON of served sentinels: %w", err)
	}
	if s.V < 1 || s.V > ServedSchema {
		return nil, fmt.Errorf("it has schema %d; this version knows %d", s.V, ServedSchema)
	}
	if err := json.Unmarshal([]byte(text), &s.unknown); err != nil {
		return nil, fmt.Errorf("it is not valid JSON of served sentinels: %w", err)
	}
	for _, k := range servedFields {
		delete(s.unknown, k)
	}
	return s, nil
}

// MarshalJSON writes it with the fields that this version does not know.
func (s *Served) MarshalJSON() ([]byte, error) {
	type plain Served
	own, err := json.Marshal((*plain)(s))
	if err != nil {
		return nil, err
	}
	return withKept(own, s.unknown)
}

// Find is what is known of a sentinel that is seen in a boot; false if it is not served.
// One on a file system that is made at boot is not, after another boot. s may be nil.
func (s *Served) Find(f SentinelFile, bootID string) (ServedFile, bool) {
	if s == nil || f.Volatile && s.BootID != bootID {
		return ServedFile{}, false
	}
	i := slices.IndexFunc(s.Files, func(g ServedFile) bool { return g.Same(f) })
	if i < 0 {
		return ServedFile{}, false
	}
	return s.Files[i], true
}

// With is s, which may be nil, with other files, as they were seen in a boot. What newer
// versions have added stays.
func (s *Served) With(bootID string, at time.Time, files []ServedFile) *Served {
	next := &Served{V: ServedSchema, BootID: bootID, At: at.UTC(), Files: files}
	if s != nil {
		next.unknown = maps.Clone(s.unknown)
	}
	return next
}
