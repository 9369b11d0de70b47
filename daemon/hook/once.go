package hook

import "context"

// Once is a stage that is done until it has succeeded, and then no more as long as the
// daemon runs: after a boot, that is for the boot.
type Once struct {
	Runner *Runner
	Stage  string

	done bool
}

// Check does the stage unless it has succeeded before. It is not for concurrent use.
func (o *Once) Check(ctx context.Context) error {
	if o.done {
		return nil
	}
	_, err := o.Runner.Do(ctx, o.Stage)
	o.done = err == nil
	return err
}
