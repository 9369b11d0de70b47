package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// change is one way in which an object may be made different. What is between @ in
// its values is filled in when it is sent.
type change struct {
	what string
	do   func(o map[string]any)
}

// inList is, in a path into an object, an element of a list.
const inList = "[]"

// leaf is a field of a type that has no further fields, with values of its type.
type leaf struct {
	path   []string
	values []any
}

// leaves finds them by the Go types, so that a field that is new is tried, too.
func leaves(t reflect.Type, path []string) (out []leaf) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	one := func(values ...any) []leaf { return []leaf{{slices.Clone(path), values}} }
	switch t {
	case reflect.TypeFor[metav1.Time]():
		return one("@FUTURE@", "2001-01-01T00:00:00Z", "@NOW@")
	case reflect.TypeFor[metav1.MicroTime]():
		return one("@FUTUREMICRO@", "2001-01-01T00:00:00.000000Z", "@NOWMICRO@")
	case reflect.TypeFor[resource.Quantity]():
		return one("7")
	case reflect.TypeFor[intstr.IntOrString]():
		return one(7, "7%")
	case reflect.TypeFor[metav1.FieldsV1](), reflect.TypeFor[runtime.RawExtension]():
		return one(map[string]any{"f:spec": map[string]any{"f:renewTime": map[string]any{}}})
	}
	switch t.Kind() {
	case reflect.String:
		return one("attack", "@OWN@", "@THAT@")
	case reflect.Bool:
		return one(true, false)
	case reflect.Int, reflect.Int32, reflect.Int64:
		return one(7, 2147483647)
	case reflect.Map:
		return one(map[string]any{"example.com/x": filled(t.Elem(), 0)}, map[string]any{"memory": filled(t.Elem(), 0)})
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return one("eHh4")
		}
		out = one([]any{filled(t.Elem(), 0)}, []any{})
		if t.Elem().Kind() == reflect.Struct {
			out = append(out, leaves(t.Elem(), append(slices.Clone(path), inList))...)
		}
		return out
	case reflect.Struct:
		if len(path) > 10 {
			return nil
		}
		for i := range t.NumField() {
			name, inline := jsonName(t.Field(i))
			switch {
			case inline:
				out = append(out, leaves(t.Field(i).Type, path)...)
			case name != "":
				out = append(out, leaves(t.Field(i).Type, append(slices.Clone(path), name))...)
			}
		}
		return out
	}
	return one("attack")
}

func jsonName(f reflect.StructField) (name string, inline bool) {
	tag := f.Tag.Get("json")
	name, _, _ = strings.Cut(tag, ",")
	return name, name == "" && f.Anonymous || strings.Contains(tag, ",inline")
}

// filled is a value of a type with everything in it that has no further fields.
func filled(t reflect.Type, depth int) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if l := leaves(t, nil); t.Kind() != reflect.Struct || len(l) == 1 && len(l[0].path) == 0 {
		return l[0].values[0]
	}
	out := map[string]any{}
	for i := range t.NumField() {
		name, inline := jsonName(t.Field(i))
		f := t.Field(i).Type
		if f.Kind() == reflect.Pointer {
			f = f.Elem()
		}
		switch {
		case inline:
			if in, ok := filled(f, depth+1).(map[string]any); ok {
				for k, v := range in {
					out[k] = v
				}
			}
		case name == "" || depth > 1 && f.Kind() == reflect.Struct:
		default:
			out[name] = filled(f, depth+1)
		}
	}
	return out
}

// set sets what a path leads to; in a list, of its first element or of one that is
// added. nil removes it.
func set(o any, path []string, value any, add bool, element func() any) any {
	if len(path) == 0 {
		return clone(value)
	}
	if path[0] == inList {
		list, _ := o.([]any)
		list = slices.Clone(list)
		if add || len(list) == 0 {
			list = append(list, element())
		}
		i := 0
		if add {
			i = len(list) - 1
		}
		list[i] = set(list[i], path[1:], value, add, func() any { return map[string]any{} })
		return list
	}
	m, ok := o.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	v := set(m[path[0]], path[1:], value, add, element)
	if v == nil {
		delete(m, path[0])
	} else {
		m[path[0]] = v
	}
	return m
}

