// Command cluster runs a control plane with simulated nodes. With a command as its
// arguments, it runs that, whose tests then share the control plane, and ends with its
// exit status; without one, it prints how to reach the control plane and runs it until
// it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"rebootd.dev/test/cluster"
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
	for i := range nodes {
		if err := c.AddNode(ctx, fmt.Sprintf("node-%d", i+1)); err != nil {
			return err
		}
	}
	if len(command) > 0 {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), cluster.DirVariable+"="+c.Dir)
		return cmd.Run()
	}
	fmt.Printf("KUBECONFIG=%s\n", c.Kubeconfig)
	<-ctx.Done()
	return nil
}
