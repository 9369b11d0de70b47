package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// log builds an audit log, a second an entry.
type log struct {
	strings.Builder
	n     int
	query string // of the requests to come
}

func (l *log) add(user, verb, resource, name, body string) *log {
	l.n++
	resource, sub, _ := strings.Cut(resource, "/")
	at := time.Date(2026, 5, 4, 12, 0, l.n, 0, time.UTC)
	data, _ := json.Marshal(map[string]any{
		"user": map[string]any{"username": user}, "verb": verb, "requestURI": "/x?a=b" + l.query, "responseStatus": map[string]any{"code": 200},
		"objectRef":     map[string]any{"resource": resource, "subresource": sub, "name": name, "namespace": "x"},
		"requestObject": json.RawMessage(body), "requestReceivedTimestamp": at, "stageTimestamp": at,
	})
	l.Write(append(data, '\n'))
	return l
}

func (l *log) slot(user, holder string) *log {
	if holder == "" {
		return l.add(user, "patch", "leases", "k-0", `{"spec":{"holderIdentity":null}}`)
	}
	return l.add(user, "patch", "leases", "k-0", `{"spec":{"holderIdentity":"`+holder+`"}}`)
}

func (l *log) record(node, phase, spec string) *log {
	record := `"{\"phase\":\"` + phase + `\"}"`
	if phase == "" {
		record = "null"
	}
	return l.add("d:"+node, "patch", "nodes", node, `{"metadata":{"annotations":{"rebootd.dev/operation":`+record+`}},"spec":{`+spec+`}}`)
}

func (l *log) evict(node, uid string) *log {
	return l.add("d:"+node, "create", "pods/eviction", "p", `{"deleteOptions":{"preconditions":{"uid":"`+uid+`"}}}`)
}

func (l *log) down(node string) *log {
	return l.add("admin", "patch", "nodes", node, `{"metadata":{"labels":{"down":"true"}}}`)
}

func (l *log) up(node string) *log {
	return l.add("admin", "patch", "nodes", node, `{"metadata":{"labels":{"down":null}}}`)
}

const (
	cordon   = `"unschedulable":true`
	uncordon = `"unschedulable":null`
)

// drained brings a node to where it may reboot.
func (l *log) drained(node string) *log {
	return l.slot("d:"+node, node).record(node, "Draining", cordon).evict(node, "u")
}

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		log  *log
		want string // "": nothing is broken
	}{
		"as it should be":                {new(log).drained("a").record("a", "Rebooting", "").down("a").up("a").record("a", "Verifying", "").record("a", "", uncordon).slot("d:a", "").drained("b"), ""},
		"two under one slot":             {new(log).drained("a").drained("b"), "2 nodes are drained or down"},
		"no record ahead":                {new(log).drained("a").down("a"), `reboots, and its record says "Draining"`},
		"no slot":                        {new(log).drained("a").record("a", "Rebooting", "").slot("d:a", "").down("a"), "reboots without a slot"},
		"slot taken away long before":    {new(log).drained("a").slot("admin", "").record("a", "Rebooting", "").up("x").up("x").up("x").down("a"), "reboots without a slot"},
		"slot taken away just before":    {new(log).drained("a").record("a", "Rebooting", "").slot("admin", "").down("a"), ""},
		"eviction by name":               {new(log).slot("d:a", "a").record("a", "Draining", cordon).evict("a", ""), "evicted by its name alone"},
		"eviction without a cordon":      {new(log).slot("d:a", "a").record("a", "Draining", "").evict("a", "u"), "cordoned by"},
		"eviction after it was put back": {new(log).drained("a").record("a", "Waiting", uncordon).evict("a", "u"), `in phase "Waiting"`},
		"another's cordon removed":       {new(log).add("admin", "patch", "nodes", "a", `{"spec":{`+cordon+`}}`).drained("a").record("a", "", uncordon), "removes a cordon that others have set"},
		"reboots uncordoned":             {new(log).drained("a").record("a", "Rebooting", "").add("admin", "patch", "nodes", "a", `{"spec":{"unschedulable":false}}`).up("x").up("x").up("x").down("a"), "is not cordoned"},
		"uncordoned just before":         {new(log).drained("a").record("a", "Rebooting", "").add("admin", "patch", "nodes", "a", `{"spec":{"unschedulable":false}}`).down("a"), ""},
		"the Node was deleted":           {new(log).drained("a").record("a", "Rebooting", "").add("admin", "delete", "nodes", "a", `{}`).down("a"), ""},
		"writes another's Node":          {new(log).add("d:a", "patch", "nodes", "b", `{}`), "writes the Node b"},
		"takes another's slot":           {new(log).drained("a").slot("d:b", "b"), "takes k-0 from a"},
		"takes what a Node has held":     {new(log).drained("a").add("admin", "delete", "nodes", "a", `{}`).drained("b"), ""},
		"slot taken away, and two off":   {new(log).drained("a").record("a", "Rebooting", "").down("a").slot("admin", "").drained("b").record("b", "Rebooting", "").down("b"), "2 machines are off at the same time"},
		"slot taken away, and waited":    {new(log).drained("a").record("a", "Rebooting", "").down("a").slot("admin", "").slot("d:b", "b").up("a").record("a", "", uncordon).record("b", "Rebooting", cordon).down("b"), ""},
		"takes a slot for another":       {new(log).slot("d:a", "b"), "takes k-0 for b"},
		"a power cut":                    {new(log).add("admin", "patch", "nodes", "a", `{"metadata":{"annotations":{"`+CrashAnnotation+`":"now"}}}`).down("a"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Check(strings.NewReader(c.log.String()), Rules{Slots: 1, Lock: "k", Daemons: "d:", Down: "down"})
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case c.want == "" && len(s.Broken) > 0:
				t.Errorf("broken: %q", s.Broken)
			case c.want != "" && !strings.Contains(strings.Join(s.Broken, "\n"), c.want):
				t.Errorf("broken: %q, want %q", s.Broken, c.want)
			}
		})
	}
}

