package drain

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Errors say what was attempted, on what, what happened, and what the drain does now.
func TestErrorsSayWhatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode()
		n.list = func() error { return errors.New("etcd is away") }
		api := &cutNode{fakeNode: n}
		var mu sync.Mutex
		var told []string
		d := n.drain(t, func(c *Config, _ *Options) {
			c.API = api
			c.OnError = func(err error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, err.Error())
			}
		})
		time.Sleep(10 * time.Second)
		api.cut.Store(true)
		n.watcher.Stop()
		time.Sleep(time.Minute)
		d.stop()
		for _, want := range []string{
			"list the pods of node node once more, from the newest state: etcd is away; retrying",
			"watch the pods of node node: connection refused; retrying",
			"list the pods of node node: connection refused; retrying",
		} {
			if !slices.Contains(told, want) {
				t.Errorf("not told: %s\n%q", want, told)
			}
		}
	})
}
