// Package outage tests the daemon while the API server is away: it has a control
// plane of its own to take away.
package outage

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
	"rebootd.dev/test/machine"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	if os.Getenv(cluster.KubeconfigVariable) != "" {
		fmt.Println("skipped: the API server of", cluster.KubeconfigVariable, "is not ours to take away")
		return
	}
	kit.Main(m, cluster.Options{Own: true}, func(_ context.Context, c *cluster.Cluster) error {
		shared = c
		return nil
	})
}

// The API server goes away in each phase and comes back: the daemon neither ends
// nor loses its place, says what is the matter, and the node reboots once.
func TestAPIServerAwayInEveryPhase(t *testing.T) {
	for i, phase := range []string{"", "Queued", "Draining", "Rebooting", "Verifying"} {
		t.Run("phase "+phase, func(t *testing.T) {
			b := kit.New(t, shared, "out", 2*time.Minute)
			ctx, must := b.Ctx, b.Must
			name := fmt.Sprintf("out-%d", i)
			m, err := machine.New(ctx, machine.Options{
				Cluster: shared, Name: name, Dir: t.TempDir(), Boot: time.Second, Args: []string{"--lock-name=" + name},
			})
			must(err)
			defer m.Stop()
			defer func() {
				if t.Failed() {
					t.Log(m.Log())
				}
			}()
			before := m.BootID()
			switch phase {
			case "Rebooting":
				m.Behave(machine.Behaviour{Delay: 4 * time.Second})
			case "Verifying":
				m.StayUnhealthy(time.Now().Add(9 * time.Second))
			}
			must(m.StartDaemon())
			if phase == "" {
				b.Eventually("the daemon is ready", func() bool { return get(m, "/readyz") == http.StatusOK })
			} else {
				must(m.Touch("x"))
				_, err := shared.WaitNode(ctx, name, "phase "+phase, func(n *corev1.Node) bool {
					return strings.Contains(n.Annotations["rebootd.dev/operation"], `"phase":"`+phase+`"`)
				})
				must(err)
			}
			pid := m.Daemon().PID()
			must(shared.StopAPIServer())
			if phase == "" {
				must(m.Touch("x"))
			}
			if phase != "Rebooting" { // where the machine itself goes down meanwhile
				b.Eventually("the daemon says so", func() bool { return strings.Contains(m.Log(), "APIUnreachable") })
				if m.Daemon().PID() != pid || !m.Running() {
					t.Error("the daemon has ended")
				}
				if s := get(m, "/healthz"); s != http.StatusOK {
					t.Errorf("/healthz answers %d", s)
				}
			}
			must(shared.StartAPIServer(ctx))
			n, err := shared.WaitNode(ctx, name, "rebooted and idle", func(n *corev1.Node) bool {
				return n.Status.NodeInfo.BootID != before && n.Annotations["rebootd.dev/operation"] == "" && !n.Spec.Unschedulable && cluster.Ready(n)
			})
			must(err)
			if _, agreed := m.Orders(); agreed != 1 || n.Status.NodeInfo.BootID != m.BootID() {
				t.Errorf("rebooted %d times, want once", agreed)
			}
		})
	}
}

// The API server is away when the daemon starts: it lives, is healthy, not ready,
// and stops at once when told to.
func TestStartWithoutAPIServer(t *testing.T) {
	b := kit.New(t, shared, "alone", time.Minute)
	ctx := b.Ctx
	m, err := machine.New(ctx, machine.Options{Cluster: shared, Name: "alone", Dir: t.TempDir(), Args: []string{"--lock-name=alone"}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	if err := shared.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	if err := m.StartDaemon(); err != nil {
		t.Fatal(err)
	}
	b.Eventually("the daemon says so", func() bool { return strings.Contains(m.Log(), "APIUnreachable") })
	if s := get(m, "/healthz"); s != http.StatusOK {
		t.Errorf("/healthz answers %d", s)
	}
	if s := get(m, "/readyz"); s != http.StatusServiceUnavailable {
		t.Errorf("/readyz answers %d", s)
	}
	if status, took := m.StopDaemon(); status != 0 || took > 5*time.Second {
		t.Errorf("SIGTERM: exit status %d after %s, want 0 within 5s", status, took)
	}
	if err := shared.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
}

func get(m *machine.Machine, path string) int {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", m.MetricsPort, path))
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}
