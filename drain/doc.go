// Package drain empties one node of its pods and tells what became of each. It
// knows pods, budgets (PodDisruptionBudgets), evictions and outcomes; it knows
// nothing of locks or reboots, and it does not cordon: who calls it has.
//
// It is reactive: a list of the node's pods, then a watch. A pod enters the set
// when it is seen on the node, before it is evicted, and leaves it when it is
// gone, has ended, or cannot be evicted at all. Everything is keyed by UID, and
// every eviction and deletion carries the UID as a precondition, so that a
// successor of the same name, here or on another node, is never hit.
//
// A node is drained when the set is empty, at least [Config.MinWait] has passed
// since Run began, so that a scheduler that had not yet seen the cordon has had
// its say, and a list from the newest state agrees.
//
// Pods go in the order of their ranks (class.go): the next only when those before
// are gone. A pod that a budget protects is tried again when that budget changes,
// and else slowly. What blocks is told with names and numbers (why.go). Under a
// deadline what is left is deleted, early enough for its own grace.
//
// A pod that has left counts as relocated when a pod of its controller that came
// after it is Ready on another node (moves.go). At the end the volumes are waited
// for, a while (volumes.go).
//
// The core (core.go) is a state machine without client and clock; the runner
// (run.go) carries its wishes out. docs/drain.md lists the races that it must
// stand, and their tests.
//
// What comes back to the cordoned node for ever is known by when it was created
// (returning.go). A daemon that is restarted in the drain goes on from its last report
// (inherit.go). What an answer says and the watch does not is doubted (doubt.go).
//
// Not evicted and not waited for, outcome skipped: static pods (they belong to
// the kubelet), pods of DaemonSets (their controller would put them back at
// once), rebootd's own pod, pods that have ended, pods that keep coming back to
// the cordoned node, and pods that people want skipped. Pods without a controller
// and pods with emptyDir volumes are evicted like all others: the reboot would
// end them anyway, and less gently.
package drain
