package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"rebootd.dev/test/cluster"
)

// try is something that a thief of a token might do.
type try struct {
	what  string
	allow bool
	do    func(b *bed, c *kubernetes.Clientset) error
}

func patchNode(name, kind, patch string, sub ...string) func(*bed, *kubernetes.Clientset) error {
	return func(b *bed, c *kubernetes.Clientset) error {
		node := b.own
		if name == "that" {
			node = b.that
		}
		_, err := c.CoreV1().Nodes().Patch(b.ctx, node, types.PatchType(kind), []byte(patch), metav1.PatchOptions{FieldManager: "rebootd"}, sub...)
		return err
	}
}

const (
	merge     = string(types.MergePatchType)
	strategic = string(types.StrategicMergePatchType)
	apply     = string(types.ApplyPatchType)
)

// onLease patches a Lease that is as it is described first.
func onLease(spec string, kind, patch string, force bool) func(*bed, *kubernetes.Clientset) error {
	return func(b *bed, c *kubernetes.Clientset) error {
		leases := shared.Client.CoordinationV1().Leases(cluster.Namespace)
		name := fmt.Sprintf("%s-%d", b.ns, time.Now().UnixNano())
		fill := strings.NewReplacer("NAME", name, "OWNUID", b.uid(b.own), "THATUID", b.uid(b.that), "OWN", b.own, "THAT", b.that, "LONGAGO", time.Now().Add(-time.Hour).UTC().Format(metav1.RFC3339Micro), "RECENTLY", time.Now().Add(-5*time.Minute).UTC().Format(metav1.RFC3339Micro))
		_, err := leases.Patch(b.ctx, name, types.ApplyPatchType, []byte(fill.Replace(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"NAME"},`+spec+`}`)), metav1.PatchOptions{FieldManager: "rebootd/another"})
		b.must(err)
		opts := metav1.PatchOptions{FieldManager: "rebootd/" + b.own}
		body := patch
		if kind == apply {
			body = `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease",` + body + `}`
			if force {
				opts.Force = &force
			}
		}
		_, err = c.CoordinationV1().Leases(cluster.Namespace).Patch(b.ctx, name, types.PatchType(kind), []byte(fill.Replace(body)), opts)
		return err
	}
}

// onPause makes the Lease for a pause, and pauses the cluster by it.
func onPause(kind, patch string) func(*bed, *kubernetes.Clientset) error {
	return func(b *bed, c *kubernetes.Clientset) error {
		name := fmt.Sprintf("%s-%d-pause", b.ns, time.Now().UnixNano())
		_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Create(b.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{"rebootd.dev/paused": "an outage"},
		}}, metav1.CreateOptions{})
		b.must(err)
		fill := strings.NewReplacer("NAME", name, "OWNUID", b.uid(b.own), "OWN", b.own)
		opts := metav1.PatchOptions{FieldManager: "rebootd/" + b.own}
		_, err = c.CoordinationV1().Leases(cluster.Namespace).Patch(b.ctx, name, types.PatchType(kind), []byte(fill.Replace(patch)), opts)
		return err
	}
}

// makePause makes the Lease for a pause as a daemon does, but for what it says.
func makePause(says string) func(*bed, *kubernetes.Clientset) error {
	return func(b *bed, c *kubernetes.Clientset) error {
		name := fmt.Sprintf("%s-%d-pause", b.ns, time.Now().UnixNano())
		body := strings.NewReplacer("NAME", name, "OWN", b.own).Replace(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"NAME"` + says + `}`)
		_, err := c.CoordinationV1().Leases(cluster.Namespace).Patch(b.ctx, name, types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: "rebootd/" + b.own})
		return err
	}
}

func nodeLease(node string) func(*bed, *kubernetes.Clientset) error {
	return func(b *bed, c *kubernetes.Clientset) error {
		name := "node-" + b.own
		if node == "that" {
			name = "node-" + b.that
		}
		_, err := c.CoordinationV1().Leases(cluster.NodeLeases).Create(b.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		return err
	}
}

func evict(node string) func(*bed, *kubernetes.Clientset) error {
	return func(b *bed, c *kubernetes.Clientset) error {
		pod := b.own + "-a"
		if node == "that" {
			pod = b.that + "-a"
		}
		return c.PolicyV1().Evictions(b.ns).Evict(b.ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: b.ns, Name: pod}})
	}
}

func remove(node string) func(*bed, *kubernetes.Clientset) error {
	return func(b *bed, c *kubernetes.Clientset) error {
		pod := b.own + "-b"
		if node == "that" {
			pod = b.that + "-b"
		}
		return c.CoreV1().Pods(b.ns).Delete(b.ctx, pod, metav1.DeleteOptions{})
	}
}

// condition is a patch of one.
func condition(kind, status, reason string) string {
	return fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q,"reason":%q}]}}`, kind, status, reason)
}

