package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kballard/go-shellquote"
	"k8s.io/apimachinery/pkg/util/validation"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/reboot"
)

// config is the effective configuration.
type config struct {
	NodeName           string
	Kubeconfig         string
	Namespace          string
	HostRoot           string
	Sentinels          []string
	LockName           string
	Slots              int
	Same               string
	MaxUnavailable     string
	NodeLease          leaseMode
	NodeLeaseNamespace string
	NodeLeaseDuration  time.Duration
	Drain              bool
	DrainTimeout       time.Duration
	DrainTimeoutPolicy decide.TimeoutPolicy
	Preflight          preflightMode
	WaitForJobs        bool
	CompletionTimeout  time.Duration
	VolumeTimeout      time.Duration
	Hooks              string
	HookTimeout        time.Duration
	RebootMethod       string
	RebootCommand      string
	WallMessage        string
	AllowSoftReboot    bool
	AllowKexec         bool
	RebootTimeout      time.Duration
	HealthTimeout      time.Duration
	SystemRunning      bool
	HealthCommand      string
	Settle             time.Duration
	MetricsAddress     string
	LogLevel           string
	LogFormat          string
	DryRun             bool
	timing
	windowSettings
	nodeGates
	alertSettings

	rebootArgv, healthArgv []string
	pools                  []*pool      // of the file, in its order; those of the top level
	limit                  decide.Limit // MaxUnavailable
}

// leaseMode says what the node lease is to an operation.
type leaseMode string

// The modes of the node lease.
const (
	leaseOff      leaseMode = "off"      // it is neither looked at nor taken
	leaseAuto     leaseMode = "auto"     // taken where it can be had
	leaseRequired leaseMode = "required" // without it nothing is done to the node
)

// option is one setting: a flag, an environment variable and a key of the file.
// There is one list of them, from which everything else follows.
type option struct {
	flag  string
	def   string // as written on the command line; "" where byDefault says it
	usage string
	about string // the default, in words, where it is not a fixed value

	// set takes a value as written; list options may be given more than once.
	set  func(c *config, value string) error
	get  func(c *config) any // for the file: string, bool, int or []string
	list bool
	// separator stands between the values of a list in the environment and in def, where a
	// value may have commas; "": a comma does.
	separator string
	orText    bool   // of a bool: the file may have text in its place
	bare      string // the value of the flag without one; "" if it needs one
}

// fileFlag names the file, and so is not a key in it.
const fileFlag = "config"

