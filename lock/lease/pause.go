package lease

import (
	"context"

	"rebootd.dev/daemon/api"
)

// makePause makes the Lease on which people can pause the lock, if there is none: it has
// nothing in it, and nobody owns a field of it. What people have written there is not
// touched, whatever was seen before. Without it people can make it themselves, or pause the
// lock by a slot, so nothing else depends on it.
func (l *Lock) makePause(ctx context.Context, v *view) {
	if v.pause != nil {
		return
	}
	name := api.PauseName(l.cfg.Name)
	_, err := l.apply(ctx, applied{Metadata: appliedMeta{Name: name}}, false)
	if err == nil || ctx.Err() != nil {
		return
	}
	l.saidPause.Do(func() {
		l.cfg.Log("create the Lease %s, on which people can pause the lock: %v; continuing without it", name, err)
	})
}
