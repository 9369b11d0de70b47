package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/printable"
)

// kubectlComplete is the program by which kubectl (1.26 and later) completes the plugin's
// command line, once it is in PATH by the name kubectl_complete-rebootd.
const kubectlComplete = `#!/bin/sh
# kubectl asks this program, found in PATH, how to complete ` + "`kubectl rebootd`" + ` (1.26 and later).
exec kubectl rebootd __complete "$@"
`

// shells are those whose completion is known. kubectl is none, and completes by itself.
var shells = []string{"bash", "zsh", "fish", "powershell", "kubectl"}

func newCompletion(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "completion " + strings.Join(shells, "|"), Short: "Print a script that completes the command line in a shell",
		Long: `Print a script that completes the command line in a shell: commands, flags, the names of nodes and slots.

For kubectl rebootd, kubectl has to complete already (kubectl completion --help), and asks the program kubectl_complete-rebootd in PATH.
The scripts for shells are for rebootctl, and for kubectl-rebootd as a command of its own.`,
		Example: fmt.Sprintf(`  %[1]s completion kubectl > ~/.local/bin/kubectl_complete-rebootd && chmod +x ~/.local/bin/kubectl_complete-rebootd
  rebootctl completion bash > ~/.local/share/bash-completion/completions/rebootctl
  rebootctl completion zsh > "${fpath[1]}/_rebootctl"
  rebootctl completion fish > ~/.config/fish/completions/rebootctl.fish
  rebootctl completion powershell | Out-String | Invoke-Expression`, e.name),
		ValidArgs: shells, Args: e.args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		RunE: func(c *cobra.Command, args []string) error {
			// A script is for the file's name: kubectl's own completion is not ours to replace.
			root := c.Root()
			root.Use = strings.ReplaceAll(e.name, " ", "-")
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(e.out, true)
			case "zsh":
				return root.GenZshCompletion(e.out)
			case "fish":
				return root.GenFishCompletion(e.out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(e.out)
			default:
				_, err := fmt.Fprint(e.out, kubectlComplete)
				return err
			}
		},
	}
}

// completionTime is how long somebody who has pressed the tabulator waits at most.
const completionTime = time.Second

// completes has a command complete its arguments, by what its usage calls them, and the
// names that its flags want.
func (e *env) completes(c *cobra.Command) {
	nodes, slots := e.complete((*env).nodeNames), e.complete((*env).slotNames)
	words := strings.Fields(c.Use)
	if len(words) > 1 && c.ValidArgsFunction == nil && c.ValidArgs == nil {
		switch arg := strings.Trim(words[1], "[]."); {
		case arg == "NODE" && strings.Contains(c.Use, "NODE..."):
			c.ValidArgsFunction = nodes
		case arg == "NODE":
			c.ValidArgsFunction = first(nodes)
		case arg == "SLOT":
			c.ValidArgsFunction = first(slots)
		default:
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
	} else if c.ValidArgs == nil && c.ValidArgsFunction == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	if c.Flags().Lookup("holder") != nil {
		_ = c.RegisterFlagCompletionFunc("holder", e.complete((*env).holderNames))
	}
}

// first completes the first argument only.
func first(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(c, args, begun)
	}
}

// complete completes by names from the API, with a description each. Whatever goes wrong, nothing is
// said: the line that is being typed is not the place for it.
func (e *env) complete(names func(*env, context.Context, client.API, []string) ([][2]string, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, stop := context.WithTimeout(c.Context(), completionTime)
		defer stop()
		api, err := e.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		found, err := names(e, ctx, api, args)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []cobra.Completion
		for _, f := range found {
			if strings.HasPrefix(f[0], begun) && !slices.Contains(args, f[0]) {
				out = append(out, cobra.CompletionWithDesc(f[0], printable.Line(f[1], 60)))
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// nodeNames are the nodes, those that need a person first.
func (e *env) nodeNames(ctx context.Context, api client.API, _ []string) (out [][2]string, err error) {
	var nodes []fleet.Node
	_, err = api.EachNode(ctx, "", func(n *corev1.Node) { nodes = append(nodes, fleet.NodeOf(n)) })
	if err != nil && len(nodes) == 0 {
		return nil, err
	} // else those that came in time
	slices.SortFunc(nodes, fleet.ByNeed)
	for _, n := range nodes {
		out = append(out, [2]string{n.Name, phaseWords(n)})
	}
	return out, nil
}

// phaseWords is where a node stands, in a word or two.
func phaseWords(n fleet.Node) string {
	switch {
	case n.RecordErr != nil:
		return "record unreadable"
	case n.Condition == nil && n.Daemon == nil:
		return "no daemon"
	case n.Hold != nil:
		return "held: " + *n.Hold
	case n.Record != nil:
		return string(n.Record.Phase)
	case n.Condition != nil && n.Condition.Status == string(corev1.ConditionTrue):
		return "needs a reboot"
	}
	return "idle"
}

// slotNames are the slots that somebody holds.
func (e *env) slotNames(ctx context.Context, api client.API, _ []string) (out [][2]string, err error) {
	leases, _, err := api.Leases(ctx)
	for _, s := range fleet.Build(nil, leases, err, e.now()).Slots {
		if s.Holder != "" {
			out = append(out, [2]string{s.Name, "held by " + s.Holder})
		}
	}
	return out, err
}

// holderNames are the holders of the slot that is named, or of all.
func (e *env) holderNames(ctx context.Context, api client.API, args []string) (out [][2]string, err error) {
	leases, _, err := api.Leases(ctx)
	for _, s := range fleet.Build(nil, leases, err, e.now()).Slots {
		if s.Holder != "" && (len(args) == 0 || args[0] == s.Name) {
			out = append(out, [2]string{s.Holder, s.Name})
		}
	}
	return out, err
}
