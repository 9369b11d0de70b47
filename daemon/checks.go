package daemon

import (
	"context"
	"time"

	"rebootd.dev/daemon/decide"
)

// checkEvery lies between two rounds of the checks of a node that has booted.
const checkEvery = 5 * time.Second

// keepChecks has the node checked, again and again, from the boot until the operation
// is over.
func (d *Daemon) keepChecks() {
	wanted := len(d.Checks) > 0 && d.recordErr == nil && (d.phase() == decide.Verifying || d.phase() == decide.Halted)
	switch {
	case wanted && d.checksTask == nil:
		d.failing = "the checks have not passed yet"
		d.checksTask = d.begin(checkHealth, func(ctx context.Context) func() {
			d.check(ctx)
			return func() { d.checksTask, d.failing = nil, "" }
		})
	case !wanted && d.checksTask != nil:
		d.checksTask.cancel()
	}
}

func (d *Daemon) check(ctx context.Context) {
	for ctx.Err() == nil {
		failing := ""
		for _, check := range d.Checks {
			if err := check(ctx); err != nil {
				failing = err.Error()
				break
			}
		}
		d.post(ctx, func() { d.failing = failing })
		select {
		case <-time.After(checkEvery):
		case <-ctx.Done():
		}
	}
}
