package decide

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

type invariant struct {
	sentence string
	holds    func(s situation, step Step) bool
}

// invariants are what must hold for every decision, in the words of the documents.
var invariants = slices.Concat(orderInvariants, claimInvariants, gateInvariants, stageInvariants, recordInvariants, abortInvariants)

var orderInvariants = []invariant{
	{"the reboot command is spawned only for an order that this start of the daemon has written, and only once", func(s situation, step Step) bool {
		return step.Do != DoSpawn || s.in(api.PhaseRebooting) && s.r.Order.By == s.f.Instance && !s.ordered()
	}},
	{"an order is not older than a minute when its command is spawned", func(s situation, step Step) bool {
		return step.Do != DoSpawn || s.f.Uptime-time.Duration(s.r.Order.UptimeMillis)*time.Millisecond < time.Minute
	}},
	{"the reboot command is spawned only while the slot is held, the node cordoned and a reboot asked for", func(s situation, step Step) bool {
		return step.Do != DoSpawn || s.slot.State == ClaimHeld && s.f.Node.Unschedulable && s.f.Request.Wanted
	}},
	{"nothing is ordered, drained or cordoned on a boot that is not the one of the record", func(s situation, step Step) bool {
		return !s.rebooted() || !s.advances(step) && (step.Do != DoClaim || step.Claim != slotKind.Name)
	}},
	{"nothing is done while the boot ID is unknown", func(s situation, step Step) bool {
		return s.f.Boot.ID != "" || step.Do == DoWait
	}},
	{"after the reboot may have been ordered, nothing is undone on the same boot unless the command has failed, the machine has forgotten what it had scheduled, or people abort what has halted", func(s situation, step Step) bool {
		forgotten := s.in(api.PhaseRebooting) && s.f.Shutdown.Known && s.f.Shutdown.Kind == "" && s.f.Now.Before(s.r.Due)
		failed := s.child() == ChildFailed && s.r.Due.IsZero()
		return !s.ordered() || s.rebooted() || s.in(api.PhaseHalted) && step.Reason == api.ReasonAborted || failed || forgotten || s.softRebooted() || s.undoing() || !s.returns(step) && step.Do != DoRelease
	}},
	{"while the machine goes down nothing is begun, undone, given back or spawned", func(s situation, step Step) bool {
		if !s.goingDown() || s.notes(step) {
			return true
		}
		done := step.Do != DoWait && step.Do != DoWrite || s.newOrder(step)
		return !done && !s.returns(step) && (step.Do != DoWrite || step.Record != nil && !undisturbed(step.Record) && step.Record.Phase != api.PhaseDraining)
	}},
	{"while it is not known whether the machine goes down nothing is undone or given back of an operation", func(s situation, step Step) bool {
		return s.r == nil || !s.f.Shutdown.Pending || !s.returns(step) && step.Do != DoRelease && step.Do != DoRestore
	}},
	{"that the machine goes down, or is going to, is accepted, whatever has become of the command", func(s situation, step Step) bool {
		sd := s.f.Shutdown
		if !s.in(api.PhaseRebooting) || !s.ordered() || s.f.Boot.ID != s.r.BootID || s.softRebooted() || s.undoing() || s.refused() || s.r.Order.Accepted || !sd.Preparing && sd.Kind == "" {
			return true
		}
		return s.notes(step) || step.Do == DoWrite && step.Record.Phase == api.PhaseRebooting && step.Record.Order.Accepted
	}},
	{"a reboot that the machine has scheduled is not overdue before its time", func(s situation, step Step) bool {
		return step.Reason != api.ReasonRebootOverdue || step.Do != DoWrite || s.f.Shutdown.Kind == "" || !s.f.Now.Before(s.f.Shutdown.At)
	}},
	{"a soft reboot counts as what was ordered only where a soft reboot was", func(s situation, step Step) bool {
		verifies := step.Record != nil && step.Record.Phase == api.PhaseVerifying && !s.in(api.PhaseVerifying) && s.f.Boot.ID == s.r.BootID
		return !verifies || s.softRebooted() && s.r.Level == api.SoftReboot && step.Record.Soft
	}},
	{"less than a reboot is ordered only where it was asked for, is allowed and possible, and can be proved", func(s situation, step Step) bool {
		if !s.newOrder(step) || s.in(api.PhaseRebooting) && s.r.Level == step.Record.Level && s.r.Order.Try == step.Record.Order.Try {
			return step.Do != DoSpawn || step.Level == api.FullReboot || step.Level == s.r.Level
		}
		switch step.Record.Level {
		case "":
			return true
		case api.SoftReboot:
			return s.p.AllowSoftReboot && s.f.Request.Level == api.SoftReboot && s.f.Boot.Userspace.Known && step.Record.SoftReboots != nil
		default:
			return s.p.AllowKexec && s.f.Request.Level == api.Kexec && s.f.Boot.KexecLoaded
		}
	}},
	{"a machine that may have soft-rebooted is not drained and rebooted once more before systemd has said whether it has", func(s situation, step Step) bool {
		unclear := s.in(api.PhaseRebooting) && s.r.Order.By != s.f.Instance && s.r.SoftReboots != nil && s.f.Boot.Userspace.Pending && s.f.Boot.ID == s.r.BootID
		return !unclear || step.Record == nil || step.Record.Phase != api.PhaseDraining
	}},
	{"the order is written for a node whose stages are done, or for one of which the order was carried out in vain", func(s situation, step Step) bool {
		if !s.newOrder(step) {
			return true
		}
		if s.in(api.PhaseRebooting) { // renewed before it was carried out, or given again
			return !s.ordered() || s.child() == ChildFailed
		}
		for i, k := range s.p.Stages {
			if !s.over(i) && (!k.Lasting || !s.late()) {
				return false
			}
		}
		return s.in(api.PhaseDraining)
	}},
	{"while it is not known whether the reboot that is asked for has happened, nothing is begun and nothing cancelled", func(s situation, step Step) bool {
		return !s.f.Request.Pending || step.Reason != api.ReasonCancelled && !s.advances(step) || s.undoing() || s.in(api.PhaseWaiting, api.PhaseQueued) && s.rebooted() || s.child() == ChildFailed
	}},
	{"a request that is withdrawn before the reboot may have been ordered ends the operation", func(s situation, step Step) bool {
		if s.f.Request.Wanted || s.f.Request.Pending || s.leftAlone(step) || s.refused() || s.f.Boot.ID == "" || s.rebooted() || s.ordered() || s.undoing() || s.softRebooted() {
			return true
		}
		switch s.phase() {
		case api.PhaseIdle, api.PhaseVerifying:
			return true
		case api.PhaseWaiting, api.PhaseQueued:
			return step.Do == DoRelease || step.Do == DoWrite && step.Record == nil
		}
		return step.Do == DoWait && s.slot.State == ClaimUnknown || s.returns(step)
	}},
}