// owner is an owner reference.
func owner(node, uid string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Node","name":%q,"uid":%q}`, node, uid)
}

func (b *bed) uid(node string) string {
	b.Helper()
	n, err := shared.Client.CoreV1().Nodes().Get(b.ctx, node, metav1.GetOptions{})
	b.must(err)
	return string(n.UID)
}

// slot is one that a node holds.
func (b *bed) slot(node string) string {
	b.Helper()
	name := fmt.Sprintf("%s-%d", b.ns, time.Now().UnixNano())
	body := fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q},"spec":{"holderIdentity":%q,"renewTime":%q}}`, name, node, time.Now().UTC().Format(metav1.RFC3339Micro))
	_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Patch(b.ctx, name, types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: "rebootd/" + node})
	b.must(err)
	return name
}

// tries is everything that was tried with a token of the daemon of one node.
var tries = []try{
	{"write the record on its node", true, patchNode("own", strategic, `{"metadata":{"annotations":{"rebootd.dev/operation":"x"}}}`, "status")},
	{"write the report on its node", true, patchNode("own", strategic, `{"metadata":{"annotations":{"rebootd.dev/report":"x"}}}`, "status")},
	{"cordon its node", true, patchNode("own", strategic, `{"spec":{"unschedulable":true}}`)},
	{"uncordon its node, whoever cordoned it", true, patchNode("own", strategic, `{"spec":{"unschedulable":null}}`)},
	{"protect its node from autoscalers", true, patchNode("own", strategic, `{"metadata":{"annotations":{"karpenter.sh/do-not-disrupt":"true"}}}`)},
	{"set one of its own conditions on its node", true, patchNode("own", strategic, condition("RebootRequired", "True", "Queued"), "status")},
	{"set the maintenance conditions of its node", true, patchNode("own", strategic, condition("DrainInProgress", "True", "Rebootd"), "status")},
	{"remove the maintenance conditions that it has set", true, patchNode("own", strategic, `{"status":{"conditions":[{"$patch":"delete","type":"DrainInProgress"}]}}`, "status")},
	{"change a maintenance condition of its node that another program has set", false, func(b *bed, c *kubernetes.Clientset) error {
		_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, b.own, types.StrategicMergePatchType, []byte(condition("Drained", "True", "Ada")), metav1.PatchOptions{}, "status")
		b.must(err)
		return patchNode("own", strategic, condition("Drained", "False", "Rebootd"), "status")(b, c)
	}},
	{"say on its node which daemon runs there", true, patchNode("own", strategic, `{"metadata":{"annotations":{"rebootd.dev/daemon":"x"}}}`, "status")},
	{"say on another node which daemon runs there", false, patchNode("that", strategic, `{"metadata":{"annotations":{"rebootd.dev/daemon":"x"}}}`, "status")},
	{"write the history of its node", true, patchNode("own", strategic, `{"metadata":{"annotations":{"rebootd.dev/history":"x"}}}`, "status")},
	{"write the history of another node", false, patchNode("that", strategic, `{"metadata":{"annotations":{"rebootd.dev/history":"x"}}}`, "status")},
	{"say on its node for programs what happens to it", true, patchNode("own", strategic, `{"metadata":{"annotations":{"rebootd.dev/status":"x"}}}`, "status")},
	{"remember on its node what was served", true, patchNode("own", strategic, `{"metadata":{"annotations":{"rebootd.dev/served":"x"}}}`, "status")},
	{"remove the request for a reboot", true, func(b *bed, c *kubernetes.Clientset) error {
		_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, b.own, types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/request":"reboot"}}}`), metav1.PatchOptions{})
		b.must(err)
		return patchNode("own", merge, `{"metadata":{"annotations":{"rebootd.dev/request":null}}}`)(b, c)
	}},
	{"remove an abort that people have set", true, func(b *bed, c *kubernetes.Clientset) error {
		_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, b.own, types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/abort":"why"}}}`), metav1.PatchOptions{})
		b.must(err)
		return patchNode("own", strategic, `{"metadata":{"annotations":{"rebootd.dev/abort":null}}}`, "status")(b, c)
	}},
	{"abort what its node does in people's name", false, patchNode("own", merge, `{"metadata":{"annotations":{"rebootd.dev/abort":"why"}}}`)},
	{"request a reboot", false, patchNode("own", merge, `{"metadata":{"annotations":{"rebootd.dev/request":"reboot"}}}`)},
	{"remove a hold", false, func(b *bed, c *kubernetes.Clientset) error {
		_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, b.own, types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/hold":"disk"}}}`), metav1.PatchOptions{})
		b.must(err)
		return patchNode("own", merge, `{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`)(b, c)
	}},
	{"approve the reboot of its node", false, patchNode("own", merge, `{"metadata":{"annotations":{"rebootd.dev/approval":"until 2999-01-01T00:00:00Z"}}}`)},
	{"approve the reboot of its node along with the record", false, patchNode("own", strategic, `{"metadata":{"annotations":{"rebootd.dev/operation":"x","rebootd.dev/approval":"x"}}}`, "status")},
	{"withdraw an approval", false, func(b *bed, c *kubernetes.Clientset) error {
		_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, b.own, types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/approval":"x"}}}`), metav1.PatchOptions{})
		b.must(err)
		return patchNode("own", merge, `{"metadata":{"annotations":{"rebootd.dev/approval":null}}}`)(b, c)
	}},
	{"raise the priority of its node", false, patchNode("own", merge, `{"metadata":{"annotations":{"rebootd.dev/priority":"9"}}}`)},
	{"set any other annotation on its node", false, patchNode("own", merge, `{"metadata":{"annotations":{"example.com/x":"y"}}}`)},
	{"label its node", false, patchNode("own", merge, `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`)},
	{"taint its node", false, patchNode("own", merge, `{"spec":{"taints":[{"key":"x","effect":"NoExecute"}]}}`)},
	{"taint its node like a cordon, but with a stronger effect", false, patchNode("own", merge, `{"spec":{"taints":[{"key":"node.kubernetes.io/unschedulable","effect":"NoExecute"}]}}`)},
	{"set the provider ID of its node", false, patchNode("own", merge, `{"spec":{"providerID":"x://y"}}`)},
	{"give its node a finalizer", false, patchNode("own", merge, `{"metadata":{"finalizers":["example.com/x"]}}`)},
	{"set the condition Ready of its node", false, patchNode("own", strategic, condition("Ready", "False", "x"), "status")},
	{"claim that its node has booted", false, patchNode("own", merge, `{"status":{"nodeInfo":{"bootID":"x"}}}`, "status")},
	{"claim that its node has more memory", false, patchNode("own", merge, `{"status":{"capacity":{"memory":"1Ti"}}}`, "status")},
	{"claim that its node has another runtime", false, patchNode("own", merge, `{"status":{"runtimeHandlers":[{"name":"x"}]}}`, "status")},
	{"claim a feature that its node does not have", false, patchNode("own", merge, `{"status":{"features":{"supplementalGroupsPolicy":true}}}`, "status")},
	{"write anything on another node", false, patchNode("that", strategic, `{"metadata":{"annotations":{"rebootd.dev/operation":"x"}}}`)},
	{"write the status of another node", false, patchNode("that", strategic, condition("RebootRequired", "True", "Queued"), "status")},
	{"cordon another node", false, patchNode("that", strategic, `{"spec":{"unschedulable":true}}`)},
	{"delete its node", false, func(b *bed, c *kubernetes.Clientset) error {
		return c.CoreV1().Nodes().Delete(b.ctx, b.own, metav1.DeleteOptions{})
	}},

	{"take a free slot", true, onLease(`"spec":{"leaseDurationSeconds":1}`, apply, `"metadata":{"name":"NAME"},"spec":{"holderIdentity":"OWN"}`, false)},
	{"release its slot", true, onLease(`"spec":{"holderIdentity":"OWN"}`, merge, `{"metadata":{"annotations":{"rebootd.dev/next":"THAT"}},"spec":{"holderIdentity":null}}`, false)},
	{"note when it has vacated its slot", true, onLease(`"spec":{"holderIdentity":"OWN"}`, merge, `{"metadata":{"annotations":{"rebootd.dev/vacated":"LONGAGO"}},"spec":{"holderIdentity":null}}`, false)},
	{"note when a slot was vacated that it keeps", false, onLease(`"spec":{"holderIdentity":"OWN"}`, merge, `{"metadata":{"annotations":{"rebootd.dev/vacated":"LONGAGO"}}}`, false)},
	{"note when a free slot was vacated", false, onLease(`"spec":{}`, merge, `{"metadata":{"annotations":{"rebootd.dev/vacated":"LONGAGO"}}}`, false)},
	{"note when a slot was vacated that it takes", false, onLease(`"spec":{"leaseDurationSeconds":1}`, apply, `"metadata":{"name":"NAME","annotations":{"rebootd.dev/vacated":"LONGAGO"}},"spec":{"holderIdentity":"OWN"}`, false)},
	{"note when another's slot was vacated", false, onLease(`"spec":{"holderIdentity":"THAT"}`, merge, `{"metadata":{"annotations":{"rebootd.dev/vacated":"LONGAGO"}},"spec":{"holderIdentity":null}}`, false)},
	{"make its node the owner of its slot", true, onLease(`"spec":{"leaseDurationSeconds":1}`, apply, `"metadata":{"name":"NAME","ownerReferences":[`+owner("OWN", "OWNUID")+`]},"spec":{"holderIdentity":"OWN"}`, false)},
	{"make something else the owner of a slot", false, onLease(`"spec":{"leaseDurationSeconds":1}`, apply, `"metadata":{"name":"NAME","ownerReferences":[`+owner("OWN", "nowhere")+`]},"spec":{"holderIdentity":"OWN"}`, false)},
	{"give a free slot an owner", false, onLease(`"spec":{}`, merge, `{"metadata":{"ownerReferences":[`+owner("OWN", "OWNUID")+`]}}`, false)},
	{"give a free slot a finalizer", false, onLease(`"spec":{}`, merge, `{"metadata":{"finalizers":["example.com/x"]}}`, false)},
	{"label a free slot", false, onLease(`"spec":{}`, merge, `{"metadata":{"labels":{"x":"y"}}}`, false)},
	{"set the time since when a free slot is held", false, onLease(`"spec":{}`, merge, `{"spec":{"acquireTime":"LONGAGO"}}`, false)},
	{"mark a free slot as written by a newer version", false, onLease(`"spec":{}`, merge, `{"metadata":{"annotations":{"rebootd.dev/schema":"9"}}}`, false)},
	{"own fields that the next holder of a free slot must set, so that nobody can take it", false, onLease(`"spec":{}`, merge, `{"metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"coordination.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:holderIdentity":{}}}}]}}`, false)},
	{"own an annotation that the next holder of a free slot must set", false, onLease(`"spec":{}`, merge, `{"metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"coordination.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:annotations":{"f:rebootd.dev/holder-uid":{}}}}}]}}`, false)},
	{"keep owning such a field on the slot that it releases", false, onLease(`"spec":{"holderIdentity":"OWN"}`, merge, `{"metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"coordination.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:renewTime":{}}}}]},"spec":{"holderIdentity":null}}`, false)},
	{"mark its slot as written by a newer version", false, onLease(`"spec":{"holderIdentity":"OWN"}`, merge, `{"metadata":{"annotations":{"rebootd.dev/schema":"9"}}}`, false)},
	{"claim that another node has released a slot", false, onLease(`"spec":{}`, merge, `{"metadata":{"annotations":{"rebootd.dev/released-by":"THAT"}}}`, false)},
	{"change any other field of a Lease", false, onLease(`"spec":{"holderIdentity":"OWN"}`, merge, `{"spec":{"leaseTransitions":7}}`, false)},
	{"take the slot of a node that has been silent for long", false, onLease(`"spec":{"holderIdentity":"THAT","renewTime":"LONGAGO"}`, apply, `"metadata":{"name":"NAME"},"spec":{"holderIdentity":"OWN"}`, true)},
	{"take a slot in another node's name", false, onLease(`"spec":{"leaseDurationSeconds":1}`, apply, `"metadata":{"name":"NAME"},"spec":{"holderIdentity":"THAT"}`, false)},
	{"take a slot from a holder that is alive", false, onLease(`"spec":{"holderIdentity":"THAT","renewTime":"RECENTLY"}`, apply, `"metadata":{"name":"NAME"},"spec":{"holderIdentity":"OWN"}`, true)},
	{"take a slot from a holder that is alive, after making it look old", false, onLease(`"spec":{"holderIdentity":"THAT","renewTime":"RECENTLY"}`, merge, `{"spec":{"renewTime":"LONGAGO"}}`, false)},
	{"take the slot of a silent node by a patch with its own time", false, onLease(`"spec":{"holderIdentity":"THAT","renewTime":"LONGAGO"}`, merge, `{"spec":{"holderIdentity":"OWN"}}`, false)},
	{"take a slot from a holder that is alive, after forging the time of an apply", false, func(b *bed, c *kubernetes.Clientset) error {
		forged := fmt.Sprintf(`{"metadata":{"managedFields":[{"manager":"rebootd/x","operation":"Apply","apiVersion":"coordination.k8s.io/v1","time":%q,"fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:holderIdentity":{},"f:renewTime":{}}}}]},"spec":{"holderIdentity":"OWN"}}`,
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
		return onLease(`"spec":{"holderIdentity":"THAT","renewTime":"RECENTLY"}`, merge, forged, false)(b, c)
	}},
	{"take a slot from a holder that is alive, after labelling it, as if by an apply", false, func(b *bed, c *kubernetes.Clientset) error {
		leases := c.CoordinationV1().Leases(cluster.Namespace)
		name := b.slot(b.that)
		if _, err := leases.Patch(b.ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{FieldManager: "x"}); !apierrors.IsForbidden(err) {
			b.Errorf("may label another's slot: %v", err)
		}
		forged := fmt.Sprintf(`{"metadata":{"managedFields":[{"manager":"x","operation":"Update","apiVersion":"coordination.k8s.io/v1","time":%[1]q,"fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:x":{}}}}},
			{"manager":"y","operation":"Apply","apiVersion":"coordination.k8s.io/v1","time":%[1]q,"fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:holderIdentity":{}}}}]},"spec":{"holderIdentity":%[2]q}}`, time.Now().UTC().Format(time.RFC3339), b.own)
		_, err := leases.Patch(b.ctx, name, types.MergePatchType, []byte(forged), metav1.PatchOptions{FieldManager: "x"})
		return err
	}},
	{"own the times of another node's slot, so that it cannot be renewed", false, func(b *bed, c *kubernetes.Clientset) error {
		claim := `{"metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"coordination.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:renewTime":{}}}}]}}`
		_, err := c.CoordinationV1().Leases(cluster.Namespace).Patch(b.ctx, b.slot(b.that), types.MergePatchType, []byte(claim), metav1.PatchOptions{FieldManager: "x"})
		return err
	}},
	{"give another node's slot an owner that does not exist, so that it is deleted", false, onLease(`"spec":{"holderIdentity":"THAT"}`, merge, `{"metadata":{"ownerReferences":[`+owner("gone", "nowhere")+`]}}`, false)},
	{"give another node's slot a finalizer", false, onLease(`"spec":{"holderIdentity":"THAT"}`, merge, `{"metadata":{"finalizers":["example.com/x"]}}`, false)},
	{"label another node's slot", false, onLease(`"spec":{"holderIdentity":"THAT"}`, merge, `{"metadata":{"labels":{"x":"y"}}}`, false)},
	{"clear another node's slot", false, onLease(`"spec":{"holderIdentity":"THAT","renewTime":"LONGAGO"}`, merge, `{"spec":{"holderIdentity":null}}`, false)},
	{"pause the cluster by another node's slot", false, onLease(`"spec":{"holderIdentity":"THAT"}`, merge, `{"metadata":{"annotations":{"rebootd.dev/paused":"x"}}}`, false)},
	{"pause the cluster", false, onLease(`"spec":{"leaseDurationSeconds":1}`, merge, `{"metadata":{"annotations":{"rebootd.dev/paused":"x"}}}`, false)},
	{"create the empty Lease by which people can pause the cluster", true, makePause(`}`)},
	{"pause the cluster by creating that Lease", false, makePause(`,"annotations":{"rebootd.dev/paused":"x"}}`)},
	{"create that Lease as its holder", false, makePause(`},"spec":{"holderIdentity":"OWN"}`)},
	{"apply that Lease again, as when another daemon was quicker", true, onPause(apply, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"NAME"}}`)},
	{"end a pause", false, onPause(merge, `{"metadata":{"annotations":{"rebootd.dev/paused":null}}}`)},
	{"end a pause by changing its reason", false, onPause(merge, `{"metadata":{"annotations":{"rebootd.dev/paused":"x"}}}`)},
	{"end a pause with its node, as the owner of that Lease", false, onPause(merge, `{"metadata":{"ownerReferences":[`+owner("OWN", "OWNUID")+`]},"spec":{"holderIdentity":"OWN"}}`)},
	{"hold that Lease", false, onPause(merge, `{"spec":{"holderIdentity":"OWN"}}`)},
	{"write Leases of another namespace", false, func(b *bed, c *kubernetes.Clientset) error {
		_, err := c.CoordinationV1().Leases("kube-node-lease").Patch(b.ctx, b.that, types.MergePatchType, []byte(`{"spec":{"renewTime":null}}`), metav1.PatchOptions{})
		return err
	}},
	{"delete another node's slot", false, func(b *bed, c *kubernetes.Clientset) error {
		return c.CoordinationV1().Leases(cluster.Namespace).Delete(b.ctx, b.slot(b.that), metav1.DeleteOptions{})
	}},
	{"delete its own slot", false, func(b *bed, c *kubernetes.Clientset) error {
		return c.CoordinationV1().Leases(cluster.Namespace).Delete(b.ctx, b.slot(b.own), metav1.DeleteOptions{})
	}},

	{"take the node lease of its node", true, nodeLease("own")},
	{"take the node lease of another node", false, nodeLease("that")},

	{"evict a pod of its node in its own name", false, evict("own")},
	{"evict a pod of another node", false, evict("that")},
	{"delete a pod of its node", true, remove("own")},
	{"delete a pod of another node", false, remove("that")},
	{"read every node and every pod", true, func(b *bed, c *kubernetes.Clientset) error {
		_, err := c.CoreV1().Nodes().List(b.ctx, metav1.ListOptions{})
		_, err2 := c.CoreV1().Pods("").List(b.ctx, metav1.ListOptions{})
		return errors.Join(err, err2)
	}},
	{"read Secrets", false, func(b *bed, c *kubernetes.Clientset) error {
		_, err := c.CoreV1().Secrets("").List(b.ctx, metav1.ListOptions{})
		return err
	}},
	{"read ConfigMaps", false, func(b *bed, c *kubernetes.Clientset) error {
		_, err := c.CoreV1().ConfigMaps("").List(b.ctx, metav1.ListOptions{})
		return err
	}},
	{"create Events", true, func(b *bed, c *kubernetes.Clientset) error {
		_, err := c.CoreV1().Events("default").Create(b.ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: b.ns}, InvolvedObject: corev1.ObjectReference{Kind: "Node", Name: b.that}}, metav1.CreateOptions{})
		return err
	}},
	{"create a pod", false, func(b *bed, c *kubernetes.Clientset) error {
		_, err := c.CoreV1().Pods(b.ns).Create(b.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: cluster.PodSpec()}, metav1.CreateOptions{})
		return err
	}},
}

// asNode is everything that was tried with the same token in the node's name.
var asNode = []try{
	{"as its node: evict a pod of its node", true, evict("own")},
	{"as its node: evict a pod of another node", false, evict("that")},
	{"as its node: cordon its node", false, patchNode("own", strategic, `{"spec":{"unschedulable":true}}`)},
	{"as its node: read Secrets", false, func(b *bed, c *kubernetes.Clientset) error {
		_, err := c.CoreV1().Secrets("").List(b.ctx, metav1.ListOptions{})
		return err
	}},
}

// asAnother is what was tried in the name of another node.
var asAnother = []try{
	{"as another node: evict its pod", false, evict("that")},
}

func check(b *bed, c *kubernetes.Clientset, t try) {
	b.Helper()
	err := t.do(b, c)
	switch {
	case t.allow && err != nil:
		b.Errorf("may not %s: %v", t.what, err)
	case !t.allow && err == nil:
		b.Errorf("may %s", t.what)
	case !t.allow && !apierrors.IsForbidden(err):
		b.Errorf("%s fails, and not because it is forbidden: %v", t.what, err)
	}
}

// A token that was stolen from the daemon of one node, be it a pod or a unit: what it is
// good for.
func TestStolenToken(t *testing.T) {
	for of, token := range map[string]func(*bed) string{
		"pod":  func(b *bed) string { return b.token(b.pod) },
		"unit": (*bed).unitToken,
	} {
		t.Run(of, func(t *testing.T) {
			b := newBed(t, "stolen-"+of)
			token := token(b)
			c := b.client(token, nil)
			b.effective(c)
			for _, try := range tries {
				check(b, c, try)
			}
			own := b.client(token, func(cfg *rest.Config) { cfg.Impersonate.UserName = "system:node:" + b.own })
			for _, try := range asNode {
				check(b, own, try)
			}
			that := b.client(token, func(cfg *rest.Config) { cfg.Impersonate.UserName = "system:node:" + b.that })
			for _, try := range asAnother {
				check(b, that, try)
			}
		})
	}
}

// What the documentation says of a stolen token is what was tried. With REWRITE=1 it
// is written anew.
func TestSecurityIsTrue(t *testing.T) {
	may, not := "", ""
	for _, try := range slices.Concat(tries, asNode, asAnother) {
		if try.allow {
			may += "- " + try.what + "\n"
		} else {
			not += "- " + try.what + "\n"
		}
	}
	path := filepath.Join(root(), "docs", "security.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "<!-- tries -->\nIt may:\n\n" + may + "\nIt may not:\n\n" + not + "<!-- end -->"
	block := regexp.MustCompile(`(?s)<!-- tries -->.*?<!-- end -->`)
	if got := block.FindString(string(data)); got == want {
		return
	}
	if os.Getenv("REWRITE") == "" {
		t.Fatal("docs/security.md does not list what was tried; REWRITE=1 rewrites it")
	}
	if err := os.WriteFile(path, []byte(block.ReplaceAllLiteralString(string(data), want)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// effective waits until the API server has compiled the policies.
func (b *bed) effective(c *kubernetes.Clientset) {
	b.Helper()
	for {
		err := patchNode("that", strategic, `{"metadata":{"annotations":{"rebootd.dev/operation":null}}}`)(b, c)
		err2 := c.CoreV1().Pods(b.ns).Delete(b.ctx, b.that+"-b", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		// Each policy has a time of its own.
		dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		leases := c.CoordinationV1()
		_, err3 := leases.Leases(cluster.NodeLeases).Create(b.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "node-" + b.that}}, dry)
		_, err4 := leases.Leases(cluster.Namespace).Create(b.ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: b.ns + "-probe"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &b.that},
		}, dry)
		if apierrors.IsForbidden(err) && apierrors.IsForbidden(err2) && apierrors.IsForbidden(err3) && apierrors.IsForbidden(err4) {
			return
		}
		select {
		case <-b.ctx.Done():
			b.Fatalf("the policies have no effect: %v, %v, %v, %v", err, err2, err3, err4)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// A token that is bound to no pod is good for nothing but to read.
func TestTokenOfNoNode(t *testing.T) {
	b := newBed(t, "unbound")
	b.effective(b.client(b.token(b.pod), nil))
	c := b.client(b.token(nil), nil)
	for _, try := range tries {
		switch try.what {
		case "read every node and every pod", "create Events":
		default:
			try.allow = false
		}
		check(b, c, try)
	}
}
