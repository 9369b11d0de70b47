package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// verb is a way in which a change is asked for.
type verb struct {
	what string
	// request is what is sent: old and new are the object as it is and as it is to be.
	request func(old, new map[string]any) (method, contentType, query string, body any)
}

func patchVerb(what, contentType, query string, body func(old, new map[string]any) any) verb {
	return verb{what, func(old, new map[string]any) (string, string, string, any) {
		return http.MethodPatch, contentType, query, body(old, new)
	}}
}

func mergeBody(old, new map[string]any) any { return difference(old, new) }

func applyBody(old, new map[string]any) any {
	body, _ := withoutNulls(difference(old, new)).(map[string]any)
	set(body, []string{"metadata", "name"}, old["metadata"].(map[string]any)["name"], false, nil)
	body["apiVersion"], body["kind"] = old["apiVersion"], old["kind"]
	return body
}

const jsonPatch = "application/json-patch+json"

// The managers are fixed, but for the names of the nodes.
var (
	byMerge     = patchVerb("merge patch", merge, "fieldManager=attack", mergeBody)
	byTheir     = patchVerb("merge patch in the holder's name", merge, "fieldManager=rebootd%2F@THAT@", mergeBody)
	byJSON      = patchVerb("JSON patch", jsonPatch, "fieldManager=attack", func(old, new map[string]any) any { return operations(nil, old, difference(old, new)) })
	byStrategic = patchVerb("strategic patch", strategic, "fieldManager=attack", mergeBody)
	byApply     = patchVerb("apply", apply, "fieldManager=rebootd%2F@OWN@", applyBody)
	byForce     = patchVerb("apply by force", apply, "fieldManager=rebootd%2F@OWN@&force=true", applyBody)
	byTheirs    = patchVerb("apply by force in the holder's name", apply, "fieldManager=rebootd%2F@THAT@&force=true", applyBody)
	byUpdate    = verb{"update", func(_, new map[string]any) (string, string, string, any) {
		return http.MethodPut, "application/json", "", new
	}}
	byCreate = verb{"create", func(_, new map[string]any) (string, string, string, any) {
		return http.MethodPost, "application/json", "fieldManager=attack", new
	}}
)

// difference is the merge patch that makes new of old.
func difference(old, new map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range new {
		was, there := old[k]
		a, isMap := v.(map[string]any)
		b, wasMap := was.(map[string]any)
		switch {
		case there && isMap && wasMap:
			if d := difference(b, a); len(d) > 0 {
				out[k] = d
			}
		case !there || !same(was, v):
			out[k] = v
		}
	}
	for k := range old {
		if _, there := new[k]; !there {
			out[k] = nil
		}
	}
	return out
}

// same says whether two values are the same JSON.
func same(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

func withoutNulls(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return clone(v)
	}
	out := map[string]any{}
	for k, v := range m {
		if v != nil {
			out[k] = withoutNulls(v)
		}
	}
	return out
}

// operations are the JSON patch that does what a merge patch does.
func operations(path []string, old, diff map[string]any) []any {
	out := []any{}
	for _, k := range slices.Sorted(mapKeys(diff)) {
		at := append(slices.Clone(path), strings.NewReplacer("~", "~0", "/", "~1").Replace(k))
		pointer := "/" + strings.Join(at, "/")
		was, wasMap := old[k].(map[string]any)
		v, isMap := diff[k].(map[string]any)
		switch {
		case diff[k] == nil:
			out = append(out, map[string]any{"op": "remove", "path": pointer})
		case isMap && wasMap:
			out = append(out, operations(at, was, v)...)
		default:
			out = append(out, map[string]any{"op": "add", "path": pointer, "value": diff[k]})
		}
	}
	return out
}

func mapKeys(m map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// answer is what the API server says.
type answer struct {
	code    int
	message string
	object  map[string]any // when it was done
}

// ofPolicy says whether one of the shipped policies has refused it.
func (a answer) ofPolicy() bool {
	return a.code/100 == 4 && strings.Contains(a.message, "ValidatingAdmissionPolicy 'rebootd")
}

// fill puts the names and times of a scene into what is sent.
func (s *scene) fill(text string) string {
	now, later := time.Now().UTC(), time.Now().Add(10*24*time.Hour).UTC()
	return strings.NewReplacer(
		"@OWN@", s.own, "@THAT@", s.that, "@OWNUID@", s.ownUID, "@THATUID@", s.thatUID,
		"@NOW@", now.Format(time.RFC3339), "@FUTURE@", later.Format(time.RFC3339),
		"@NOWMICRO@", now.Format(metav1.RFC3339Micro), "@FUTUREMICRO@", later.Format(metav1.RFC3339Micro),
	).Replace(text)
}

// send sends bytes, and comes again when it is told that there are too many requests.
func (s *scene) send(c *http.Client, method, path, query, contentType string, body any, header http.Header) answer {
	s.Helper()
	data := []byte{}
	if body != nil {
		var err error
		data, err = json.Marshal(body)
		s.must(err)
	}
	for {
		u := shared.Config.Host + path
		if query != "" {
			u += "?" + s.fill(query)
		}
		req, err := http.NewRequestWithContext(s.ctx, method, u, strings.NewReader(s.fill(string(data))))
		s.must(err)
		for k, v := range header {
			req.Header[k] = v
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		resp, err := c.Do(req)
		if err != nil {
			if s.ctx.Err() != nil {
				s.Fatalf("%s %s: %v", method, path, err)
			}
			return answer{code: 0, message: err.Error()}
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
		resp.Body.Close()
		s.must(err)
		a := answer{code: resp.StatusCode}
		var object map[string]any
		if json.Unmarshal(text, &object) == nil && a.code/100 == 2 {
			a.object = object
		}
		if a.code/100 != 2 {
			a.message, _ = object["message"].(string)
		}
		if a.code != http.StatusTooManyRequests {
			return a
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// get is what an admin sees of an object; nil when there is none.
func (s *scene) get(path, query string) map[string]any {
	s.Helper()
	a := s.send(s.admin, http.MethodGet, path, query, "", nil, nil)
	if a.code == http.StatusNotFound {
		return nil
	}
	if a.code != http.StatusOK {
		s.Fatalf("read %s: %d %s", path, a.code, a.message)
	}
	return a.object
}

const leasesPath = "/apis/coordination.k8s.io/v1/namespaces/%s/leases"

func leasePath(namespace, name string) string {
	return fmt.Sprintf(leasesPath, namespace) + "/" + url.PathEscape(name)
}
