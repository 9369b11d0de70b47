package daemon_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/lock"
)

// plantedFaults are faults in the decision, and in what the daemon is made of.
func plantedFaults() map[string]fault {
	out := map[string]fault{}
	for name, next := range decisionFaults {
		out[name] = fault{next: next}
	}
	for name, next := range abortFaults {
		out[name] = fault{next: next}
	}
	maps.Copy(out, gateFaults)
	for name, parts := range partFaults {
		out[name] = fault{parts: parts}
	}
	for name, change := range historyFaults {
		out[name] = fault{parts: func(c *daemon.Config) { c.API = forgetful{c.API, change} }}
	}
	return out
}

// claimed has claims of a name changed.
func claimed(f *decide.Facts, name string, change func(*decide.Claim)) {
	for i := range f.Claims {
		if f.Claims[i].Name == name {
			change(&f.Claims[i])
		}
	}
}

// opened has gates open that are called so.
func opened(f *decide.Facts, names ...string) {
	for i := range f.Gates {
		for _, name := range names {
			if f.Gates[i].Name == name {
				f.Gates[i].Verdict = gate.Verdict{State: gate.Open}
			}
		}
	}
	f.Ailing = decide.Ailing(*f)
}

var decisionFaults = map[string]decision{
	"takes an unknown slot for held": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		claimed(&f, "slot", func(c *decide.Claim) {
			if c.State == decide.ClaimUnknown {
				c.State = decide.ClaimHeld
			}
		})
		return decide.Next(p, r, f)
	},
	"does not mind that the slot is lost": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		claimed(&f, "slot", func(c *decide.Claim) {
			if c.State == decide.ClaimLost {
				c.State = decide.ClaimHeld
			}
		})
		return decide.Next(p, r, f)
	},
	"uncordons whoever has cordoned": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		s.Uncordon = s.Do == decide.DoRestore && f.Node.Unschedulable
		return s
	},
	"gives up the slot before the node is verified": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		held := false
		claimed(&f, "slot", func(c *decide.Claim) { held = c.State == decide.ClaimHeld })
		if r != nil && r.Phase == api.PhaseVerifying && held {
			return decide.Step{Do: decide.DoRelease, Reason: api.ReasonReleased, Message: "released"}
		}
		return decide.Next(p, r, f)
	},
	"keeps the slot of an operation that has ended": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		if s.Do == decide.DoRelease {
			s.Do = decide.DoWait
		}
		return s
	},
	"orders again what an earlier start has ordered": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		if r != nil && r.Phase == api.PhaseRebooting && r.Order.By != f.Instance && f.Boot.ID == r.BootID {
			r = r.Clone()
			r.Order.By = f.Instance
		}
		return decide.Next(p, r, f)
	},
	"keeps the node lease": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		slot := false
		claimed(&f, "slot", func(c *decide.Claim) { slot = c.State == decide.ClaimHeld })
		if r == nil && !slot {
			claimed(&f, "node-lease", func(c *decide.Claim) { c.State = decide.ClaimFree })
		}
		return decide.Next(p, r, f)
	},
	"does not mind who has the node": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		claimed(&f, "node-lease", func(c *decide.Claim) {
			if c.State == decide.ClaimAnothers {
				c.State = decide.ClaimNone
			}
		})
		opened(&f, "node-lease", "node-lease-required")
		return decide.Next(p, r, f)
	},
	"obeys no pause": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		opened(&f, "paused")
		return decide.Next(p, r, f)
	},
	"obeys no hold": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		opened(&f, "hold")
		return decide.Next(p, r, f)
	},
	"does not mind others at work": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		opened(&f, "others-at-work")
		return decide.Next(p, r, f)
	},
	"others at work do not count as unhealthy": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		if r != nil && (r.Phase == api.PhaseVerifying || r.Phase == api.PhaseHalted) {
			opened(&f, "others-at-work")
			if f.Ailing = decide.Ailing(f); f.Ailing == "" && f.HealthySince.IsZero() {
				f.HealthySince = f.Now
			}
		}
		return decide.Next(p, r, f)
	},
	"obeys no inhibitor": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		opened(&f, "inhibitors")
		return decide.Next(p, r, f)
	},
	"does not ask for the kubelet's word on this boot": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		f.Node.KubeletBoot = f.Boot.ID
		if f.Ailing = decide.Ailing(f); f.Ailing == "" && f.HealthySince.IsZero() {
			f.HealthySince = f.Now
		}
		return decide.Next(p, r, f)
	},
	"does not clear the request that was served": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		s.ClearRequest = false
		return s
	},
	"never gives up on an order that came to nothing": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		if r != nil && r.Phase == api.PhaseRebooting && s.Do == decide.DoWrite && s.Record != nil && (s.Record.Phase == api.PhaseDraining || s.Record.Phase == api.PhaseHalted) {
			s.Do = decide.DoWait
		}
		return s
	},
	"does not undo the hooks": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		for i := range f.Stages {
			f.Stages[i].Undone = f.Stages[i].Undone || r != nil && r.Undoing() != nil
		}
		return decide.Next(p, r, f)
	},
	"forgets that it was undoing": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		if r != nil && r.Undo != nil {
			r = r.Clone()
			r.Undo = nil
			for i := range f.Stages {
				f.Stages[i].Undone = false
			}
		}
		return decide.Next(p, r, f)
	},
	"takes a drain that runs for done": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		for i := range f.Stages {
			if i < len(p.Stages) && p.Stages[i].Lasting && f.Stages[i].State == decide.StageRunning {
				f.Stages[i].State = decide.StageDone
			}
		}
		return decide.Next(p, r, f)
	},
	"judges a drain by the time since the cordon": func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		for i := range f.Stages {
			if r != nil && i < len(p.Stages) && p.Stages[i].Lasting {
				f.Stages[i].Ran = f.Now.Sub(r.DrainBegan())
			}
		}
		return decide.Next(p, r, f)
	},
}

