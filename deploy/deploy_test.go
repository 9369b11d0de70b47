// Package deploy holds what is shipped for a cluster; its tests hold the
// manifests against what the README promises.
package deploy

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

func documents(t *testing.T, path string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(data, []byte("\n---\n"))
}

func daemonSet(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	ds := new(appsv1.DaemonSet)
	if err := yaml.UnmarshalStrict(documents(t, "base/daemonset.yaml")[0], ds); err != nil {
		t.Fatal(err)
	}
	return ds
}

func TestPodHasNoMoreThanItNeeds(t *testing.T) {
	spec := daemonSet(t).Spec.Template.Spec
	if spec.HostPID || spec.HostIPC {
		t.Error("the pod shares the host's processes")
	}
	c := spec.Containers[0]
	s := c.SecurityContext
	switch {
	case s.Privileged != nil && *s.Privileged:
		t.Error("the container is privileged")
	case s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation:
		t.Error("the container may escalate")
	case s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem:
		t.Error("the container can write its root")
	case len(s.Capabilities.Add) > 0 || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}):
		t.Error("the container has capabilities")
	}
	for _, m := range c.VolumeMounts {
		if !m.ReadOnly || !strings.HasPrefix(m.MountPath, "/host/") {
			t.Errorf("mounts %s, read-only %t", m.MountPath, m.ReadOnly)
		}
	}
	for _, v := range spec.Volumes {
		if v.HostPath == nil || !slices.Contains([]string{"/run", "/proc/sys/kernel/random/boot_id", "/proc/stat"}, v.HostPath.Path) {
			t.Errorf("mounts %+v", v)
		}
	}
}

// What keeps containers off the host's bus by default is not applied to the pod, on the
// distributions that have it: without the bus it cannot reboot.
func TestPodReachesTheBus(t *testing.T) {
	s := daemonSet(t).Spec.Template.Spec.Containers[0].SecurityContext
	if a := s.AppArmorProfile; a == nil || a.Type != corev1.AppArmorProfileTypeUnconfined {
		t.Errorf("AppArmor's profile is %+v: that of the container runtimes denies D-Bus on Ubuntu", a)
	}
	if s.SELinuxOptions == nil || s.SELinuxOptions.Type != "spc_t" {
		t.Errorf("SELinux' type is %+v: that of containers denies the host's bus", s.SELinuxOptions)
	}
}

// Every file system below a mounted directory of the host is mounted with it.
func TestHostMountsAreReadOnlyThroughout(t *testing.T) {
	for _, m := range daemonSet(t).Spec.Template.Spec.Containers[0].VolumeMounts {
		recursive := m.RecursiveReadOnly != nil && *m.RecursiveReadOnly == corev1.RecursiveReadOnlyIfPossible
		if directory := m.MountPath == "/host/run"; directory != recursive {
			t.Errorf("%s: recursively read-only %v, want that for the one directory", m.MountPath, m.RecursiveReadOnly)
		}
		if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
			t.Errorf("%s receives what is mounted later, writable: %s", m.MountPath, *m.MountPropagation)
		}
	}
}

func TestPodRunsOnEveryNode(t *testing.T) {
	spec := daemonSet(t).Spec.Template.Spec
	if len(spec.NodeSelector) != 1 || spec.NodeSelector[corev1.LabelOSStable] != "linux" {
		t.Errorf("the pod tolerates every taint, and is sent to nodes that are %v", spec.NodeSelector)
	}
	want := []corev1.NodeSelectorRequirement{
		{Key: "type", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"virtual-kubelet"}},
		{Key: "eks.amazonaws.com/compute-type", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"fargate"}},
	}
	if a := spec.Affinity; a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		t.Error("the pod is sent to nodes without a machine")
	} else if terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms; len(terms) != 1 || !slices.EqualFunc(terms[0].MatchExpressions, want, func(a, b corev1.NodeSelectorRequirement) bool {
		return a.Key == b.Key && a.Operator == b.Operator && slices.Equal(a.Values, b.Values)
	}) {
		t.Errorf("the pod is sent to nodes that %+v", terms)
	}
	if len(spec.Tolerations) != 1 || spec.Tolerations[0] != (corev1.Toleration{Operator: corev1.TolerationOpExists}) {
		t.Errorf("tolerations %+v", spec.Tolerations)
	}
	if spec.PriorityClassName != "system-node-critical" {
		t.Errorf("priority class %q", spec.PriorityClassName)
	}
	c := spec.Containers[0]
	if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.Ports[0].ContainerPort != 9650 {
		t.Errorf("probes and ports %+v %+v %+v", c.LivenessProbe, c.ReadinessProbe, c.Ports)
	}
	if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("resources %+v", c.Resources)
	}
}

