package cli

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

// TestStatus follows a roll of two machines, one of which has a pod that cannot be evicted
// for a while: by status, by its exit status, as JSON, in a pipe and on a terminal.
func TestStatus(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	first, second := b.machine(), b.machine()
	for _, m := range b.machines {
		b.PatchNode(m.Name, `{"metadata":{"labels":{"pool":"`+b.Name+`"}}}`)
		b.reason(m, "NotRequired")
	}
	b.ends(0, "status --exit-code -l pool="+b.Name, "none of 2 nodes needs a reboot")
	lines := b.follow("-l", "pool="+b.Name)
	screen := b.terminal("-l", "pool="+b.Name)
	screen("none of 2 nodes needs a reboot", "q quits")

	b.Pod(b.Name, "web", first.Name)
	other := cluster.Template("web", nil)
	other.Spec.NodeSelector = map[string]string{"nowhere": "x"}
	_, err := shared.Client.CoreV1().Pods(b.Name).Create(b.Ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-2", Labels: other.Labels}, Spec: other.Spec}, metav1.CreateOptions{})
	b.Must(err)
	b.Must(shared.Budget(b.Ctx, b.Name, "web", 1))
	b.Must(first.Touch("kernel"))
	b.reason(first, "DrainBlocked")
	b.Must(second.Touch("kernel"))
	b.reason(second, "Queued")

	b.ends(12, "status --exit-code "+first.Name, first.Name+" has been draining for ", "(1 pod blocked: "+b.Name+"/web)", "DrainBlocked", b.Name+"-0")
	b.ends(10, "status --exit-code "+second.Name, second.Name+" needs a reboot; it is number 1 in the queue", "queue 1")
	b.ends(12, "status --exit-code -l pool="+b.Name, "2 of 2 nodes need a reboot", "1 in the queue", "halted: none")
	screen("2 of 2 nodes need a reboot", "] 0 of 1 pod gone", "  "+b.Name+"/web: the budget ")
	var status struct {
		Kind  string
		Nodes []struct {
			Name, State, Slot string
			Place             int
		}
	}
	b.Must(json.Unmarshal([]byte(b.ok("status -o json -l pool="+b.Name).Out), &status))
	if n := status.Nodes; status.Kind != "Status" || len(n) != 2 || n[0].Name != first.Name || n[0].State != "Blocked" || n[0].Slot != b.Name+"-0" || n[1].State != "Queued" || n[1].Place != 1 {
		t.Errorf("%+v", status)
	}
	b.readsNodes("eve-" + b.Name)
	said := b.ok("status -l pool="+b.Name+" --as=eve-"+b.Name, "cannot list resource \"leases\"", "DrainBlocked")
	if strings.Contains(said.Out, b.Name+"-0") || !strings.Contains(said.Err, "showing less, since Leases cannot be read") {
		t.Errorf("without rights on Leases: %+v", said)
	}
	b.ends(1, "status nowhere-"+b.Name, `there is no Node "nowhere-`+b.Name+`"`)

	b.Must(shared.Client.PolicyV1().PodDisruptionBudgets(b.Name).DeleteCollection(b.Ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	for _, m := range b.machines {
		b.Node(m.Name, "rebooted", func(n *corev1.Node) bool { return kit.Condition(n).Reason == "RebootVerified" && kit.Idle(n) })
	}
	b.ends(0, "status --exit-code -l pool="+b.Name, "none of 2 nodes needs a reboot", "RebootVerified")
	screen("none of 2 nodes needs a reboot", "RebootVerified", "q quits")
	told := lines()
	for _, m := range b.machines {
		rest := told
		for _, phase := range []string{" Queued ", " Draining ", " Rebooting ", " Verifying ", " Idle RebootVerified: "} {
			_, after, is := strings.Cut(rest, m.Name+phase)
			if !is {
				t.Errorf("of %s, after what came before, there is no line%s", m.Name, phase)
			}
			rest = after
		}
	}
}

// follow runs status -w in a pipe. What it returns ends it, by a signal, and says what was
// printed.
func (b *bed) follow(args ...string) func() string {
	path, err := cluster.Plugin()
	b.Must(err)
	c := exec.CommandContext(b.Ctx, path, append([]string{"status", "-w", "--kubeconfig=" + shared.Kubeconfig}, args...)...)
	out, err := c.StdoutPipe()
	b.Must(err)
	b.Must(c.Start())
	first := bufio.NewReader(out)
	verdict, err := first.ReadString('\n') // it watches from now on
	b.Must(err)
	text := make(chan string)
	go func() {
		var all strings.Builder
		_, _ = first.WriteTo(&all)
		text <- verdict + all.String()
	}()
	return func() string {
		b.Helper()
		b.Must(c.Process.Signal(os.Interrupt))
		printed := <-text
		if err := c.Wait(); err != nil {
			b.Errorf("status -w ends with %v", err)
		}
		b.Logf("$ kubectl rebootd status -w | cat\n%s", printed)
		return printed
	}
}

// terminal runs status -w on a real terminal, tmux's. What it returns waits until all of
// this stands there.
func (b *bed) terminal(args ...string) func(want ...string) {
	b.Helper()
	path, err := cluster.Plugin()
	b.Must(err)
	socket := filepath.Join(b.TempDir(), "tmux")
	tmux := func(args ...string) string {
		out, err := exec.CommandContext(b.Ctx, "tmux", append([]string{"-S", socket}, args...)...).CombinedOutput()
		if err != nil {
			b.Fatalf("tmux: %v: %s", err, out)
		}
		return string(out)
	}
	line := strings.Join(append([]string{path, "status", "-w", "--kubeconfig=" + shared.Kubeconfig}, args...), " ")
	tmux("-f", "/dev/null", "new-session", "-d", "-x", "140", "-y", "24", line)
	b.Cleanup(func() { _ = exec.Command("tmux", "-S", socket, "kill-server").Run() })
	return func(want ...string) {
		b.Helper()
		for shown := ""; ; time.Sleep(50 * time.Millisecond) {
			if b.Ctx.Err() != nil {
				b.Fatalf("this is not on the screen: %q:\n%s", want, shown)
			}
			shown = tmux("capture-pane", "-p")
			there := true
			for _, w := range want {
				there = there && strings.Contains(shown, w)
			}
			if there {
				b.Logf("on the terminal:\n%s", shown)
				return
			}
		}
	}
}

// readsNodes has a user who may read Nodes, and nothing else.
func (b *bed) readsNodes(user string) {
	rbac, meta := shared.Client.RbacV1(), metav1.ObjectMeta{Name: user}
	_, err := rbac.ClusterRoles().Create(b.Ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list"}}}}, metav1.CreateOptions{})
	b.Must(err)
	_, err = rbac.ClusterRoleBindings().Create(b.Ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
	}, metav1.CreateOptions{})
	b.Must(err)
}
