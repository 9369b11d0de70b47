package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/reboot"
)

// shutdownWorker knows what logind knows of shutdowns of the machine, while there is an
// operation, or one is asked for, that it matters to.
type shutdownWorker struct {
	bg      *background
	watcher shutdownWatcher
	log     zerolog.Logger

	task      *task
	seen      decide.Shutdown
	inhibited string // who inhibits a shutdown, and why; "": nobody
	dark      bool   // logind could not be asked, and the log says so
	ours      bool   // an order to reboot is on record
}

func newShutdownWorker(c Config, bg *background) *shutdownWorker {
	return &shutdownWorker{bg: bg, watcher: shutdownWatcher{c.WatchShutdown}, log: c.Log, seen: decide.Shutdown{Pending: true}}
}

func (w *shutdownWorker) follow(s decided) bool {
	p := s.phase()
	wanted := s.node != nil && (!s.obeyed || p != api.PhaseIdle || s.step.Asks != 0 || s.step.Do == decide.DoRelease)
	w.ours = s.record != nil && s.record.Order != nil
	switch {
	case wanted && w.task == nil:
		w.seen, w.inhibited = decide.Shutdown{Pending: true}, ""
		w.task = start(w.bg, w.watcher.run, w.see, func(struct{}, bool) { w.task, w.seen, w.inhibited = nil, decide.Shutdown{}, "" })
	case !wanted && w.task != nil:
		w.task.cancel()
	}
	return true
}

func (w *shutdownWorker) see(n shutdownNews) {
	was := w.seen
	w.seen = decide.Shutdown{Known: n.err == nil, Kind: n.shutdown.Kind, At: n.shutdown.At, Preparing: n.shutdown.Preparing}
	w.inhibited = n.shutdown.Inhibited
	switch {
	case n.err != nil && !w.dark:
		w.log.Warn().Err(n.err).Msg("cannot ask logind for inhibitors and scheduled shutdowns; continuing without them")
	case n.err == nil && n.shutdown.Kind != "" && n.shutdown.Kind != was.Kind && !w.ours:
		w.log.Warn().Str("kind", n.shutdown.Kind).Time("at", n.shutdown.At).Msg("somebody has scheduled a shutdown of this machine")
	}
	w.dark = n.err != nil
}

func (w *shutdownWorker) facts(f *decide.Facts) { f.Shutdown = w.seen }

func (w *shutdownWorker) verdict() gate.Verdict {
	if w.task == nil || w.seen.Pending {
		return gate.Verdict{} // it is not asked, or has not answered yet
	}
	return verdictOf("a reboot is inhibited by "+w.inhibited, w.inhibited != "")
}

// shutdownWatcher watches, in the background.
type shutdownWatcher struct {
	watch func(ctx context.Context, seen func(reboot.Shutdown, error))
}

type shutdownNews struct {
	shutdown reboot.Shutdown
	err      error
}

func (w shutdownWatcher) run(ctx context.Context, say func(shutdownNews)) struct{} {
	w.watch(ctx, func(s reboot.Shutdown, err error) { say(shutdownNews{s, err}) })
	return struct{}{}
}

// recall cancels the reboot that the machine has scheduled. What logind knows follows in a
// moment.
func (d *Daemon) recall(s decided) {
	do(d, s.step, recaller{d.cfg.CancelShutdown}.run, func(struct{}) {
		d.steps.retryAt = d.clock.now().Add(recallPause)
		d.tellOnce(s.step)
	})
}

// recallPause lies between two requests to cancel a shutdown.
const recallPause = time.Second

// recaller asks, in the background.
type recaller struct {
	cancel func(ctx context.Context) error
}

func (r recaller) run(ctx context.Context) (struct{}, error) {
	if err := r.cancel(ctx); err != nil {
		return struct{}{}, fmt.Errorf("cancel the scheduled reboot: %w", err)
	}
	return struct{}{}, nil
}
