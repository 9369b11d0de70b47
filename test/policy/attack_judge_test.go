package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/test/cluster"
)

// book is what was tried and found.
type book struct {
	mu       sync.Mutex
	tries    int
	codes    map[string]int
	accepted map[string]int // by target
	heirs    int
	findings map[string]*finding
}

type finding struct {
	example string
	times   int
}

func newBook() *book {
	return &book{codes: map[string]int{}, accepted: map[string]int{}, findings: map[string]*finding{}}
}

func (b *book) heard(on string, a answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	code := fmt.Sprint(a.code)
	if a.code >= 500 && b.codes[code] == 0 {
		fmt.Printf("%s: %d %s\n", on, a.code, a.message)
	}
	switch {
	case a.ofPolicy():
		code = "refused by the policies"
	case a.code == http.StatusForbidden:
		code = "403 for another reason"
	case a.code/100 == 2:
		code = "done"
		b.accepted[on]++
	}
	b.codes[code]++
}

func (b *book) found(what, example string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.findings[what] == nil {
		b.findings[what] = &finding{example: example}
		fmt.Printf("found: %s (%s)\n", what, example)
	}
	b.findings[what].times++
}

// often says whether something was found often enough.
func (b *book) often(what string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.findings[what] != nil && b.findings[what].times > 2
}

// changed are the paths at which two objects differ.
func changed(path string, was, now map[string]any) (out []string) {
	for _, k := range slices.Sorted(mapKeys(difference(was, now))) {
		a, aMap := was[k].(map[string]any)
		b, bMap := now[k].(map[string]any)
		aMap, bMap = aMap || was[k] == nil, bMap || now[k] == nil
		at := path + "|" + k
		if path == "" {
			at = k
		}
		if aMap && bMap && (a != nil || b != nil) && strings.Count(at, "|") < 2 {
			if sub := changed(at, a, b); len(sub) > 0 {
				out = append(out, sub...)
				continue
			}
		}
		out = append(out, at)
	}
	return out
}

