package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/decide"
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

// Locker is the lock as the daemon uses it; package lock implements it and
// documents what its methods promise.
type Locker interface {
	Find(ctx context.Context, ask lock.Ask) (slot string, held bool, err error)
	Acquire(ctx context.Context, ask lock.Ask, waiting func(lock.Waiting)) (slot string, err error)
	Keep(ctx context.Context, paused func(why string)) error
	Fence(ctx context.Context) error
	Line() lock.Line
	Release(ctx context.Context, next lock.Line) error
	Holders(ctx context.Context) ([]lock.Holder, error)
}

// Drainer empties the node; package drain implements it.
type Drainer interface {
	Run(ctx context.Context, opts drain.Options, progress func(drain.Progress)) error
}

// Host is the machine; package reboot implements it.
type Host interface {
	Boot() (reboot.Boot, error)
	Uptime() time.Duration
}

// Child is a reboot command that was started.
type Child interface {
	Done() <-chan struct{}
	Result() reboot.Result
}

// Config is what a daemon is made of. All fields but NodeLease, Hooks and Checks
// are needed.
type Config struct {
	NodeName string
	Policy   decide.Policy
	Same     string // the label whose value nodes that are down together share; "" is no rule

	API       NodeAPI
	Lock      Locker
	NodeLease NodeLeaser // nil exactly if the policy says that it is off
	Drain     Drainer
	Host      Host
	Sentinels <-chan sentinel.State
	// WatchShutdown tells what the machine knows of shutdowns, until ctx ends; package
	// reboot implements it.
	WatchShutdown func(ctx context.Context, seen func(reboot.Shutdown, error))
	// Userspace tells what systemd knows of its own starts; package reboot implements it.
	Userspace func(ctx context.Context) (reboot.Userspace, error)
	// Hooks runs an admin's own programs; nil exactly if the policy has none.
	Hooks Hooks
	// Checks are what a node must pass after a boot besides what its Node says, each
	// within a time limit of its own. There may be none.
	Checks []func(ctx context.Context) error
	// Spawn starts the command for a level of reboot; its output goes to output, line by
	// line.
	Spawn func(level decide.Level, output func(line string)) (Child, error)

	// DryRun says what would be done, and does nothing to the cluster or the
	// machine. Lock and Drain must have been made for a dry run, too.
	DryRun bool
	// Status is told what people should read in systemd's status.
	Status func(text string)
	// Alive is called whenever the loop has made progress.
	Alive func()

	Log     zerolog.Logger
	Metrics *Metrics
}

// Daemon brings one node through its reboots.
type Daemon struct {
	Config
	instance string
	start    time.Time // with its monotonic reading
	inbox    chan func()
	ready    chan struct{}

	state
}

// New makes a daemon. It does nothing until Run.
func New(c Config) (*Daemon, error) {
	switch {
	case c.NodeName == "":
		return nil, errors.New("make a daemon: the node's name is empty")
	case c.API == nil || c.Lock == nil || c.Drain == nil || c.Host == nil || c.Sentinels == nil || c.Spawn == nil || c.WatchShutdown == nil || c.Userspace == nil ||
		c.Status == nil || c.Alive == nil || c.Metrics == nil:
		return nil, errors.New("make a daemon: a part of its configuration is missing")
	case (c.Hooks == nil) == c.Policy.Hooks:
		return nil, errors.New("make a daemon: the policy and what there is of hooks do not go together")
	case (c.NodeLease == nil) != (c.Policy.NodeLease == decide.LeaseOff):
		return nil, errors.New("make a daemon: the policy and what there is of a node lease do not go together")
	}
	d := &Daemon{
		Config:   c,
		instance: newInstance(),
		start:    time.Now(),
		inbox:    make(chan func(), 16),
		ready:    make(chan struct{}),
	}
	d.gaveWay = map[string]time.Time{}
	d.events = newEvents(c.API, c.NodeName, c.Log)
	return d, nil
}

// Ready is closed when the daemon has read the sentinel, the boot and its Node
// once.
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// now is the wall clock as it was at the start plus the time that has passed
// since, so that a clock that is set in between moves no deadline.
func (d *Daemon) now() time.Time { return d.start.Add(time.Since(d.start)) }

// post hands f to the loop. It blocks while the loop is busy, and gives up when
// ctx ends.
func (d *Daemon) post(ctx context.Context, f func()) {
	select {
	case d.inbox <- f:
	case <-ctx.Done():
	}
}

// NewMetrics makes the daemon's metrics and registers them with r.
func NewMetrics(r prometheus.Registerer, version string) *Metrics { return newMetrics(r, version) }