// What was tried as a dry run has not happened.
func TestDryRunsDoNotCount(t *testing.T) {
	for query, counts := range map[string]bool{"&dryRun=All": false, "&dryRun=All&fieldManager=x": false, "": true, "&dryRun=": true} {
		l := &log{query: query}
		l.record("a", "Draining", cordon).evict("a", "1")
		s, err := Check(strings.NewReader(l.String()), Rules{Slots: 1, Lock: "k", Daemons: "d:", Down: "down"})
		if err != nil {
			t.Fatal(err)
		}
		if (s.Evictions == 1 && s.Cordons == 1) != counts || s.Evictions != s.Cordons {
			t.Errorf("%q: %+v", query, s)
		}
	}
}

// A node that is cordoned while a gate was closed is found; one that is cordoned before, after
// or while another's was closed has done nothing wrong.
func TestCordonsWhileAGateIsClosed(t *testing.T) {
	at := func(seconds int) time.Time { return time.Date(2026, 5, 4, 12, 0, seconds, 0, time.UTC) }
	for name, c := range map[string]struct {
		closed Closed
		found  bool
	}{
		"while it is closed":         {Closed{"freeze", "a", at(1), at(3)}, true},
		"while all are kept":         {Closed{"alert", "", at(1), at(3)}, true},
		"while another's is closed":  {Closed{"freeze", "b", at(1), at(3)}, false},
		"before it closes":           {Closed{"freeze", "a", at(3), at(5)}, false},
		"after it has opened":        {Closed{"freeze", "a", at(0), at(1)}, false},
		"in the moment of its begin": {Closed{"freeze", "a", at(2), at(3)}, false},
	} {
		l := new(log).slot("d:a", "a").record("a", "Draining", cordon)
		s, err := Check(strings.NewReader(l.String()), Rules{Slots: 1, Lock: "k", Daemons: "d:", Down: "down", Closed: []Closed{c.closed}})
		if err != nil {
			t.Fatal(err)
		}
		if found := strings.Contains(strings.Join(s.Broken, "\n"), "a is cordoned though the gate "); found != c.found {
			t.Errorf("%s: %q", name, s.Broken)
		}
	}
}
