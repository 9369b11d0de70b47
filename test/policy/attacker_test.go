package policy

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rebootd.dev/test/cluster"
)

// attack is something that a thief of a token tries: steps one right after another.
type attack struct {
	on    string
	steps []step
}

type step struct {
	verb    verb
	sub     string // a subresource
	changes []change
	// raw is sent as it is, where it is not a change of the target.
	raw *raw
}

type raw struct {
	what, method, path, query, contentType string
	body                                   any
	header                                 http.Header
}

func (a attack) String() string {
	var steps []string
	for _, s := range a.steps {
		if s.raw != nil {
			steps = append(steps, s.raw.what)
			continue
		}
		var what []string
		for _, c := range s.changes {
			what = append(what, c.what)
		}
		how := s.verb.what
		if s.sub != "" {
			how += " of its " + s.sub
		}
		steps = append(steps, how+" ("+strings.Join(what, "; ")+")")
	}
	return strings.Join(steps, ", then ")
}

// once are the changes one by one, in each of these ways.
func once(on, sub string, changes []change, verbs ...verb) (out []attack) {
	for _, c := range changes {
		for _, v := range verbs {
			out = append(out, attack{on, []step{{verb: v, sub: sub, changes: []change{c}}}})
		}
	}
	return out
}

// oneByOne is every field, in every way, and what needs no field.
func oneByOne() []attack {
	leases, nodes := leaseChanges(), nodeChanges()
	out := slices.Concat(
		once(held, "", leases, byMerge, byJSON, byStrategic, byApply, byForce, byTheirs),
		once(heldControl, "", leases, byMerge, byForce),
		once(zone, "", leases, byMerge),
		once(free, "", leases, byMerge, byForce),
		once(ours, "", leases, byMerge, byForce),
		once(oursControl, "", leases, byMerge),
		once(absent, "", leases, byCreate, byApply),
		once(nodeLeaseOf, "", leases, byUpdate),
		once(ownNode, "", nodes, byMerge), once(ownNode, "status", nodes, byMerge, byForce),
		once(thatNode, "", nodes, byMerge), once(thatNode, "status", nodes, byStrategic),
	)
	for _, c := range leases { // a field that is overlooked, and at once the slot
		for _, take := range thefts() {
			out = append(out, attack{held, []step{{verb: byMerge, changes: []change{c}}, take}})
		}
	}
	return append(out, beside()...)
}

// thefts are the ways to take a slot.
func thefts() (out []step) {
	for _, c := range leaseChanges() {
		if strings.HasPrefix(c.what, "takes it") {
			out = append(out, step{verb: byMerge, changes: []change{c}})
		}
		if c.what == "takes it" {
			out = append(out, step{verb: byForce, changes: []change{c}})
		}
	}
	return out
}

