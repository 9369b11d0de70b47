// Command bench measures what the daemon costs and how fast it drains, on a real
// control plane: the tables in the README. With -write it writes them. It fails
// when the drain is slower, or larger, than it is meant to be.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

func main() {
	write := flag.Bool("write", false, "write the table into the README")
	idle := flag.Duration("idle", 3*time.Minute, "how long the idle daemon is watched")
	only := flag.String("only", "", "measure only this: drains, locks, storms (which locks has, too), crowd, handoffs, rollout")
	flag.StringVar(&rolloutBinary, "rollout-binary", "", "of the daemon for rollout, instead of this version's")
	touches := flag.Int("touches", 30, "how often the sentinel is touched")
	flag.Parse()
	if err := run(*only, *write, *idle, *touches); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(only string, write bool, idle time.Duration, touches int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := cluster.Start(ctx, cluster.Options{})
	if err != nil {
		return err
	}
	defer c.Stop()
	dir, err := os.MkdirTemp("", "rebootd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for name, measure := range map[string]func(context.Context, *cluster.Cluster, string) (string, error){"drains": drains, "locks": locks, "storms": storms, "crowd": crowd, "handoffs": handoff, "rollout": rollout} {
		if only != name {
			continue
		}
		table, err := measure(ctx, c, dir)
		fmt.Print(table)
		if err == nil && write {
			err = writeTable(name, table)
		}
		return err
	}
	m, err := machine.New(ctx, machine.Options{Cluster: c, Name: "node-1", Dir: dir, Args: []string{"--log-level=info", "--reboot-timeout=24h"}})
	if err != nil {
		return err
	}
	defer m.Stop()
	size, err := os.Stat(m.Binary)
	if err != nil {
		return err
	}
	if err := m.StartDaemon(); err != nil {
		return err
	}

	fmt.Fprintf(os.Stderr, "the daemon is idle for %s …\n", idle)
	settle := 30 * time.Second // it looks for the admission policy twice, where there is none
	if err := pause(ctx, settle); err != nil {
		return err
	}
	before := time.Now()
	if err := pause(ctx, idle); err != nil {
		return err
	}
	rss, anon, err := memory(m.Daemon().PID())
	if err != nil {
		return err
	}
	requests, err := requestsSince(c.AuditLog, "rebootd:node-1", before)
	if err != nil {
		return err
	}

	fmt.Fprintf(os.Stderr, "the sentinel is touched %d times …\n", touches)
	var took []time.Duration
	for range touches {
		d, err := touch(ctx, c, m)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	slices.Sort(took)

	drainTable, err := drains(ctx, c, dir)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, drainTable)
	}
	manyRow, err := many(ctx, c, dir)
	if err != nil {
		return err
	}

	rolloutTable, err := rollout(ctx, c, dir)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, rolloutTable)
	}

	handoffTable, err := handoff(ctx, c, dir)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, handoffTable)
	}

	lockTable, err := locks(ctx, c, dir)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, lockTable)
	}

	crowdTable, err := crowd(ctx, c, dir)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, crowdTable)
	}

	table := fmt.Sprintf(`| what | measured by `+"`make bench`"+` |
|---|---|
| binary, static and stripped | %.1f MB |
| memory, idle (RSS; of it anonymous) | %.1f MiB; %.1f MiB |
| API requests, idle | %d in %s; one watch, on its own Node, which the API server ends each 30 to 60 minutes: 1 to 2 an hour |
| from touch to the first write at the API server, median of %d (slowest) | %s (%s) |
`, float64(size.Size())/1e6, rss, anon, requests, idle, len(took), round(took[len(took)/2]), round(took[len(took)-1])) + manyRow
	fmt.Print(table, "\n", drainTable, "\n", lockTable, "\n", handoffTable, "\n", rolloutTable, "\n", crowdTable)
	if write {
		return errors.Join(writeTable("costs", table), writeTable("drains", drainTable), writeTable("locks", lockTable), writeTable("handoffs", handoffTable), writeTable("rollout", rolloutTable), writeTable("crowd", crowdTable))
	}
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// memory is a process's resident memory in MiB, all of it and the anonymous part.
func memory(pid int) (rss, anon float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the daemon's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kb); err == nil {
			rss = kb / 1024
		}
		if _, err := fmt.Sscanf(line, "RssAnon: %f kB", &kb); err == nil {
			anon = kb / 1024
		}
	}
	return rss, anon, nil
}

// audited is what is read of an entry of the API server's audit log.
type audited struct {
	AuditID                  string
	User                     struct{ Username string }
	Verb, RequestURI         string
	RequestReceivedTimestamp time.Time
	ResponseStatus           struct{ Code int }
}

// entries calls f with every request of a user, once: a watch is told of when it
// begins, and when it ends.
func entries(path, user string, f func(audited)) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	seen := map[string]bool{}
	for lines.Scan() {
		var a audited
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			continue // the last line may not be whole yet
		}
		if a.User.Username == user && !seen[a.AuditID] {
			seen[a.AuditID] = true
			f(a)
		}
	}
	return lines.Err()
}

func requestsSince(path, user string, since time.Time) (n int, err error) {
	err = entries(path, user, func(a audited) {
		if a.RequestReceivedTimestamp.After(since) {
			n++
		}
	})
	return n, err
}

// touch touches the sentinel, and withdraws it again, and returns how long it took
// until the API server had received the first write that followed.
func touch(ctx context.Context, c *cluster.Cluster, m *machine.Machine) (time.Duration, error) {
	began := time.Now()
	if err := m.Touch("bench"); err != nil {
		return 0, err
	}
	_, err := c.WaitNode(ctx, m.Name, "asked to reboot", func(n *corev1.Node) bool { return n.Annotations["rebootd.dev/operation"] != "" })
	if err != nil {
		return 0, err
	}
	var first time.Time
	err = entries(c.AuditLog, "rebootd:node-1", func(a audited) {
		if a.Verb == "patch" && a.RequestReceivedTimestamp.After(began) && first.IsZero() {
			first = a.RequestReceivedTimestamp
		}
	})
	if err != nil {
		return 0, err
	}
	if first.IsZero() {
		return 0, errors.New("the first write is not in the audit log")
	}
	if err := m.Withdraw(); err != nil {
		return 0, err
	}
	_, err = c.WaitNode(ctx, m.Name, "put back", func(n *corev1.Node) bool {
		return n.Annotations["rebootd.dev/operation"] == "" && !n.Spec.Unschedulable
	})
	return first.Sub(began), err
}

func writeTable(name, table string) error {
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return fmt.Errorf("find the README: %w", err)
	}
	path := filepath.Join(strings.TrimSpace(string(out)), "README.md")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head := "<!-- " + name + " -->\n"
	block := regexp.MustCompile(`(?s)` + head + `.*?<!-- end -->`)
	text := block.ReplaceAllLiteralString(string(data), head+table+"<!-- end -->")
	return os.WriteFile(path, []byte(text), 0o644)
}