// Where a cluster admits the critical priority classes to namespaces with a quota for
// them only, this is that quota, and it is no limit.
func TestQuotaAdmitsThePod(t *testing.T) {
	var q corev1.ResourceQuota
	if err := yaml.UnmarshalStrict(documents(t, "base/quota.yaml")[0], &q); err != nil {
		t.Fatal(err)
	}
	want := corev1.ScopedResourceSelectorRequirement{
		ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn,
		Values: []string{daemonSet(t).Spec.Template.Spec.PriorityClassName},
	}
	if s := q.Spec.ScopeSelector; s == nil || len(s.MatchExpressions) != 1 || s.MatchExpressions[0].ScopeName != want.ScopeName ||
		s.MatchExpressions[0].Operator != want.Operator || !slices.Equal(s.MatchExpressions[0].Values, want.Values) {
		t.Errorf("the quota is for %+v", s)
	}
	if q.Namespace != "rebootd" || len(q.Spec.Hard) != 1 || q.Spec.Hard.Pods().Value() < 1_000_000 {
		t.Errorf("the quota in %s is %v", q.Namespace, q.Spec.Hard)
	}
}

// The metrics are served on the address by which the cluster knows the node, not on all
// that the machine has; the probes ask there, too. An IPv6 address needs its brackets, and an
// IPv4 address may have them.
func TestPodServesOnTheNodesAddress(t *testing.T) {
	c := daemonSet(t).Spec.Template.Spec.Containers[0]
	i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "HOST_IP" })
	if i < 0 || c.Env[i].ValueFrom == nil || c.Env[i].ValueFrom.FieldRef == nil || c.Env[i].ValueFrom.FieldRef.FieldPath != "status.hostIP" {
		t.Fatalf("HOST_IP is not the node's address: %+v", c.Env)
	}
	address, ok := "", false
	for _, a := range c.Args {
		if address, ok = strings.CutPrefix(a, "--metrics-address="); ok {
			break
		}
	}
	for _, ip := range []string{"192.0.2.7", "2001:db8::7"} {
		got, err := net.ResolveTCPAddr("tcp", strings.ReplaceAll(address, "$(HOST_IP)", ip))
		if err != nil || !got.IP.Equal(net.ParseIP(ip)) || got.Port != int(c.Ports[0].ContainerPort) {
			t.Errorf("on a node with the address %s, %q is %v, %v", ip, address, got, err)
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
		if p.HTTPGet.Host != "" { // "" is the pod's address, which is the node's
			t.Errorf("a probe asks %s", p.HTTPGet.Host)
		}
	}
}

// The image has one name, which no registry but the node's own serves: nobody else's
// image is ever pulled in its place. make gives it another.
func TestImageIsNamedOnce(t *testing.T) {
	c := daemonSet(t).Spec.Template.Spec.Containers[0]
	if c.Image != "localhost/rebootd:dev" || c.ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("the image is %s, pulled %s", c.Image, c.ImagePullPolicy)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(makefile), "\nIMAGE ?= "+c.Image+"\n") {
		t.Errorf("the Makefile does not name the image %s", c.Image)
	}
	image := regexp.MustCompile(`(?m)^\s*(- )?(image|newName|newTag):`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" || path == "base/daemonset.yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if at := image.Find(data); at != nil {
			t.Errorf("%s names an image, too: %s", path, at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The most that a daemon may be granted, by the README.
func TestRolesGrantNoMore(t *testing.T) {
	most := map[string][]string{
		"/nodes": {"get", "list", "watch", "patch"}, "/nodes/status": {"patch"}, "/pods": {"list", "watch", "delete"},
		"authentication.k8s.io/nodes": {"impersonate:associated-node"}, "/pods/eviction": {"impersonate-on:associated-node:create"},
		"policy/poddisruptionbudgets": {"list", "watch"}, "/events": {"create"},
		"storage.k8s.io/volumeattachments": {"list", "watch"}, "/persistentvolumeclaims": {"get"},
		"coordination.k8s.io/leases": {"get", "list", "watch", "create", "patch", "delete"}, // delete for an object's owners
	}
	rules := 0
	for _, doc := range documents(t, "base/rbac.yaml") {
		var role rbacv1.ClusterRole // a Role has the same rules
		if err := yaml.Unmarshal(doc, &role); err != nil {
			t.Fatal(err)
		}
		for _, r := range role.Rules {
			rules++
			for _, g := range r.APIGroups {
				for _, res := range r.Resources {
					for _, v := range r.Verbs {
						if !slices.Contains(most[g+"/"+res], v) {
							t.Errorf("%s %s grants %s on %s/%s", role.Kind, role.Name, v, g, res)
						}
						if res == "leases" && role.Kind != "Role" {
							t.Error("leases are granted beyond the namespace")
						}
					}
				}
			}
		}
	}
	if rules < 7 {
		t.Errorf("only %d rules were read", rules)
	}
}

func TestImageHasNothingButTheBinary(t *testing.T) {
	data, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	_, final, ok := strings.Cut(string(data), "\nFROM scratch\n")
	if !ok {
		t.Fatal("the image is not made from scratch")
	}
	if strings.Count(final, "COPY ") != 1 || strings.Contains(final, "RUN ") {
		t.Errorf("the image is more than one binary:\n%s", final)
	}
	if args := daemonSet(t).Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--reboot-method=logind") || !strings.Contains(final, `ENTRYPOINT ["/rebootd"]`) {
		t.Errorf("the reboot command of the manifests is not in the image: %q", args)
	}
}
