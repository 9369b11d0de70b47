package main

import (
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/preflight"
	"rebootd.dev/drain"
)

// preflightMode says what becomes of pods that could not be evicted before a drain begins.
type preflightMode string

// The modes of the preflight.
const (
	preflightOff  preflightMode = "off"  // nobody looks
	preflightTell preflightMode = "tell" // people are told
	preflightOn   preflightMode = "on"   // and the node is not drained
)

func preflightOptions() []option {
	return []option{{
		flag: "preflight", def: string(preflightOn), usage: "what becomes of pods that could not be evicted, before anything is done to the node: " +
			"`off`: nobody looks; `tell`: the condition names them while the node waits; `on`: and on its turn their evictions are tried as dry runs, and the node is not drained where one would fail for good",
		set: func(c *config, v string) error {
			c.Preflight = preflightMode(v)
			return oneOf(v, string(preflightOff), string(preflightTell), string(preflightOn))
		},
		get: func(c *config) any { return string(c.Preflight) },
	}}
}

// preflight is the gate of what could not be drained. Where the drain ends by force or by
// the reboot, pods that cannot be evicted do not keep the node from either.
func (c *config) preflight(p parts) registered {
	return registered{
		&preflight.Gate{Drainer: p.drain, TellOnly: c.Preflight == preflightTell || c.DrainTimeoutPolicy != decide.Rollback, Log: p.log},
		c.Drain && c.Preflight != preflightOff,
	}
}

var _ preflight.Drainer = (*drain.Drainer)(nil)
