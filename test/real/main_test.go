// Package real tests the daemon on machines that reboot: a real systemd, D-Bus and
// logind, the unit as it is packaged, a real control plane. Only the kubelet is a
// stand-in here.
package real

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/host"
	"rebootd.dev/test/kit"
)

var (
	shared *cluster.Cluster
	deb    string // the package
)

// On a control plane of their own, machines have what the README says and nothing that
// other tests grant.
func TestMain(m *testing.M) {
	kit.Main(m, cluster.Options{Own: true, LimitCritical: true}, func(ctx context.Context, c *cluster.Cluster) (err error) {
		shared = c
		if deb, err = debianPackage(); err != nil {
			return err
		}
		return upLongEnough(ctx)
	})
}

// upLongEnough waits until this machine has been up for the default of --min-uptime: the
// machines here share its kernel, and some tests have what the README says and nothing else.
func upLongEnough(ctx context.Context) error {
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(context.Context) (bool, error) {
		var up unix.Timespec
		err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up)
		return time.Duration(up.Nano()) >= 10*time.Minute, err
	})
}

// debianPackage makes the packages as people make them, and keeps them where no other run
// of make replaces them.
func debianPackage() (string, error) {
	dir := filepath.Join(shared.Dir, "packages")
	cmd := exec.Command("sh", "-ec", `make packages; mkdir -p "$0"; cp bin/rebootd_*.deb bin/rebootd-*.rpm "$0"`, dir)
	cmd.Dir = root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make packages: %w\n%s", err, out)
	}
	found, err := filepath.Glob(filepath.Join(dir, "rebootd_*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("make packages: made %q, %w", found, err)
	}
	return found[0], nil
}

// bed is what one test has for itself: a lock, and machines.
type bed struct {
	*kit.Bed
	ctx      context.Context
	suite    string
	lock     string
	prefix   string
	machines []*machine
}

// onEvery runs a test on every release of Debian.
func onEvery(t *testing.T, limit time.Duration, test func(b *bed)) {
	for _, suite := range host.Suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			// What is made once does not count against the limit.
			if _, err := host.Debian(suite, ""); err != nil {
				t.Fatal(err)
			}
			test(newBed(t, suite, limit))
		})
	}
}

func newBed(t *testing.T, suite string, limit time.Duration) *bed {
	t.Helper()
	b := kit.New(t, shared, "r", limit)
	return &bed{Bed: b, ctx: b.Ctx, suite: suite, lock: b.Name, prefix: b.Name}
}

// machine is a machine with a real systemd and, in place of a kubelet, one that says
// on its Node what a kubelet says.
type machine struct {
	*host.Host
	port   int         // of the daemon's metrics
	silent atomic.Bool // the kubelet does not come up with the machine
}

// Within nspawn the boot ID is a file that was mounted over the kernel's and then
// removed, which nothing can be mounted over or bound to. This binds one that is there,
// and has the unit see it where its systemd gives it a /proc of its own. On a machine
// with a kernel of its own there is only one boot ID.
const (
	bootIDShell = `cat /proc/sys/kernel/random/boot_id >/run/boot-id; umount /proc/sys/kernel/random/boot_id; mount --bind -o ro /run/boot-id /proc/sys/kernel/random/boot_id`
	bootIDUnit  = "[Unit]\nDefaultDependencies=no\nBefore=rebootd.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -ec '" + bootIDShell + "'\n"
	bootIDBind  = "[Unit]\nRequires=boot-id.service\nAfter=boot-id.service\n[Service]\nBindReadOnlyPaths=/run/boot-id:/proc/sys/kernel/random/boot_id\n"
)

// machine makes a machine, boots it and installs the package as the README says. Its
// settings are variables of the unit's environment.
func (b *bed) machine(settings ...string) *machine {
	b.Helper()
	return b.machineWith("", settings...)
}

// machineWith is machine with more of Debian's packages.
func (b *bed) machineWith(packages string, settings ...string) *machine {
	b.Helper()
	m := b.bareMachine(packages)
	b.must(m.Copy(deb, "/root/rebootd.deb", 0o644))
	b.exec(m, "apt-get", "install", "-y", "-q", "/root/rebootd.deb")
	kubeconfig, err := shared.PortableKubeconfig(b.ctx, m.Name, filepath.Join(b.TempDir(), "kubeconfig"))
	b.must(err)
	b.must(m.Write("/etc/rebootd/kubeconfig", string(kubeconfig), 0o600))
	b.configure(m, settings...)
	b.exec(m, "systemctl", "start", "rebootd")
	return m
}

