package daemon

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/drain"
	"rebootd.dev/lock"
	"rebootd.dev/reboot"
)

// NodeAPI is what the daemon needs of the API server itself.
type NodeAPI interface {
	GetNode(ctx context.Context, name string) (*corev1.Node, error)
	ListNodes(ctx context.Context, opts metav1.ListOptions) (*corev1.NodeList, error)
	GetNodeMetadata(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error)
	ListNodeMetadata(ctx context.Context, opts metav1.ListOptions) (*metav1.PartialObjectMetadataList, error)
	WatchNodes(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	PatchNode(ctx context.Context, name string, data []byte, subresources ...string) (*corev1.Node, error)
	DryRunPatchNode(ctx context.Context, name string, data []byte) error
	CreateEvent(ctx context.Context, ev *corev1.Event) error
}

// Drainer empties the node; package drain implements it.
type Drainer interface {
	Run(ctx context.Context, opts drain.Options, progress func(drain.Progress)) error
}

// Host is the machine; package reboot implements it.
type Host interface {
	Boot() (reboot.Boot, error)
	Uptime() time.Duration
	KexecLoaded() bool
}

// Child is a reboot command that was started.
type Child interface {
	Done() <-chan struct{}
	Result() reboot.Result
}

// Stage is something that is done between the cordon and the order, and undone before
// the node is put back, such as an admin's hooks. Its methods are called one at a time,
// and may be called again after a restart of the daemon.
type Stage interface {
	Kind() decide.Stage
	// Empty says that there is nothing to do at present, so that the stage is left out. It
	// answers at once, also while Do or Undo runs.
	Empty() bool
	// Do does it, and returns what became of its parts for the report, also when it has
	// failed. When ctx ends it stops.
	Do(ctx context.Context) ([]api.HookOutcome, error)
	// Undo undoes as much as it can, also what Do has not come to. It is called only
	// where Kind says that there is something to undo.
	Undo(ctx context.Context) ([]api.HookOutcome, error)
}

// Config is what a daemon is made of. All fields but NodeLease, Checks, Rebooters, Same, Now,
// Fits, Before, ConfigRefused and Mark are needed.
type Config struct {
	NodeName string
	Policy   decide.Policy // but its node and its stages
	Same     string        // the label whose value nodes that are down together share; "" is no rule

	API           NodeAPI
	Lock          lock.Locker
	NodeLease     NodeLeaser // nil: it is neither looked at nor taken
	LeaseRequired bool       // without a node lease nothing is done to the node
	Host          Host
	Sentinels     <-chan sentinel.State
	// Now is the machine's clock; nil: time.Now. What is measured goes by what it says at
	// the start, and what people name by the calendar by what it says at present.
	Now func() time.Time

	// Gates are asked in this order: of several that are closed, people are told of the
	// first. The daemon's own ([OwnGates]) must be among them.
	Gates []gate.Gate
	// Stages are run in this order. [Drain] makes the one that drains the node.
	Stages []Stage

	// WatchShutdown tells what the machine knows of shutdowns, until ctx ends; package
	// reboot implements it.
	WatchShutdown func(ctx context.Context, seen func(reboot.Shutdown, error))
	// CancelShutdown cancels the shutdown that the machine has scheduled, if it has;
	// package reboot implements it.
	CancelShutdown func(ctx context.Context) error
	// Userspace tells what systemd knows of its own starts; package reboot implements it.
	Userspace func(ctx context.Context) (reboot.Userspace, error)
	// MinUptime is how soon after a verified reboot a sentinel that requests the next is said
	// to have come back; less than [api.Soon] counts as that.
	MinUptime time.Duration
	// Checks are what a node must pass after a boot besides what its Node says, each
	// within a time limit of its own. There may be none.
	Checks []func(ctx context.Context) error
	// Spawn starts the command for a level of reboot; its output goes to output, line by
	// line.
	Spawn func(level api.Level, output func(line string)) (Child, error)

	// Fits says whether the daemon is made for what stands on its Node; nil: it always is.
	// While it says no, Run ends as soon as another daemon can take this one's place. It is
	// called at each turn of the loop, must answer at once, and say the same of the same.
	Fits func(Standing) bool
	// Before is the daemon whose place this one takes, in the same process; nil: none.
	Before *Daemon
	// ConfigRefused tells why the configuration file as it stands is not obeyed; "": it is.
	// May be nil.
	ConfigRefused func() string
	// Mark is the value of the annotation that says which daemon runs here; "": it is not
	// written.
	Mark string

	// Rebooters are sentences about other programs that are configured to reboot the
	// machine, for people. There may be none.
	Rebooters []string

	// DryRun says what would be done, and does nothing to the cluster or the
	// machine. Lock and the stages must have been made for a dry run, too.
	DryRun bool
	// Status is told what people should read in systemd's status.
	Status func(text string)
	// Alive is called whenever the loop has made progress.
	Alive func()

	Log     zerolog.Logger
	Metrics *Metrics
}

// forever is longer than any daemon runs.
const forever = 100 * 365 * 24 * time.Hour

// Daemon brings one node through its reboots.
type Daemon struct {
	cfg      Config
	policy   decide.Policy
	instance string
	clock    clock
	made     time.Time
	clockSet time.Duration // since the start
	inbox    chan func()
	ready    chan struct{}
	isReady  bool

	bg     background
	events *events
	reach  *reach

	// The workers, which keep all that is known.
	host     *hostWorker
	node     *nodeWorker
	slot     *slotWorker
	lease    *leaseWorker
	gates    *gateWorkers
	stages   *stageWorkers
	shutdown *shutdownWorker
	checks   *checksWorker
	child    *childWorker
	notices  *noticeWorker
	workers  []worker

	next    func(decide.Policy, *api.Record, decide.Facts) decide.Step
	steps   stepper
	publish publisher
	voice   voice
	wrong   wrongQueue

	badHistory string // the annotation of which was said that it cannot be read
}

// New makes a daemon. It does nothing until Run.
func New(c Config) (*Daemon, error) {
	switch {
	case c.NodeName == "":
		return nil, errors.New("make a daemon: the node's name is empty")
	case c.API == nil || c.Lock == nil || c.Host == nil || c.Sentinels == nil || c.Spawn == nil || c.WatchShutdown == nil || c.CancelShutdown == nil || c.Userspace == nil ||
		c.Status == nil || c.Alive == nil || c.Metrics == nil:
		return nil, errors.New("make a daemon: a part of its configuration is missing")
	case c.LeaseRequired && c.NodeLease == nil:
		return nil, errors.New("make a daemon: the node lease is required but not configured")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	d := &Daemon{cfg: c, instance: newInstance(), clock: newClock(c.Now), made: time.Now(), inbox: make(chan func(), 16), ready: make(chan struct{}), next: decide.Next}
	before := c.Before
	d.cfg.Before = nil // and whose place that one has taken
	if before != nil && (c.DryRun || before.cfg.DryRun) {
		before = nil // what was done in its mind has not happened
	}
	if before != nil {
		d.instance, d.clock, d.clockSet = before.instance, before.clock, before.clockSet
	}
	d.bg.inbox = d.inbox
	d.events = newEvents(c.API, c.NodeName, c.Log)
	d.reach = &reach{log: c.Log, metrics: c.Metrics}
	d.host = newHostWorker(c, d.bgp())
	d.node = newNodeWorker(c, d.bgp(), d.reach, d.events)
	d.slot = newSlotWorker(c, d.bgp(), d.clock, d.reach, d.mention)
	d.lease = newLeaseWorker(c, d.bgp(), d.clock, d.reach)
	d.shutdown = newShutdownWorker(c, d.bgp())
	d.checks = newChecksWorker(c, d.bgp())
	d.child = newChildWorker(c, d.bgp(), d.clock)
	d.notices = newNoticeWorker(c, func() *nodeView { return d.node.view }, d.events)
	var err error
	if d.gates, err = newGateWorkers(c.Gates, d.bgp(), d.ownGates(), d.gateView, d.trialPatch, d.noteOnce); err != nil {
		return nil, fmt.Errorf("make a daemon: %w", err)
	}
	if d.stages, err = newStageWorkers(c, d.bgp(), d.clock); err != nil {
		return nil, fmt.Errorf("make a daemon: %w", err)
	}
	d.policy = c.Policy
	d.policy.Node = c.NodeName
	d.policy.Stages = d.stages.kinds()
	if c.DryRun {
		d.policy.RebootTimeout = forever // the machine will not go down
	}
	// Facts of the gates rest on those of the others.
	if before != nil {
		d.follows(before)
	}
	d.workers = []worker{d.host, d.node, d.shutdown, d.checks, d.slot, d.lease, d.stages, d.child, d.notices, d.gates}
	return d, nil
}

func (d *Daemon) bgp() *background { return &d.bg }

// Ready is closed when the daemon has read the sentinel, the boot and its Node
// once.
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// newInstance names one start of the daemon.
func newInstance() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // crypto/rand never fails
	return hex.EncodeToString(b)
}

// NewMetrics makes the daemon's metrics and registers them with r.
func NewMetrics(r prometheus.Registerer, version string) *Metrics { return newMetrics(r, version) }
