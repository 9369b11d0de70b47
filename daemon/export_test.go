package daemon

import (
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// DecideBy has d decide by next in place of decide.Next. It is called before Run.
func (d *Daemon) DecideBy(next func(decide.Policy, *api.Record, decide.Facts) decide.Step) {
	d.next = next
}
