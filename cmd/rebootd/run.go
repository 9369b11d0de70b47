package main

import (
	"context"
	"fmt"
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
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/availability"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/hook"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/daemon/possible"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/drain"
	"rebootd.dev/lock/lease"
	"rebootd.dev/lock/nodelease"
	"rebootd.dev/reboot"
)

const (
	// slotDuration is what a held slot's Lease says that its holder is good for
	// without a renewal. It informs people and tools; nothing expires by it.
	slotDuration = 15 * time.Minute
	// bindAgain is how often the metrics address is tried again: in a rollout of
	// the daemon the one before may still have it.
	bindAgain = 5 * time.Second
	// podUIDVariable tells a pod's own UID, by the downward API.
	podUIDVariable = "POD_UID"
)

// runDaemon puts the rooms together and works until a signal ends it.
func runDaemon(cfg *config, stderr io.Writer) error {
	log := newLogger(cfg, stderr)
	klog.SetSlogLogger(slog.New(zerolog.NewSlogHandler(log.With().Str("from", "client-go").Logger())))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	kube.RegisterMetrics(registry)
	metrics := daemon.NewMetrics(registry, versionString())
	alive := new(daemon.Liveness)
	alive.Mark()

	watcher, err := sentinel.New(cfg.HostRoot, cfg.Sentinels)
	if err != nil {
		return err
	}
	d, err := wire(cfg, log, metrics, alive, watcher)
	if err != nil {
		return err
	}

	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { watcher.Run(ctx) })
	if cfg.MetricsAddress != "" {
		wg.Go(func() { serve(ctx, cfg.MetricsAddress, daemon.Handler(registry, alive, d.Ready()), log) })
	}
	log.Info().Str("version", versionString()).Str("node", cfg.NodeName).Strs("sentinels", cfg.Sentinels).
		Str("reboot_method", cfg.RebootMethod).Str("reboot_command", cfg.RebootCommand).Bool("dry_run", cfg.DryRun).Msg("rebootd is starting")
	// Ready before the API server has answered: it may be away for an hour, and
	// the unit is no less up for it.
	notify(log, sdnotify.SdNotifyReady)
	d.Run(ctx)
	notify(log, sdnotify.SdNotifyStopping)
	log.Info().Msg("rebootd is stopping; the next start continues any operation in progress")
	return nil
}

// turnLimit is for how long a node may hold a slot that does as it should, 0 where
// there is no limit.
func turnLimit(cfg *config) time.Duration {
	if cfg.DrainTimeout == 0 {
		return 0
	}
	return cfg.DrainTimeout + cfg.RebootTimeout + cfg.HealthTimeout + cfg.Settle
}

// wire makes the daemon of its rooms.
func wire(cfg *config, log zerolog.Logger, metrics *daemon.Metrics, alive *daemon.Liveness, watcher *sentinel.Watcher) (*daemon.Daemon, error) {
	restConfig, err := apiConfig(cfg)
	if err != nil {
		return nil, err
	}
	client, err := kube.New(restConfig)
	if err != nil {
		return nil, err
	}
	if err := client.ForNode(restConfig, cfg.NodeName); err != nil {
		return nil, err
	}
	slots, err := lease.New(lease.Config{
		API: client, Namespace: cfg.Namespace, Name: cfg.LockName, Slots: cfg.Slots, Node: cfg.NodeName,
		Duration: slotDuration, ZoneLimit: turnLimit(cfg), AtWork: daemon.AtWork(client, cfg.NodeName, cfg.LockName), DryRun: cfg.DryRun,
		Log: warn(log),
	})
	if err != nil {
		return nil, err
	}
	onEviction := metrics.Eviction
	if cfg.DryRun {
		onEviction = nil
	}
	drainer, err := drain.New(drain.Config{
		API: client, Node: cfg.NodeName, SelfUID: types.UID(os.Getenv(podUIDVariable)), DryRun: cfg.DryRun,
		WaitForJobs: cfg.WaitForJobs, CompletionTimeout: cfg.CompletionTimeout, VolumeTimeout: cfg.VolumeTimeout,
		ClockSkew: client.ClockSkew, OnEviction: onEviction,
		OnError:   func(err error) { log.Warn().Err(err).Msg("drain error; retrying") },
		OnIgnored: func(what string) { log.Warn().Msg(printable.Line(what, maxField)) },
	})
	if err != nil {
		return nil, err
	}
	var nodeLease daemon.NodeLeaser // not a nil *Lease in a non-nil interface
	if cfg.NodeLease != leaseOff {
		nodeLease, err = nodelease.New(nodelease.Config{API: client, Namespace: cfg.NodeLeaseNamespace, Node: cfg.NodeName, Duration: cfg.NodeLeaseDuration})
		if err != nil {
			return nil, err
		}
	}
	runner := cfg.hookRunner(log)
	beat := watchdog(log)
	var stages []daemon.Stage
	if runner != nil {
		stages = append(stages, daemon.PreDrainHooks(runner))
	}
	if cfg.Drain {
		stages = append(stages, daemon.Drain(drainer, cfg.DrainTimeout, cfg.DrainTimeoutPolicy))
	}
	if runner != nil {
		stages = append(stages, daemon.PreRebootHooks(runner))
	}
	return daemon.New(daemon.Config{
		NodeName: cfg.NodeName, Same: cfg.Same,
		Policy: decide.Policy{
			Lock: cfg.LockName, OrderWait: cfg.DrainTimeout,
			RebootTimeout: cfg.RebootTimeout, HealthTimeout: cfg.HealthTimeout, Settle: cfg.Settle,
			AllowSoftReboot: cfg.AllowSoftReboot, AllowKexec: cfg.AllowKexec,
		},
		Gates: inUse(gates(cfg, parts{api: client, lock: slots, log: log})), Stages: stages,
		API: client, Lock: slots, NodeLease: nodeLease, LeaseRequired: cfg.NodeLease == leaseRequired, Host: reboot.Host{Root: cfg.HostRoot}, Sentinels: watcher.States(),
		WatchShutdown:  reboot.WatchShutdown,
		CancelShutdown: reboot.CancelShutdown,
		Userspace:      reboot.ReadUserspace,
		Checks:         cfg.checks(runner),
		Spawn: func(level api.Level, output func(string)) (daemon.Child, error) {
			c, err := cfg.rebooter().Start(string(level), output)
			if err != nil {
				return nil, err // not a nil *Child in a non-nil interface
			}
			return c, nil
		},
		Status: func(text string) { notifyStatus(log, text) },
		Alive: func() {
			alive.Mark()
			beat()
		},
		Rebooters: (reboot.Host{Root: cfg.HostRoot}).AutomaticReboots(),
		DryRun:    cfg.DryRun, Log: log, Metrics: metrics,
	})
}

