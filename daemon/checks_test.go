package daemon

import (
	"context"
	"testing"
	"time"

	"rebootd.dev/daemon/decide"
)

// A node with checks is not healthy before they have passed, from the first turn on.
func TestNotHealthyBeforeTheChecks(t *testing.T) {
	now := time.Now()
	d := &Daemon{}
	d.Checks = []func(context.Context) error{func(context.Context) error { return nil }}
	d.boot = decide.Boot{ID: "b"}
	d.node = &nodeView{bootID: "b", ready: true}
	if d.health(now); !d.healthySince.IsZero() || d.ailing == "" {
		t.Errorf("healthy since %s before a check has run", d.healthySince)
	}
	d.checksTask, d.failing = &task{}, "the disk is full"
	if d.health(now); d.ailing != "the disk is full" {
		t.Errorf("ailing: %q", d.ailing)
	}
	d.failing = ""
	if d.health(now); d.healthySince.IsZero() {
		t.Errorf("not healthy: %q", d.ailing)
	}
}