// bareMachine makes a machine and boots it; nothing is installed.
func (b *bed) bareMachine(packages string) *machine {
	b.Helper()
	img, err := host.Debian(b.suite, packages)
	b.must(err)
	ports, err := cluster.FreePorts(1)
	b.must(err)
	name := fmt.Sprintf("%s-%d", b.prefix, len(b.machines)+1)
	b.must(shared.AddNode(b.ctx, name))
	kubelet := cluster.Kubelet{Cluster: shared, Node: name}
	m := &machine{port: ports[0]}
	m.Host, err = host.New(host.Options{
		Image: img, Name: name, Dir: b.TempDir(),
		Booted: func(id string) {
			if !m.silent.Load() {
				_ = kubelet.Up(b.ctx, id)
			}
		},
		Down: func() { _ = kubelet.Down(b.ctx) },
	})
	b.must(err)
	b.machines = append(b.machines, m)
	b.Cleanup(func() {
		if b.Failed() {
			out, _ := m.Exec(context.WithoutCancel(b.ctx), "journalctl", "--no-pager", "-o", "cat", "-u", "rebootd", "-n", "60")
			b.Logf("journal of %s:\n%s", name, out)
		}
		m.Close()
		_ = shared.Client.CoreV1().Nodes().Delete(context.WithoutCancel(b.ctx), name, metav1.DeleteOptions{})
	})
	b.must(m.Boot(b.ctx))
	b.must(m.Write("/etc/systemd/system/boot-id.service", bootIDUnit, 0o644))
	b.must(m.Write("/etc/systemd/system/rebootd.service.d/nspawn.conf", bootIDBind, 0o644))
	return m
}

// configure adds settings to the unit's file of them.
func (b *bed) configure(m *machine, settings ...string) {
	b.Helper()
	lines := append([]string{"REBOOTD_MIN_UPTIME=0", "REBOOTD_NAMESPACE=" + cluster.Namespace, "REBOOTD_LOCK_NAME=" + b.lock, fmt.Sprintf("REBOOTD_METRICS_ADDRESS=127.0.0.1:%d", m.port)}, settings...)
	b.shell(m, "cat >>/etc/default/rebootd <<'E'\n"+strings.Join(lines, "\n")+"\nE")
}

func (b *bed) must(err error) {
	b.Helper()
	b.Must(err)
}

func (b *bed) exec(m *machine, argv ...string) string {
	b.Helper()
	out, err := m.Exec(b.ctx, argv...)
	b.must(err)
	return strings.TrimSpace(out)
}

func (b *bed) shell(m *machine, command string) string {
	b.Helper()
	return b.exec(m, "/bin/sh", "-ec", command)
}

// pod runs a pod that nobody makes anew on the machine.
func (b *bed) pod(m *machine) {
	b.Helper()
	b.Pod(b.prefix, m.Name, m.Name)
}

// patch changes the machine's Node as a person would.
func (b *bed) patch(m *machine, patch string) {
	b.Helper()
	b.PatchNode(m.Name, patch)
}

func (b *bed) node(m *machine, what string, ok func(*corev1.Node) bool) *corev1.Node {
	b.Helper()
	return b.Node(m.Name, what, ok)
}

func (b *bed) phase(m *machine, phase string) {
	b.Helper()
	b.node(m, "in phase "+phase, func(n *corev1.Node) bool { return phaseOf(n) == phase })
}

func phaseOf(n *corev1.Node) string { return kit.RecordOf(n).Phase }

// reason waits until the Node's condition has a reason and a message with these words.
func (b *bed) reason(m *machine, reason, words string) {
	b.Helper()
	b.node(m, reason+": "+words, func(n *corev1.Node) bool {
		c := condition(n)
		return c.Reason == reason && strings.Contains(c.Message, words)
	})
}

func condition(n *corev1.Node) corev1.NodeCondition { return kit.Condition(n) }

// rebooted waits until the machine has rebooted so many times, each of them is over,
// and its Node is as it was before.
func (b *bed) rebooted(m *machine, times int) {
	b.Helper()
	b.node(m, fmt.Sprintf("rebooted, Ready, schedulable and idle after %d reboots", times), func(n *corev1.Node) bool {
		boots := m.Boots()
		return len(boots) == times+1 && n.Status.NodeInfo.BootID == boots[times] && n.Annotations["rebootd.dev/operation"] == "" &&
			condition(n).Status == corev1.ConditionFalse && !n.Spec.Unschedulable && cluster.Ready(n)
	})
}

// take has somebody else hold the only slot.
func (b *bed) take() {
	b.Helper()
	other := b.prefix + "-other"
	b.must(shared.AddNode(b.ctx, other))
	b.Cleanup(func() {
		_ = shared.Client.CoreV1().Nodes().Delete(context.WithoutCancel(b.ctx), other, metav1.DeleteOptions{})
	})
	_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Create(b.ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: b.lock + "-0"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &other},
	}, metav1.CreateOptions{})
	b.must(err)
}

// give undoes take, if it was done.
func (b *bed) give() {
	b.Helper()
	if b.holder() == b.prefix+"-other" {
		_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Patch(b.ctx, b.lock+"-0", types.MergePatchType, []byte(`{"spec":{"holderIdentity":null}}`), metav1.PatchOptions{})
		b.must(err)
	}
}

// holder is who holds the only slot, "" if nobody does.
func (b *bed) holder() string {
	b.Helper()
	return b.Holders(b.ctx, b.lock+"-0")[b.lock+"-0"]
}

// eventually asks until ok says so: for what cannot be watched.
func (b *bed) eventually(what string, ok func() bool) {
	b.Helper()
	b.Eventually(what, ok)
}
