// Command cluster runs a control plane with simulated nodes until it is
// interrupted, and prints how to reach it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"rebootd.dev/test/cluster"
)

func main() {
	nodes := flag.Int("nodes", 3, "how many nodes")
	flag.Parse()
	if err := run(*nodes); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(nodes int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := cluster.Start(ctx, cluster.Options{})
	if err != nil {
		return err
	}
	defer c.Stop()
	for i := range nodes {
		if err := c.AddNode(ctx, fmt.Sprintf("node-%d", i+1)); err != nil {
			return err
		}
	}
	fmt.Printf("KUBECONFIG=%s\n", c.Kubeconfig)
	<-ctx.Done()
	return nil
}
