package daemon

import (
	"context"
	"errors"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/reply"
)

// mark writes on the Node which daemon runs here, when there is nothing else to do and the
// Node says something else. It is written once: whoever changes or refuses it has the last
// word. A node that an older version has had wait gets its status in the same request: its
// condition may not change for days. It returns when it wants to be asked again.
func (d *Daemon) mark(s decided) time.Time {
	later := s.now.Add(heartbeat)
	if d.cfg.Mark == "" || d.publish.marked == d.cfg.Mark {
		return later
	}
	if s.node.mark == d.cfg.Mark {
		d.publish.marked = d.cfg.Mark
		return later
	}
	if early := spread(d.cfg.NodeName, firstShown) - time.Since(d.made); early > 0 {
		return s.now.Add(early)
	}
	p := nodePatch{Metadata: patchMetadata{Annotations: map[string]*string{api.DaemonAnnotation: &d.cfg.Mark}}}
	if s.obeyed && s.record != nil && (s.node.status == "" || s.node.isStale(s.record)) {
		p.setStatus(d.status(s.step, s.record, s.now))
	}
	data, err := p.encode()
	if err != nil {
		return later
	}
	do(d, decide.Step{Do: decide.DoWait, Reason: s.step.Reason}, marking{nodePatcher{d.cfg.API, d.cfg.NodeName, data, []string{"status"}}}.run, func(m published) {
		d.publish.marked = d.cfg.Mark
		if m.refused != nil {
			d.cfg.Log.Info().Err(m.refused).Str("annotation", api.DaemonAnnotation).Msg("the annotation that says which daemon runs here cannot be written; continuing without it")
			return
		}
		d.patched(s, m.patched)
	})
	return later
}

// marking writes the annotation, in the background. Only an API server that cannot be
// reached has it tried again.
type marking struct{ nodePatcher }

func (m marking) run(ctx context.Context) (published, error) {
	n, err := m.nodePatcher.run(ctx)
	var changed *changedError
	if err == nil || errors.As(err, &changed) || reply.Unreachable(err) {
		return published{patched: n}, err
	}
	return published{refused: err}, nil
}
