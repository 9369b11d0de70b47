// Command cluster runs a control plane with simulated nodes. With a command as its
// arguments, it runs that, whose tests then share the control plane, and ends with its
// exit status. Without one, each node is a simulated machine with a daemon; it prints
// lines for a shell to evaluate (where kubectl, kubectl rebootd and the control plane are)
// and what may be tried, and runs until it is interrupted. With -play it starts a shell
// that has all of that, with a workload to drain, and ends with the shell.
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

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

func main() {
	nodes := flag.Int("nodes", 3, "how many nodes")
	playing := flag.Bool("play", false, "start a shell to try things in")
	flag.Parse()
	err := run(*nodes, *playing, flag.Args())
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(nodes int, playing bool, command []string) error {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if playing {
		// Ctrl-C is for what runs in the shell.
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
		signals = signals[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
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
	if err := c.InstallForPeople(ctx); err != nil {
		return err
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
		m, err := machine.New(ctx, machine.Options{
			Cluster: c, Name: nodeName(i), Dir: home, Boot: 2 * time.Second,
			Args: []string{"--log-level=info", "--log-format=console", "--node-lease=off"}, // for people
		})
		if err != nil {
			return err
		}
		machines = append(machines, m)
		n, err := m.Node(ctx)
		if err != nil {
			return err
		}
		if err := c.ServiceKubeconfig(ctx, m.Name, n.UID, m.Kubeconfig); err != nil { // whom the policies know
			return err
		}
	}
	if playing {
		if err := workload(ctx, c, nodes); err != nil {
			return err
		}
	}
	for _, m := range machines {
		if err := m.StartDaemon(); err != nil {
			return err
		}
	}
	for _, m := range machines { // until they all run, kubectl rebootd would say that some do not
		_, err := c.WaitNode(ctx, m.Name, "seen by its daemon", func(n *corev1.Node) bool { return n.Annotations["rebootd.dev/daemon"] != "" })
		if err != nil {
			return err
		}
	}
	tools, err := toolbox(dir, c)
	if err != nil {
		return err
	}
	if playing {
		return play(ctx, c, machines, tools)
	}
	fmt.Printf("export KUBECONFIG=%s\nexport PATH=%s:\"$PATH\"     # kubectl, kubectl rebootd\n", c.Kubeconfig, tools)
	for _, m := range machines {
		fmt.Printf("# a reboot of %s: touch %s; what it says: %s\n", m.Name, filepath.Join(m.Root, machine.Sentinel), m.LogFile())
	}
	fmt.Println("# In another shell, evaluate the lines above, touch one of these files, and look: kubectl rebootd status -w")
	fmt.Println("# Until Ctrl-C.")
	<-ctx.Done()
	return nil
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i+1) }
