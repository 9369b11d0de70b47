// Command cluster runs a control plane with simulated nodes. With a command as its
// arguments, it runs that, whose tests then share the control plane, and ends with its
// exit status. Without one, each node is a simulated machine with a daemon; it prints
// lines for a shell to evaluate (where kubectl and the control plane are) and what may be
// tried, and runs until it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

func main() {
	nodes := flag.Int("nodes", 3, "how many nodes")
	flag.Parse()
	err := run(*nodes, flag.Args())
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(nodes int, command []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := cluster.Start(ctx, cluster.Options{Own: true})
	if err != nil {
		return err
	}
	defer c.Stop()
	if len(command) > 0 {
		for i := range nodes {
			if err := c.AddNode(ctx, nodeName(i)); err != nil {
				return err
			}
		}
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), cluster.DirVariable+"="+c.Dir)
		return cmd.Run()
	}
	dir, err := os.MkdirTemp("", "rebootd-machines-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var machines []*machine.Machine
	defer func() {
		for _, m := range machines {
			m.Stop()
		}
	}()
	for i := range nodes {
		home := filepath.Join(dir, nodeName(i))
		if err := os.Mkdir(home, 0o755); err != nil {
			return err
		}
		m, err := machine.New(ctx, machine.Options{Cluster: c, Name: nodeName(i), Dir: home, Boot: 2 * time.Second})
		if err != nil {
			return err
		}
		machines = append(machines, m)
		if err := m.StartDaemon(); err != nil {
			return err
		}
	}
	kubectl, err := c.Kubectl()
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%s\nexport PATH=%s:\"$PATH\"     # kubectl\n", c.Kubeconfig, filepath.Dir(kubectl))
	for _, m := range machines {
		fmt.Printf("# a reboot of %s: touch %s; what it says: %s\n", m.Name, filepath.Join(m.Root, machine.Sentinel), m.LogFile())
	}
	fmt.Println("# Until Ctrl-C.")
	<-ctx.Done()
	return nil
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }
