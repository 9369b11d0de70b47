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
	NodeLease          decide.LeaseMode
	NodeLeaseNamespace string
	NodeLeaseDuration  time.Duration
	Drain              bool
	DrainTimeout       time.Duration
	DrainTimeoutPolicy decide.TimeoutPolicy
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

	rebootArgv, healthArgv []string
}

// option is one setting: a flag, an environment variable and a key of the file.
// There is one list of them, from which everything else follows.
type option struct {
	flag  string
	def   string // as written on the command line; "" where byDefault says it
	usage string
	about string // the default, in words, where it is no fixed value

	// set takes a value as written; list options may be given more than once.
	set  func(c *config, value string) error
	get  func(c *config) any // for the file: string, bool, int or []string
	list bool
	bare string // the value of the flag without one; "" if it needs one
}

// fileFlag names the file, and so is no key of it.
const fileFlag = "config"

func options() []option {
	return []option{
		text("node-name", "", "`$NODE_NAME`, else the host's name", "the Node that this daemon runs on", func(c *config) *string { return &c.NodeName }, checkNodeName),
		text("kubeconfig", "", "in-cluster", "how to reach the API server, for the systemd unit and for tests", func(c *config) *string { return &c.Kubeconfig }, checkFile),
		text("namespace", "", "`$POD_NAMESPACE`, else the service account's, else `rebootd`", "where the Leases are", func(c *config) *string { return &c.Namespace }, checkNamespace),
		text("host-root", "/", "", "where the host's root file system is seen; the sentinel, `/proc` and `/run` are read below it", func(c *config) *string { return &c.HostRoot }, checkDir),
		{
			flag: "sentinel", def: "/run/reboot-needed", list: true, usage: "path on the host; may be repeated",
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
					return fmt.Errorf("%q is no number from 1 to %d", v, maxSlots)
				}
				c.Slots = n
				return nil
			},
			get: func(c *config) any { return c.Slots },
		},
		text("same", "", "none", "a node label, such as `topology.kubernetes.io/zone`: nodes that are down together share its value", func(c *config) *string { return &c.Same }, checkLabel),
		text("max-unavailable", "", "no limit", "how many nodes may be unavailable at once, for whatever reason, this one included: a number, or a percentage such as `10%`", func(c *config) *string { return &c.MaxUnavailable }, func(v string) error {
			_, err := decide.ParseLimit(v)
			return err
		}),
		{
			flag: "node-lease", def: string(decide.LeaseAuto), usage: "the node lease that medik8s' operators respect: `off`; `auto`, taken where it can be had; `required`, no reboot without it",
			set: func(c *config, v string) error {
				c.NodeLease = decide.LeaseMode(v)
				return oneOf(v, string(decide.LeaseOff), string(decide.LeaseAuto), string(decide.LeaseRequired))
			},
			get: func(c *config) any { return string(c.NodeLease) },
		},
		text("node-lease-namespace", "medik8s-leases", "", "where the node leases are", func(c *config) *string { return &c.NodeLeaseNamespace }, checkNamespace),
		span("node-lease-duration", "30m", "how long the node may go without a sign of life, from the order to reboot until the daemon runs again, before others may take care of it", func(c *config) *time.Duration { return &c.NodeLeaseDuration }, time.Minute),
		boolean("drain", "true", "`false`: cordon and reboot without draining", func(c *config) *bool { return &c.Drain }),
		span("drain-timeout", "30m", "how long a drain may take; `0` = no limit", func(c *config) *time.Duration { return &c.DrainTimeout }, 0),
		{
			flag: "drain-timeout-policy", def: string(decide.Rollback), usage: "what happens then: `rollback`, `force`, `reboot`",
			set: func(c *config, v string) error {
				c.DrainTimeoutPolicy = decide.TimeoutPolicy(v)
				return oneOf(v, string(decide.Rollback), string(decide.Force), string(decide.Reboot))
			},
			get: func(c *config) any { return string(c.DrainTimeoutPolicy) },
		},
		boolean("wait-for-jobs", "false", "pods of Jobs are waited for instead of evicted", func(c *config) *bool { return &c.WaitForJobs }),
		span("completion-timeout", "0s", "how long pods are waited for that are to end by themselves or not to be disturbed; then they are evicted. `0` = as long as the drain may take", func(c *config) *time.Duration { return &c.CompletionTimeout }, 0),
		span("volume-timeout", "2m", "how long the volumes of the pods that have left are waited for to be detached; `0` = not at all", func(c *config) *time.Duration { return &c.VolumeTimeout }, 0),
		text("hooks", "/etc/rebootd", "", "the directory with `pre-drain.d`, `pre-reboot.d` and `post-boot.d`, whose programs are run; looked for at the start; empty = none", func(c *config) *string { return &c.Hooks }, func(v string) error {
			if v != "" && !filepath.IsAbs(v) {
				return fmt.Errorf("%q is no absolute path", v)
			}
			return nil
		}),
		span("hook-timeout", "5m", "how long each of them may take", func(c *config) *time.Duration { return &c.HookTimeout }, time.Second),
		text("reboot-method", methodCommand, "", "`command`: by `--reboot-command`; `logind`: over the system bus, where there is no systemctl", func(c *config) *string { return &c.RebootMethod }, func(v string) error {
			return oneOf(v, methodCommand, methodLogind)
		}),
		{
			flag: "reboot-command", def: defaultRebootCommand, usage: "one string, split into words as a shell does, run without a shell",
			set: func(c *config, v string) error {
				argv, err := shellquote.Split(v)
				if err != nil {
					return fmt.Errorf("%q cannot be split into words: %w", v, err)
				}
				if len(argv) == 0 || argv[0] == "" {
					return errors.New("is empty")
				}
				c.RebootCommand, c.rebootArgv = v, argv
				return nil
			},
			get: func(c *config) any { return c.RebootCommand },
		},
		text("wall-message", "", "none", "what users who are logged in are told when the reboot is ordered; at most 200 bytes", func(c *config) *string { return &c.WallMessage }, checkMessage),
		boolean("allow-soft-reboot", "false", "a sentinel that says `soft-reboot` gets one, where systemd counts them (256 and later): userspace is begun anew, and not the kernel", func(c *config) *bool { return &c.AllowSoftReboot }),
		boolean("allow-kexec", "false", "a sentinel that says `kexec` gets one: the kernel is begun anew, and not the firmware; another kernel must have been loaded", func(c *config) *bool { return &c.AllowKexec }),
		span("reboot-timeout", "15m", "from the spawn until the machine must be down", func(c *config) *time.Duration { return &c.RebootTimeout }, time.Second),
		span("health-timeout", "15m", "from the boot until the node must be healthy", func(c *config) *time.Duration { return &c.HealthTimeout }, time.Second),
		boolean("system-running", "false", "healthy means, too, that systemd has started everything and no unit has failed (`systemctl is-system-running`)", func(c *config) *bool { return &c.SystemRunning }),
		{
			flag: "health-command", about: "none", usage: "healthy means, too, that this command succeeds, within 30 seconds, in the daemon's own root; split into words as `--reboot-command` is",
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
		span("settle", "0s", "how long it must stay healthy before the slot is released", func(c *config) *time.Duration { return &c.Settle }, 0),
		text("metrics-address", ":9650", "", "`/metrics`, `/healthz` (its loop makes progress), `/readyz`; empty = off", func(c *config) *string { return &c.MetricsAddress }, checkAddress),
		text("log-level", "info", "", "`trace`, `debug`, `info`, `warn`, `error`", func(c *config) *string { return &c.LogLevel }, func(v string) error {
			return oneOf(v, "trace", "debug", "info", "warn", "error")
		}),
		text("log-format", "json", "", "`json`, or `console` for people", func(c *config) *string { return &c.LogFormat }, func(v string) error {
			return oneOf(v, "json", "console")
		}),
		boolean("dry-run", "false", "everything but writes to the cluster, evictions and the reboot; says what it would do", func(c *config) *bool { return &c.DryRun }),
	}
}

