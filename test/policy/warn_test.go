package policy

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

// said runs kubectl as the admin, and returns what it prints.
func said(b *kit.Bed, args ...string) (string, error) {
	b.Helper()
	kubectl, err := shared.Kubectl()
	b.Must(err)
	out, err := exec.CommandContext(b.Ctx, kubectl, append([]string{"--kubeconfig", shared.Kubeconfig}, args...)...).CombinedOutput()
	return string(out), err
}

var since = time.Date(2026, 11, 27, 2, 30, 0, 123456789, time.UTC)

// record is one as a daemon writes it.
func record(phase api.Phase) string {
	r := &api.Record{
		V: api.Schema, ID: "op-1", Phase: phase, Since: since, BootID: "boot-1", Cordoned: true, Requested: since.Add(-time.Hour), Lock: "rebootd",
		DrainRan: &api.Ran{Since: since.Add(-time.Minute)}, Began: &api.Began{Since: since},
	}
	data, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// bareNode makes a Node that has no kubelet, and gets no pod of the DaemonSet.
func bareNode(b *kit.Bed, name string, change func(*corev1.Node)) {
	b.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"type": "virtual-kubelet"}, Annotations: map[string]string{}}}
	change(n)
	conditions := n.Status.Conditions
	_, err := shared.Client.CoreV1().Nodes().Create(b.Ctx, n, metav1.CreateOptions{})
	b.Must(err)
	b.Cleanup(func() { _ = shared.Client.CoreV1().Nodes().Delete(b.Context(), name, metav1.DeleteOptions{}) })
	if len(conditions) > 0 {
		patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": conditions}})
		b.Must(err)
		_, err = shared.Client.CoreV1().Nodes().Patch(b.Ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		b.Must(err)
	}
}

// warning is what a person does with a Node, and what kubectl warns of.
type warning struct {
	what   string
	phase  api.Phase
	change func(*corev1.Node)
	do     string // NODE is its name
	want   string // "": nothing
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

func annotated(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Annotations[key] = value }
}

func tainted(key string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
	}
}

func inCondition(kind, reason, message string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeConditionType(kind), Status: corev1.ConditionTrue, Reason: reason, Message: message})
	}
}

const (
	request   = "annotate node NODE rebootd.dev/request=reboot"
	hold      = "annotate node NODE rebootd.dev/hold=disk"
	is        = "rebootd: the node NODE is "
	from      = " since 2026-11-27T02:30:00Z. "
	component = " --as-group system:masters --as "
)

