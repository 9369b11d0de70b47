package daemon

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// testBackground is a background of its own, whose inbox a test empties itself.
func testBackground(t *testing.T) (*background, func()) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	inbox := make(chan func(), 16)
	return &background{wg: &wg, inbox: inbox, tasks: ctx, steps: ctx}, func() {
		for {
			synctest.Wait()
			select {
			case f := <-inbox:
				f()
			default:
				return
			}
		}
	}
}

// A node with checks is not healthy before they have passed, from the first turn on.
func TestNotHealthyBeforeTheChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bg, settle := testBackground(t)
		var failure atomic.Pointer[error]
		fails := func(text string) {
			err := errors.New(text)
			failure.Store(&err)
		}
		var checked atomic.Int32
		w := newChecksWorker(Config{Checks: []func(context.Context) error{
			func(context.Context) error { checked.Add(1); return nil },
			func(context.Context) error {
				if err := failure.Load(); err != nil {
					return *err
				}
				return nil
			},
		}}, bg)
		booted := func(f *decide.Facts) {
			f.Boot.ID, f.Node.KubeletBoot, f.Node.Ready = "b", "b", true
		}
		ailing := func() string {
			var f decide.Facts
			booted(&f)
			w.facts(&f)
			f.Ailing = decide.Ailing(f)
			if since := w.healthySince(f.Ailing, time.Now()); since.IsZero() != (f.Ailing != "") {
				t.Errorf("ailing %q and healthy since %s", f.Ailing, since)
			}
			return f.Ailing
		}
		verifying := decided{record: &api.Record{Phase: api.PhaseVerifying}, obeyed: true}

		if ailing() == "" {
			t.Error("healthy before a check has begun")
		}
		fails("the disk is full")
		w.follow(verifying)
		if ailing() == "" {
			t.Error("healthy before a check has come to its end")
		}
		settle()
		if got := ailing(); got != "the disk is full" {
			t.Errorf("ailing: %q", got)
		}
		failure.Store(nil)
		time.Sleep(checkEvery)
		settle()
		if got := ailing(); got != "" {
			t.Errorf("not healthy: %q", got)
		}
		since := w.since
		time.Sleep(checkEvery)
		settle()
		if ailing(); !w.since.Equal(since) {
			t.Errorf("healthy since %s, then since %s", since, w.since)
		}
		fails("the disk is full again")
		time.Sleep(checkEvery)
		settle()
		if got := ailing(); got != "the disk is full again" {
			t.Errorf("ailing: %q", got)
		}
		w.follow(decided{obeyed: true}) // the operation is over
		settle()
		before := checked.Load()
		time.Sleep(10 * checkEvery)
		settle()
		if checked.Load() != before {
			t.Error("an idle node is checked")
		}
		w.follow(verifying)
		if ailing() == "" {
			t.Error("healthy by the checks of an earlier operation")
		}
	})
}
