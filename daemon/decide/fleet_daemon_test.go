package decide

import (
	"encoding/json"
	"time"
)

// observe brings what a daemon knows up to date, or does not.
func (w *world) observe(n *simNode) (known bool) {
	d := n.d
	f := &d.f
	f.Now = w.now.Add(d.skew)
	f.Boot = Boot{ID: n.bootID(), Time: n.bootTime}
	f.Uptime = w.now.Sub(n.bootTime)
	fresh := d.version == 0 || !w.faults || !w.chance(5)
	if fresh && w.apiUp() {
		d.version, d.record = n.version, n.record
		f.Held, f.Node = n.held, Node{Unschedulable: n.unschedulable, Foreign: n.unschedulable && !n.ours}
		d.request = n.annotation
		healthy := n.kubeletBoot == n.boot && !w.now.Before(n.sick)
		switch {
		case !healthy:
			f.HealthySince, f.Ailing = time.Time{}, "not Ready"
		case f.HealthySince.IsZero():
			f.HealthySince = f.Now
		}
		switch held := w.slotOf(n) >= 0; {
		case f.Slot.State == SlotUnknown && w.chance(2): // not looked up yet
		case f.Slot.State == SlotUnknown && held:
			f.Slot.State = SlotHeld
		case f.Slot.State == SlotUnknown:
			f.Slot.State = SlotNone
		case f.Slot.State == SlotHeld && !held:
			f.Slot.State = SlotGone
		}
		switch { // by a renewal
		case f.NodeLease.State == LeaseUnknown && n.lease == "rebootd" && w.p.NodeLease.inUse() && w.chance(2):
			f.NodeLease.State = LeaseHeld
		case f.NodeLease.State == LeaseHeld && n.lease != "rebootd" && w.chance(4):
			f.NodeLease = NodeLease{State: LeaseLost, At: f.Now}
		}
		f.Slot.Paused = ""
		if w.paused {
			f.Slot.Paused = "an outage"
		}
	}
	var s []Sentinel
	if !n.sentinel.IsZero() {
		s = []Sentinel{{Path: "/run/reboot-needed", ModTime: n.sentinel}}
	}
	annotation := ""
	if d.request {
		annotation = "reboot"
	}
	f.Request = RequestOf(s, f.Boot, annotation)
	if f.Drain.Key != "" && !w.now.Before(d.drainAt) {
		f.Drain.Done = true
	}
	return d.version != 0
}

// act is one turn of a daemon, with a crash or a lost answer wherever one can be.
func (w *world) act(n *simNode) {
	if n.d == nil || !n.up || !w.observe(n) || w.now.Before(n.d.retryAt) {
		return
	}
	d := n.d
	r := n.parse(d.record)
	step := w.next(w.p, r, d.f)
	switch step.Do {
	case Wait:
		return
	case Evict:
		if d.f.Slot.Paused != "" {
			w.violated(n, "pods are evicted although the daemon knows of the pause")
		}
		if d.f.Drain.Key != r.DrainKey() {
			d.f.Drain = Drain{Key: r.DrainKey()}
			d.drainAt = w.now.Add(time.Duration(5+w.rng.IntN(60)) * time.Second)
			if w.faults && w.chance(4) {
				d.drainAt = w.now.Add(24 * time.Hour)
			}
		}
		return
	}
	w.log(n, "%s %s", step.Do, step.Reason)
	if w.faults && w.chance(40) {
		w.log(n, "killed before it")
		n.d = nil
		return
	}
	if !w.apiUp() {
		d.retryAt = w.now.Add(10 * time.Second)
		return
	}
	lost := w.faults && w.chance(30)
	w.do(n, r, step, lost)
	if lost {
		d.retryAt = w.now.Add(time.Second)
	}
	if w.faults && n.d == d && w.chance(40) {
		w.log(n, "killed after it")
		n.d = nil
	}
}

