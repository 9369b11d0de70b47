package fleet

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"rebootd.dev/daemon/api"
)

// TestSlotOfNewerVersion has a slot be told whose schema this version does not know, as the
// daemons leave it alone.
func TestSlotOfNewerVersion(t *testing.T) {
	for schema, want := range map[string]bool{"": false, "1": false, "2": true, "x": true} {
		lease := held(0, "a")
		lease.Annotations = map[string]string{api.HolderUIDAnnotation: "u"}
		if schema != "" {
			lease.Annotations[api.LeaseSchemaAnnotation] = schema
		}
		f := Build(nil, []coordinationv1.Lease{lease}, nil, now)
		if len(f.Slots) != 1 || f.Slots[0].TooNew != want {
			t.Errorf("schema %q: %+v, want TooNew %v", schema, f.Slots, want)
		}
	}
}

// TestPauseIsReadAsTheDaemonsRead has an end that the daemons cannot read be none here.
func TestPauseIsReadAsTheDaemonsRead(t *testing.T) {
	for _, until := range []string{"2026-11-28T03:00:00Z", " 2026-11-28T03:00:00Z", "2026-11-28T03:00:00Z\n", "2026-11-28T03:00:00\u200bZ", "tomorrow", ""} {
		lease := pausedLease(until)
		want, _ := api.PauseOf(lease.Annotations)
		got := Build(nil, []coordinationv1.Lease{lease}, nil, now).Pauses[0]
		if !got.Until.Equal(want.Until) || got.Over(now.Add(24*time.Hour)) != want.Over(now.Add(24*time.Hour)) || (got.UntilText != "") != (until != "") {
			t.Errorf("until %q: %+v, the daemons read %+v", until, got, want)
		}
	}
}
