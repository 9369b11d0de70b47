// Package drain empties one node of its pods and reports what became of each. It
// knows pods, budgets (PodDisruptionBudgets), evictions and outcomes. It knows
// nothing of locks or reboots, and it does not cordon: the caller has done that.
//
// It is reactive: a list of the node's pods, then a watch. A pod enters the set
// when it is seen on the node, before it is evicted. It leaves the set when it is
// gone, has finished, or cannot be evicted at all. Everything is keyed by UID, and
// every eviction and deletion carries the UID as a precondition, so that a
// replacement with the same name, here or on another node, is never hit.
//
// A node is drained when the set is empty, at least [Config.MinWait] has passed
// since Run began, so that a scheduler that had not yet seen the cordon has caught
// up, and a list from the newest state agrees.
//
// Pods are evicted in the order of their ranks (class.go), each rank when the ranks
// before it are gone. A pod that a budget protects is retried when that budget
// changes, and slowly otherwise. What blocks is reported with names and numbers
// (why.go). Under a limit, the pods that are left are deleted early enough for their
// own grace periods (due.go). The limit is measured on the drain's own monotonic
// clock (clock.go).
//
// A pod that has left counts as relocated when a newer pod of its controller is
// Ready on another node (moves.go). At the end, volumes are waited for until they are
// detached, for a limited time (volumes.go).
//
// The core (core.go) is a state machine without client and clock. The runner
// (run.go) does what it asks for. docs/drain.md lists the races that the drain must
// withstand, and their tests.
//
// Pods that keep returning to the cordoned node are recognized by when they were
// created (returning.go). A daemon that restarts during the drain continues from its
// last report (inherit.go). When an answer says that a pod is gone and the watch does
// not, the newest state decides (confirm.go).
//
// Not evicted and not waited for, outcome skipped: static pods (they belong to
// the kubelet), pods of DaemonSets (their controller would put them back at
// once), rebootd's own pod, pods that have finished, pods that keep returning to
// the cordoned node, and pods that people want skipped. Pods without a controller
// and pods with emptyDir volumes are evicted like all others: the reboot would
// end them anyway, and less gently.
package drain