var claimInvariants = []invariant{
	{"claims are given back only when no operation needs them", func(s situation, step Step) bool {
		idle := s.in(api.PhaseIdle, api.PhaseWaiting)
		queued := s.in(api.PhaseQueued) && (s.gates(gate.Closed, gate.InQueue|gate.WithSlot) || s.slot.State != ClaimHeld || s.refused())
		return step.Do != DoRelease || len(held(s.f)) > 0 && (idle || queued)
	}},
	{"claims that no operation needs are given back", func(s situation, step Step) bool {
		return !s.in(api.PhaseIdle, api.PhaseWaiting) || len(held(s.f)) == 0 || s.f.Boot.ID == "" || s.leftAlone(step) || s.notes(step) || step.Do == DoRelease
	}},
	{"a claim that is not queued for is taken only under a slot, or to finish what was begun", func(s situation, step Step) bool {
		return step.Do != DoClaim || step.Claim == slotKind.Name || s.slot.State == ClaimHeld || s.rebooted()
	}},
	{"nobody stands in the queue with another claim", func(s situation, step Step) bool {
		return step.Do != DoClaim || step.Claim != slotKind.Name || len(held(s.f)) == 0
	}},
	{"the node is cordoned, its stages are run, it is rebooted, and after a boot uncordoned unless people abort, only under every claim that there is", func(s situation, step Step) bool {
		verified := step.Do == DoRestore && s.rebooted() && step.Reason != api.ReasonAborted
		if !verified && step.Do != DoCordon && step.Do != DoStage && step.Do != DoSpawn {
			return true
		}
		return s.lease.State == ClaimHeld || s.lease.State == ClaimNone
	}},
	{"a claim that lapses was confirmed just now when the node is verified and uncordoned after a boot", func(s situation, step Step) bool {
		return step.Do != DoRestore || step.Reason == api.ReasonAborted || !s.rebooted() || s.lease.State != ClaimHeld || s.f.Now.Sub(s.f.Claims[1].At) < leaseKind.Fresh
	}},
	{"the node is cordoned only under a slot, and the record says whether the cordon is ours", func(s situation, step Step) bool {
		return step.Do != DoCordon || s.in(api.PhaseQueued) && s.slot.State == ClaimHeld && step.Record.Cordoned == !s.f.Node.Unschedulable
	}},
	{"stages are run only while draining, cordoned and under a slot, with a reboot asked for", func(s situation, step Step) bool {
		return step.Do != DoStage || s.in(api.PhaseDraining) && s.slot.State == ClaimHeld && s.f.Node.Unschedulable && s.f.Request.Wanted
	}},
	{"whoever has lost a claim before the order, or finds that the node was uncordoned, puts the node back", func(s situation, step Step) bool {
		slot := s.slot.State != ClaimHeld && s.slot.State != ClaimUnknown
		lease := s.lease.State == ClaimLost || s.lease.State == ClaimAnothers
		cordon := !s.f.Node.Unschedulable || s.ongoing() && s.r.Cordoned && s.f.Node.Foreign
		if !s.ongoing() || s.ordered() || s.leftAlone(step) || s.softRebooted() || s.refused() || !slot && !lease && !cordon {
			return true
		}
		return s.returns(step) || s.notes(step) || s.slot.State == ClaimUnknown && step.Do == DoWait
	}},
	{"while it is not known whether the slot is ours, nothing is begun and nothing undone that was not being undone", func(s situation, step Step) bool {
		retries := s.in(api.PhaseRebooting) && (s.ordered() || s.softRebooted())
		return s.slot.State != ClaimUnknown || s.in(api.PhaseVerifying, api.PhaseHalted) || s.undoing() || s.refused() || retries || !s.advances(step) && !s.returns(step)
	}},
}