var partFaults = map[string]func(*daemon.Config){
	"spawns without the fence": func(c *daemon.Config) {
		c.Lock = noFence{c.Lock}
	},
	"is not told of a slot that is lost": func(c *daemon.Config) {
		c.Lock = deaf{c.Lock}
	},
	"releases nothing": func(c *daemon.Config) {
		c.Lock = clinging{c.Lock}
	},
	"finds the slot of anybody": func(c *daemon.Config) {
		c.Lock = finder{c.Lock}
	},
	"patches whatever the Node has become": func(c *daemon.Config) {
		c.API = careless{c.API}
	},
	"orders without having written it ahead": func(c *daemon.Config) {
		c.API = hasty{c.API}
	},
	"spawns twice": func(c *daemon.Config) {
		spawn := c.Spawn
		c.Spawn = func(level api.Level, output func(string)) (daemon.Child, error) {
			child, err := spawn(level, output)
			if err != nil {
				return nil, err
			}
			if _, err := spawn(level, output); err != nil {
				return nil, err
			}
			return child, nil
		}
	},
	"does not renew the node lease before the reboot": func(c *daemon.Config) {
		if c.NodeLease != nil {
			c.NodeLease = lax{c.NodeLease}
		}
	},
}

// noFence takes the slot to be ours still, and its time for that: it has become another's
// meanwhile more often.
type noFence struct{ lock.Locker }

func (noFence) Fence(ctx context.Context) error {
	t := time.NewTimer(fenced + time.Second)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// deaf keeps a slot that is gone, and takes it to be ours.
type deaf struct{ lock.Locker }

func (d deaf) Keep(ctx context.Context, _ func(lock.Pause)) error {
	<-ctx.Done()
	return nil
}

func (deaf) Fence(context.Context) error { return nil }

// clinging releases nothing.
type clinging struct{ lock.Locker }

func (clinging) Release(context.Context, api.Line) error { return nil }

// finder takes any slot for its own.
type finder struct{ lock.Locker }

func (l finder) Find(ctx context.Context, c lock.Claimant) (string, bool, error) {
	slot, held, err := l.Locker.Find(ctx, c)
	if holders, errHolders := l.Holders(ctx); errHolders == nil && len(holders) > 0 && err == nil {
		return holders[0].Slot, true, nil
	}
	return slot, held, err
}

// careless drops what a patch expects the Node to be.
type careless struct{ daemon.NodeAPI }

func (a careless) PatchNode(ctx context.Context, name string, data []byte, subresources ...string) (*corev1.Node, error) {
	var patch map[string]any
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	if meta, ok := patch["metadata"].(map[string]any); ok {
		delete(meta, "resourceVersion")
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	return a.NodeAPI.PatchNode(ctx, name, data, subresources...)
}

// hasty takes an order for written that is not.
type hasty struct{ daemon.NodeAPI }

func (a hasty) PatchNode(ctx context.Context, name string, data []byte, subresources ...string) (*corev1.Node, error) {
	var patch struct {
		Metadata struct{ Annotations map[string]*string }
	}
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	record := patch.Metadata.Annotations[api.OperationAnnotation]
	if record == nil || !strings.Contains(*record, `"phase":"Rebooting"`) || strings.Contains(*record, `"accepted"`) {
		return a.NodeAPI.PatchNode(ctx, name, data, subresources...)
	}
	n, err := a.GetNode(ctx, name)
	if err == nil {
		n.Annotations[api.OperationAnnotation] = *record
	}
	return n, err
}

// lax takes the node lease to be ours still.
type lax struct{ daemon.NodeLeaser }

func (lax) Renew(context.Context) error { return nil }

// quick are those that are found in one of the first fleets: the short run has them only.
var quick = []string{
	"forgets an operation", "remembers an operation twice", "remembers other times", "does not remember the cordon",
	"an abort does not serve the request", "an abort leaves the cordon", "never removes an abort", "obeys no abort while it verifies",
	"does not ask for the kubelet's word on this boot", "does not undo the hooks", "finds the slot of anybody",
	"gives up the slot before the node is verified", "judges a drain by the time since the cordon",
	"keeps the slot of an operation that has ended", "obeys no hold", "orders without having written it ahead", "releases nothing",
	"spawns twice", "takes a drain that runs for done", "uncordons whoever has cordoned",
}

// What the simulation is worth: each of these faults is found.
func TestFleetFindsFaults(t *testing.T) {
	const most = 1500
	for name, plant := range plantedFaults() {
		if testing.Short() && !slices.Contains(quick, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(most) {
				if o := runFleet(t, seed, plant); o.broken != "" {
					t.Logf("found with seed %d: %s", seed, o.broken)
					return
				}
			}
			t.Errorf("not found in %d fleets", most)
		})
	}
}
