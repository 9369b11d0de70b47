// Package deploy holds what is shipped for a cluster; its tests hold the
// manifests against what the README promises.
package deploy

import (
	"bytes"
	"os"
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

func TestPodRunsOnEveryNode(t *testing.T) {
	spec := daemonSet(t).Spec.Template.Spec
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
