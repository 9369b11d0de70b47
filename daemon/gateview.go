package daemon

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
)

// asksWhoSet are the annotations of which gates are told who has set them.
var asksWhoSet = []string{api.ApprovalAnnotation}

// gateNodeOf is what gates may know of the Node.
func gateNodeOf(n *corev1.Node) gate.Node {
	out := gate.Node{Name: n.Name, UID: string(n.UID), BootID: n.Status.NodeInfo.BootID, Labels: n.Labels, Annotations: n.Annotations, Unschedulable: n.Spec.Unschedulable}
	for _, k := range asksWhoSet {
		if _, there := n.Annotations[k]; !there {
			continue
		}
		if by, known := setterOf(n.ManagedFields, k); known {
			out.SetBy = map[string]gate.Setter{k: by}
		}
	}
	for _, c := range n.Status.Conditions {
		out.Conditions = append(out.Conditions, gate.Condition{Type: string(c.Type), Status: string(c.Status), Reason: c.Reason, Message: c.Message, Since: c.LastTransitionTime.Time})
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeHostName || a.Type == corev1.NodeInternalIP {
			out.Addresses = append(out.Addresses, a.Address)
		}
	}
	return out
}

// setterOf is who has set a field, by the API server's account.
func setterOf(fields []metav1.ManagedFieldsEntry, name string) (by gate.Setter, known bool) {
	for _, e := range fields {
		if owns(e, name) {
			by.Manager = e.Manager
			if e.Time != nil {
				by.At = e.Time.Time
			}
			return by, true
		}
	}
	return by, false
}

// gateView is what gates may know, by what the other workers do.
func (d *Daemon) gateView(f decide.Facts) gate.View {
	v := gate.View{Now: f.Wall(), Uptime: f.Uptime, BootID: f.Boot.ID, Record: d.node.record, HasSlot: d.slot.state == decide.ClaimHeld, Booted: f.Boot.Time, Vacated: d.slot.vacated}
	if n := d.node.view; n != nil {
		v.Node, v.Past = n.gates, n.last.past
	}
	return v
}

// trialPatch is the patch that would cordon the node, made as the cordon's own is: of the
// record's next phase, with what protects the node. It is not conditional on the Node's
// being as it is, since it is for a dry run.
func (d *Daemon) trialPatch() []byte {
	if d.node.view == nil {
		return nil
	}
	n, now := *d.node.view, d.clock.now().UTC()
	n.resourceVersion = ""
	r := d.node.record.Clone()
	if r == nil {
		r = &api.Record{V: api.Schema, ID: "trial", BootID: d.host.boot.ID, Requested: now, Annotated: n.request == api.RequestReboot, Lock: d.policy.Lock}
	}
	r.Phase, r.Since, r.Cordoned, r.Protected, r.Deferrals = api.PhaseDraining, now, !n.unschedulable, n.unprotected(), 0
	data, _, err := d.recordPatch(decided{
		record: d.node.record, node: &n, now: now, step: decide.Step{Do: decide.DoCordon, Record: r},
	}, decide.Step{}, nil)
	if err != nil {
		d.cfg.Log.Error().Err(err).Msg("cannot make the patch that is tried before the queue")
		return nil
	}
	return data.data
}