// The values of --reboot-method, and the default of --reboot-command.
const (
	methodCommand = "command"
	methodLogind  = "logind"

	defaultRebootCommand = "systemctl reboot"
)

// check refuses settings that are no good together.
func (c *config) check() error {
	var errs []error
	own := c.RebootCommand != defaultRebootCommand
	if c.RebootMethod == methodLogind && own {
		errs = append(errs, errors.New("--reboot-command is for --reboot-method=command, and the method is logind"))
	}
	if c.RebootMethod == methodCommand && own && (c.AllowSoftReboot || c.AllowKexec) {
		errs = append(errs, errors.New("--allow-soft-reboot and --allow-kexec cannot go with a --reboot-command of one's own, which knows one kind of reboot"))
	}
	if c.RebootMethod == methodCommand && own && c.WallMessage != "" {
		errs = append(errs, errors.New("--wall-message cannot go with a --reboot-command of one's own, which may have a message of its own"))
	}
	return errors.Join(errs...)
}

// argv is the command for a level of reboot.
func (c *config) argv(level decide.Level) ([]string, error) {
	var argv []string
	switch {
	case c.RebootMethod == methodLogind:
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		argv = []string{self, "logind-reboot", string(level)}
		if c.WallMessage != "" {
			argv = append(argv, c.WallMessage)
		}
		return argv, nil
	case level == decide.FullReboot:
		argv = slices.Clone(c.rebootArgv)
	default:
		argv = []string{"systemctl", string(level)}
	}
	if c.WallMessage != "" {
		argv = append(argv, "--message="+c.WallMessage)
	}
	return argv, nil
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
				return fmt.Errorf("%q is no duration such as 30m or 1h30m", v)
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
	return fmt.Errorf("%q is none of %s", v, strings.Join(allowed, ", "))
}

func checkNodeName(v string) error {
	if v == "" {
		return errors.New("is empty, and neither $NODE_NAME nor the host has a name")
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
	return fmt.Errorf("%q is no valid name: %s", v, strings.Join(problems, "; "))
}

func checkSentinel(v string) error {
	if !filepath.IsAbs(v) {
		return fmt.Errorf("%q is no absolute path", v)
	}
	if filepath.Clean(v) == "/" {
		return fmt.Errorf("%q is no file", v)
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
		return fmt.Errorf("%q is no directory", v)
	}
	return nil
}

func checkMessage(v string) error {
	const most = 200
	if len(v) > most || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }) {
		return fmt.Errorf("%.40q… is more than %d bytes, or not one line of text", v, most)
	}
	return nil
}

func checkAddress(v string) error {
	if v == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(v)
	if err != nil {
		return fmt.Errorf("%q is no address such as :9650 or 127.0.0.1:9650: %w", v, err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q: %q is no port", v, port)
	}
	return nil
}
