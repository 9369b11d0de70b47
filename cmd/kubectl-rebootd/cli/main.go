// Package cli has the commands of kubectl rebootd. A command reads the fleet (package
// fleet), prints what it is asked for to standard output and whatever else it has to say to
// standard error, or writes what people want as the annotations that the daemons obey.
//
// It has no rule: whether, when and in which order nodes reboot is decided by the daemons.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/printable"
)

// The exit statuses: what scripts rely on.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitLate   = 3 // what was waited for has not come in time
	exitHalted = 4 // what was waited for has halted or failed
)

// exit is an error with an exit status of its own. With a nil error nothing is said.
type exit struct {
	status int
	err    error
}

func (e *exit) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usagef is an error of whoever has typed the command.
func usagef(format string, args ...any) error {
	return &exit{exitUsage, fmt.Errorf(format, args...)}
}

// colors are the values of --color.
var colors = []string{"auto", "always", "never"}

// env is what the commands have of the world around them.
type env struct {
	version string
	name    string // by which the program was called, for help: "kubectl rebootd" or "rebootctl"
	in      io.Reader
	out     io.Writer // data
	err     io.Writer // talk
	now     func() time.Time
	zone    *time.Location
	// connect makes a client of the cluster that flags and kubeconfig name.
	connect func() (client.API, error)
	// terminal says whether out is a terminal, and its size.
	terminal func() (width, height int, is bool)
	getenv   func(string) string
	// resizes tells until ctx ends that the terminal has another size; nil: nothing does.
	resizes func(ctx context.Context) <-chan os.Signal
	// asks says whether somebody is there who can answer on in; nil: nobody is.
	asks func() bool

	flags flags
	every *pflag.FlagSet // the flags of every command
}

// flags are those that every command has.
type flags struct {
	namespace string
	timeout   time.Duration // of the requests of a command that does not wait
	color     string        // auto, always, never
	noColor   bool
}

// Main runs the program and returns its exit status.
func Main(version string, args []string, in io.Reader, out, errs *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{
		version: version, name: calledAs(args[0]), in: in, out: out, err: errs, now: time.Now, zone: time.Local,
		terminal: terminalOf(out), getenv: os.Getenv, resizes: resizes, asks: answers(in),
	}
	return e.run(ctx, args[1:])
}

// calledAs is how the program says its name.
func calledAs(arg0 string) string {
	base := strings.TrimSuffix(filepath.Base(arg0), ".exe")
	if name, ok := strings.CutPrefix(base, "kubectl-"); ok {
		return "kubectl " + strings.ReplaceAll(name, "_", "-")
	}
	return base
}

func (e *env) run(ctx context.Context, args []string) int {
	root := e.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var with *exit
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &with):
		if with.err != nil {
			e.sayf("%v", with.err)
		}
		return with.status
	default:
		e.sayf("%v", err)
		return exitFailed
	}
}

// sayf tells people something, on standard error.
func (e *env) sayf(format string, args ...any) {
	for _, line := range strings.Split(fmt.Sprintf(format, args...), "\n") {
		fmt.Fprintf(e.err, "%s: %s\n", e.name, printable.Line(e.sameCluster(line), 2000))
	}
}

// commands make the commands, in the order of the help.
var commands = []func(*env) *cobra.Command{
	newStatus, newWhy, newPlan, newPreflight,
	newRequest, newCancel, newHold, newUnhold, newApprove, newPause, newResume, newAbort,
	newHistory, newReport, newSlots, newRelease,
	newDoctor, newCompletion, newOptions, newVersion,
}

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:   e.name,
		Short: "Show and guide the reboots of a cluster's nodes",
		Long: `Show and guide the reboots of a cluster's nodes, which rebootd carries out.

Everything that is shown stands on Nodes and Leases, and everything that is written are the
annotations that the daemons obey: there is no other server to ask.

Exit status: 0 as asked, 1 error, 2 usage, 3 not in time, 4 halted or failed.`,
		SilenceUsage: true, SilenceErrors: true,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: e.name},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see %s help", args[0], e.name)
			}
			return nil
		},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains(colors, e.flags.color) {
				return usagef("--color must be auto, always or never, and is %q", e.flags.color)
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exit{exitUsage, err} })
	f := root.PersistentFlags()
	e.every = f
	f.DurationVar(&e.flags.timeout, "timeout", 30*time.Second, "give up after this time; a --wait has no limit unless this is given")
	f.StringVar(&e.flags.color, "color", "auto", "colour: auto (on a terminal), always or never")
	f.BoolVar(&e.flags.noColor, "no-color", false, "the same as --color=never; so is NO_COLOR in the environment")
	if e.connect == nil {
		e.connect = connector(f, &e.flags.namespace)
	} else {
		f.StringVarP(&e.flags.namespace, "namespace", "n", fleet.DefaultLock, "namespace of rebootd and its Leases")
	}
	_ = root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions(colors, cobra.ShellCompDirectiveNoFileComp))
	root.SetHelpFunc(e.help)
	root.SetHelpCommand(e.helpCommand())
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, make := range commands {
		c := make(e)
		e.completes(c)
		root.AddCommand(c)
	}
	return root
}

// args wraps a check of arguments: who fails it is told how the command is used.
func (e *env) args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usagef("%v; see %s --help", err, c.CommandPath())
		}
		return nil
	}
}
