package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/term"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

const podsANode = 2

// workload makes pods that have to leave, with a budget.
func workload(ctx context.Context, c *cluster.Cluster, nodes int) error {
	replicas := podsANode * nodes
	if err := c.Deployment(ctx, "default", "web", int32(replicas), map[string]string{"ready-seconds": "2", "term-seconds": "2"}, nil); err != nil {
		return err
	}
	return c.Budget(ctx, "default", "web", replicas-1)
}

// toolbox is a directory of programs for a shell.
func toolbox(dir string, c *cluster.Cluster) (string, error) {
	kubectl, err := c.Kubectl()
	if err != nil {
		return "", err
	}
	plugin, err := cluster.Plugin()
	if err != nil {
		return "", err
	}
	tools := filepath.Join(dir, "bin")
	if err := os.Mkdir(tools, 0o755); err != nil {
		return "", err
	}
	for name, program := range map[string]string{
		"kubectl": kubectl, "kubectl-rebootd": plugin, "rebootctl": plugin,
		"kubectl_complete-rebootd": filepath.Join(filepath.Dir(cluster.SourceDir()), "systemd", "kubectl_complete-rebootd"),
	} {
		if err := os.Symlink(program, filepath.Join(tools, name)); err != nil {
			return "", err
		}
	}
	return tools, nil
}

// try is something to try: what it shows, and the commands.
type try struct {
	shows    string
	commands []command
}

// command is a line to type, and what its output must say, sooner or later: what the try
// promises.
type command struct{ line, says string }

var tries = []try{
	{"the fleet, live, until Ctrl-C", []command{{"kubectl rebootd status -w", "none of 5 nodes needs a reboot"}}},
	{"a package manager touches the sentinel: the node is drained, reboots, and is put back", []command{
		{"machine touch node-1", "touched"}, {"kubectl rebootd why node-1", "node-1"}, {"kubectl rebootd plan", ""},
	}},
	{"a reboot without a sentinel, and waiting for it", []command{{"kubectl rebootd request node-2 --wait --timeout 5m", "node-2: done: RebootVerified"}}},
	{"pods that cannot be evicted, since two budgets select them: the node is not even cordoned", []command{
		{"kubectl create poddisruptionbudget never --selector app=web --min-available 100%", "created"},
		{"kubectl rebootd preflight node-3", "MultipleBudgets"},
		{"machine touch node-3", "touched"},
		{"kubectl rebootd why node-3", "MultipleBudgets"},
		{"kubectl delete poddisruptionbudget never", "deleted"},
	}},
	{"a node that is left alone; whoever cordons it is warned that a reboot waits", []command{
		{"kubectl rebootd hold node-4 --reason debugging", "held"},
		{"machine touch node-4", "touched"},
		{"kubectl rebootd why node-4", "Held"},
		{"kubectl cordon node-4", "Warning: "},
		{"kubectl uncordon node-4", "uncordoned"},
		{"kubectl rebootd unhold node-4", "it was: debugging"},
	}},
	{"no node reboots for ten minutes", []command{
		{"kubectl rebootd pause --for 10m --reason release", "paused until"}, {"kubectl rebootd slots", "Pause: release"}, {"kubectl rebootd resume", "it was: release"},
	}},
	{"a reboot that is given up", []command{
		{"kubectl rebootd request node-5", "requested"}, {"kubectl rebootd abort node-5 --reason 'not tonight' --wait --timeout 2m", "done: Aborted: aborted: not tonight"},
	}},
	{"the power fails", []command{{"machine power-cut node-5", "the power is cut"}, {"kubectl get nodes", "NotReady"}}},
	{"what the daemon of a machine logs", []command{{"machine log node-1", "RebootVerified"}}},
	{"what became of it all, also as a page for a change ticket", []command{
		{"kubectl rebootd history", "RebootVerified"}, {"kubectl rebootd report --since 1h --html roll.html", "roll.html"},
	}},
	{"is the installation in order? The warning is right: each of these machines has settings of its own", []command{{"kubectl rebootd doctor", "1 warning, 2 not known"}}},
}

