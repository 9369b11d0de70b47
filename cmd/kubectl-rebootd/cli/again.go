package cli

import (
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
)

// whichCluster are the flags that say which cluster, and as whom. What is secret is not
// repeated on a screen.
var whichCluster = []string{"as", "as-group", "as-uid", "cluster", "context", "kubeconfig", "server", "user"}

// clusterFlags are those of them that were given, each after a space.
func (e *env) clusterFlags() string {
	var b strings.Builder
	for _, name := range whichCluster {
		f := e.every.Lookup(name)
		if f == nil || !f.Changed {
			continue
		}
		values := []string{f.Value.String()}
		if many, ok := f.Value.(pflag.SliceValue); ok {
			values = many.GetSlice()
		}
		for _, v := range values {
			b.WriteString(" --" + name + " " + shellQuoted(v))
		}
	}
	return b.String()
}

// program is how to call this program again, for the same cluster and namespace.
func (e *env) program() string {
	text := e.name + e.clusterFlags()
	if ns := e.flags.namespace; ns != fleet.DefaultLock {
		text += " -n " + shellQuoted(ns)
	}
	return text
}

// again is a command that people are told to run, for the same cluster and namespace:
// kubectl rebootd by the name by which this program was called, REBOOTD for its namespace.
func (e *env) again(command string) string {
	if rest, ok := strings.CutPrefix(command, "kubectl rebootd "); ok {
		return e.program() + " " + rest
	}
	if rest, ok := strings.CutPrefix(command, "kubectl "); ok {
		return "kubectl" + e.clusterFlags() + " " + strings.Replace(rest, "-n REBOOTD ", "-n "+shellQuoted(e.flags.namespace)+" ", 1)
	}
	return command
}

// plainKubectl is kubectl in a text that tells what to run.
var plainKubectl = regexp.MustCompile(`\bkubectl (-n|get|annotate|describe|delete|uncordon|drain|patch) `)

// sameCluster has the commands of kubectl in a text be for the cluster that was asked about.
func (e *env) sameCluster(text string) string {
	if e.every == nil {
		return text
	}
	flags := strings.ReplaceAll(e.clusterFlags(), "$", "$$")
	return plainKubectl.ReplaceAllString(text, "kubectl"+flags+" $1 ")
}

var needsNoQuotes = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellQuoted is a word as a shell takes it.
func shellQuoted(word string) string {
	if needsNoQuotes.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
