package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// TestFiveThousandNodes runs the program for a large fleet. Its limits are 2 s of CPU time,
// since other tests run beside it, and 150 MiB.
func TestFiveThousandNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	bytes := 0
	for i := range 5000 {
		n := realistic(i)
		bytes += n.Size()
		s.nodes = append(s.nodes, *n)
	}
	holder := "node-0017"
	s.setLease(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "rebootd-0", Namespace: "rebootd", Annotations: map[string]string{api.LeaseSchemaAnnotation: "1"}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	})
	t.Logf("a Node has %d bytes", bytes/len(s.nodes))
	for _, line := range []string{"status", "status -o json", "status -o wide", "status node-0017"} {
		s.lists = 0
		c := exec.Command(path, append(strings.Fields(line), "--kubeconfig", s.kubeconfig(t))...)
		began := time.Now()
		var out strings.Builder
		c.Stdout = &out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		peak := peakOf(c.Process.Pid)
		if err := c.Wait(); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		took := time.Since(began)
		cpu := c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		t.Logf("%-18s %d requests, %v (%v of CPU), %d MiB, %d bytes of output", line, s.lists, took.Round(time.Millisecond), cpu.Round(time.Millisecond), peak, out.Len())
		if !strings.Contains(out.String(), "node-0017") {
			t.Errorf("%s: %.200s", line, out.String())
		}
		if cpu > 2*time.Second || peak > 150 {
			t.Errorf("%s takes %v of CPU time and %d MiB; the limits are 2s and 150 MiB", line, cpu, peak)
		}
		if s.lists != 11 { // ten pages of Nodes
			t.Errorf("%s: %d requests", line, s.lists)
		}
	}
}

// peakOf is the peak of a process' resident memory in MiB, as it was seen last before the
// process has ended. ru_maxrss counts what this process had when it forked.
func peakOf(pid int) (peak int) {
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, is := strings.Cut(string(text), "VmHWM:")
		if err != nil || !is { // it has ended
			return peak
		}
		var kib int
		if _, err := fmt.Sscan(rest, &kib); err == nil {
			peak = kib >> 10
		}
		time.Sleep(time.Millisecond)
	}
}

// realistic is a Node as a kubelet keeps it: most of it are names of images. A quarter of
// the fleet waits in the queue.
func realistic(i int) *corev1.Node {
	name := fmt.Sprintf("node-%04d", i)
	at := time.Date(2026, 11, 28, 1, 30, 0, 0, time.UTC).Add(-time.Duration(i) * time.Second)
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("0f0e2c1a-7a51-4c1c-9f0e-" + fmt.Sprintf("%012d", i)), ResourceVersion: "1",
			Labels:      map[string]string{"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": fmt.Sprintf("eu-1%c", 'a'+i%3)},
			Annotations: map[string]string{api.DaemonAnnotation: `{"version":"v1.2.0","settings":"5f1c0a9e"}`},
		},
		Spec: corev1.NodeSpec{PodCIDR: "10.0.0.0/24", ProviderID: "cloud:///eu-1a/i-0123456789abcdef0"},
		Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{KernelVersion: "6.12.57+deb13-amd64", BootID: "4b7d4d1e-5f0a-4d4e-8f7a-0123456789ab"},
			Capacity: corev1.ResourceList{"cpu": resource.MustParse("64"), "memory": resource.MustParse("263855420Ki"), "pods": resource.MustParse("110")},
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"},
				{Type: api.RebootRequired, Status: corev1.ConditionFalse, Reason: "NotRequired", Message: "no reboot is requested", LastTransitionTime: metav1.NewTime(at)},
			},
		},
	}
	for l := range 20 {
		n.Labels[fmt.Sprintf("node.example.com/feature-%d", l)] = "true"
	}
	if i < 1250 {
		phase := "Queued"
		if i == 17 {
			phase = "Draining"
		}
		stamp := at.Format(time.RFC3339)
		n.Annotations[api.OperationAnnotation] = fmt.Sprintf(`{"v":1,"id":"20261128T013000.000-%s","phase":%q,"since":%q,"bootID":"4b7d4d1e-5f0a-4d4e-8f7a-0123456789ab","cordoned":false,"requested":%q,"request":"/run/reboot-needed since %s","lock":"rebootd"}`, name, phase, stamp, stamp, stamp)
		n.Annotations[api.StatusAnnotation] = fmt.Sprintf(`{"v":1,"id":"20261128T013000.000-%s","phase":%q,"at":%q,"reason":"Queued","gates":[{"name":"hold","state":"open"},{"name":"inhibitors","state":"open"},{"name":"window","state":"open"},{"name":"paused","state":"open"}],"slots":1}`, name, phase, stamp)
		n.Status.Conditions[1] = corev1.NodeCondition{
			Type: api.RebootRequired, Status: corev1.ConditionTrue, Reason: "Queued", Message: "waiting for a slot; rebootd-0 is held by node-0017, Draining since " + stamp, LastTransitionTime: metav1.NewTime(at),
		}
	}
	for image := range 50 { // nodeStatusMaxImages
		digest := strings.Repeat(fmt.Sprintf("%08x", i*50+image), 8)
		repository := fmt.Sprintf("registry.example.com/platform/component-%d", image)
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{
			Names: []string{repository + "@sha256:" + digest, repository + ":v1.27." + fmt.Sprint(image), "mirror.example.com/cache/" + repository + ":v1.27"}, SizeBytes: 123456789,
		})
	}
	return n
}