// machineScript is the program by which the shell does something to a machine.
const machineScript = `#!/bin/sh
# machine touch|power-cut|log NODE
dir=%[1]q
[ -d "$dir/$2" ] && [ $# -eq 2 ] || { echo "machine touch|power-cut|log NODE" >&2; exit 2; }
case $1 in
touch) echo 'linux-image 6.12.9' >"$dir/$2/root%[2]s" && echo "$2: touched %[2]s" ;;
power-cut) echo "$2" >"$dir/power" && echo "$2: the power is cut; it boots by itself" ;;
log) tail -n 20 "$dir/$2/rebootd.log" ;;
*) echo "machine touch|power-cut|log NODE" >&2; exit 2 ;;
esac
`

// play starts a shell with the tools, and returns when it ends.
func play(ctx context.Context, c *cluster.Cluster, machines []*machine.Machine, tools string) error {
	dir := filepath.Dir(tools)
	script := fmt.Sprintf(machineScript, dir, machine.Sentinel)
	if err := os.WriteFile(filepath.Join(tools, "machine"), []byte(script), 0o755); err != nil {
		return err
	}
	power := filepath.Join(dir, "power")
	if err := syscall.Mkfifo(power, 0o600); err != nil {
		return fmt.Errorf("make %s: %w", power, err)
	}
	cuts, err := os.OpenFile(power, os.O_RDWR, 0) // for writing, too: else the first writer's end is the end
	if err != nil {
		return err
	}
	defer cuts.Close()
	go cutPower(cuts, machines)

	env := filepath.Join(dir, "env")
	text := fmt.Sprintf("export KUBECONFIG=%s PATH=%s:\"$PATH\"\n", c.Kubeconfig, tools)
	if err := os.WriteFile(env, []byte(text), 0o600); err != nil {
		return err
	}
	fmt.Printf("%d simulated machines, each with a rebootd of its own, and the Deployment web: %d pods, of which one may be missing. Try:\n", len(machines), podsANode*len(machines))
	for _, t := range tries {
		fmt.Printf("\n  # %s\n", t.shows)
		for _, command := range t.commands {
			fmt.Printf("  %s\n", command.line)
		}
	}
	fmt.Printf("\nFor a second terminal, in which status -w can stay: . %s\n", env)
	fmt.Printf("This is a shell; exit ends it, and the cluster.\n\n")
	return shell(ctx, c, dir, tools)
}

// cutPower takes down each machine that is named in a line.
func cutPower(names *os.File, machines []*machine.Machine) {
	for lines := bufio.NewScanner(names); lines.Scan(); {
		i := slices.IndexFunc(machines, func(m *machine.Machine) bool { return m.Name == lines.Text() })
		if i < 0 {
			continue
		}
		go func() {
			if err := machines[i].Crash(); err != nil && !errors.Is(err, context.Canceled) {
				fmt.Fprintln(os.Stderr, "cluster:", err)
			}
		}()
	}
}

// shell runs bash: for people with a prompt and completion, else what standard input says.
func shell(ctx context.Context, c *cluster.Cluster, dir, tools string) error {
	rc := filepath.Join(dir, "bashrc")
	text := `[ -f /etc/bash.bashrc ] && . /etc/bash.bashrc
[ -f ~/.bashrc ] && . ~/.bashrc
PS1='play$ '
declare -F _init_completion >/dev/null || [ ! -f /usr/share/bash-completion/bash_completion ] || . /usr/share/bash-completion/bash_completion
. <(kubectl completion bash)
. <(rebootctl completion bash)
`
	if err := os.WriteFile(rc, []byte(text), 0o600); err != nil {
		return err
	}
	args := []string{"-s"}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		args = []string{"--rcfile", rc, "-i"}
	}
	cmd := exec.CommandContext(ctx, "bash", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGHUP) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "PATH="+tools+":"+os.Getenv("PATH"))
	if err := cmd.Run(); err != nil && ctx.Err() == nil && len(args) == 1 {
		return err // of the last command, as in any script
	}
	return nil
}
