package real

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/host"
)

const (
	kubeletPackages = "containerd,runc,containernetworking-plugins,iproute2,procps,kmod,unattended-upgrades"
	nodeIP          = "192.0.2.10"

	pauseImage = "localhost/pause:test"
)

// What the kubelet wants to find in /proc/sys, which it cannot write here.
var sysctls = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

var kubeletFiles = map[string]string{
	"/etc/containerd/config.toml": `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pauseImage + `"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`,
	"/etc/cni/net.d/10-lo.conflist": `{"cniVersion":"1.0.0","name":"lo","plugins":[{"type":"loopback"}]}`,
	// The machine has a network of its own, with nothing in it but itself and the way to
	// the API server.
	"/etc/systemd/system/world.service": `[Unit]
Before=containerd.service kubelet.service api.socket
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/world
`,
	"/etc/systemd/system/api.socket": `[Unit]
Requires=world.service
After=world.service
[Socket]
ListenStream=` + cluster.ServiceAddress + `:443
`,
	"/etc/systemd/system/api.service": `[Service]
ExecStart=/usr/lib/systemd/systemd-socket-proxyd /srv/share/api
`,
	"/etc/systemd/system/images.service": `[Unit]
Requires=containerd.service
After=containerd.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for i in /srv/share/*.tar; do ctr -n k8s.io images import $i; done'
`,
	"/etc/systemd/system/kubelet.service": `[Unit]
Requires=api.socket images.service
After=api.socket images.service dbus.service
[Service]
ExecStart=/srv/share/kubelet --config=/etc/kubelet.yaml --kubeconfig=/etc/kubelet.kubeconfig --node-ip=` + nodeIP + ` --node-labels=` + cluster.DownLabel + `=true
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
`,
}

func world() string {
	var b strings.Builder
	b.WriteString("#!/bin/sh -ex\nip link set lo up\nip addr add " + cluster.ServiceAddress + "/32 dev lo\nip addr add " + nodeIP + "/32 dev lo\nip route add default dev lo\n")
	b.WriteString("for c in /sys/fs/cgroup/*/; do ! mountpoint -q $c || mount -o remount,bind,rw $c; done\nmkdir -p /run/sysctls\n")
	b.WriteString(bootIDShell + "\n")
	for name, value := range sysctls {
		file := "/run/sysctls/" + strings.ReplaceAll(name, "/", ".")
		fmt.Fprintf(&b, "echo %s >%s\nmount --bind %s /proc/sys/%s\n", value, file, file, name)
	}
	return b.String()
}

func kubeletConfig(gracePeriod string) string {
	config := `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failCgroupV1: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
failSwapOn: false
localStorageCapacityIsolation: false
evictionHard: {memory.available: "20Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
nodeStatusUpdateFrequency: 2s
featureGates: {KubeletInUserNamespace: true}
`
	if gracePeriod != "" {
		config += "shutdownGracePeriod: " + gracePeriod + "\nshutdownGracePeriodCriticalPods: 5s\n"
	}
	return config
}

// deployOnce installs the DaemonSet, and makes once what its machines need: it is called
// before a test's limit begins.
var deployOnce = sync.OnceValues(func() (daemonSet, error) {
	_, err := host.Debian("trixie", kubeletPackages)
	_, err2 := cluster.KubeletProgram()
	_, err3 := host.Containerd()
	if err := errors.Join(err, err2, err3); err != nil {
		return daemonSet{}, err
	}
	return readmeDaemonSet()
})

// runtime is a container runtime that kubelets use.
type runtime struct {
	// built has containerd as it is now instead of Debian's.
	built bool
	// gracePeriod is of the kubelet's graceful shutdown; "" is none.
	gracePeriod string
}

