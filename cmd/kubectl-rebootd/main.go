// Command kubectl-rebootd shows what becomes of the reboots of a cluster, and says to the
// daemons what people want: `kubectl rebootd` as a plugin of kubectl, rebootctl by itself.
// See docs/kubectl-rebootd.md.
//
// It knows no rule. What it shows stands on Nodes, Leases and Events; what follows from
// that it asks package decide; what people want it writes as the annotations that the
// daemons obey.
package main

import (
	"os"

	"rebootd.dev/cmd/kubectl-rebootd/cli"
)

// version is set by the linker for releases.
var version string

func main() { os.Exit(cli.Main(version, os.Args, os.Stdin, os.Stdout, os.Stderr)) }