// parts are what gates are made of, besides the settings.
type parts struct {
	api  *kube.Client
	lock *lease.Lock
	log  zerolog.Logger
}

// registered is a gate, and whether the settings have it asked.
type registered struct {
	gate gate.Gate
	used bool
}

// gates are registered here, in the order of their precedence: of several that are
// closed, people are told of the first.
func gates(cfg *config, p parts) []registered {
	return []registered{
		{daemon.Hold, true},
		{daemon.OthersAtWork, true},
		{daemon.NodeLeaseFree, true},
		{daemon.NodeLeaseThere, true},
		{daemon.Inhibitors, true},
		{&possible.Gate{Ask: cfg.rebooter().Possible}, true},
		{daemon.Paused, true},
		{&availability.Gate{API: p.api, Lock: p.lock, Node: cfg.NodeName, Name: cfg.LockName, Same: cfg.Same, Limit: cfg.limit, Log: p.log}, cfg.limit.IsSet()},
	}
}

// inUse are the gates that are asked.
func inUse(all []registered) (out []gate.Gate) {
	for _, r := range all {
		if r.used {
			out = append(out, r.gate)
		}
	}
	return out
}

// hookRunner runs the hooks, nil if none may be run.
func (c *config) hookRunner(log zerolog.Logger) *hook.Runner {
	if c.Hooks == "" || c.DryRun {
		return nil
	}
	return &hook.Runner{
		Dir: c.Hooks, Limit: c.HookTimeout, Env: []string{"REBOOTD_NODE_NAME=" + c.NodeName},
		Output: func(stage, name, line string) {
			log.Info().Str("stage", stage).Str("hook", name).Str("output", line).Msg("hook")
		},
		Log: warn(log),
	}
}

// checks are what a node must pass after a boot, besides what its Node says.
func (c *config) checks(hooks *hook.Runner) (out []func(context.Context) error) {
	if hooks != nil {
		out = append(out, (&hook.Once{Runner: hooks, Stage: hook.PostBoot}).Check)
	}
	if c.SystemRunning {
		out = append(out, reboot.SystemRunning)
	}
	if len(c.healthArgv) > 0 {
		out = append(out, func(ctx context.Context) error { return reboot.Check(ctx, c.healthArgv) })
	}
	return out
}

func apiConfig(cfg *config) (*rest.Config, error) {
	if cfg.Kubeconfig == "" {
		c, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("find the API server: no --kubeconfig was given, and the in-cluster configuration cannot be used: %w", err)
		}
		return c, nil
	}
	c, err := clientcmd.BuildConfigFromFlags("", cfg.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig %s: %w", cfg.Kubeconfig, err)
	}
	return c, nil
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