func at(o map[string]any, path ...string) any {
	var v any = o
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func text(v any) string { s, _ := v.(string); return s }

// wrong is what has changed of a target that must not.
func (s *scene) wrong(on string, was, now map[string]any) (out []string) {
	if now == nil {
		return []string{"was deleted"}
	}
	allowed := map[string][]string{
		zone: {"spec|holderIdentity", "metadata|annotations|rebootd.dev/schema", "metadata|managedFields", "metadata|resourceVersion"},
	}[on]
	switch on {
	case free, ours, oursControl, absent:
		allowed = []string{
			"metadata|annotations|rebootd.dev/schema", "metadata|annotations|rebootd.dev/holder-uid", "metadata|annotations|rebootd.dev/next", "metadata|annotations|rebootd.dev/line",
			"metadata|annotations|rebootd.dev/released-by", "metadata|ownerReferences", "metadata|managedFields", "metadata|resourceVersion",
			"spec|holderIdentity", "spec|acquireTime", "spec|renewTime", "spec|leaseDurationSeconds",
		}
		if (on == ours || on == oursControl) && text(at(now, "spec", "holderIdentity")) == "" && text(at(now, "metadata", "annotations", api.VacatedAnnotation)) != "" {
			allowed = append(allowed, "metadata|annotations|"+api.VacatedAnnotation)
		}
		if on == absent {
			allowed = append(allowed, "metadata|creationTimestamp", "metadata|uid", "metadata|name", "spec")
		}
		if h := text(at(now, "spec", "holderIdentity")); h != "" && h != s.own {
			out = append(out, "is held by another")
		}
		for _, k := range []string{api.ReleasedByAnnotation, api.HolderUIDAnnotation} {
			v, is := at(now, "metadata", "annotations", k).(string)
			if is && v != s.own && v != s.ownUID && !same(at(was, "metadata", "annotations", k), v) {
				out = append(out, "says of another node: "+k)
			}
		}
		if !s.ownersRight(was, now) {
			out = append(out, "metadata|ownerReferences")
		}
	case ownNode:
		allowed = []string{
			"metadata|annotations|rebootd.dev/operation", "metadata|annotations|rebootd.dev/report", "metadata|annotations|rebootd.dev/served", "metadata|annotations|rebootd.dev/daemon", "metadata|annotations|rebootd.dev/history", "metadata|annotations|rebootd.dev/status", "metadata|annotations|cluster-autoscaler.kubernetes.io/scale-down-disabled",
			"metadata|annotations|karpenter.sh/do-not-disrupt", "metadata|managedFields", "metadata|resourceVersion", "metadata|generation", "spec|unschedulable",
		}
		for _, k := range []string{"rebootd.dev/request", "rebootd.dev/abort"} {
			if at(now, "metadata", "annotations", k) == nil {
				allowed = append(allowed, "metadata|annotations|"+k)
			}
		}
		if same(others(was, "spec", "taints", "key", "node.kubernetes.io/unschedulable"), others(now, "spec", "taints", "key", "node.kubernetes.io/unschedulable")) {
			allowed = append(allowed, "spec|taints")
		}
		own := []string{"RebootRequired", "MaintenancePlanned", "DrainInProgress", "Drained", "MaintenanceInProgress"}
		if same(others(was, "status", "conditions", "type", own...), others(now, "status", "conditions", "type", own...)) && keeps(was, now, own) {
			allowed = append(allowed, "status|conditions")
		}
	}
	for _, path := range changed("", was, now) {
		if !slices.Contains(allowed, path) && !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out
}

// ownersRight says whether there is no owner that was not there before but the own
// Node.
func (s *scene) ownersRight(was, now map[string]any) bool {
	before, _ := at(was, "metadata", "ownerReferences").([]any)
	after, _ := at(now, "metadata", "ownerReferences").([]any)
	for _, o := range after {
		own := same(o, map[string]any{"apiVersion": "v1", "kind": "Node", "name": s.own, "uid": s.ownUID})
		if !own && !slices.ContainsFunc(before, func(b any) bool { return same(o, b) }) {
			return false
		}
	}
	return true
}

// others are the elements of a list that have none of these values at a key.
func others(o map[string]any, in, list, key string, values ...string) []any {
	out := []any{}
	elements, _ := at(o, in, list).([]any)
	for _, e := range elements {
		if m, ok := e.(map[string]any); !ok || !slices.Contains(values, text(m[key])) {
			out = append(out, e)
		}
	}
	return out
}

// keeps says whether what others have said of the node's maintenance is still said.
func keeps(was, now map[string]any, own []string) bool {
	before, _ := at(was, "status", "conditions").([]any)
	after, _ := at(now, "status", "conditions").([]any)
	for _, c := range before {
		m := c.(map[string]any)
		if m["type"] != "RebootRequired" && slices.Contains(own, text(m["type"])) && m["status"] == "True" && m["reason"] != "Rebootd" &&
			!slices.ContainsFunc(after, func(a any) bool { return same(a, c) }) {
			return false
		}
	}
	return true
}

// look judges a target after something was done to it, and puts it right.
func (s *scene) look(on, what string) {
	s.Helper()
	t := s.targets[on]
	switch on {
	case thatPod:
		s.lookAtPods(what)
		return
	case absent:
		s.lookAtMade(what)
		return
	}
	now := s.get(t.path, "")
	bad := s.wrong(on, t.was, now)
	known := len(bad) > 0
	for _, b := range bad {
		s.book.found(on+": "+b, what)
		known = known && s.book.often(on+": "+b)
	}
	switch on {
	case held, heldControl, nodeLeaseOf:
		if t.lock != nil && now != nil && text(at(now, "spec", "holderIdentity")) != text(at(t.was, "spec", "holderIdentity")) {
			s.book.found(on+": is taken from its holder", what)
		}
		if len(bad) == 0 {
			t.was = now
			return
		}
		if on == nodeLeaseOf {
			s.restore(t, now)
			return
		}
		if !known {
			s.stillHeld(what)
		}
		s.fresh(on)
	case ownNode, thatNode:
		if len(bad) > 0 {
			s.restore(t, now)
		} else {
			t.was = now
		}
	case zone:
		if now == nil || !same(now, t.was) {
			if !known {
				s.heir(on, what, t.lockName, now, lock.Claimant{UID: types.UID(s.thatUID), Zone: "zone=b"}, t.lock)
			}
			s.fresh(on)
		}
	case free, ours:
		if now == nil || !same(now, t.was) {
			if !known {
				s.heir(on, what, t.lockName, now, lock.Claimant{UID: types.UID(s.thatUID)}, nil)
			}
			s.fresh(on)
		}
	case oursControl:
		if len(bad) > 0 {
			s.fresh(on)
		} else {
			t.was = now
		}
	}
}

// stillHeld says whether the holder of the slots that are attacked has them when the
// garbage collector has had its time, and can renew them.
func (s *scene) stillHeld(what string) {
	s.Helper()
	s.collected(s.ctx)
	for _, on := range []string{held, heldControl} {
		if s.get(s.targets[on].path, "") == nil {
			s.book.found(on+": is deleted by the garbage collector", what)
		}
	}
	if err := s.targets[held].lock.Fence(s.ctx); err != nil {
		s.book.found(held+": its holder cannot renew it", what+": "+err.Error())
	}
}

// collected returns when the garbage collector has deleted what was to be deleted
// before.
func (s *scene) collected(ctx context.Context) {
	s.Helper()
	leases := shared.Client.CoordinationV1().Leases(cluster.Namespace)
	made, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{GenerateName: s.ns + "-sentinel-", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "Node", Name: "gone", UID: types.UID(fmt.Sprintf("gone-%d", time.Now().UnixNano()))},
	}}}, metav1.CreateOptions{})
	for err == nil && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
		_, err = leases.Get(ctx, made.Name, metav1.GetOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		s.Errorf("the sentinel of the garbage collector: %v", err)
	}
}

