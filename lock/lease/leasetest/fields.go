package leasetest

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fields are the values of an object that somebody can own, by their paths: those of the
// spec, the annotations, the labels, and the owners by their UIDs.
type fields map[string]any

// fieldsOf are the fields of an object, or of an apply configuration.
func fieldsOf(obj map[string]any) fields {
	out := fields{}
	meta := child(obj, "metadata")
	for path, from := range map[string]map[string]any{
		"spec/": child(obj, "spec"), "annotations/": child(meta, "annotations"), "labels/": child(meta, "labels"),
	} {
		for k, v := range from {
			if v != nil {
				out[path+k] = v
			}
		}
	}
	owners, _ := meta["ownerReferences"].([]any)
	for _, o := range owners {
		owner, _ := o.(map[string]any)
		uid, _ := owner["uid"].(string)
		out["ownerReferences/"+uid] = owner
	}
	return out
}

// object is the object that has these fields.
func (f fields) object(meta map[string]any) map[string]any {
	out := map[string]any{"metadata": maps.Clone(meta), "spec": map[string]any{}}
	m := child(out, "metadata")
	for _, part := range []string{"annotations", "labels"} {
		delete(m, part)
	}
	var owners []any
	for _, path := range slices.Sorted(maps.Keys(f)) {
		part, name := cut(path)
		switch part {
		case "spec":
			child(out, "spec")[name] = f[path]
		case "ownerReferences":
			owners = append(owners, f[path])
		default:
			if m[part] == nil {
				m[part] = map[string]any{}
			}
			child(m, part)[name] = f[path]
		}
	}
	delete(m, "ownerReferences")
	if owners != nil {
		m["ownerReferences"] = owners
	}
	return out
}

func cut(path string) (part, name string) {
	for i := range path {
		if path[i] == '/' {
			return path[:i], path[i+1:]
		}
	}
	return path, ""
}

func child(obj map[string]any, name string) map[string]any {
	out, _ := obj[name].(map[string]any)
	return out
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// managers are who has said what: the paths that each owns.
type managers map[manager]map[string]bool

type manager struct {
	name      string
	operation metav1.ManagedFieldsOperationType
}

// owned says whether a manager other than m owns a path.
func (ms managers) owned(path string, m manager) bool {
	for other, paths := range ms {
		if other != m && paths[path] {
			return true
		}
	}
	return false
}

// drop takes a path from all managers but m.
func (ms managers) drop(path string, m manager) {
	for other, paths := range ms {
		if other != m {
			delete(paths, path)
		}
	}
	ms.tidy()
}

// tidy forgets managers that own nothing.
func (ms managers) tidy() {
	maps.DeleteFunc(ms, func(_ manager, paths map[string]bool) bool { return len(paths) == 0 })
}

func (ms managers) clone() managers {
	out := managers{}
	for m, paths := range ms {
		out[m] = maps.Clone(paths)
	}
	return out
}

// entries are the managers as an object shows them.
func (ms managers) entries() []metav1.ManagedFieldsEntry {
	var out []metav1.ManagedFieldsEntry
	for m := range ms {
		out = append(out, metav1.ManagedFieldsEntry{Manager: m.name, Operation: m.operation})
	}
	slices.SortFunc(out, func(a, b metav1.ManagedFieldsEntry) int {
		if a.Manager < b.Manager || a.Manager == b.Manager && a.Operation < b.Operation {
			return -1
		}
		return 1
	})
	return out
}

// apply is server-side apply: it returns the fields and managers after it, and the paths
// that others own and that it would change.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/
func apply(live fields, ms managers, said fields, by manager, force bool) (fields, managers, []string) {
	out, owners := maps.Clone(live), ms.clone()
	var conflicts []string
	for path, v := range said {
		if same(live[path], v) {
			continue // several may say the same
		}
		if owners.owned(path, by) {
			if !force {
				conflicts = append(conflicts, path)
				continue
			}
			owners.drop(path, by)
		}
		out[path] = v
	}
	for path := range ms[by] {
		if _, still := said[path]; !still && !owners.owned(path, by) {
			delete(out, path) // it goes with the last that has said it
		}
	}
	owners[by] = map[string]bool{}
	for path := range said {
		owners[by][path] = true
	}
	owners.tidy()
	return out, owners, conflicts
}

// update is any other write: who changes a field owns it, and nobody one that is gone.
func update(live fields, ms managers, now fields, by manager) managers {
	owners := ms.clone()
	for path := range live {
		if _, still := now[path]; !still {
			owners.drop(path, manager{})
		}
	}
	for path, v := range now {
		if same(live[path], v) {
			continue
		}
		owners.drop(path, by)
		if owners[by] == nil {
			owners[by] = map[string]bool{}
		}
		owners[by][path] = true
	}
	return owners
}

// merge is a JSON merge patch (RFC 7386).
func merge(into, patch map[string]any) map[string]any {
	out := maps.Clone(into)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		p, ok := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case ok:
			out[k] = merge(child(out, k), p)
		default:
			out[k] = v
		}
	}
	return out
}

// decode is what a body says.
func decode(body []byte) (map[string]any, error) {
	var out map[string]any
	return out, json.Unmarshal(body, &out)
}
