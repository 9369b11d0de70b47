package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/test/cluster"
)

const (
	stormNodes = 1000
	// stormGrace stands for the minute for which a slot is left alone that was deleted
	// while it was held.
	stormGrace = 2 * time.Second
	// stormAfter is how long requests are counted after the slot is held again.
	stormAfter = 3 * time.Second
	// maxStorm is how many writes, and reads of single Leases, the worst second may have.
	maxStorm = 20
)

// A storm is something that a thousand waiting nodes learn of at the same time, and
// that lets any of them have the slot.
type storm struct {
	name    string
	grace   time.Duration                              // for which the slot is left alone
	prepare func(ctx context.Context, s *stormy) error // before they wait
	begin   func(ctx context.Context, s *stormy) error
}

type stormy struct {
	*cluster.Cluster
	lock  string
	first *lease.Lock // of a node that does not wait
}

func (s *stormy) take(ctx context.Context) error {
	_, err := s.first.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {})
	return err
}

func (s *stormy) patch(ctx context.Context, patch string) error {
	_, err := s.Client.CoordinationV1().Leases(cluster.Namespace).Patch(ctx, s.lock+"-0", types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "person"})
	return err
}

var allStorms = []storm{
	{
		"the Lease is deleted (counted from when it may be taken)", stormGrace,
		func(ctx context.Context, s *stormy) error { return s.take(ctx) },
		func(ctx context.Context, s *stormy) error {
			return s.Client.CoordinationV1().Leases(cluster.Namespace).Delete(ctx, s.lock+"-0", metav1.DeleteOptions{})
		},
	},
	{
		"its holder is cleared", 0,
		func(ctx context.Context, s *stormy) error { return s.take(ctx) },
		func(ctx context.Context, s *stormy) error {
			return s.patch(ctx, `{"spec":{"holderIdentity":null}}`)
		},
	},
	{
		"a pause is lifted; the node that was named has not come for long", 0,
		func(ctx context.Context, s *stormy) error {
			if err := s.take(ctx); err != nil {
				return err
			}
			if err := s.patch(ctx, `{"metadata":{"annotations":{"rebootd.dev/paused":"storm"}}}`); err != nil {
				return err
			}
			return s.first.Release(ctx, api.Line{Nodes: []string{"somebody"}, At: time.Now()})
		},
		func(ctx context.Context, s *stormy) error {
			if err := pause(ctx, 15*time.Second); err != nil {
				return err
			}
			return s.patch(ctx, `{"metadata":{"annotations":{"rebootd.dev/paused":null}}}`)
		},
	},
	{"first use: the lists and watches are those with which a wait begins", 0, nil, nil},
}

// storms measures what a thousand waiting nodes send when any of them may have the
// slot.
func storms(ctx context.Context, c *cluster.Cluster, dir string) (string, error) {
	table := fmt.Sprintf("| of %d nodes that wait, in the second in which they send most | writes | reads of one | lists | watches | until the slot is held |\n|---|---|---|---|---|---|\n", stormNodes)
	for i, s := range allStorms {
		row, err := s.measure(ctx, c, dir, i)
		if err != nil {
			return table, fmt.Errorf("%s: %w", s.name, err)
		}
		table += row
	}
	return table, nil
}

func (s storm) measure(ctx context.Context, c *cluster.Cluster, dir string, i int) (string, error) {
	fmt.Fprintf(os.Stderr, "%d nodes wait, and %s …\n", stormNodes, s.name)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	name := fmt.Sprintf("storm%d", i)
	locks, err := locksOf(ctx, c, dir, name, name, stormNodes+1)
	if err != nil {
		return "", err
	}
	x := &stormy{Cluster: c, lock: name, first: locks[stormNodes]}
	if s.prepare != nil {
		if err := s.prepare(ctx, x); err != nil {
			return "", err
		}
	}
	began := time.Now()
	held := make(chan time.Time, stormNodes)
	waiting := make(chan struct{}, stormNodes)
	var all sync.WaitGroup
	defer all.Wait()
	run, stop := context.WithCancel(ctx)
	defer stop()
	for _, l := range locks[:stormNodes] {
		all.Go(func() {
			first := sync.OnceFunc(func() { waiting <- struct{}{} })
			_, err := l.Acquire(run, lock.Claimant{}, func(w lock.Waiting) {
				if w.Err == nil {
					first()
				}
			})
			first()
			if err == nil {
				held <- time.Now()
			}
		})
	}
	if s.begin != nil {
		for range stormNodes {
			select {
			case <-waiting:
			case <-ctx.Done():
				return "", fmt.Errorf("have %d nodes wait: %w", stormNodes, context.Cause(ctx))
			}
		}
		if err := pause(ctx, 2*time.Second); err != nil {
			return "", err
		}
		if err := s.begin(ctx, x); err != nil {
			return "", err
		}
		began = time.Now()
	}
	var took time.Duration
	select {
	case at := <-held:
		took = at.Sub(began) - s.grace
	case <-ctx.Done():
		return "", fmt.Errorf("have the slot held again: %w", context.Cause(ctx))
	}
	if err := pause(ctx, stormAfter); err != nil {
		return "", err
	}
	stop()
	if n := len(held); n > 0 {
		return "", fmt.Errorf("%d nodes hold one slot", n+1)
	}
	at := map[string][]time.Time{}
	err = entries(c.AuditLog, "rebootd:"+name, func(a audited) {
		if a.RequestReceivedTimestamp.After(began) {
			at[a.Verb] = append(at[a.Verb], a.RequestReceivedTimestamp)
		}
	})
	if err != nil {
		return "", err
	}
	row := fmt.Sprintf("| %s | %d | %d | %d | %d | %.1f s |\n", s.name, busiest(at["patch"]), busiest(at["get"]), busiest(at["list"]), busiest(at["watch"]), took.Seconds())
	if n := busiest(append(at["patch"], at["get"]...)); n > maxStorm {
		return "", fmt.Errorf("%d writes and reads in a second, more than %d: %s", n, maxStorm, row)
	}
	return row, nil
}

// busiest is how many of them lie in one second, at the most.
func busiest(at []time.Time) (most int) {
	slices.SortFunc(at, time.Time.Compare)
	first := 0
	for i := range at {
		for at[i].Sub(at[first]) > time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
