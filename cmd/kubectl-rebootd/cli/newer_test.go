package cli

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// TestSlotOfNewerVersion: what this program may not understand is said, and not released.
func TestSlotOfNewerVersion(t *testing.T) {
	f := newFake()
	f.draining("node-1", time.Minute, 4, 2)
	f.slot(0, "node-1", time.Minute).Annotations[api.LeaseSchemaAnnotation] = "2"
	for line, want := range map[string]string{
		"status": "slot rebootd-0 was written by a newer version of rebootd",
		"slots":  "a newer version of rebootd has written it",
		"doctor": "rebootd-0 was taken by a newer version of rebootd",
		"release rebootd-0 --holder node-1 --yes": "rebootd-0 was taken by a newer version of rebootd; use that version's program to release it",
	} {
		if r := runIn(f, strings.Fields(line)); !strings.Contains(r.out+r.err, want) {
			t.Errorf("%s: %+v; want %s", line, r, want)
		}
	}
	if len(f.wrote) > 0 {
		t.Error(f.wrote)
	}
}