// clone copies what JSON can say.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}

// changes are those of every field of an object: another value, none, and of a list
// one more element and another of its first.
func changes(t reflect.Type) (out []change) {
	for _, l := range leaves(t, nil) {
		name := strings.Join(l.path, ".")
		if name == "apiVersion" || name == "kind" {
			continue
		}
		values, listed := append(l.values, nil), slices.Contains(l.path, inList)
		for _, v := range values {
			out = append(out, change{fmt.Sprintf("%s = %v", name, v), func(o map[string]any) { set(o, l.path, v, false, func() any { return element(t, l.path) }) }})
		}
		if listed {
			v := l.values[0]
			out = append(out, change{fmt.Sprintf("one more of %s = %v", name, v), func(o map[string]any) { set(o, l.path, v, true, func() any { return element(t, l.path) }) }})
		}
	}
	return out
}

// element is what is filled in for the innermost list of a path.
func element(t reflect.Type, path []string) any {
	for _, p := range path {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if p == inList {
			return filled(t.Elem(), 0)
		}
		t = fieldType(t, p)
		if t == nil {
			return map[string]any{}
		}
	}
	return map[string]any{}
}

func fieldType(t reflect.Type, name string) reflect.Type {
	for i := range t.NumField() {
		n, inline := jsonName(t.Field(i))
		if inline && t.Field(i).Type.Kind() == reflect.Struct {
			if f := fieldType(t.Field(i).Type, name); f != nil {
				return f
			}
		}
		if n == name {
			return t.Field(i).Type
		}
	}
	return nil
}

// known are changes that mean something to somebody: what a schema does not tell.
func known(of ...[]change) []change { return slices.Concat(of...) }

func setTo(path string, values ...any) (out []change) {
	keys := strings.Split(path, "|")
	for _, v := range values {
		out = append(out, change{fmt.Sprintf("%s = %v", path, v), func(o map[string]any) { set(o, keys, v, false, nil) }})
	}
	return out
}

// more appends to a list.
func more(path string, elements ...any) (out []change) {
	keys := strings.Split(path, "|")
	for _, e := range elements {
		out = append(out, change{fmt.Sprintf("one more of %s: %v", path, e), func(o map[string]any) { set(o, append(slices.Clone(keys), inList), e, true, func() any { return nil }) }})
	}
	return out
}

func owners() []change {
	ref := func(apiVersion, kind, name, uid string, yes bool) any {
		o := map[string]any{"apiVersion": apiVersion, "kind": kind, "name": name, "uid": uid}
		if yes {
			o["controller"], o["blockOwnerDeletion"] = true, true
		}
		return o
	}
	const gone = "00000000-0000-4000-8000-000000000000"
	return slices.Concat(
		more("metadata|ownerReferences",
			ref("v1", "Node", "@OWN@", "@OWNUID@", false), ref("v1", "Node", "@OWN@", "@OWNUID@", true),
			ref("v1", "Node", "@OWN@", gone, false), ref("v1", "Node", "@THAT@", "@THATUID@", false), ref("v1", "Node", "gone", gone, false),
			ref("v1", "ConfigMap", "gone", gone, false), ref("v1", "ConfigMap", "gone", gone, true), ref("example.com/v1", "Thing", "gone", gone, false),
			ref("v1", "Pod", "@OWN@-a", "@OWNUID@", false)),
		setTo("metadata|ownerReferences", nil, []any{ref("v1", "ConfigMap", "gone", gone, false)}, []any{ref("v1", "Node", "@OWN@", gone, false)}),
	)
}