// beside is what is no change of a field: deletions, subresources, other names.
func beside() (out []attack) {
	add := func(on string, r raw) { out = append(out, attack{on, []step{{raw: &r}}}) }
	masks := map[string]http.Header{
		"":                                       nil,
		"as its node: ":                          {"Impersonate-User": {"system:node:@OWN@"}},
		"as its node, of the nodes: ":            {"Impersonate-User": {"system:node:@OWN@"}, "Impersonate-Group": {"system:nodes"}},
		"as its node, of the masters: ":          {"Impersonate-User": {"system:node:@OWN@"}, "Impersonate-Group": {"system:masters"}},
		"as another node: ":                      {"Impersonate-User": {"system:node:@THAT@"}, "Impersonate-Group": {"system:nodes"}},
		"as a daemon of another node: ":          {"Impersonate-User": {"system:serviceaccount:rebootd:rebootd"}, "Impersonate-Extra-authentication.kubernetes.io%2Fnode-name": {"@THAT@"}},
		"as its node, with another's in extra: ": {"Impersonate-User": {"system:node:@OWN@"}, "Impersonate-Extra-authentication.kubernetes.io%2Fnode-name": {"@THAT@"}},
		"as the admin: ":                         {"Impersonate-User": {"admin"}, "Impersonate-Group": {"system:masters"}},
	}
	const pod = "/api/v1/namespaces/@NS@/pods/@THAT@-"
	eviction := func(name string) map[string]any {
		return map[string]any{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": map[string]any{"name": name, "namespace": "@NS@"}}
	}
	for _, mask := range slices.Sorted(maps.Keys(masks)) {
		for _, r := range []raw{
			{"delete", http.MethodDelete, pod + "a", "", "", nil, nil},
			{"delete at once", http.MethodDelete, pod + "b", "gracePeriodSeconds=0", "", nil, nil},
			{"delete with orphans", http.MethodDelete, pod + "b", "propagationPolicy=Orphan", "", nil, nil},
			{"delete all", http.MethodDelete, "/api/v1/namespaces/@NS@/pods", "", "", nil, nil},
			{"evict", http.MethodPost, pod + "a/eviction", "", "application/json", eviction("@THAT@-a"), nil},
			{"evict, named as one of the own node", http.MethodPost, pod + "a/eviction", "", "application/json", eviction("@OWN@-a"), nil},
			{"evict by way of one of the own node", http.MethodPost, "/api/v1/namespaces/@NS@/pods/@OWN@-a/eviction", "dryRun=All", "application/json", eviction("@THAT@-a"), nil},
			{"bind", http.MethodPost, pod + "a/binding", "", "application/json", map[string]any{"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": "@THAT@-a"}, "target": map[string]any{"kind": "Node", "name": "@OWN@"}}, nil},
			{"a container more", http.MethodPatch, pod + "a/ephemeralcontainers", "", strategic, map[string]any{"spec": map[string]any{"ephemeralContainers": []any{map[string]any{"name": "x", "image": "x"}}}}, nil},
			{"resize", http.MethodPatch, pod + "a/resize", "", strategic, map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "main", "resources": map[string]any{"requests": map[string]any{"cpu": "1"}}}}}}, nil},
			{"exec", http.MethodPost, pod + "a/exec", "command=x", "", nil, nil},
			{"proxy", http.MethodGet, pod + "a/proxy/", "", "", nil, nil},
			{"a label", http.MethodPatch, pod + "a", "", merge, map[string]any{"metadata": map[string]any{"labels": map[string]any{"x": "y"}}}, nil},
		} {
			r.what, r.header = mask+r.what, masks[mask]
			add(thatPod, r)
		}
		for on, path := range map[string]string{thatNode: "/api/v1/nodes/@THAT@", ownNode: "/api/v1/nodes/@OWN@"} {
			for _, r := range []raw{
				{"delete", http.MethodDelete, path, "", "", nil, nil},
				{"delete all", http.MethodDelete, "/api/v1/nodes", "labelSelector=kubernetes.io/hostname%3D@THAT@", "", nil, nil},
				{"proxy", http.MethodGet, path + "/proxy/pods", "", "", nil, nil},
				{"label", http.MethodPatch, path, "", merge, map[string]any{"metadata": map[string]any{"labels": map[string]any{"x": "y"}}}, nil},
				{"status", http.MethodPatch, path + "/status", "", merge, map[string]any{"status": map[string]any{"phase": "Terminated"}}, nil},
			} {
				r.what, r.header = mask+r.what, masks[mask]
				add(on, r)
			}
		}
		for _, on := range []string{held, heldControl, zone, free, ours, nodeLeaseOf} {
			for _, r := range []raw{
				{"delete", http.MethodDelete, "@PATH@", "", "", nil, nil},
				{"delete in the foreground", http.MethodDelete, "@PATH@", "propagationPolicy=Foreground", "", nil, nil},
				{"delete if it is as it is", http.MethodDelete, "@PATH@", "", "application/json", map[string]any{"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": map[string]any{"resourceVersion": "@VERSION@"}, "orphanDependents": true}, nil},
				{"delete all", http.MethodDelete, fmt.Sprintf(leasesPath, cluster.Namespace), "fieldSelector=metadata.name%3D@NAME@", "", nil, nil},
				{"clear", http.MethodPatch, "@PATH@", "", merge, map[string]any{"spec": map[string]any{"holderIdentity": nil}}, nil},
			} {
				if mask == "" && r.what == "clear" && (on == free || on == ours || on == zone) {
					continue
				}
				r.what, r.header = mask+r.what, masks[mask]
				add(on, r)
			}
		}
	}
	return out
}

// mixed draws attacks of a few steps, each of one or two changes.
func mixed(r *rand.Rand, n int) (out []attack) {
	leases, nodes := leaseChanges(), nodeChanges()
	// The verb is refused to a daemon, whatever the field: some of the thousands will do.
	pods := podChanges()
	for range n / 5 {
		out = append(out, attack{thatPod, []step{{verb: []verb{byMerge, byForce, byUpdate}[r.IntN(3)], sub: []string{"", "status"}[r.IntN(2)], changes: []change{pods[r.IntN(len(pods))]}}}})
	}
	verbs := []verb{byMerge, byMerge, byJSON, byTheir, byStrategic, byApply, byForce, byTheirs}
	for range n {
		a := attack{on: []string{held, held, held, heldControl, zone, free, free, ours, ours, absent, ownNode, thatNode}[r.IntN(12)]}
		for range 1 + r.IntN(3) {
			st := step{verb: verbs[r.IntN(len(verbs))]}
			of := leases
			if a.on == ownNode || a.on == thatNode {
				of, st.sub = nodes, []string{"", "status"}[r.IntN(2)]
			}
			if a.on == absent && len(a.steps) == 0 {
				st.verb = []verb{byCreate, byApply}[r.IntN(2)]
			}
			for range 1 + r.IntN(2) {
				st.changes = append(st.changes, of[r.IntN(len(of))])
			}
			a.steps = append(a.steps, st)
		}
		out = append(out, a)
	}
	return out
}