var warnings = []warning{
	{"deletes a Node that drains", "Draining", cordoned, "delete node NODE", is + "Draining" + from + "With the Node its slot is freed, and another node may reboot while this machine is still down"},
	{"deletes a Node that halted", "Halted", cordoned, "delete node NODE", is + "Halted" + from + "With the Node its slot is freed"},
	{"deletes a Node that queues", "Queued", nil, "delete node NODE", is + "Queued" + from + "Its reboot is given up with the Node"},
	{"deletes a Node that is idle", "", nil, "delete node NODE", ""},

	{"cordons a node that queues", "Queued", nil, "cordon NODE", is + "Queued" + from + "A cordon does not keep the reboot from beginning; to keep the node from it while you work: kubectl annotate node NODE rebootd.dev/hold=REASON"},
	{"cordons a node that waits", "Waiting", inCondition("RebootRequired", "OutsideWindow", "until Saturday, 22:00"), "cordon NODE", is + "Waiting since 2026-11-27T02:30:00Z: until Saturday, 22:00. A cordon does not"},
	{"cordons a node that is held", "Waiting", func(n *corev1.Node) { n.Annotations["rebootd.dev/hold"] = "disk" }, "cordon NODE", is + "Waiting" + from + "The hold keeps the reboot from beginning until it is removed; the cordon alone would not"},
	{"drains a node that queues", "Queued", nil, "drain NODE --ignore-daemonsets", is + "Queued" + from + "A cordon does not"},
	{"cordons a node that verifies", "Verifying", nil, "cordon NODE", is + "Verifying" + from + "The cordon stays when it is done; to give the reboot up: kubectl annotate node NODE rebootd.dev/abort=REASON"},
	{"cordons a node that is idle", "", nil, "cordon NODE", ""},
	{"uncordons a node that queues", "Queued", cordoned, "uncordon NODE", ""},
	{"labels a node that drains", "Draining", cordoned, "label node NODE a=b", ""},

	{"uncordons a node that drains", "Draining", cordoned, "uncordon NODE", is + "Draining" + from + "Uncordoning counts as a veto: the drain ends, and is retried after a pause. To keep the node from it: kubectl annotate node NODE rebootd.dev/hold=REASON"},
	{"uncordons a node that reboots", "Rebooting", cordoned, "uncordon NODE", is + "Rebooting" + from + "Pods that start now go down with the machine. To give the reboot up while that is possible: kubectl annotate node NODE rebootd.dev/abort=REASON"},
	{"uncordons a node that halted", "Halted", cordoned, "uncordon NODE", is + "Halted" + from + "The slot stays held until the node is healthy; to give the operation up: kubectl annotate node NODE rebootd.dev/abort=REASON"},
	{"labels a node that is not cordoned, and drains", "Draining", nil, "label node NODE a=b", ""},

	{"holds a node that drains", "Draining", cordoned, hold, is + "Draining" + from + "With the hold the drain ends, and the node is uncordoned if rebootd has cordoned it; pods that have left do not come back by themselves"},
	{"holds a node that reboots", "Rebooting", cordoned, hold, is + "Rebooting" + from + "The hold counts for the next reboot; to give this one up: kubectl annotate node NODE rebootd.dev/abort=REASON"},
	{"holds a node that queues", "Queued", nil, hold, ""},
	{"changes another annotation of a node that is held and halted", "Halted", annotated("rebootd.dev/hold", "disk"), "annotate node NODE a=b", ""},
	{"changes the hold of a node that halted", "Halted", annotated("rebootd.dev/hold", "disk"), "annotate --overwrite node NODE rebootd.dev/hold=fan", is + "Halted" + from + "The hold counts for the next reboot"},

	{"requests a reboot of a node that drains", "Draining", cordoned, request, is + "Draining" + from + "That reboot serves the request, unless the machine has booted by then"},
	{"requests a reboot of a node that verifies", "Verifying", cordoned, request, is + "Verifying" + from + "The request is for another reboot, after this operation"},
	{"requests a reboot of a node that queues", "Queued", nil, request, ""},
	{"requests a reboot of a node that is idle", "", nil, request, ""},
	{"requests a reboot of a node that is held", "", annotated("rebootd.dev/hold", "disk replacement"), request, "rebootd: the node NODE is held: disk replacement. The reboot waits until the hold is removed: kubectl annotate node NODE rebootd.dev/hold-"},
	{"requests a reboot of a node that is held and waits", "Waiting", annotated("rebootd.dev/hold", "disk"), request, "rebootd: the node NODE is held: disk. The reboot waits"},
	{"requests a reboot of a node that is held in two lines", "", annotated("rebootd.dev/hold", "disk\nreplacement"), request, "rebootd: the node NODE is held. The reboot waits until the hold is removed"},
	{"requests a reboot of a node that is held with a tab", "", annotated("rebootd.dev/hold", "disk\treplacement"), request, "rebootd: the node NODE is held. The reboot waits until the hold is removed"},
	{"requests a reboot of a node that is held at length", "", annotated("rebootd.dev/hold", strings.Repeat("disk ", 2000)), request, "rebootd: the node is held; the reboot waits until the annotation rebootd.dev/hold is removed"},
	{"corrects the request for a reboot of a node that is held", "", func(n *corev1.Node) {
		n.Annotations["rebootd.dev/hold"], n.Annotations["rebootd.dev/request"] = "disk", "now"
	}, "annotate --overwrite node NODE rebootd.dev/request=reboot", "rebootd: the node NODE is held: disk. The reboot waits"},
	{"withdraws the request for a reboot of a node that is held", "", func(n *corev1.Node) {
		n.Annotations["rebootd.dev/hold"], n.Annotations["rebootd.dev/request"] = "disk", "now"
	}, "annotate node NODE rebootd.dev/request-", ""},
	{"requests a reboot of a node that is held, and halted", "Halted", annotated("rebootd.dev/hold", "disk"), request, is + "Halted" + from + "The request is for another reboot"},
	{"labels a node that is held", "", annotated("rebootd.dev/hold", "disk"), "label node NODE a=b", ""},
	{"changes another annotation of a node that is held and has a request", "Waiting", func(n *corev1.Node) {
		n.Annotations["rebootd.dev/hold"], n.Annotations["rebootd.dev/request"] = "disk", "reboot"
	}, "annotate node NODE a=b", ""},
	{"requests a reboot of a node under maintenance", "", tainted("medik8s.io/drain"), request, "rebootd: others work on the node NODE, or are about to remove it: the taint medik8s.io/drain. The reboot waits until that is gone"},
	{"requests a reboot of a node that is drained by hand", "", inCondition("DrainInProgress", "Ada", "x"), request, "or are about to remove it: the condition DrainInProgress. "},
	{"requests a reboot of a node that is in rebootd's own condition", "", inCondition("DrainInProgress", "Rebootd", "x"), request, ""},
	{"requests a reboot of a node that was drained by hand", "", func(n *corev1.Node) {
		inCondition("DrainInProgress", "Ada", "x")(n)
		n.Status.Conditions[0].Status = corev1.ConditionFalse
	}, request, ""},
	{"requests a reboot of a node that goes away", "", tainted("aws-node-termination-handler/spot-itn"), request, "the taint aws-node-termination-handler/spot-itn"},
	{"requests a reboot of a node under remediation", "", func(n *corev1.Node) { n.Labels["remediation.medik8s.io/exclude-from-remediation"] = "true" }, request, "the label remediation.medik8s.io/exclude-from-remediation"},
	{"requests a reboot of a node that another updates", "", func(n *corev1.Node) {
		n.Labels["nvidia.com/gpu-driver-upgrade-state"] = "drain-required"
		n.Annotations["talos.dev/cordoned"] = "x"
		n.Annotations["machineconfiguration.openshift.io/desiredConfig"] = "b"
		n.Annotations["machineconfiguration.openshift.io/currentConfig"] = "a"
		n.Annotations["machineconfiguration.openshift.io/state"] = "Working"
	}, request, "the label nvidia.com/gpu-driver-upgrade-state, the annotation talos.dev/cordoned, the annotation machineconfiguration.openshift.io/state, the annotation machineconfiguration.openshift.io/desiredConfig. "},
	{"requests a reboot of a node that others are done with", "", func(n *corev1.Node) {
		n.Labels["nvidia.com/gpu-driver-upgrade-state"] = "upgrade-done"
		n.Labels["cloud.sap/maintenance-state"] = "operational"
		n.Annotations["machineconfiguration.openshift.io/desiredConfig"] = "a"
		n.Annotations["machineconfiguration.openshift.io/currentConfig"] = "a"
		n.Annotations["machineconfiguration.openshift.io/desiredDrain"] = "a"
		n.Annotations["machineconfiguration.openshift.io/state"] = "Done"
		n.Annotations["flatcar-linux-update.v1.flatcar-linux.net/reboot-in-progress"] = "false"
	}, request, ""},
	{"requests a reboot of a node with a taint of its own", "", tainted("dedicated"), request, ""},

	{"removes the record", "Halted", cordoned, "annotate node NODE rebootd.dev/operation-", is + "Halted" + from + "Without its record the node may stay cordoned, and the same request begins again; where a daemon runs, give the operation up instead: kubectl annotate node NODE rebootd.dev/abort=REASON"},
	{"removes a record of a newer version", "", annotated("rebootd.dev/operation", `{"v":2,"phase":"Draining"}`), "annotate node NODE rebootd.dev/operation-", ""},
	{"removes a record that is none", "", annotated("rebootd.dev/operation", `what`), "annotate node NODE rebootd.dev/operation-", ""},
	{"aborts", "Draining", cordoned, "annotate node NODE rebootd.dev/abort=wrong", ""},

	{"is the kubelet", "Draining", cordoned, "uncordon NODE" + component + "system:node:NODE", ""},
	{"is the node controller", "Draining", cordoned, "delete node NODE" + component + "system:serviceaccount:kube-system:node-controller", ""},
	{"is the controller manager", "Draining", cordoned, "uncordon NODE" + component + "system:kube-controller-manager", ""},
	{"is another service account", "Draining", cordoned, "uncordon NODE" + component + "system:serviceaccount:argo:argo", is + "Draining"},
}

