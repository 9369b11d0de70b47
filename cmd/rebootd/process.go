package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	sdnotify "github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"k8s.io/klog/v2"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/hook"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/daemon/sentinel"
)

const (
	// bindAgain is how often the metrics address is tried again: in a rollout of
	// the daemon the one before may still have it.
	bindAgain = 5 * time.Second
	// wireAgain is how often a daemon that cannot be made is tried again.
	wireAgain = 5 * time.Second
)

// process is what all daemons of one process have, which follow one another whenever the
// settings of the node change.
type process struct {
	settings *settings
	stderr   io.Writer
	metrics  *daemon.Metrics
	handler  http.Handler
	alive    daemon.Liveness
	beat     func()
	ready    chan struct{}
	isReady  sync.Once

	before *daemon.Daemon // nil: none
	once   *hook.Once     // the hooks after the boot; nil: none yet
	served server
}

// runDaemon runs daemons, one after the other, until a signal ends it.
func runDaemon(cfg *config, args, environ []string, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// From the beginning to the very end: it would kill a process that does not listen, also
	// one that is still bringing an order to its end.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	kube.RegisterMetrics(registry)
	metrics := daemon.NewMetrics(registry, versionString())
	log := newLogger(cfg, stderr)
	p := &process{
		settings: &settings{args: args, environ: environ, file: configFile(args, environ), metrics: metrics, config: cfg, log: log},
		stderr:   stderr, metrics: metrics, ready: make(chan struct{}), beat: watchdog(log),
	}
	p.handler = daemon.Handler(registry, &p.alive, p.ready)
	p.alive.Mark()

	log.Info().Str("version", versionString()).Str("node", cfg.NodeName).Strs("sentinels", cfg.Sentinels).
		Str("reboot_method", cfg.RebootMethod).Str("reboot_command", cfg.RebootCommand).Bool("dry_run", cfg.DryRun).Int("pools", len(cfg.pools)).Msg("rebootd is starting")
	for _, pool := range cfg.pools {
		for _, text := range pool.beaten {
			log.Warn().Msg(text)
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { p.watch(ctx, hup, log) })
	defer p.served.stop()
	if err := p.run(ctx, log); err != nil {
		return err
	}
	notify(log, sdnotify.SdNotifyStopping)
	log.Info().Msg("rebootd is stopping; the next start continues any operation in progress")
	return nil
}

// watch has the configuration read again when its file changes, or a signal says so.
func (p *process) watch(ctx context.Context, hup <-chan os.Signal, log zerolog.Logger) {
	var wg sync.WaitGroup
	defer wg.Wait()
	if file := p.settings.file; file != "" {
		wg.Go(func() {
			if err := watchFile(ctx, file, quietFor, p.settings.reload); err != nil {
				log.Error().Err(err).Str("file", file).Msg("cannot watch the configuration file; it is read again on SIGHUP only")
			}
		})
	}
	for {
		select {
		case <-hup:
			p.settings.reload()
		case <-ctx.Done():
			return
		}
	}
}

// run runs one daemon after the other. It returns an error when the first one cannot be made.
func (p *process) run(ctx context.Context, log zerolog.Logger) error {
	w := p.settings.first()
	for started := false; ctx.Err() == nil; w = p.settings.following() {
		log = newLogger(w.cfg, p.stderr)
		klog.SetSlogLogger(slog.New(zerolog.NewSlogHandler(log.With().Str("from", "client-go").Logger())))
		watcher, d, err := p.make(w, log)
		switch {
		case err != nil && !started:
			return err
		case err != nil:
			log.Error().Err(err).Dur("retry_in", wireAgain).Msg("cannot work by the new settings; retrying")
			p.isAlive()
			select {
			case <-time.After(wireAgain):
			case <-ctx.Done():
			}
			continue
		}
		p.before = nil
		p.served.on(w.cfg.MetricsAddress, p.handler, log)
		if !started {
			// Ready before the API server has answered: it may be away for an hour, and
			// the unit is no less up for it.
			notify(log, sdnotify.SdNotifyReady)
		} else {
			log.Info().Str("pool", w.pool).Str("settings", w.cfg.hash()).Str("lock", w.cfg.LockName).Msg("working by other settings from now on")
		}
		started = true
		p.settings.runs(log, d.Wake)
		p.runOne(ctx, d, watcher)
		p.before = d
	}
	return nil
}

func (p *process) make(w *wiring, log zerolog.Logger) (*sentinel.Watcher, *daemon.Daemon, error) {
	watcher, err := sentinel.New(w.cfg.HostRoot, w.cfg.Sentinels)
	if err != nil {
		return nil, nil, err
	}
	d, err := p.wire(w, log, watcher)
	return watcher, d, err
}

func (p *process) runOne(ctx context.Context, d *daemon.Daemon, watcher *sentinel.Watcher) {
	watching, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { watcher.Run(watching) })
	wg.Go(func() {
		select {
		case <-d.Ready():
			p.isReady.Do(func() { close(p.ready) })
		case <-watching.Done():
		}
	})
	d.Run(ctx)
}

func (p *process) isAlive() {
	p.alive.Mark()
	p.beat()
}

// postBoot are the hooks after the boot: what has succeeded once in this process is not
// done again, whatever daemon runs in it.
func (p *process) postBoot(hooks *hook.Runner) *hook.Once {
	if hooks == nil {
		return nil
	}
	if p.once == nil {
		p.once = &hook.Once{Stage: hook.PostBoot}
	}
	p.once.Runner = hooks
	return p.once
}

// server serves metrics and health, at one address at a time.
type server struct {
	address string
	cancel  context.CancelFunc
	ended   chan struct{}
}

// on serves on an address from now on; "" is none.
func (s *server) on(address string, h http.Handler, log zerolog.Logger) {
	if address == s.address {
		return
	}
	s.stop()
	if s.address = address; address == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.cancel, s.ended = cancel, ended
	go func() {
		defer close(ended)
		serve(ctx, address, h, log)
	}()
}

func (s *server) stop() {
	if s.cancel != nil {
		s.cancel()
		<-s.ended
		s.cancel = nil
	}
}

// serve answers on address until ctx ends.
func serve(ctx context.Context, address string, h http.Handler, log zerolog.Logger) {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	for ctx.Err() == nil {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			end := context.AfterFunc(ctx, func() { _ = srv.Close() })
			err = srv.Serve(l)
			end()
		}
		if ctx.Err() != nil {
			return
		}
		log.Error().Err(err).Str("address", address).Dur("retry_in", bindAgain).Msg("cannot serve metrics and health; retrying")
		select {
		case <-time.After(bindAgain):
		case <-ctx.Done():
		}
	}
}