// carryOut does what an attack says; done says whether anything was accepted.
func (s *scene) carryOut(a attack) (done bool) {
	s.Helper()
	t := s.targets[a.on]
	live := t.was
	for _, st := range a.steps {
		var got answer
		if r := st.raw; r != nil {
			s.heardRaw(t, r, &got)
		} else {
			next := clone(live).(map[string]any)
			for _, c := range st.changes {
				c.do(next)
			}
			if len(difference(live, next)) == 0 && st.verb.what != byTheirs.what && st.verb.what != byCreate.what {
				continue
			}
			method, contentType, query, body := st.verb.request(live, next)
			path := t.path
			if st.sub != "" {
				path += "/" + st.sub
			}
			if method == http.MethodPost {
				path = path[:strings.LastIndex(path, "/")]
			}
			got = s.send(s.thief, method, path, query, contentType, body, nil)
		}
		s.book.heard(a.on, got)
		if got.code/100 == 2 {
			done = true
			if got.object["kind"] == live["kind"] && st.raw == nil {
				live = got.object
			}
		}
	}
	s.book.mu.Lock()
	s.book.tries++
	s.book.mu.Unlock()
	return done
}

func (s *scene) heardRaw(t *target, r *raw, got *answer) {
	s.Helper()
	here := strings.NewReplacer("@PATH@", t.path, "@NS@", s.ns, "@NAME@", text(at(t.was, "metadata", "name")), "@VERSION@", text(at(t.was, "metadata", "resourceVersion")))
	header := http.Header{}
	for k, values := range r.header {
		for _, v := range values {
			header[k] = append(header[k], s.fill(v))
		}
	}
	*got = s.send(s.thief, r.method, s.fill(here.Replace(r.path)), here.Replace(r.query), r.contentType, replaced(r.body, here), header)
}

// replaced puts texts into what is sent.
func replaced(v any, with *strings.Replacer) any {
	switch v := v.(type) {
	case string:
		return with.Replace(v)
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = replaced(e, with)
		}
		return out
	}
	return v
}

// lookAround judges everything, whatever was attacked.
func (s *scene) lookAround(what string) {
	s.Helper()
	for _, on := range []string{held, heldControl, zone, free, ours, oursControl, ownNode, thatNode, thatPod, nodeLeaseOf} {
		s.look(on, what)
	}
}

const (
	scenes       = 2
	mixedAttacks = 1000
	mostFindings = 60
	mostTime     = 3 * time.Minute // on a machine that is busy with other things, too
)

// Whoever has stolen the token of one node's daemon tries a day long whatever can be
// generated: every field of every object in every way, and mixtures. ATTACK_SEED
// repeats the mixtures of an earlier run, ATTACK_TRIES asks for another number of them.
func TestAttacker(t *testing.T) {
	seed, n := uint64(time.Now().UnixNano()), mixedAttacks
	if v := os.Getenv("ATTACK_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
	}
	if v := os.Getenv("ATTACK_TRIES"); v != "" {
		n, _ = strconv.Atoi(v)
	}
	t.Logf("ATTACK_SEED=%d", seed)
	attacks := slices.Concat(oneByOne(), mixed(rand.New(rand.NewPCG(seed, 0)), n))
	// So that each scene has something of everything, and a failure does not hide what
	// comes later.
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(attacks), func(i, j int) { attacks[i], attacks[j] = attacks[j], attacks[i] })
	book, began := newBook(), time.Now()
	var next atomic.Int64
	t.Run("scenes", func(t *testing.T) {
		for i := range scenes {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				s := newScene(t, fmt.Sprintf("attack%d", i), book)
				defer s.heirs.Wait()
				last := "nothing"
				for k := 1; ; k++ {
					i := int(next.Add(1)) - 1
					if i >= len(attacks) || time.Since(began) > mostTime {
						break
					}
					a := attacks[i]
					last = a.String()
					if s.carryOut(a) {
						s.look(a.on, last)
					}
					if k%100 == 0 {
						s.lookAround("one of the last hundred before " + last)
					}
				}
				s.lookAround("all of it")
				s.stillHeld("all of it")
			})
		}
	})
	book.report(t, len(attacks), time.Since(began))
}

// report says what was tried, and what was found.
func (b *book) report(t *testing.T, planned int, took time.Duration) {
	line := fmt.Sprintf("the attacker made %d tries in %s: %v; done %v; %d slots were inherited", b.tries, took.Round(time.Second), b.codes, b.accepted, b.heirs)
	t.Log(line)
	fmt.Println("measured: " + line) // test/cmd/count tells it also when all is well
	if b.tries < planned/2 || b.codes["refused by the policies"] < b.tries/3 {
		t.Errorf("%d of %d tries were made, and %d were refused by the policies", b.tries, planned, b.codes["refused by the policies"])
	}
	names := slices.SortedFunc(maps.Keys(b.findings), func(a, c string) int { return cmp.Compare(a, c) })
	for i, what := range names {
		if i == mostFindings {
			t.Errorf("and %d findings more", len(names)-i)
			break
		}
		t.Errorf("%s (%d times, for instance: %s)", what, b.findings[what].times, b.findings[what].example)
	}
}