// restore puts an object back as it was.
func (s *scene) restore(t *target, now map[string]any) {
	s.Helper()
	for _, sub := range []string{"", "/status"} {
		if sub != "" && !strings.Contains(t.path, "/nodes/") {
			continue
		}
		back := clone(t.was).(map[string]any)
		for { // a controller may have seen it meanwhile
			back["metadata"].(map[string]any)["resourceVersion"] = at(now, "metadata", "resourceVersion")
			a := s.send(s.admin, http.MethodPut, t.path+sub, "", "application/json", back, nil)
			if a.code == http.StatusOK {
				break
			}
			if a.code != http.StatusConflict {
				s.Fatalf("put %s back: %d %s", t.path, a.code, a.message)
			}
			now = s.get(t.path, "")
		}
		now = s.get(t.path, "")
	}
	t.was = now
}

func (s *scene) lookAtPods(what string) {
	s.Helper()
	now := s.podsOfThat()
	for name, was := range s.pods {
		p, there := now[name].(map[string]any)
		if !there {
			s.book.found(thatPod+": was deleted", what)
			continue
		}
		for _, path := range changed("", was.(map[string]any), p) {
			s.book.found(thatPod+": "+path, what)
		}
	}
	s.pods = now
}

// lookAtMade judges a Lease that was made under a name that was free.
func (s *scene) lookAtMade(what string) {
	s.Helper()
	t := s.targets[absent]
	now := s.get(t.path, "")
	if now == nil { // under another name: looked at with the others
		return
	}
	for _, b := range s.wrong(absent, t.was, now) {
		s.book.found(absent+": "+b, what)
	}
	s.heir(absent, what, t.lockName, now, lock.Claimant{UID: types.UID(s.thatUID)}, nil)
	s.fresh(absent)
}

// inheritIn is far more than a line of three and the garbage collector take.
const inheritIn = 12 * time.Second

// heir has the next holder take a slot, keep it for a while, renew it and give it up:
// whatever was left on it does not hinder it. Who has it before gives it up first, or
// people clear it.
func (s *scene) heir(on, what, name string, now map[string]any, ask lock.Claimant, before *lease.Lock) {
	s.heirs.Add(1)
	s.waiting <- struct{}{}
	go func() {
		defer func() { <-s.waiting; s.heirs.Done() }()
		ctx, cancel := context.WithTimeout(s.ctx, inheritIn)
		defer cancel()
		if err := s.inherit(ctx, name, now, ask, before); err != nil {
			s.book.found(on+": its next holder: "+strings.ReplaceAll(err.Error(), name, "LOCK"), what)
		}
		s.book.mu.Lock()
		s.book.heirs++
		s.book.mu.Unlock()
	}()
}

func (s *scene) inherit(ctx context.Context, name string, now map[string]any, ask lock.Claimant, before *lease.Lock) error {
	if before != nil {
		if err := before.Release(ctx, api.Line{}); err != nil {
			return fmt.Errorf("the one before gives it up: %w", err)
		}
	} else if text(at(now, "spec", "holderIdentity")) != "" {
		if schema := text(at(now, "metadata", "annotations", api.LeaseSchemaAnnotation)); schema != "" && schema != "1" {
			return nil // is a newer version's for everybody, until people delete it
		}
		_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Patch(ctx, name+"-0", types.MergePatchType, []byte(`{"spec":{"holderIdentity":null}}`), metav1.PatchOptions{FieldManager: "person"})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("people clear it: %w", err)
		}
	}
	l, err := lease.New(lease.Config{API: s.api, Namespace: cluster.Namespace, Name: name, Slots: 1, Node: s.that, Duration: time.Minute, DeletedGrace: 500 * time.Millisecond})
	if err != nil {
		return err
	}
	last := ""
	if _, err := l.Acquire(ctx, ask, func(w lock.Waiting) { last = w.String() }); err != nil {
		return fmt.Errorf("cannot take it (%s)", last)
	}
	s.collected(ctx)
	if err := l.Fence(ctx); err != nil {
		return fmt.Errorf("cannot renew it: %w", err)
	}
	if err := l.Release(ctx, api.Line{}); err != nil {
		return fmt.Errorf("cannot give it up: %w", err)
	}
	got, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Get(ctx, name+"-0", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if got.Spec.HolderIdentity != nil || len(got.OwnerReferences) > 0 || len(got.Finalizers) > 0 {
		return errors.New("leaves a holder, owners or finalizers")
	}
	return nil
}