// claims are entries of the account of who has said what.
func claims() (out []change) {
	none := map[string]any{}
	for what, fields := range map[string]any{
		"the holder":     map[string]any{"f:spec": map[string]any{"f:holderIdentity": none}},
		"the time":       map[string]any{"f:spec": map[string]any{"f:renewTime": none}},
		"all of a slot":  map[string]any{"f:metadata": map[string]any{"f:annotations": map[string]any{"f:rebootd.dev/schema": none, "f:rebootd.dev/holder-uid": none}, "f:ownerReferences": none}, "f:spec": map[string]any{"f:holderIdentity": none, "f:renewTime": none, "f:acquireTime": none, "f:leaseDurationSeconds": none}},
		"an owner":       map[string]any{"f:metadata": map[string]any{"f:ownerReferences": map[string]any{".": none, `k:{"uid":"@THATUID@"}`: none}}},
		"a Node":         map[string]any{"f:spec": map[string]any{"f:unschedulable": none}, "f:status": map[string]any{"f:conditions": none}},
		"what is no set": map[string]any{"f:x": map[string]any{"v:1": none}},
	} {
		for _, manager := range []string{"attack", "rebootd/@THAT@"} {
			for _, op := range []string{"Apply", "Update"} {
				for _, at := range []string{"@NOW@"} {
					e := map[string]any{"manager": manager, "operation": op, "apiVersion": "coordination.k8s.io/v1", "time": at, "fieldsType": "FieldsV1", "fieldsV1": fields}
					name := fmt.Sprintf("claims %s as %s of %s at %s", what, op, manager, at)
					out = append(out, change{name, func(o map[string]any) {
						set(o, []string{"metadata", "managedFields", inList}, e, true, func() any { return nil })
					}})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b change) int { return strings.Compare(a.what, b.what) })
	return append(out, setTo("metadata|managedFields", []any{}, []any{map[string]any{}})...)
}

func annotations(names ...string) (out []change) {
	for _, n := range names {
		out = append(out, setTo("metadata|annotations|"+n, "9", "@OWN@", "@THAT@", "@OWNUID@", nil)...)
	}
	return out
}

// leaseChanges are those of a Lease.
func leaseChanges() []change {
	return known(changes(reflect.TypeFor[coordinationv1.Lease]()), owners(), claims(),
		annotations("rebootd.dev/schema", "rebootd.dev/holder-uid", "rebootd.dev/next", "rebootd.dev/released-by", "rebootd.dev/vacated", "rebootd.dev/paused", "rebootd.dev/hold", "example.com/x"),
		setTo("metadata|annotations|rebootd.dev/line", `{"v":1,"nodes":["x","y"],"at":"@NOWMICRO@"}`, `{"v":9}`, "{", nil),
		more("metadata|finalizers", "example.com/x", "orphan", "foregroundDeletion"), setTo("metadata|finalizers", nil),
		[]change{
			{"takes it", func(o map[string]any) {
				set(o, []string{"spec", "holderIdentity"}, "@OWN@", false, nil)
				set(o, []string{"spec", "renewTime"}, "@NOWMICRO@", false, nil)
			}},
			{"takes it, as if by an apply", forgedApply("@FUTURE@")},
			{"takes it, as if by an apply now", forgedApply("@NOW@")},
			{"leaves nothing of it", func(o map[string]any) { delete(o, "spec"); delete(o["metadata"].(map[string]any), "annotations") }},
			{"knows a field that there is not", func(o map[string]any) { o["status"] = map[string]any{"x": "y"} }},
		})
}

// forgedApply takes a Lease and says that it was an apply.
func forgedApply(at string) func(map[string]any) {
	return func(o map[string]any) {
		set(o, []string{"spec", "holderIdentity"}, "@OWN@", false, nil)
		set(o, []string{"metadata", "managedFields", inList}, map[string]any{
			"manager": "rebootd/x", "operation": "Apply", "apiVersion": "coordination.k8s.io/v1", "time": at, "fieldsType": "FieldsV1",
			"fieldsV1": map[string]any{"f:spec": map[string]any{"f:holderIdentity": map[string]any{}, "f:renewTime": map[string]any{}}},
		}, true, func() any { return nil })
	}
}

// nodeChanges are those of a Node.
func nodeChanges() []change {
	condition := func(kind, status, reason string) any {
		return map[string]any{"type": kind, "status": status, "reason": reason, "message": "attack", "lastTransitionTime": "@NOW@", "lastHeartbeatTime": "@NOW@"}
	}
	var conditions []any
	for _, kind := range []string{"RebootRequired", "MaintenancePlanned", "DrainInProgress", "Drained", "MaintenanceInProgress", "Ready", "MemoryPressure", "example.com/X"} {
		conditions = append(conditions, condition(kind, "True", "Rebootd"), condition(kind, "False", "attack"))
	}
	return known(changes(reflect.TypeFor[corev1.Node]()), owners(), claims(),
		annotations("rebootd.dev/operation", "rebootd.dev/report", "rebootd.dev/request", "rebootd.dev/abort", "rebootd.dev/daemon", "rebootd.dev/hold", "rebootd.dev/priority",
			"cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt", "node.alpha.kubernetes.io/ttl", "example.com/x"),
		setTo("metadata|labels|"+corev1.LabelHostname, "@THAT@", nil), setTo("metadata|labels|node-role.kubernetes.io/control-plane", ""),
		more("metadata|finalizers", "example.com/x"), more("status|conditions", conditions...), setTo("status|conditions", nil),
		more("spec|taints", map[string]any{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}, map[string]any{"key": "node.kubernetes.io/unschedulable", "effect": "NoExecute"},
			map[string]any{"key": "example.com/x", "effect": "NoExecute"}),
		setTo("status|declaredFeatures", []any{"attack"}), setTo("status|features", map[string]any{"supplementalGroupsPolicy": true}),
		setTo("status|runtimeHandlers", []any{map[string]any{"name": "x", "features": map[string]any{"userNamespaces": true}}}),
		setTo("status|capacity|memory", "1Ti"), setTo("status|allocatable|example.com~1gpu", "4"),
		[]change{{"knows a field that there is not", func(o map[string]any) { set(o, []string{"status", "x"}, "y", false, nil) }}})
}

// podChanges are those of a Pod.
func podChanges() []change { return known(changes(reflect.TypeFor[corev1.Pod]()), owners(), claims()) }

// What is generated has every field of the schemas that the policies are about.
func TestAttackKnowsTheFields(t *testing.T) {
	for _, want := range []string{
		"metadata.finalizers = [attack]", "metadata.ownerReferences.[].uid = @OWN@", "metadata.managedFields.[].operation = attack", "metadata.deletionTimestamp = @FUTURE@",
		"spec.strategy = attack", "spec.acquireTime = @FUTUREMICRO@", "spec.holderIdentity = <nil>",
	} {
		has(t, "a Lease", leaseChanges(), want)
	}
	for _, want := range []string{
		"spec.taints.[].effect = attack", "status.runtimeHandlers.[].features.userNamespaces = true", "status.features.supplementalGroupsPolicy = true",
		"status.declaredFeatures = [attack]", "status.nodeInfo.swap.capacity = 7", "status.volumesAttached.[].devicePath = attack",
	} {
		has(t, "a Node", nodeChanges(), want)
	}
	for _, want := range []string{"spec.containers.[].image = attack", "spec.nodeName = @OWN@", "metadata.generateName = attack"} {
		has(t, "a Pod", podChanges(), want)
	}
	t.Logf("%d changes of a Lease, %d of a Node, %d of a Pod", len(leaseChanges()), len(nodeChanges()), len(podChanges()))
}

func has(t *testing.T, kind string, changes []change, want string) {
	t.Helper()
	if !slices.ContainsFunc(changes, func(c change) bool { return c.what == want }) {
		t.Errorf("of %s there is no change %q", kind, want)
	}
}