// kubeletNode makes a machine with a real kubelet, and with the image of the daemon that
// the README has people make, and boots it.
func (b *bed) kubeletNode(r runtime, ds daemonSet) *machine {
	b.Helper()
	img, err := host.Debian("trixie", kubeletPackages)
	b.must(err)
	kubelet, err := cluster.KubeletProgram()
	b.must(err)
	pause, err := cluster.Pause()
	b.must(err)
	name, dir := b.prefix+"-node", b.TempDir()
	args := []string{
		"--private-network", "--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE,CAP_SYS_RAWIO",
		"--system-call-filter=@keyring bpf @mount", "--bind=/dev/null:/dev/kmsg",
	}
	for of, to := range map[string]string{"share": "/srv/share", "containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet"} {
		b.must(os.Mkdir(filepath.Join(dir, of), 0o755))
		args = append(args, "--bind="+filepath.Join(dir, of)+":"+to)
	}
	controllers, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	b.must(err)
	for i, c := range controllers {
		controllers[i] = filepath.Base(filepath.Dir(c))
	}
	m := &machine{port: 9650}
	m.Host, err = host.New(host.Options{Image: img, Name: name, Dir: dir, Args: args, Controllers: controllers})
	b.must(err)
	b.machines = append(b.machines, m)
	b.Cleanup(func() {
		if b.Failed() {
			out, _ := m.Shell(context.WithoutCancel(b.ctx), "systemctl --failed --no-legend; journalctl --no-pager -o cat -u kubelet -u images -u world -u api.socket | tail -n 30; cat /var/log/pods/rebootd_*/rebootd/*.log | tail -n 30")
			b.Logf("journal of %s:\n%s", name, out)
		}
		m.Close()
		_ = shared.Client.CoreV1().Nodes().Delete(context.WithoutCancel(b.ctx), name, metav1.DeleteOptions{})
	})

	forward, err := shared.Forward(filepath.Join(dir, "share/api"))
	b.must(err)
	b.Cleanup(func() { forward.Close() })
	for image, program := range map[string]string{ds.image: ds.program, pauseImage: pause} {
		name, _, _ := strings.Cut(filepath.Base(image), ":")
		f, err := os.Create(filepath.Join(dir, "share", name+".tar"))
		b.must(err)
		b.must(host.Archive(f, image, program, name))
		b.must(f.Close())
	}
	b.must(exec.Command("cp", kubelet, filepath.Join(dir, "share/kubelet")).Run())
	for path, content := range kubeletFiles {
		b.must(m.Write(path, content, 0o644))
	}
	if r.built {
		containerd, err := host.Containerd()
		b.must(err)
		for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
			b.must(m.Copy(filepath.Join(containerd, program), "/usr/local/bin/"+program, 0o755))
		}
		b.must(m.Write("/etc/systemd/system/containerd.service.d/built.conf", "[Service]\nExecStart=\nExecStart=/usr/local/bin/containerd\n", 0o644))
	}
	kubeconfig, err := shared.NodeKubeconfig(name)
	b.must(err)
	b.must(m.Write("/etc/kubelet.kubeconfig", string(kubeconfig), 0o600))
	b.must(m.Write("/etc/kubelet.yaml", kubeletConfig(r.gracePeriod), 0o644))
	b.must(m.Write("/usr/local/sbin/world", world(), 0o755))
	b.must(os.MkdirAll(filepath.Join(m.Root, "etc/systemd/system/multi-user.target.wants"), 0o755))
	b.must(os.Symlink("/etc/systemd/system/kubelet.service", filepath.Join(m.Root, "etc/systemd/system/multi-user.target.wants/kubelet.service")))
	b.must(m.Boot(b.ctx))
	return m
}

// The image and the manifests as the README has people make and apply them, on a real
// kubelet: the sentinel is seen through the mount, the host's logind reboots the machine,
// and everything is back, once. With the kubelet's graceful shutdown, which ends our own
// pod first, and Debian's containerd, the sentinel is touched as the README says; without, and
// with a containerd that can make mounts read-only throughout, by Debian's own hook and
// nothing else.
func TestPod(t *testing.T) {
	t.Parallel()
	ds, err := deployOnce()
	if err != nil {
		t.Fatal(err)
	}
	for name, how := range map[string]struct {
		runtime
		request func(b *bed, m *machine)
	}{
		"graceful": {runtime{gracePeriod: "10s"}, (*bed).readmeTryIt},
		"plain":    {runtime{built: true}, (*bed).installKernel},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, "trixie", 6*time.Minute)
			m := b.kubeletNode(how.runtime, ds)
			b.node(m, "Ready", cluster.Ready)
			pod := b.daemonPod(m)
			b.confined(m, how.built)
			b.workload(m)
			how.request(b, m)
			b.rebooted(m, 1)
			again := b.daemonPod(m)
			t.Logf("the daemon's pod was %s and is %s, restarted %d times", pod.Name, again.Name, again.Status.ContainerStatuses[0].RestartCount)
			n := b.node(m, "there", func(*corev1.Node) bool { return true })
			if !strings.Contains(n.Annotations["rebootd.dev/report"], `"failed":0`) || !strings.Contains(n.Annotations["rebootd.dev/report"], `"name":"web`) {
				t.Errorf("the report: %s", n.Annotations["rebootd.dev/report"])
			}
		})
	}
}

