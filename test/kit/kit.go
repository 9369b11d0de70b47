// Package kit is what the tests on a real control plane have in common: the control
// plane, what a test has for itself on it, and waiting for what comes.
package kit

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"rebootd.dev/test/cluster"
)

// startLimit is for the start of the control plane and for what tests prepare. Building
// its programs, which happens once, takes up to 20 minutes.
const startLimit = 40 * time.Minute

// Main runs a package's tests on a control plane, as its TestMain, and exits. It starts
// the control plane, or joins the one that is shared (cluster.Start), and has prepare
// do what all tests need there. The control plane is stopped when the tests have ended;
// where they end in a panic or by their time limit, its processes end with this one and
// its directory is removed by the next that is started.
func Main(m *testing.M, o cluster.Options, prepare func(context.Context, *cluster.Cluster) error) {
	code, err := run(m, o, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(m *testing.M, o cluster.Options, prepare func(context.Context, *cluster.Cluster) error) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	c, err := cluster.Start(ctx, o)
	if err != nil {
		return 1, err
	}
	defer c.Stop()
	if err := prepare(ctx, c); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// Bed is what one test has for itself.
type Bed struct {
	*testing.T
	Cluster *cluster.Cluster
	// Ctx ends with the test or when its time limit has passed.
	Ctx context.Context
	// Name is of this test alone on the control plane: for a lock, a namespace, the
	// beginning of Nodes' names. It is no longer than 20 characters.
	Name string
}

var serial atomic.Int64

// New makes a bed. Names begin with kind, which tells the beds of packages that share a
// control plane apart.
func New(t *testing.T, c *cluster.Cluster, kind string, limit time.Duration) *Bed {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("the test's limit of %s has passed", limit))
	t.Cleanup(cancel)
	return &Bed{T: t, Cluster: c, Ctx: ctx, Name: fmt.Sprintf("%s%d", kind, serial.Add(1))}
}

// Must ends the test if there is an error.
func (b *Bed) Must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// interval is between two looks at what cannot be watched.
const interval = 20 * time.Millisecond

// Eventually looks until ok says so: for what cannot be watched. instead says what there
// is instead when the time has passed.
func (b *Bed) Eventually(what string, ok func() bool, instead ...func() string) {
	b.Helper()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for !ok() {
		select {
		case <-b.Ctx.Done():
			b.gaveUp(what, context.Cause(b.Ctx), instead...)
		case <-tick.C:
		}
	}
}

func (b *Bed) gaveUp(what string, err error, instead ...func() string) {
	b.Helper()
	message := fmt.Sprintf("waited until %s: %v", what, err)
	for _, say := range instead {
		message += "; instead: " + say()
	}
	b.Fatal(message)
}
