// Package reboot is the machine: which boot it runs, how a command that reboots
// it is started, and how its logind is asked to. It knows nothing of the
// cluster.
//
// A reboot command is a child process in a session of its own. It outlives the
// daemon: neither the daemon's death nor a broken pipe ends it.
package reboot