// installKernel has a kernel's package run Debian's own hooks, none of which is rebootd's.
func (b *bed) installKernel(m *machine) {
	b.Helper()
	if out := b.shell(m, "ls /etc/kernel/postinst.d"); out != "unattended-upgrades" {
		b.Fatalf("the hooks are %q", out)
	}
	b.shell(m, kernel)
}

// confined looks at the daemon's container from outside: what it could write of the host,
// and where it can be reached.
func (b *bed) confined(m *machine, recursive bool) {
	b.Helper()
	pid := b.exec(m, "pgrep", "-x", "rebootd")
	below, writable := 0, []string{}
	for line := range strings.Lines(b.shell(m, "cat /proc/"+pid+"/mountinfo")) {
		f := strings.Fields(line) // proc_pid_mountinfo(5): the fifth is where, the sixth its own options
		if !strings.HasPrefix(f[4], "/host") {
			continue
		}
		if strings.HasPrefix(f[4], "/host/run/") {
			below++
		}
		if !slices.Contains(strings.Split(f[5], ","), "ro") && (recursive || !strings.HasPrefix(f[4], "/host/run/")) {
			writable = append(writable, f[4])
		}
	}
	if below == 0 {
		b.Error("nothing is mounted below /host/run: this shows nothing")
	}
	if len(writable) > 0 {
		b.Errorf("the daemon's pod can write %q", writable)
	}
	if recursive {
		if out := b.shell(m, "touch /proc/"+pid+"/root/host/run/lock/x 2>&1 || true"); !strings.Contains(out, "Read-only file system") {
			b.Errorf("/host/run/lock can be written: %s", out)
		}
	}
	// proc_net_tcp(5), of the machine's network: the second is the address, in the bytes'
	// order of the machine, the fourth the state; 0A is to listen.
	for line := range strings.Lines(b.shell(m, "cat /proc/"+pid+"/net/tcp /proc/"+pid+"/net/tcp6")) {
		f := strings.Fields(line)
		if address, port, _ := strings.Cut(f[1], ":"); port == "25B2" && f[3] == "0A" && address != "0A0200C0" {
			b.Errorf("port 9650 is open at %s, not only at %s", address, nodeIP)
		}
	}
}

// daemonPod waits for the DaemonSet's pod on the machine to be Ready.
func (b *bed) daemonPod(m *machine) (pod *corev1.Pod) {
	b.Helper()
	b.must(shared.WaitPods(b.ctx, cluster.Namespace, "the daemon's is Ready on "+m.Name, func(pods map[string]*corev1.Pod) bool {
		for _, p := range pods {
			if p.Spec.NodeName == m.Name && p.DeletionTimestamp == nil && cluster.PodReady(p) {
				pod = p
				return true
			}
		}
		return false
	}))
	return pod
}

// workload runs a pod on the machine that has to be drained.
func (b *bed) workload(m *machine) {
	b.Helper()
	b.Namespace(b.prefix)
	_, err := shared.Client.CoreV1().Pods(b.prefix).Create(b.ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.PodSpec{
			NodeName: m.Name, HostNetwork: true, TerminationGracePeriodSeconds: new(int64(5)),
			Containers: []corev1.Container{{Name: "c", Image: pauseImage}},
		},
	}, metav1.CreateOptions{})
	b.must(err)
	b.must(shared.WaitPods(b.ctx, b.prefix, "web is Ready", func(pods map[string]*corev1.Pod) bool {
		return pods["web"] != nil && cluster.PodReady(pods["web"])
	}))
}
