package others

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"rebootd.dev/daemon/api"
)

func node(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Labels:      map[string]string{"kubernetes.io/hostname": "n"},
		Annotations: map[string]string{"node.alpha.kubernetes.io/ttl": "0"},
	}}
	n.Spec.Taints = []corev1.Taint{{Key: "node.kubernetes.io/unschedulable"}, {Key: "node.kubernetes.io/not-ready"}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}, {Type: "RebootRequired", Status: corev1.ConditionTrue}}
	if change != nil {
		change(n)
	}
	return n
}

// An ordinary node, cordoned and not Ready besides, is nobody's.
func TestOrdinary(t *testing.T) {
	if got := Check(node(nil)); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// Each line of the table is found, and in its words.
func TestEverySignal(t *testing.T) {
	values := map[string]string{
		"remediation.medik8s.io/exclude-from-remediation": "true", "nvidia.com/gpu-driver-upgrade-state": "cordon-required",
		"sriovnetwork.openshift.io/state": "Draining", "aws-node-termination-handler/action": "UncordonAfterReboot",
		"kubernetes.azure.com/upgrade-status": "Quarantined", "flatcar-linux-update.v1.flatcar-linux.net/reboot-in-progress": "true",
		"flatcar-linux-update.v1.flatcar-linux.net/reboot-paused": "true", "cloud.sap/maintenance-state": "in-maintenance",
		"cloud.sap/esx-in-maintenance": "true", "cloud.sap/delete-node": "true", "machineconfiguration.openshift.io/state": "Working",
		"machineconfiguration.openshift.io/desiredDrain": "drain-b", "machineconfiguration.openshift.io/desiredConfig": "b",
	}
	for _, s := range table {
		t.Run(s.key, func(t *testing.T) {
			key := strings.Replace(s.key, "*", "spot-itn", 1)
			n := node(func(n *corev1.Node) {
				switch s.at {
				case taint:
					n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: values[key]})
				case label:
					n.Labels[key] = values[key]
				case annotation:
					n.Annotations[key] = values[key]
					n.Annotations["machineconfiguration.openshift.io/lastAppliedDrain"] = "uncordon-a"
					n.Annotations["machineconfiguration.openshift.io/currentConfig"] = "a"
				case condition:
					n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeConditionType(key), Status: corev1.ConditionTrue, Reason: "Theirs"})
				}
			})
			got := Check(n)
			if len(got) != 1 || got[0].Who != s.who || got[0].Leaving != s.leaving || !strings.Contains(got[0].Words(time.Time{}), key) {
				t.Errorf("found %+v", got)
			}
		})
	}
}

// What looks like a signal and says the contrary is none.
func TestNotASignal(t *testing.T) {
	for name, change := range map[string]func(*corev1.Node){
		"an upgrade that is done": func(n *corev1.Node) { n.Labels["nvidia.com/gpu-driver-upgrade-state"] = "upgrade-done" },
		"the value false":         func(n *corev1.Node) { n.Labels["remediation.medik8s.io/exclude-from-remediation"] = "false" },
		"Machine Config Operator at rest": func(n *corev1.Node) {
			n.Annotations["machineconfiguration.openshift.io/desiredConfig"] = "a"
			n.Annotations["machineconfiguration.openshift.io/currentConfig"] = "a"
			n.Annotations["machineconfiguration.openshift.io/desiredDrain"] = "uncordon-a"
			n.Annotations["machineconfiguration.openshift.io/lastAppliedDrain"] = "uncordon-a"
			n.Annotations["machineconfiguration.openshift.io/state"] = "Done"
		},
		"a condition that is False": func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: "DrainInProgress", Status: corev1.ConditionFalse})
		},
		"what rebootd itself tells": func(n *corev1.Node) {
			for _, t := range []corev1.NodeConditionType{corev1.NodeDrainInProgress, corev1.NodeDrained, corev1.NodeMaintenanceInProgress} {
				n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: t, Status: corev1.ConditionTrue, Reason: api.Ours})
			}
		},
		"a candidate only": func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "DeletionCandidateOfClusterAutoscaler"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Check(node(change)); len(got) != 0 {
				t.Errorf("%v", got)
			}
		})
	}
}

// Several: that which takes the node away comes first, and the words are stable.
func TestSeveral(t *testing.T) {
	since := metav1.NewTime(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC))
	n := node(func(n *corev1.Node) {
		n.Annotations["weave.works/kured-reboot-in-progress"] = "x"
		n.Annotations["talos.dev/cordoned"] = "true"
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "ToBeDeletedByClusterAutoscaler", Value: "1777896000", TimeAdded: &since})
	})
	for range 20 {
		got := Check(n)
		if len(got) != 3 || got[1].Who != "Talos" || got[2].Who != "kured" {
			t.Fatalf("%v", got)
		}
		if want := "Cluster Autoscaler is about to remove this node (taint ToBeDeletedByClusterAutoscaler=1777896000, since 2026-05-04T12:00:00Z)"; got[0].Words(time.Time{}) != want {
			t.Errorf("%s", got[0].What)
		}
	}
}

// kured's annotation says since when, and stays for ever when kured is removed in the middle
// of a reboot: how to clear it is said with it.
func TestKuredIsLeftBehind(t *testing.T) {
	set := func(value string) Finding {
		got := Check(node(func(n *corev1.Node) {
			n.Name = "worker-1"
			n.Annotations["weave.works/kured-reboot-in-progress"] = value
		}))
		if len(got) != 1 {
			t.Fatalf("%v", got)
		}
		return got[0]
	}
	const clear = "; if kured is no longer installed: kubectl annotate node worker-1 weave.works/kured-reboot-in-progress-"
	f := set("2026-11-24T03:04:05+02:00")
	boot := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		boot time.Time
		want string
	}{
		{time.Time{}, "kured is at work on this node (annotation weave.works/kured-reboot-in-progress, since 2026-11-24T01:04:05Z)" + clear},
		{boot, "kured is at work on this node (annotation weave.works/kured-reboot-in-progress, since 2026-11-24T01:04:05Z, before this boot)" + clear},
		{boot.Add(-48 * time.Hour), "kured is at work on this node (annotation weave.works/kured-reboot-in-progress, since 2026-11-24T01:04:05Z)" + clear},
	} {
		if got := f.Words(tt.boot); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	if got, want := set("yes\n").Words(boot), "kured is at work on this node (annotation weave.works/kured-reboot-in-progress=yes)"+clear; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
