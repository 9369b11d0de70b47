package sim

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/nodelease"
)

// nodeLeaseDuration is how long a node lease lasts that is not renewed.
const nodeLeaseDuration = 15 * time.Minute

// NodeLease is the lease of a machine's node, and what package lock/nodelease promises of
// it.
type NodeLease struct {
	m *Machine

	mu          sync.Mutex
	unavailable string
	holder      string
	until       time.Time
	renewals    int
}

// Unavailable has there be none to be had; "" ends that.
func (l *NodeLease) Unavailable(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unavailable = why
}

// Give gives it to another operator for good, or frees it, if holder is "".
func (l *NodeLease) Give(holder string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder, l.until = holder, time.Now().Add(24*365*time.Hour)
}

// Holder is who has it, "" if nobody has or it has lapsed.
func (l *NodeLease) Holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held()
}

// Renewals is how often it was taken or renewed by the daemon.
func (l *NodeLease) Renewals() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewals
}

func (l *NodeLease) held() string {
	if !time.Now().Before(l.until) {
		return ""
	}
	return l.holder
}

func (l *NodeLease) renew() {
	l.holder, l.until = api.NodeLeaseHolder, time.Now().Add(nodeLeaseDuration)
	l.renewals++
}

// status is called with mu held.
func (l *NodeLease) status() nodelease.Status {
	switch holder := l.held(); {
	case l.unavailable != "":
		return nodelease.Status{Unavailable: l.unavailable}
	case holder == api.NodeLeaseHolder:
		return nodelease.Status{Held: true}
	case holder != "":
		return nodelease.Status{Foreign: holder + " holds this node's lease"}
	}
	return nodelease.Status{}
}

// NodeLeaser is for daemon.Config.
func (p *Process) NodeLeaser() *NodeLeaser { return &NodeLeaser{p.Link, p.Machine.Lease} }

// NodeLeaser is a process's view of the lease.
type NodeLeaser struct {
	link  *Link
	lease *NodeLease
}

func (n *NodeLeaser) ask(ctx context.Context, verb string, do func(l *NodeLease) (nodelease.Status, error)) (nodelease.Status, error) {
	return ask(ctx, n.link, Request{Verb: verb, Resource: "node-lease", Name: n.lease.m.Name}, func() (nodelease.Status, error) {
		n.lease.mu.Lock()
		defer n.lease.mu.Unlock()
		return do(n.lease)
	})
}

// Find implements daemon.NodeLeaser.
func (n *NodeLeaser) Find(ctx context.Context) (nodelease.Status, error) {
	return n.ask(ctx, "find", func(l *NodeLease) (nodelease.Status, error) { return l.status(), nil })
}

// Take implements daemon.NodeLeaser.
func (n *NodeLeaser) Take(ctx context.Context, _ types.UID) (nodelease.Status, error) {
	return n.ask(ctx, "take", func(l *NodeLease) (nodelease.Status, error) {
		if s := l.status(); s.Foreign != "" || s.Unavailable != "" {
			return s, nil
		}
		if l.held() == "" {
			l.m.World.Note(l.m.Name, "node-lease", "is taken")
		}
		l.renew()
		return l.status(), nil
	})
}

// Renew implements daemon.NodeLeaser.
func (n *NodeLeaser) Renew(ctx context.Context) error {
	_, err := n.ask(ctx, "renew", func(l *NodeLease) (nodelease.Status, error) {
		if l.holder != api.NodeLeaseHolder { // one that has lapsed and that nobody has taken is still ours
			return nodelease.Status{}, &lock.LostError{What: "the node lease", How: "is held by another", Holder: l.holder}
		}
		l.renew()
		return nodelease.Status{}, nil
	})
	return err
}

// Release implements daemon.NodeLeaser.
func (n *NodeLeaser) Release(ctx context.Context) error {
	_, err := n.ask(ctx, "release", func(l *NodeLease) (nodelease.Status, error) {
		if l.holder == api.NodeLeaseHolder {
			l.holder = ""
			l.m.World.Note(l.m.Name, "node-lease", "is released")
		}
		return nodelease.Status{}, nil
	})
	return err
}

// RenewEvery implements daemon.NodeLeaser.
func (n *NodeLeaser) RenewEvery() time.Duration { return nodeLeaseDuration / 3 }
