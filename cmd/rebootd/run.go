package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/approval"
	"rebootd.dev/daemon/availability"
	"rebootd.dev/daemon/conditions"
	"rebootd.dev/daemon/cooldown"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/hook"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/daemon/pods"
	"rebootd.dev/daemon/policy"
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
	// podUIDVariable tells a pod's own UID, by the downward API.
	podUIDVariable = "POD_UID"
)

// turnLimit is for how long a node may hold a slot that does as it should, 0 where
// there is no limit.
func turnLimit(cfg *config) time.Duration {
	if cfg.DrainTimeout == 0 {
		return 0
	}
	return cfg.Interval + rebootLimit(cfg)
}

// rebootLimit is how long a reboot that does as it should may take, drain included, 0 where
// there is no limit.
func rebootLimit(cfg *config) time.Duration {
	if cfg.DrainTimeout == 0 {
		return 0
	}
	return cfg.DrainTimeout + cfg.RebootTimeout + cfg.HealthTimeout + cfg.Settle
}

// wire makes the daemon of its rooms.
func (p *process) wire(w *wiring, log zerolog.Logger, watcher *sentinel.Watcher) (*daemon.Daemon, error) {
	cfg, metrics := w.cfg, p.metrics
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
		ClockSkew: client.ClockSkew, Log: warn(log),
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
			Lock: cfg.LockName, Slots: cfg.Slots, Same: cfg.Same, OrderWait: cfg.DrainTimeout, Deadline: cfg.Deadline,
			RebootTimeout: cfg.RebootTimeout, HealthTimeout: cfg.HealthTimeout, Settle: cfg.Settle,
			AllowSoftReboot: cfg.AllowSoftReboot, AllowKexec: cfg.AllowKexec,
		},
		Gates: inUse(gates(cfg, parts{api: client, lock: slots, drain: drainer, log: log})), Stages: stages,
		API: client, Lock: slots, NodeLease: nodeLease, LeaseRequired: cfg.NodeLease == leaseRequired, Host: reboot.Host{Root: cfg.HostRoot}, Sentinels: watcher.States(),
		WatchShutdown:  reboot.WatchShutdown,
		CancelShutdown: reboot.CancelShutdown,
		Userspace:      reboot.ReadUserspace,
		Checks:         cfg.checks(p.postBoot(runner)),
		Spawn: func(level api.Level, output func(string)) (daemon.Child, error) {
			c, err := cfg.rebooter().Start(string(level), output)
			if err != nil {
				return nil, err // not a nil *Child in a non-nil interface
			}
			return c, nil
		},
		Status: func(text string) { notifyStatus(log, text) },
		Alive:  p.isAlive,
		Fits:   p.settings.fits, Before: p.before, ConfigRefused: p.settings.whyRefused, Mark: w.mark,
		MinUptime: cfg.MinUptime,
		Rebooters: (reboot.Host{Root: cfg.HostRoot}).AutomaticReboots(),
		DryRun:    cfg.DryRun, Log: log, Metrics: metrics,
	})
}

// parts are what gates are made of, besides the settings.
type parts struct {
	api   *kube.Client
	lock  *lease.Lock
	drain *drain.Drainer
	log   zerolog.Logger
}

// registered is a gate, and whether the settings have it asked.
type registered struct {
	gate gate.Gate
	used bool
}

// gates are registered here, in the order of their precedence: of several that are
// closed, people are told of the first.
func gates(cfg *config, p parts) []registered {
	window, freeze := cfg.windowGates()
	return []registered{
		{daemon.Hold, true},
		{daemon.OthersAtWork, true},
		{daemon.NodeLeaseFree, true},
		{daemon.NodeLeaseThere, true},
		{daemon.LockName, true},
		{daemon.ConfigValid, true},
		{daemon.Inhibitors, true},
		{&possible.Gate{Ask: cfg.rebooter().Possible}, true},
		{freeze, true},
		{window, true},
		{&conditions.Gate{Rules: cfg.BlockingConditions}, len(cfg.BlockingConditions) > 0},
		{approval.Gate{}, cfg.Approval},
		{&cooldown.MinUptime{Least: cfg.MinUptime}, true},
		{&policy.Gate{API: p.api, Node: cfg.NodeName, Log: p.log}, true},
		{daemon.Paused, true},
		{&availability.Gate{API: p.api, Lock: p.lock, Node: cfg.NodeName, Name: cfg.LockName, Same: cfg.Same, Limit: cfg.limit, Log: p.log}, cfg.limit.IsSet()},
		{&cooldown.Interval{Least: cfg.Interval}, cfg.Interval > 0},
		{cfg.alertSettings.gate(cfg.HealthTimeout, daemon.PastDeadline(p.api, cfg.NodeName, cfg.LockName), p.log), cfg.PrometheusURL != ""},
		{&pods.Blocking{API: p.api, Node: cfg.NodeName, Selectors: cfg.BlockingPods}, len(cfg.BlockingPods) > 0},
		cfg.preflight(p),
		{&pods.DaemonSets{API: p.api, Node: cfg.NodeName, SelfUID: types.UID(os.Getenv(podUIDVariable)), Which: cfg.DaemonSetPods}, cfg.WaitForDaemonSets},
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
func (c *config) checks(postBoot *hook.Once) (out []func(context.Context) error) {
	if postBoot != nil {
		out = append(out, postBoot.Check)
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
