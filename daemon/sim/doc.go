// Package sim is the world around package daemon, made for tests: an API server that
// keeps Nodes, Events and Leases in memory, and machines with a boot, a kubelet, sentinels,
// a login manager, a reboot command and pods to be drained. The daemon itself, and the lock,
// are the real ones. Everything runs under testing/synctest: it starts goroutines, and
// sleeps by the bubble's clock.
//
// A test makes a [World], adds a [Machine] for each node, and starts a daemon on it as a
// [Process], which is one start of the daemon: it has its own way to the API server (its
// [Link], on which faults are planted), and can be killed at any instant, after which
// nothing that it does has an effect. What happens is written to the world's [Journal],
// and what must never happen is in World.Violations.
//
// The package does not import package daemon, so that all of its tests can use it. It
// has no rules: what follows from what is package decide's business.
package sim
