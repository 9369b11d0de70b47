package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestDoctor asks a real API server: what it is told of policies, clocks, kured and rights is what is there.
func TestDoctor(t *testing.T) {
	b := newBed(t, 4*time.Minute)
	m := b.machine()
	b.reason(m, "NotRequired")
	b.Must(shared.Install(b.Ctx))
	b.kubectl("delete", "validatingadmissionpolicybinding", "rebootd-own-pods")
	b.ends(4, "doctor", "you may use every command", "the admission policy rebootd-own-pods has no binding", "kured does not run")

	b.Must(shared.Install(b.Ctx))
	b.Namespace("kured-" + b.Name)
	said := b.ends(0, "doctor", "the three admission policies that keep each daemon to its own node are in force for system:serviceaccount:rebootd:rebootd")
	if strings.Contains(said.Out, "wrong ") {
		t.Errorf("something is wrong: %s", said.Out)
	}

	// The kubelet's clock, by the API server's account.
	beat := func(ago time.Duration) {
		patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: metav1.NewTime(time.Now().Add(-ago)),
		}}}})
		b.Must(err)
		_, err = shared.Client.CoreV1().Nodes().Patch(b.Ctx, m.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "kubelet"}, "status")
		b.Must(err)
	}
	beat(0)
	if said := b.ends(0, "doctor", "ok          clocks"); strings.Contains(said.Out, "the clock of "+m.Name) {
		t.Error("a clock that is right is told")
	}
	beat(30 * time.Second)
	b.ends(0, "doctor", "warning     clocks", "the clock of "+m.Name+" is ", "behind the API server's")

	// Without any right nothing is wrong.
	b.ends(0, "doctor --as=eve", "no problem found", "you may not list nodes", "you may not read the admission policies")

	b.kubectl("create", "-f", kured(t, "kured-"+b.Name))
	b.ends(4, "doctor", fmt.Sprintf("kured's DaemonSet kured-%s/kured is there", b.Name))
}

// kured is a file with kured's DaemonSet, as far as it matters here.
func kured(t *testing.T, namespace string) string {
	file := filepath.Join(t.TempDir(), "kured.yaml")
	if err := os.WriteFile(file, []byte(`apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kured, namespace: `+namespace+`}
spec:
  selector: {matchLabels: {name: kured}}
  template:
    metadata: {labels: {name: kured}}
    spec:
      nodeSelector: {nowhere: "true"}
      containers: [{name: kured, image: "ghcr.io/kubereboot/kured:1.23.0"}]
`), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
