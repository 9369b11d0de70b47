package daemon

import "rebootd.dev/daemon/decide"

// pretend does what act does, in the daemon's memory only, and says so. A dry run
// that has come to the reboot stays there.
func (d *Daemon) pretend(step decide.Step) bool {
	switch step.Do {
	case decide.Write:
		d.record = step.Record
	case decide.Cordon:
		d.record, d.pretended = step.Record, true
	case decide.Restore:
		d.record, d.pretended = step.Record, false
	case decide.Release:
		d.slot = decide.Slot{State: decide.SlotNone}
		d.nodeLease = decide.NodeLease{State: decide.LeaseFree, At: d.now()}
	case decide.Spawn:
		d.child = decide.Child{Key: d.record.OrderKey(), State: decide.ChildRunning}
	default:
		return false
	}
	d.Log.Info().Str("step", string(step.Do)).Str("reason", string(step.Reason)).Msg("would do: " + step.Message)
	return true
}
