package daemon

import (
	"context"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/reboot"
)

// keepShutdownWatch has logind asked what it knows of shutdowns, while there is an
// operation that it matters to.
func (d *Daemon) keepShutdownWatch() {
	wanted := d.record != nil && d.recordErr == nil && d.record.Phase != decide.Verifying
	switch {
	case wanted && d.shutdownTask == nil:
		d.shutdown = decide.Shutdown{Pending: true}
		d.shutdownTask = d.begin(watchShutdown, func(ctx context.Context) func() {
			d.WatchShutdown(ctx, func(s reboot.Shutdown, err error) {
				d.post(ctx, func() { d.seeShutdown(s, err) })
			})
			return func() { d.shutdownTask, d.shutdown = nil, decide.Shutdown{} }
		})
	case !wanted && d.shutdownTask != nil:
		d.shutdownTask.cancel()
	}
}

func (d *Daemon) seeShutdown(s reboot.Shutdown, err error) {
	was := d.shutdown
	d.shutdown = decide.Shutdown{Known: err == nil, Inhibited: s.Inhibited, Kind: s.Kind, At: s.At, Preparing: s.Preparing}
	switch {
	case err != nil && !d.shutdownDark:
		d.Log.Warn().Err(err).Msg("logind cannot be asked what inhibits a reboot and what is scheduled; goes on without")
	case err == nil && s.Kind != "" && s.Kind != was.Kind && (d.record == nil || d.record.Order == nil):
		d.Log.Warn().Str("kind", s.Kind).Time("at", s.At).Msg("somebody has scheduled a shutdown of this machine")
	}
	d.shutdownDark = err != nil
}
