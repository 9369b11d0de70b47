// Command rebootd brings the node that it runs on through its reboots. See the
// README for what it does and for every flag.
//
// This package knows flags, the environment, the configuration file, signals and
// how the rooms are wired together. It knows no rule.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"rebootd.dev/daemon/hook"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/reboot"
)

// version is set by the linker for releases.
var version string

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(args, environ []string, stdout, stderr io.Writer) int {
	command := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	switch command {
	case "version":
		fmt.Fprintln(stdout, versionString())
		return exitOK
	case "help":
		fmt.Fprint(stdout, usage())
		return exitOK
	case reboot.LogindCommand:
		return logindReboot(args, stderr)
	case hook.Command:
		return hook.Supervise(args)
	case "", "check-config":
	default:
		fmt.Fprintf(stderr, "rebootd: unknown command %q; see rebootd help\n", command)
		return exitUsage
	}
	var nodeLabels *string
	if command == "check-config" {
		rest, value, given, err := takeFlag(args, labelsFlag)
		if err != nil {
			fmt.Fprintf(stderr, "rebootd: %v\n", err)
			return exitUsage
		}
		if args = rest; given {
			nodeLabels = &value
		}
	}
	cfg, help, err := load(args, environ)
	if help {
		fmt.Fprint(stdout, usage())
		return exitOK
	}
	if err != nil {
		for _, e := range flatten(err) {
			fmt.Fprintf(stderr, "rebootd: %s\n", printable.Line(e.Error(), maxField))
		}
		return exitUsage
	}
	if command == "check-config" {
		settings, err := nodeSettings(cfg, nodeLabels, stdout, stderr)
		if err == nil {
			err = checkConfig(settings, time.Now(), stdout, stderr)
		}
		if err != nil {
			fmt.Fprintf(stderr, "rebootd: %s\n", printable.Line(err.Error(), maxField))
			return exitFailed
		}
		return exitOK
	}
	if err := runDaemon(cfg, args, environ, stderr); err != nil {
		fmt.Fprintf(stderr, "rebootd: %s\n", printable.Line(err.Error(), maxField))
		return exitFailed
	}
	return exitOK
}

// logindTimeout bounds the call to logind, which answers at once when it lives.
const logindTimeout = 30 * time.Second

// logindReboot is the reboot command of --reboot-method=logind.
func logindReboot(args []string, stderr io.Writer) int {
	level, message := "reboot", ""
	switch len(args) {
	case 2:
		message = args[1]
		fallthrough
	case 1:
		level = args[0]
	case 0:
	default:
		fmt.Fprintln(stderr, "rebootd: logind-reboot takes at most a level (reboot, kexec or soft-reboot) and a message for users")
		return exitUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), logindTimeout)
	defer cancel()
	if err := reboot.Logind(ctx, level, message); err != nil {
		fmt.Fprintf(stderr, "rebootd: %s\n", printable.Line(err.Error(), maxField))
		return exitFailed
	}
	return exitOK
}

// flatten is the errors that err joins.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

// versionString is the version that the linker was told, else what the Go
// toolchain knows of the build.
func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return info.Main.Version
}