var recordInvariants = []invariant{
	{"the operation ends as verified only on another boot, with the node healthy for the time to settle", func(s situation, step Step) bool {
		return step.Reason != api.ReasonRebootVerified || s.rebooted() && s.f.Ailing == "" && !s.f.HealthySince.IsZero() && s.f.Now.Sub(s.f.HealthySince) >= s.p.Settle
	}},
	{"a node is unhealthy only when it is so at the end of its time, counted from the begin of the verification, and was watched for two minutes", func(s situation, step Step) bool {
		if step.Do != DoWrite || step.Reason != api.ReasonUnhealthy {
			return true
		}
		return s.f.Ailing != "" && s.f.Now.Sub(s.r.Since) >= s.p.HealthTimeout && s.f.Running >= 2*time.Minute || s.f.HealthySince.IsZero() && s.f.Running >= 2*time.Minute && s.f.Now.Sub(s.r.Since) >= s.p.HealthTimeout
	}},
	{"a node that halts says why, and only overdue or unhealthy halts", func(s situation, step Step) bool {
		if step.Record == nil || step.Record.Phase != api.PhaseHalted || s.in(api.PhaseHalted) {
			return true
		}
		return step.Record.Failure.Reason == api.ReasonRebootOverdue && !s.rebooted() || step.Record.Failure.Reason == api.ReasonUnhealthy && s.rebooted()
	}},
	{"a node that is put back and tried again forgets its cordon, its order and its stages", func(_ situation, step Step) bool {
		r := step.Record
		return step.Do != DoRestore || r == nil || !r.Cordoned && r.Order == nil && !r.Hooked && r.Undo == nil && r.DrainRan == nil && r.Phase == api.PhaseWaiting
	}},
	{"a node that is put back and tried again makes a pause and says why, unless people hold it or pause the lock, and only a failure counts as one", func(s situation, step Step) bool {
		if step.Do != DoRestore || step.Record == nil {
			return true
		}
		r, failed := step.Record, step.Record.Attempts == s.r.Attempts+1
		pause := r.NotBefore.Sub(s.f.Now)
		if !failed && (step.Reason == api.ReasonHeld || step.Reason == api.ReasonPaused) {
			return pause <= 0 && reflect.DeepEqual(r.Failure, s.r.Failure)
		}
		return pause > 0 && (failed || pause <= time.Minute) && r.Failure != nil && failed != strings.HasPrefix(r.Failure.Message, "the node was put back: ")
	}},
	{"only a cordon that is ours is removed, and ours is when the node is put back", func(s situation, step Step) bool {
		ours := s.r != nil && s.r.Cordoned && s.f.Node.Unschedulable && !s.f.Node.Foreign
		return step.Uncordon == (step.Do == DoRestore && ours)
	}},
	{"an operation that had the node cordoned ends by putting the node back", func(s situation, step Step) bool {
		return step.Do != DoWrite || step.Record != nil || undisturbed(s.r)
	}},
	{"only a boot that has happened, or people who abort, serve a request by annotation", func(s situation, step Step) bool {
		return !step.ClearRequest || step.Reason == api.ReasonAborted || s.rebooted() && s.r.Annotated
	}},
	{"what protects the node from autoscalers is ours from the cordon until it is put back", func(s situation, step Step) bool {
		switch {
		case !step.Do.Writes():
			return true
		case step.Record == nil:
			return step.Do == DoRestore || s.r == nil || len(s.r.Protected) == 0
		case step.Do == DoCordon:
			return slices.Equal(step.Record.Protected, s.f.Node.Unprotected)
		case step.Do == DoRestore:
			return len(step.Record.Protected) == 0
		default:
			return s.r == nil || slices.Equal(step.Record.Protected, s.r.Protected)
		}
	}},
	{"a write that was refused is not tried again before its time, and what others wait for is given back", func(s situation, step Step) bool {
		if !s.refused() || s.f.Boot.ID == "" {
			return true
		}
		if undisturbed(s.r) && (step.Reason == api.ReasonBlocked || step.Do == DoRelease) && !s.leftAlone(step) {
			return (step.Do == DoRelease) == (len(held(s.f)) > 0) && step.Do != DoClaim || s.gates(gate.Closed, gate.All)
		}
		put := step.Do == DoRestore && s.f.Refused.Do != DoRestore && !s.rebooted()
		return !step.Do.Writes() && (step.Do != DoClaim || !undisturbed(s.r)) || put
	}},
	{"a node that is cordoned for a reboot whose writes are refused is put back, as far as that can be written", func(s situation, step Step) bool {
		free := s
		free.f.Refused = Refused{}
		if !s.refused() || !s.ongoing() || s.ordered() || s.leftAlone(step) || s.softRebooted() || s.f.Refused.Do == DoRestore || !free.step().Do.Writes() {
			return true
		}
		writesUndo := s.r.Hooked && undoable(s.p) && !s.undoing()
		return s.returns(step) && step.Do != DoWrite || writesUndo && step.Do == DoWait || free.step().Do == DoRestore
	}},
	{"a write changes something", func(s situation, step Step) bool {
		return step.Do != DoWrite || step.ClearAbort || !reflect.DeepEqual(step.Record, s.r)
	}},
	{"what is written can be read", func(_ situation, step Step) bool {
		if step.Record == nil {
			return true
		}
		data, err := json.Marshal(step.Record)
		if err != nil {
			return false
		}
		_, err = api.ParseRecord(data)
		return err == nil
	}},
	{"people are told a reason of the vocabulary and a sentence", func(_ situation, step Step) bool {
		return step.Reason.Info().Meaning != "" && step.Message != ""
	}},
	{"the time at which to ask again is to come", func(s situation, step Step) bool {
		return step.Until.IsZero() || step.Until.After(s.f.Now)
	}},
}