func options() []option {
	return slices.Concat([]option{
		text("node-name", "", "`$NODE_NAME`, else the host's name", "the Node that this daemon runs on", func(c *config) *string { return &c.NodeName }, checkNodeName),
		text("kubeconfig", "", "in-cluster", "the kubeconfig file for the API server, for the systemd unit and for tests", func(c *config) *string { return &c.Kubeconfig }, checkFile),
		text("namespace", "", "`$POD_NAMESPACE`, else the service account's, else `rebootd`", "where the Leases are", func(c *config) *string { return &c.Namespace }, checkNamespace),
		text("host-root", "/", "", "where the host's root file system is mounted; the sentinel, `/proc` and `/run` are read below it", func(c *config) *string { return &c.HostRoot }, checkDir),
		{
			flag: "sentinel", def: "/run/reboot-needed,/run/reboot-required", list: true, usage: "path on the host of a file that requests a reboot; may be repeated, and then replaces both",
			set: func(c *config, v string) error {
				if err := checkSentinel(v); err != nil {
					return err
				}
				if slices.Contains(c.Sentinels, filepath.Clean(v)) {
					return fmt.Errorf("%q is given twice", v)
				}
				c.Sentinels = append(c.Sentinels, filepath.Clean(v))
				return nil
			},
			get: func(c *config) any { return c.Sentinels },
		},
		text("lock-name", "rebootd", "", "the slots are the Leases `<lock-name>-0` …", func(c *config) *string { return &c.LockName }, checkLockName),
		{
			flag: "slots", def: "1", usage: "how many nodes may be down at once",
			set: func(c *config, v string) error {
				n, err := strconv.Atoi(v)
				if err != nil || n < 1 || n > maxSlots {
					return fmt.Errorf("%q is not a number from 1 to %d", v, maxSlots)
				}
				c.Slots = n
				return nil
			},
			get: func(c *config) any { return c.Slots },
		},
		text("same", "", "none", "a node label such as `topology.kubernetes.io/zone`: only nodes with the same value may be down together", func(c *config) *string { return &c.Same }, checkLabel),
		{
			flag: "max-unavailable", about: "no limit", usage: "how many nodes may be unavailable at once, for any reason, including this one: a number, or a percentage such as `10%`",
			set: func(c *config, v string) (err error) {
				c.MaxUnavailable = v
				c.limit, err = decide.ParseLimit(v)
				return err
			},
			get: func(c *config) any { return c.MaxUnavailable },
		},
		{
			flag: "node-lease", def: string(leaseAuto), usage: "the node lease that medik8s' operators respect: `off`; `auto`: taken where it is available; `required`: no reboot without it",
			set: func(c *config, v string) error {
				c.NodeLease = leaseMode(v)
				return oneOf(v, string(leaseOff), string(leaseAuto), string(leaseRequired))
			},
			get: func(c *config) any { return string(c.NodeLease) },
		},
		text("node-lease-namespace", "medik8s-leases", "", "where the node leases are", func(c *config) *string { return &c.NodeLeaseNamespace }, checkNamespace),
		span("node-lease-duration", "30m", "how long the node may stay silent, from the order to reboot until the daemon runs again, before those operators may remediate it", func(c *config) *time.Duration { return &c.NodeLeaseDuration }, time.Minute),
		boolean("drain", "true", "`false`: cordon and reboot without draining", func(c *config) *bool { return &c.Drain }),
		span("drain-timeout", "30m", "how long a drain may take; `0` = no limit", func(c *config) *time.Duration { return &c.DrainTimeout }, 0),
		{
			flag: "drain-timeout-policy", def: string(decide.Rollback), usage: "what happens when the drain times out: `rollback`, `force` or `reboot`",
			set: func(c *config, v string) error {
				c.DrainTimeoutPolicy = decide.TimeoutPolicy(v)
				return oneOf(v, string(decide.Rollback), string(decide.Force), string(decide.Reboot))
			},
			get: func(c *config) any { return string(c.DrainTimeoutPolicy) },
		},
		boolean("wait-for-jobs", "false", "wait for the pods of Jobs to complete instead of evicting them", func(c *config) *bool { return &c.WaitForJobs }),
		span("completion-timeout", "0s", "how long to wait for pods that should complete by themselves or must not be disrupted, before they are evicted; at most `--drain-timeout`; `0` = as long as the drain may take", func(c *config) *time.Duration { return &c.CompletionTimeout }, 0),
		span("volume-timeout", "2m", "how long to wait until the volumes of the pods that have left are detached; `0` = do not wait", func(c *config) *time.Duration { return &c.VolumeTimeout }, 0),
		text("hooks", "/etc/rebootd", "", "the directory with `pre-drain.d`, `pre-reboot.d` and `post-boot.d`, whose programs are run as hooks; they are looked up when they are due; empty = no hooks", func(c *config) *string { return &c.Hooks }, func(v string) error {
			if v != "" && !filepath.IsAbs(v) {
				return fmt.Errorf("%q is not an absolute path", v)
			}
			return nil
		}),
		span("hook-timeout", "5m", "how long each hook may run", func(c *config) *time.Duration { return &c.HookTimeout }, time.Second),
		text("reboot-method", methodCommand, "", "`command`: run `--reboot-command`; `logind`: ask logind over the system bus, where there is no systemctl", func(c *config) *string { return &c.RebootMethod }, func(v string) error {
			return oneOf(v, methodCommand, methodLogind)
		}),
		{
			flag: "reboot-command", def: defaultRebootCommand, usage: "the command that reboots the machine; split into words as a shell does, run without a shell",
			set: func(c *config, v string) error {
				argv, err := shellquote.Split(v)
				if err != nil {
					return fmt.Errorf("%q cannot be split into words: %w", v, err)
				}
				if len(argv) == 0 || argv[0] == "" {
					return errors.New("must not be empty")
				}
				c.RebootCommand, c.rebootArgv = v, argv
				return nil
			},
			get: func(c *config) any { return c.RebootCommand },
		},
		text("wall-message", "", "none", "the message for users who are logged in when the reboot is ordered; at most 200 bytes", func(c *config) *string { return &c.WallMessage }, checkMessage),
		boolean("allow-soft-reboot", "false", "a sentinel that says `soft-reboot` gets a soft reboot, where systemd counts them (256 and later): only userspace is restarted, not the kernel", func(c *config) *bool { return &c.AllowSoftReboot }),
		boolean("allow-kexec", "false", "a sentinel that says `kexec` gets a kexec, if a kernel is loaded for one: the kernel is restarted, not the firmware", func(c *config) *bool { return &c.AllowKexec }),
		span("reboot-timeout", "15m", "how long the machine may take to go down after the reboot command was started", func(c *config) *time.Duration { return &c.RebootTimeout }, time.Second),
		span("health-timeout", "15m", "how long the node may take after the boot to become healthy", func(c *config) *time.Duration { return &c.HealthTimeout }, time.Second),
		boolean("system-running", "false", "the node is healthy only when systemd has started everything and no unit has failed (`systemctl is-system-running`)", func(c *config) *bool { return &c.SystemRunning }),
		{
			flag: "health-command", about: "none", usage: "the node is healthy only when this command succeeds, within 30 seconds, in the daemon's own root; split into words as `--reboot-command` is",
			set: func(c *config, v string) error {
				argv, err := shellquote.Split(v)
				if err != nil {
					return fmt.Errorf("%q cannot be split into words: %w", v, err)
				}
				if c.HealthCommand = v; len(argv) > 0 {
					c.healthArgv = argv
				}
				return nil
			},
			get: func(c *config) any { return c.HealthCommand },
		},
		span("settle", "0s", "how long the node must stay healthy before the slot is released; shorter than `--health-timeout`", func(c *config) *time.Duration { return &c.Settle }, 0),
		text("metrics-address", ":9650", "", "address of `/metrics`, `/healthz` (the main loop makes progress) and `/readyz`; empty = off", func(c *config) *string { return &c.MetricsAddress }, checkAddress),
		text("log-level", "info", "", "`trace`, `debug`, `info`, `warn`, `error`", func(c *config) *string { return &c.LogLevel }, func(v string) error {
			return oneOf(v, "trace", "debug", "info", "warn", "error")
		}),
		text("log-format", "json", "", "`json`, or `console` for people", func(c *config) *string { return &c.LogFormat }, func(v string) error {
			return oneOf(v, "json", "console")
		}),
		boolean("dry-run", "false", "do everything except writes to the cluster, evictions and the reboot; log what would be done", func(c *config) *bool { return &c.DryRun }),
	},
		windowOptions(),
		timingOptions(),
		nodeGateOptions(),
		alertOptions(),
		preflightOptions(),
	)
}

