// Package daemon is the order of things: it observes, has package decide say
// what follows, writes that down and does it. It knows neither how a pod is
// evicted, nor how a Lease works, nor how a machine is rebooted; for these it
// has the interfaces in daemon.go.
//
// One goroutine, the loop, owns all state; it is kept by workers, each of which has one
// part of it to itself. Everything that waits (a watch, a call of the API, the reboot
// command) runs in a goroutine of its own and hands its result to the loop, so that the
// loop always answers within moments, which /healthz and systemd's watchdog check.
//
// Guarantees:
//
//   - What the next start must know of is in the record on the Node before it is
//     done. Killed at any instant and started again, the daemon continues from
//     there.
//   - Every write of the Node is made on the condition that the Node has not
//     changed since the decision that led to it (metadata.resourceVersion). Two
//     daemons on one node, or a daemon and a person, cannot overlook each other.
//   - Cordon, its ownership and the record are one patch.
//   - The reboot command is spawned only after the record says so and the slot
//     was confirmed, by the same start of the daemon.
//   - While the API server is away nothing is lost: the loop keeps running, writes
//     are retried with growing pauses, and decisions are made again when it is
//     back.
package daemon
