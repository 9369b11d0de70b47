package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// everyday are the flags of all commands that each command's help shows. The others, most
// of them kubectl's, are shown by the command options.
var everyday = []string{"context", "namespace", "timeout", "no-color"}

// newOptions makes the command that shows the flags which all commands have.
func newOptions(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "options", Short: "Print the flags that all commands have", Args: e.args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(e.out, "Flags of every command:\n%s", flagUsages(c.Root().PersistentFlags()))
			return err
		},
	}
}

// help prints what a command does and how it is used.
func (e *env) help(c *cobra.Command, _ []string) {
	words := c.Long
	if words == "" {
		words = c.Short + "."
	}
	fmt.Fprintf(c.OutOrStdout(), "%s\n\n%s", strings.TrimSpace(words), e.usage(c))
}

// usage is how a command is used: what its help has below its first words.
func (e *env) usage(c *cobra.Command) string {
	var b strings.Builder
	line := c.UseLine()
	if c.HasAvailableSubCommands() {
		line = c.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(&b, "Usage:\n  %s\n", line)
	if len(c.Example) > 0 {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.TrimRight(c.Example, "\n"))
	}
	if c.HasAvailableSubCommands() {
		listCommands(&b, c.Commands())
	}
	if own := c.LocalNonPersistentFlags(); own.HasAvailableFlags() && c.HasParent() {
		fmt.Fprintf(&b, "\nFlags:\n%s", flagUsages(own))
	}
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, name := range everyday {
		if f := c.Root().PersistentFlags().Lookup(name); f != nil {
			all.AddFlag(f)
		}
	}
	all.SortFlags = false
	fmt.Fprintf(&b, "\nFlags of every command (%s options shows all of them):\n%s", e.name, flagUsages(all))
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n%s COMMAND --help tells more of a command.\n", c.CommandPath())
	}
	return b.String()
}

// sections are the commands by what people want of them.
var sections = []struct {
	title string
	names []string
}{
	{"Look", []string{"status", "why", "plan", "preflight", "slots", "history", "report"}},
	{"Say what is wanted", []string{"request", "cancel", "hold", "unhold", "approve", "pause", "resume", "abort", "release"}},
	{"This program and the installation", nil}, // the others
}

// listCommands lists commands by their sections, in the order in which they were added.
func listCommands(b *strings.Builder, commands []*cobra.Command) {
	rest := slices.DeleteFunc(slices.Clone(commands), func(c *cobra.Command) bool { return !c.IsAvailableCommand() && c.Name() != "help" })
	for _, s := range sections {
		var in []*cobra.Command
		rest = slices.DeleteFunc(rest, func(c *cobra.Command) bool {
			is := s.names == nil || slices.Contains(s.names, c.Name())
			if is {
				in = append(in, c)
			}
			return is
		})
		if len(in) > 0 {
			fmt.Fprintf(b, "\n%s:\n", s.title)
		}
		for _, c := range in {
			fmt.Fprintf(b, "  %-*s %s\n", c.NamePadding(), c.Name(), c.Short)
		}
	}
}

// helpCommand is `help COMMAND`.
func (e *env) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Print what a command does and how it is used", Args: e.args(cobra.MaximumNArgs(1)),
		ValidArgsFunction: func(c *cobra.Command, args []string, begun string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
			for _, sub := range c.Root().Commands() {
				if len(args) == 0 && sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), begun) {
					out = append(out, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			about, _, err := c.Root().Find(args)
			if err != nil || len(args) > 0 && about == c.Root() {
				return usagef("unknown command %q; see %s help", args[0], e.name)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

func init() { cobra.EnableCommandSorting = false } // as people need them, and not by the alphabet

// helpColumns is how wide help is.
const helpColumns = 100

func flagUsages(f *pflag.FlagSet) string { return f.FlagUsagesWrapped(helpColumns) }