// The values of --reboot-method, and the default of --reboot-command.
const (
	methodCommand = "command"
	methodLogind  = "logind"

	defaultRebootCommand = "systemctl reboot"
)

// check refuses settings that make no sense together.
func (c *config) check() error {
	var errs []error
	refuse := func(when bool, format string, args ...any) {
		if when {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	custom := c.RebootCommand != defaultRebootCommand
	byCommand := c.RebootMethod == methodCommand
	refuse(c.RebootMethod == methodLogind && custom, "--reboot-command is for --reboot-method=command, and the method is logind")
	refuse(byCommand && custom && (c.AllowSoftReboot || c.AllowKexec), "--allow-soft-reboot and --allow-kexec cannot be combined with a custom --reboot-command: it is used for every level of reboot")
	refuse(byCommand && custom && c.WallMessage != "", "--wall-message cannot be combined with a custom --reboot-command: add the message to the command")
	// A duration that was refused by itself is 0.
	refuse(c.HealthTimeout > 0 && c.Settle >= c.HealthTimeout, "--settle must be shorter than --health-timeout, and %s is not shorter than %s", c.Settle, c.HealthTimeout)
	refuse(c.DrainTimeout > 0 && c.CompletionTimeout > c.DrainTimeout, "--completion-timeout must not be longer than --drain-timeout, and %s is longer than %s", c.CompletionTimeout, c.DrainTimeout)
	refuse(c.DrainTimeout == 0 && c.DrainTimeoutPolicy != decide.Rollback, "--drain-timeout-policy=%s has no effect with --drain-timeout=0", c.DrainTimeoutPolicy)
	refuse(!c.Drain && c.WaitForJobs, "--wait-for-jobs has no effect with --drain=false")
	refuse(!c.Drain && c.CompletionTimeout > 0, "--completion-timeout has no effect with --drain=false")
	errs = append(errs, c.alertSettings.check())
	return errors.Join(errs...)
}

// rebooter is how the machine is rebooted.
func (c *config) rebooter() reboot.Rebooter {
	return reboot.Rebooter{Logind: c.RebootMethod == methodLogind, Command: c.rebootArgv, Message: c.WallMessage}
}

// maxSlots is far more than any cluster has nodes to spare.
const maxSlots = 10000

func text(flag, def, about, usage string, field func(*config) *string, check func(string) error) option {
	return option{
		flag: flag, def: def, about: about, usage: usage,
		set: func(c *config, v string) error { *field(c) = v; return check(v) },
		get: func(c *config) any { return *field(c) },
	}
}

func boolean(flag, def, usage string, field func(*config) *bool) option {
	return option{
		flag: flag, def: def, usage: usage, bare: "true",
		set: func(c *config, v string) error {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return fmt.Errorf("%q is neither true nor false", v)
			}
			*field(c) = b
			return nil
		},
		get: func(c *config) any { return *field(c) },
	}
}

func span(flag, def, usage string, field func(*config) *time.Duration, least time.Duration) option {
	return option{
		flag: flag, def: def, usage: usage,
		set: func(c *config, v string) error {
			d, err := time.ParseDuration(v)
			if err != nil {
				return fmt.Errorf("%q is not a duration such as 30m or 1h30m", v)
			}
			if d < least {
				return fmt.Errorf("%q is less than %s", v, least)
			}
			*field(c) = d
			return nil
		},
		get: func(c *config) any { return field(c).String() },
	}
}

func oneOf(v string, allowed ...string) error {
	if slices.Contains(allowed, v) {
		return nil
	}
	return fmt.Errorf("%q is not one of %s", v, strings.Join(allowed, ", "))
}

func checkNodeName(v string) error {
	if v == "" {
		return errors.New("must not be empty: neither $NODE_NAME nor the host's name is set")
	}
	return dnsError(v, validation.IsDNS1123Subdomain(v))
}

func checkNamespace(v string) error { return dnsError(v, validation.IsDNS1123Label(v)) }

func checkLockName(v string) error {
	return dnsError(v, validation.IsDNS1123Subdomain(v+"-"+strconv.Itoa(maxSlots)))
}

func checkLabel(v string) error {
	if v == "" {
		return nil
	}
	return dnsError(v, validation.IsQualifiedName(v))
}

func dnsError(v string, problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%q is not a valid name: %s", v, strings.Join(problems, "; "))
}

func checkSentinel(v string) error {
	if !filepath.IsAbs(v) {
		return fmt.Errorf("%q is not an absolute path", v)
	}
	if filepath.Clean(v) == "/" {
		return fmt.Errorf("%q is not a file", v)
	}
	return nil
}

func checkFile(v string) error {
	if v == "" {
		return nil
	}
	info, err := os.Stat(v)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%q is a directory", v)
	}
	return nil
}

func checkDir(v string) error {
	info, err := os.Stat(v)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%q is not a directory", v)
	}
	return nil
}

func checkMessage(v string) error {
	const most = 200
	if len(v) > most || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }) {
		return fmt.Errorf("%.40q… is not one line of text of at most %d bytes", v, most)
	}
	return nil
}

func checkAddress(v string) error {
	if v == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is not an address such as :9650 or 127.0.0.1:9650: %w", v, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q: %q is not a valid port", v, port)
	}
	return nil
}