// Who is about to work on a node is told that a reboot is under way there, and who requests
// a reboot what it waits for: as kubectl prints it.
func TestWarnings(t *testing.T) {
	b := kit.New(t, shared, "warned", 5*time.Minute)
	for i, w := range warnings {
		t.Run(w.what, func(t *testing.T) {
			node := fmt.Sprintf("warned-%d", i)
			bareNode(b, node, func(n *corev1.Node) {
				if w.phase != "" {
					n.Annotations["rebootd.dev/operation"] = record(w.phase)
				}
				if w.change != nil {
					w.change(n)
				}
			})
			out, err := said(b, strings.Fields(strings.ReplaceAll(w.do, "NODE", node))...)
			if err != nil {
				t.Fatalf("it is refused: %v\n%s", err, out)
			}
			t.Log(out)
			want := strings.ReplaceAll(w.want, "NODE", node)
			switch n := strings.Count(out, "Warning:"); {
			case want == "" && n > 0:
				t.Errorf("a warning: %s", out)
			case want != "" && (n != 1 || !strings.Contains(out, "Warning: ") || !strings.Contains(out, want)):
				t.Errorf("%d warnings:\n%s\nwant one:\n%s", n, out, want)
			}
		})
	}
}

// rebootd itself is not warned: it would be with each step of each reboot.
func TestNoWarningForTheDaemon(t *testing.T) {
	b := newBed(t, "unwarned")
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, b.own, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"rebootd.dev/operation":%q}},"spec":{"unschedulable":true}}`, record("Draining")), metav1.PatchOptions{})
	b.must(err)
	out, err := said(b.Bed, "--kubeconfig", "/dev/null", "--server", shared.Config.Host, "--insecure-skip-tls-verify", "--token", b.token(b.pod), "patch", "node", b.own, "-p", `{"spec":{"unschedulable":false}}`)
	if err != nil || strings.Contains(out, "Warning:") {
		b.Errorf("%v\n%s", err, out)
	}
}

// A pause is not deleted, but with its namespace, and by the garbage collector with the Node
// of a slot; and who sets one is told of an end that it has.
func TestPauseStays(t *testing.T) {
	b := kit.New(t, shared, "pause-stays", 2*time.Minute)
	run := func(wantErr bool, want, args string) {
		t.Helper()
		out, err := said(b, strings.Fields(args)...)
		t.Logf("kubectl %s\n%s", args, out)
		if (err != nil) != wantErr || want != "" && !strings.Contains(out, want) || want == "" && strings.Contains(out, "Warning:") {
			t.Errorf("kubectl %s: %v\n%s\nwant %q", args, err, out, want)
		}
	}
	b.Must(shared.AddNamespace(b.Ctx, "pause-stays"))
	lease := func(namespace, name, owners string) {
		t.Helper()
		_, err := shared.Client.CoordinationV1().Leases(namespace).Patch(b.Ctx, name, types.ApplyPatchType, fmt.Appendf(nil,
			`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q,"annotations":{"rebootd.dev/paused":"x"},"ownerReferences":[%s]}}`, name, owners), metav1.PatchOptions{FieldManager: "person"})
		b.Must(err)
	}
	const until, lease0 = "rebootd.dev/paused-until=2027-01-01T00:00:00Z", " lease stays-pause "
	lease(cluster.Namespace, "stays-pause", "")
	in := "-n " + cluster.Namespace + " "
	run(true, "the Lease stays-pause pauses rebootd; end the pause first: kubectl -n rebootd annotate lease stays-pause rebootd.dev/paused-", in+"delete"+lease0)
	run(true, "end the pause first", in+"delete lease -l !nothing --field-selector metadata.name=stays-pause")
	run(false, "", in+"annotate"+lease0+until)
	run(false, "", in+"annotate --overwrite"+lease0+"a=b")
	run(false, "", in+"annotate --overwrite"+lease0+"rebootd.dev/paused=y "+"rebootd.dev/paused-until=2027-01-02T00:00:00+01:00")
	run(false, "Warning: Validation failed for ValidatingAdmissionPolicy 'rebootd-warn-pause' with binding 'rebootd-warn-pause': rebootd: this pause ends at 2027-01-02T00:00:00+01:00, which was set earlier, and has no effect after that; for one that does not end by itself: kubectl -n rebootd annotate lease stays-pause rebootd.dev/paused-until-", in+"annotate --overwrite"+lease0+"rebootd.dev/paused=z")
	run(false, "rebootd.dev/paused-until is not a time by RFC 3339", in+"annotate --overwrite"+lease0+"rebootd.dev/paused-until=tomorrow")
	run(false, "", in+"annotate --overwrite"+lease0+"rebootd.dev/paused-until=")
	run(false, "", in+"annotate --overwrite"+lease0+"rebootd.dev/paused- rebootd.dev/paused-until-")
	run(false, "", in+"delete"+lease0)

	bareNode(b, "stays-holder", func(*corev1.Node) {})
	holder, err := shared.Client.CoreV1().Nodes().Get(b.Ctx, "stays-holder", metav1.GetOptions{})
	b.Must(err)
	lease(cluster.Namespace, "stays-0", owner("stays-holder", string(holder.UID)))
	run(false, "", "delete node stays-holder")
	run(false, "", in+"wait --for=delete lease/stays-0 --timeout=60s")

	lease("pause-stays", "rebootd-pause", "")
	run(false, "", "delete namespace pause-stays --timeout=90s")
}
