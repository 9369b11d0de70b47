package cli

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

// people installs the shipped roles for people, and has users that are bound to them.
func (b *bed) people(roles ...string) {
	b.Helper()
	kubectl, err := shared.Kubectl()
	b.Must(err)
	file := filepath.Join(filepath.Dir(cluster.SourceDir()), "deploy", "base", "people.yaml")
	if out, err := exec.CommandContext(b.Ctx, kubectl, "--kubeconfig", shared.Kubeconfig, "apply", "-f", file).CombinedOutput(); err != nil {
		b.Fatalf("apply %s: %v\n%s", file, err, out)
	}
	rbac := shared.Client.RbacV1()
	for _, role := range roles {
		meta, who := metav1.ObjectMeta{Name: role + "-test"}, []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: role}}
		_, err := rbac.ClusterRoleBindings().Create(b.Ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: who, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			b.Must(err)
		}
		_, err = rbac.RoleBindings(cluster.Namespace).Create(b.Ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: who, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role}}, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			b.Must(err)
		}
	}
}

// TestPeople has who is bound to rebootd-viewer read everything and write nothing, and who
// is bound to rebootd-operator do all.
func TestPeople(t *testing.T) {
	t.Parallel()
	b := newBed(t, 4*time.Minute)
	b.people("rebootd-viewer", "rebootd-operator")
	m, slot := b.machine(), b.Name+"-0"
	b.reason(m, "NotRequired")
	before := m.BootID()
	b.ok("request " + m.Name + " --as=rebootd-operator --wait --timeout=90s")
	if m.BootID() == before {
		t.Error("it has not rebooted")
	}
	b.ok("hold " + m.Name + " --as=rebootd-operator --reason=disk")
	b.Must(m.Touch("x"))
	b.reason(m, "Held")
	b.ok("pause --as=rebootd-operator --lock=" + b.Name)
	b.occupy("gone")

	b.reads(m.Name, m.Name, "--as=rebootd-viewer")
	nodes, leases := `cannot patch resource "nodes"`, `cannot patch resource "leases"`
	for line, right := range map[string]string{
		"request " + m.Name: nodes, "hold " + m.Name + " --overwrite": nodes, "unhold " + m.Name: nodes, "approve " + m.Name + " --until=4h": nodes, "abort " + m.Name: nodes,
		"pause --overwrite --reason=x --lock=" + b.Name: leases, "pause --lock=new-" + b.Name: `cannot create resource "leases"`, "resume --lock=" + b.Name: leases,
		"release " + slot + " --holder=gone --yes": leases,
	} {
		b.ends(1, line+" --as=rebootd-viewer", `User "rebootd-viewer" `+right, "ask for the ClusterRole rebootd-operator")
	}
	b.ends(1, "status --as=nobody", `User "nobody" cannot list resource "nodes"`)

	for _, line := range []string{
		"release " + slot + " --holder=gone --yes", "resume --lock=" + b.Name, "approve " + m.Name + " --until=4h", "abort " + m.Name + " --wait --timeout=30s", "unhold " + m.Name,
		"request " + m.Name + " --dry-run",
	} {
		b.ok(line + " --as=rebootd-operator")
	}
	if n := b.Node(m.Name, "idle", kit.Idle); n.Annotations["rebootd.dev/hold"] != "" || !strings.HasPrefix(n.Annotations["rebootd.dev/approval"], "until ") {
		t.Errorf("%v", n.Annotations)
	}
}
