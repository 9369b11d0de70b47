// Package cli tests kubectl rebootd as people use it: the built program, on a real control
// plane, with real daemons on simulated machines.
package cli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
	"rebootd.dev/test/machine"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	kit.Main(m, cluster.Options{}, func(_ context.Context, c *cluster.Cluster) error {
		shared = c
		return nil
	})
}

// bed is what one test has for itself: a lock, and machines.
type bed struct {
	*kit.Bed
	machines []*machine.Machine
}

func newBed(t *testing.T, limit time.Duration) *bed {
	t.Helper()
	b := &bed{Bed: kit.New(t, shared, "c", limit)}
	b.Must(shared.AddNamespace(b.Ctx, cluster.Namespace)) // not every test has a daemon first
	return b
}

// machine makes a machine and starts its daemon.
func (b *bed) machine(args ...string) *machine.Machine {
	b.Helper()
	m, err := machine.New(b.Ctx, machine.Options{
		Cluster: shared, Name: fmt.Sprintf("%s-n%d", b.Name, len(b.machines)+1), Dir: b.TempDir(),
		Args: append([]string{"--lock-name=" + b.Name}, args...), Boot: 500 * time.Millisecond,
	})
	b.Must(err)
	b.machines = append(b.machines, m)
	b.Cleanup(func() {
		m.Stop()
		if log := m.Log(); b.Failed() {
			b.Logf("%s\nlog of %s:\n%s", m.Tell(), m.Name, log[max(0, len(log)-6000):])
		}
		_ = shared.Client.CoreV1().Nodes().Delete(context.Background(), m.Name, metav1.DeleteOptions{})
	})
	b.Must(m.StartDaemon())
	return m
}

// ok runs the program, which must end with 0 and say all of this.
func (b *bed) ok(line string, want ...string) kit.Said {
	b.Helper()
	return b.ends(0, line, want...)
}

// ends runs the program, which must end with a status and say all of this.
func (b *bed) ends(status int, line string, want ...string) kit.Said {
	b.Helper()
	words := strings.Fields(line)
	for i, w := range words {
		words[i] = strings.ReplaceAll(w, "_", " ")
	}
	said := b.Program(words...)
	if said.Status != status {
		b.Errorf("%s: exit status %d, not %d", line, said.Status, status)
	}
	for _, w := range want {
		if !strings.Contains(said.Out+said.Err, w) {
			b.Errorf("%s: does not say %q", line, w)
		}
	}
	return said
}

// kubectl runs kubectl with the program as its plugin.
func (b *bed) kubectl(args ...string) kit.Said {
	b.Helper()
	kubectl, err := shared.Kubectl()
	b.Must(err)
	plugin, err := cluster.Plugin()
	b.Must(err)
	cmd := exec.CommandContext(b.Ctx, kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+shared.Kubeconfig, "PATH="+filepath.Dir(plugin)+":"+os.Getenv("PATH"))
	said, err := kit.Run(b.Ctx, cmd)
	b.Must(err)
	b.Logf("$ kubectl %s\n%s%s(exit status %d)", strings.Join(args, " "), said.Out, said.Err, said.Status)
	return said
}

// reason waits until the Node's condition has the reason.
func (b *bed) reason(m *machine.Machine, reason string) *corev1.Node {
	b.Helper()
	return b.Node(m.Name, "reason "+reason, func(n *corev1.Node) bool { return kit.Condition(n).Reason == reason })
}
