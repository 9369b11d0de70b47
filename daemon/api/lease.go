package api

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// What stands in the cluster, and what other programs may read there.

const (
	// LeaseSchemaAnnotation carries the number of the schema by which a Lease was
	// written. A slot with a newer number is left alone.
	LeaseSchemaAnnotation = "rebootd.dev/schema"
	// PausedAnnotation, set by people on any Lease of the lock with a reason as its
	// value, keeps every node from rebooting. PauseName is the Lease that is meant for it.
	PausedAnnotation = "rebootd.dev/paused"
	// PausedUntilAnnotation, beside PausedAnnotation, is when the pause ends by itself, by RFC
	// 3339. A daemon that does not know it, or cannot read it, stays paused.
	PausedUntilAnnotation = "rebootd.dev/paused-until"
	// NextAnnotation names the node for which a free slot is reserved, for a moment, by
	// the one that has released it.
	NextAnnotation = "rebootd.dev/next"
	// LineAnnotation names those that come after that one, as JSON: see ParseLine.
	LineAnnotation = "rebootd.dev/line"
	// ReleasedByAnnotation says that a slot was released as it should be, and by whom:
	// not created again, and not cleared by people.
	ReleasedByAnnotation = "rebootd.dev/released-by"
	// VacatedAnnotation is when the last holder that had worked on its node under the slot
	// released it, by that node's clock, by RFC 3339. Releases of others leave it as it is,
	// those of versions that do not know it too.
	VacatedAnnotation = "rebootd.dev/vacated"
	// HolderUIDAnnotation is the UID of the holder's Node: a Node that is created again
	// under the same name is another one.
	HolderUIDAnnotation = "rebootd.dev/holder-uid"
)

const (
	// LeaseSchema is the number that this version writes to LeaseSchemaAnnotation.
	LeaseSchema = 1
	// LineSchema is the number that this version writes to LineAnnotation.
	LineSchema = 1
	// MaxLine bounds a line: each name costs the others a second.
	MaxLine = 16
	// NodeLeaseHolder is the identity under which rebootd holds the lease of any node: after
	// a reboot another pod must still find it to be its own.
	NodeLeaseHolder = "rebootd"
)

// Pause is what people have said of a pause on a Lease of the lock. It keeps every node
// from rebooting.
type Pause struct {
	Why   string    // as they wrote it, "" if they gave no reason
	Until time.Time // when it ends by itself, in UTC; zero: when the annotation is removed
	// Unread is a value of [PausedUntilAnnotation] that is not a time; such a pause does not
	// end by itself.
	Unread string
}

// PauseOf is the pause that a Lease's annotations have, if they have one. It may be over.
func PauseOf(annotations map[string]string) (p Pause, is bool) {
	if p.Why, is = annotations[PausedAnnotation]; !is {
		return Pause{}, false
	}
	if until := annotations[PausedUntilAnnotation]; until != "" {
		at, err := time.Parse(time.RFC3339, until)
		if p.Until = at.UTC(); err != nil {
			p.Until, p.Unread = time.Time{}, until
		}
	}
	return p, true
}

// Over says whether it has ended by itself.
func (p Pause) Over(now time.Time) bool { return !p.Until.IsZero() && !now.Before(p.Until) }

// Outlasts says whether it lasts longer than another.
func (p Pause) Outlasts(q Pause) bool {
	return !q.Until.IsZero() && (p.Until.IsZero() || p.Until.After(q.Until))
}

// LeaseTooNew says whether a Lease with these annotations was written by a schema that this
// version does not know: it is left alone.
func LeaseTooNew(annotations map[string]string) bool {
	v := annotations[LeaseSchemaAnnotation]
	if v == "" {
		return false
	}
	n, err := strconv.Atoi(v)
	return err != nil || n > LeaseSchema
}

// SlotName is the name of the Lease that is slot i, from 0, of a lock. A slot is held
// while its spec.holderIdentity is there, and is the holder's node name.
func SlotName(lock string, i int) string { return lock + "-" + strconv.Itoa(i) }

// SlotIndex says which slot of a lock a Lease is, if it is one.
func SlotIndex(lock, lease string) (i int, ok bool) {
	digits, ok := strings.CutPrefix(lease, lock+"-")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(digits)
	if err != nil || i < 0 || strconv.Itoa(i) != digits {
		return 0, false
	}
	return i, true
}

// LockOf is the name of the lock, and the index of the slot, that a Lease has by its name.
func LockOf(lease string) (lock string, i int, ok bool) {
	cut := strings.LastIndexByte(lease, '-')
	if cut < 1 {
		return "", 0, false
	}
	i, ok = SlotIndex(lease[:cut], lease)
	return lease[:cut], i, ok
}

// ZoneName is the name of the Lease whose holder is the zone of those that hold slots:
// Claimant.Zone.
func ZoneName(lock string) string { return lock + "-zone" }

// PauseName is the name of the Lease that is there for a pause, by [PausedAnnotation],
// and for nothing else: it has no holder and no owner, and so stands before the first slot
// was ever taken, and when the slots are deleted.
func PauseName(lock string) string { return lock + "-pause" }

// ControlPlaneName is the name of the Lease whose holder is the control-plane node that
// holds a slot.
func ControlPlaneName(lock string) string { return lock + "-control-plane" }

// NodeLeaseName is the name of a node's own lease, as medik8s' operators share it.
func NodeLeaseName(node string) string { return strings.ToLower("node-" + node) }

// maxManager is how long a field manager may be
// (k8s.io/apimachinery/pkg/apis/meta/v1/validation.FieldManagerMaxLength).
const maxManager = 128

// LeaseFieldManager is the field manager by which a node writes Leases: its name where that
// fits, else the beginning of the name with a hash of all of it.
func LeaseFieldManager(node string) string {
	if m := "rebootd/" + node; len(m) <= maxManager {
		return m
	}
	sum := sha256.Sum256([]byte(node))
	hash := hex.EncodeToString(sum[:16])
	const prefix = "rebootd#"
	return prefix + node[:maxManager-len(prefix)-1-len(hash)] + "#" + hash
}
