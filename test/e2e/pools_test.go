package e2e

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

	"rebootd.dev/test/machine"
)

// pools is a configuration file for the machines of a test.
type pools struct {
	*bed
	file string
}

func newPools(t *testing.T, limit time.Duration) *pools {
	b := newBed(t, limit)
	p := &pools{b, filepath.Join(t.TempDir(), "config.yaml")}
	p.write("")
	return p
}

// write writes the file; more goes into the pool b.
func (p *pools) write(more string) {
	p.Helper()
	text := strings.ReplaceAll(`
lockName: PREFIX
pools:
- name: a
  match: rebootd-test=PREFIX-a
  lockName: PREFIX-a
- name: b
  match: rebootd-test in (PREFIX-b)
  lockName: PREFIX-b
`, "PREFIX", p.prefix) + more
	p.must(os.WriteFile(p.file+".new", []byte(text), 0o644))
	p.must(os.Rename(p.file+".new", p.file))
}

// in makes a machine of a pool and starts its daemon.
func (p *pools) in(pool string) *machine.Machine {
	p.Helper()
	m := p.stopped()
	m.Args = []string{"--config=" + p.file}
	p.label(m, pool)
	p.must(m.StartDaemon())
	return m
}

func (p *pools) label(m *machine.Machine, pool string) {
	p.Helper()
	p.patch(m, fmt.Sprintf(`{"metadata":{"labels":{"rebootd-test":"%s-%s"}}}`, p.prefix, pool))
}

// marked waits until the Node says that the daemon works by the settings of a pool.
func (p *pools) marked(m *machine.Machine, pool string) string {
	p.Helper()
	n := p.node(m, "in the pool "+pool, func(n *corev1.Node) bool {
		return strings.Contains(n.Annotations["rebootd.dev/daemon"], fmt.Sprintf(`"pool":%q`, pool))
	})
	return n.Annotations["rebootd.dev/daemon"]
}

// Two pools of one installation have a lock each: their nodes reboot at the same time, and
// one at a time in each. A node whose label is changed while it drains is brought through
// its reboot under the lock under which it has begun, and is in the other pool then.
func TestPools(t *testing.T) {
	t.Parallel()
	p := newPools(t, 4*time.Minute)
	all := []*machine.Machine{p.in("a"), p.in("a"), p.in("b"), p.in("b")}
	var before []string
	for i, m := range all {
		p.marked(m, []string{"a", "a", "b", "b"}[i])
		before = append(before, m.BootID())
	}
	for _, m := range all {
		p.must(m.Touch("x"))
	}
	slots := func() (out [2]string) {
		for slot, holder := range p.Holders(p.ctx, p.prefix) {
			switch slot {
			case p.prefix + "-a-0":
				out[0] = holder
			case p.prefix + "-b-0":
				out[1] = holder
			}
		}
		return out
	}
	p.eventually("a node of each pool at work", func() bool { s := slots(); return s[0] != "" && s[1] != "" })
	moved := all[0]
	if slots()[0] == all[1].Name {
		moved = all[1]
	}
	p.phase(moved, "Draining")
	p.label(moved, "b")
	for i, m := range all {
		p.rebooted(m, before[i])
	}
	p.marked(moved, "b")
	for i := 0; i < len(all); i += 2 {
		if n := overlap(all[i : i+2]); n > 1 {
			t.Errorf("%d nodes of one pool were down at once", n)
		}
	}
	p.eventually("every slot to be released", func() bool { return slots() == [2]string{} })

	id := moved.BootID()
	p.must(moved.Touch("again"))
	p.node(moved, "at work under its other lock", func(n *corev1.Node) bool {
		return strings.Contains(n.Annotations["rebootd.dev/operation"], fmt.Sprintf(`"lock":"%s-b"`, p.prefix)) && recordOf(n).Phase == "Draining"
	})
	p.rebooted(moved, id)
}

// The file is read again when it changes. What is wrong with it is told on the Node, by the
// metric and by the log, and changes nothing; what is right takes effect, without a restart
// of the process. check-config says which pool a node is in.
func TestConfigIsReadAgain(t *testing.T) {
	t.Parallel()
	p := newPools(t, 2*time.Minute)
	m := p.in("b")
	first := p.marked(m, "b")
	pid := m.Daemon().PID()

	p.write("  slots: none\n")
	n := p.node(m, "told of what is refused", func(n *corev1.Node) bool { return strings.Contains(condition(n).Message, "key slots") })
	if got := p.metric(m, "rebootd_config_refused"); got != "1" || n.Annotations["rebootd.dev/daemon"] != first {
		t.Errorf("the metric is %s; %s", got, n.Annotations["rebootd.dev/daemon"])
	}
	found := false
	for _, e := range p.events(m) {
		found = found || strings.HasPrefix(e, "ConfigRefused")
	}
	if !found {
		t.Errorf("no Event says so: %q", p.events(m))
	}

	p.write("  slots: 2\n  drainTimeout: 45m\n")
	p.node(m, "in force", func(n *corev1.Node) bool {
		mark := n.Annotations["rebootd.dev/daemon"]
		return mark != first && strings.Contains(mark, `"pool":"b"`) && !strings.Contains(condition(n).Message, "refused")
	})
	if got := p.metric(m, "rebootd_config_refused"); got != "0" || m.Daemon().PID() != pid {
		t.Errorf("the metric is %s; the process %d is %d now", got, pid, m.Daemon().PID())
	}

	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, m.Binary, "check-config", "--config="+p.file, "--node-name="+m.Name, "--kubeconfig="+m.Kubeconfig).CombinedOutput()
	p.must(err)
	for _, want := range []string{"#   a (rebootd-test=", "): does not match", "#   b (rebootd-test in (", "): the first that matches", "\nlockName: " + p.prefix + "-b\n", "\nslots: 2\n", "\ndrainTimeout: 45m0s\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("check-config does not say %q:\n%s", want, out)
		}
	}
	before := m.BootID()
	p.must(m.Touch("x"))
	p.rebooted(m, before)
	p.eventually("the slot to be released", func() bool { return len(p.Holders(p.ctx, p.prefix+"-b-")) == 0 })
}