// do carries a step out. lost: it is done, and the daemon does not learn of it.
func (w *world) do(n *simNode, r *Record, step Step, lost bool) {
	d := n.d
	switch step.Do {
	case Write, Cordon, Restore:
		if d.version != n.version {
			d.version = 0 // a conflict: reads anew
			return
		}
		w.patch(n, r, step)
		if lost {
			d.version = 0
			return
		}
		d.version, d.record = n.version, n.record
		d.f.Node = Node{Unschedulable: n.unschedulable, Foreign: n.unschedulable && !n.ours}
	case Acquire:
		taken := 0
		for _, h := range w.leases {
			if h != "" {
				taken++
			}
		}
		if w.paused || taken >= n.slots {
			return
		}
		for i, h := range w.leases[:n.slots] {
			if h == "" && w.slotOf(n) < 0 && w.zoneIsFree(n) && (w.handedOn[i] || w.mayBegin(n)) {
				w.leases[i], w.handedOn[i] = n.name, false
				d.f.Slot.State = SlotHeld
				if lost {
					d.f.Slot.State = SlotUnknown
				}
				return
			}
		}
	case Release:
		if i := w.slotOf(n); i >= 0 {
			w.leases[i], w.handedOn[i] = "", true
		}
		if n.lease == "rebootd" && d.f.NodeLease.State == LeaseHeld {
			n.lease = ""
		}
		if !lost {
			d.f.Slot.State = SlotNone
			if d.f.NodeLease.State == LeaseHeld {
				d.f.NodeLease.State = LeaseFree
			}
		}
	case Take, Look:
		w.lease(n, step.Do, lost)
	case Spawn:
		if d.f.NodeLease.State == LeaseHeld && n.lease != "rebootd" { // the last renewal
			d.f.NodeLease = NodeLease{State: LeaseLost, At: d.f.Now}
			return
		}
		if n.lease == "node-maintenance" {
			w.violated(n, "a reboot is ordered while another operator has the node")
		}
		if w.slotOf(n) < 0 { // the fence
			d.f.Slot.State = SlotGone
			return
		}
		if d.f.Slot.Paused != "" {
			w.violated(n, "a reboot is ordered although the daemon knows of the pause")
		}
		if w.paused { // the fence sees it at the latest
			d.f.Slot.Paused = "an outage"
			return
		}
		w.order(n, r)
	}
}

// mayBegin says whether there is room for a node beside those that hold slots, and
// those that are between cordon and release by their records without one: somebody
// has taken it away. Of the latter it cannot know the zones.
func (w *world) mayBegin(n *simNode) bool {
	busy := 1
	for i, handedOn := range w.handedOn {
		if handedOn && i < n.slots {
			busy++
		}
	}
	for _, x := range w.nodes {
		holds := w.slotOf(x) >= 0
		atWork := x.parsed() != nil && AtWork("", x.record)
		switch {
		case x == n:
		case atWork && !holds && w.zones:
			return false
		case atWork || holds:
			busy++
		}
	}
	return busy <= n.slots
}

// zoneIsFree says whether a node may hold a slot beside those that hold one.
func (w *world) zoneIsFree(n *simNode) bool {
	for _, h := range w.leases {
		for _, x := range w.nodes {
			if w.zones && x.name == h && x.zone != n.zone {
				return false
			}
		}
	}
	return true
}

// lease takes the node lease if it is free, or only looks.
func (w *world) lease(n *simNode, a Action, lost bool) {
	if a == Take && n.lease == "" {
		n.lease = "rebootd"
	}
	l := NodeLease{State: LeaseFree, At: n.d.f.Now}
	switch n.lease {
	case "rebootd":
		l.State = LeaseHeld
	case "node-maintenance":
		l.State, l.Why = LeaseForeign, "node-maintenance has this node"
	}
	if !lost {
		n.d.f.NodeLease = l
	}
}

// patch writes the record, and the cordon with it.
func (w *world) patch(n *simNode, r *Record, step Step) {
	switch step.Do {
	case Cordon:
		if !n.unschedulable {
			n.unschedulable, n.ours = true, true
		}
	case Restore:
		if step.Reason == RebootVerified && n.lease == "node-maintenance" && n.d.f.NodeLease.State == LeaseForeign {
			w.violated(n, "uncordoned while another operator is known to have the node")
		}
		if step.Uncordon {
			if !n.ours {
				w.violated(n, "somebody else's cordon was removed")
			}
			n.unschedulable, n.ours = false, false
		}
	}
	n.record = ""
	if step.Record != nil {
		data, err := json.Marshal(step.Record)
		if err != nil {
			panic(err)
		}
		n.record = string(data)
	}
	if step.ClearRequest {
		n.annotation = false
	}
	n.version++
}

// order is the reboot command.
func (w *world) order(n *simNode, r *Record) {
	d := n.d
	if truth := n.parsed(); truth == nil || truth.Phase != Rebooting || truth.OrderKey() != r.OrderKey() {
		w.violated(n, "the reboot command was called for an order that is not on record")
	}
	if !n.unschedulable && d.version == n.version {
		w.violated(n, "the reboot command was called on a node that is not cordoned")
	}
	if !n.asked() {
		w.violated(n, "a reboot was ordered for a request that was served already")
	}
	if len(n.goesDown) > 0 {
		w.violated(n, "a reboot was ordered although one was still to come")
	}
	d.f.Child = Child{Key: r.OrderKey(), State: ChildSucceeded, Ended: d.f.Now}
	w.log(n, "command: %d", n.broken)
	switch n.broken {
	case works:
		n.goesDown = append(n.goesDown, w.now.Add(time.Duration(w.rng.IntN(5))*time.Second))
	case delays:
		n.goesDown = append(n.goesDown, w.now.Add(time.Duration(w.rng.IntN(240))*time.Second))
	case fails:
		d.f.Child.State, d.f.Child.Problem = ChildFailed, "exit status 1"
	}
}
