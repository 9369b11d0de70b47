// Package audit judges what daemons have done to a cluster by the API server's
// audit log alone. It knows the promises that are made to people, and nothing of how
// the daemon keeps them; it shares no code with it.
package audit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// CrashAnnotation on a Node says that the machine is about to lose its power: that it
// goes down is nobody's order.
const CrashAnnotation = "soak.test/crash"

// Rules are the promises that depend on the configuration.
type Rules struct {
	Slots int
	Lock  string
	// Daemons is what the daemons' users begin with; the node's name follows.
	Daemons string
	// Down is the label by which a machine says that it goes down.
	Down string
	// Closed are the times in which a gate was closed.
	Closed []Closed
}

// Closed is a time in which a gate was closed: no node begins then.
type Closed struct {
	What     string // the gate
	Node     string // "": all of them
	From, To time.Time
}

// Summary is what was seen.
type Summary struct {
	Reboots, Crashes, Evictions, Cordons, Thefts int
	// Most is how many nodes were drained or down at the same time.
	Most int
	// Broken are the promises that were not kept, one sentence each.
	Broken []string
}

// entry is what is read of an entry of the log.
type entry struct {
	User                     struct{ Username string }
	Verb                     string
	RequestURI               string
	ObjectRef                struct{ Resource, Subresource, Namespace, Name string }
	RequestObject            json.RawMessage
	RequestReceivedTimestamp time.Time
	StageTimestamp           time.Time
	ResponseStatus           struct{ Code int }
}

// at is when an entry counts: what is asked for, when it is asked for; what is
// written, when it was done.
func (e *entry) at() time.Time {
	if e.ObjectRef.Subresource == "eviction" {
		return e.RequestReceivedTimestamp
	}
	return e.StageTimestamp
}

// dryRun says that nothing came of it: the API server was asked what it would say.
func (e *entry) dryRun() bool {
	_, query, _ := strings.Cut(e.RequestURI, "?")
	return strings.Contains("&"+query+"&", "&dryRun=All&")
}

type node struct {
	phase    string
	cordoned string // by whom: "", "rebootd", "others"
	crash    bool
	down     bool
	off      bool      // down, because its daemon has ordered it
	freed    time.Time // when somebody else removed the cordon
}

type judge struct {
	Rules
	Summary
	nodes  map[string]*node
	slots  map[string]string // holders
	stolen map[string]time.Time
	gone   map[string]time.Time // Nodes that were deleted, with what was said on them
}

// mercy is how long a node may be about to go down when its slot is taken away, and
// how long it may take to put itself back.
const mercy = 3 * time.Second

// Check reads a log to its end.
func Check(log io.Reader, r Rules) (Summary, error) {
	var all []*entry
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		e := new(entry)
		if err := json.Unmarshal(lines.Bytes(), e); err != nil {
			return Summary{}, fmt.Errorf("read the audit log: %w", err)
		}
		if e.ResponseStatus.Code < 300 && !e.dryRun() && slices.Contains([]string{"create", "update", "patch", "delete"}, e.Verb) {
			all = append(all, e)
		}
	}
	if err := lines.Err(); err != nil {
		return Summary{}, fmt.Errorf("read the audit log: %w", err)
	}
	slices.SortStableFunc(all, func(a, b *entry) int { return a.at().Compare(b.at()) })
	j := &judge{Rules: r, nodes: map[string]*node{}, slots: map[string]string{}, stolen: map[string]time.Time{}, gone: map[string]time.Time{}}
	for _, e := range all {
		j.see(e)
	}
	return j.Summary, nil
}

func (j *judge) broken(e *entry, format string, args ...any) {
	j.Broken = append(j.Broken, fmt.Sprintf("%s: %s", e.at().Format("15:04:05.000"), fmt.Sprintf(format, args...)))
}

func (j *judge) node(name string) *node {
	if j.nodes[name] == nil {
		j.nodes[name] = new(node)
	}
	return j.nodes[name]
}

func (j *judge) see(e *entry) {
	daemon, isDaemon := strings.CutPrefix(e.User.Username, j.Daemons)
	switch ref := e.ObjectRef; {
	case ref.Resource == "nodes":
		if isDaemon && daemon != ref.Name {
			j.broken(e, "the daemon of %s writes the Node %s", daemon, ref.Name)
		}
		j.seeNode(e, isDaemon)
	case ref.Resource == "leases" && strings.HasPrefix(ref.Name, j.Lock+"-"):
		j.seeSlot(e, daemon, isDaemon)
	case ref.Resource == "pods" && ref.Subresource == "eviction" && isDaemon:
		j.seeEviction(e, daemon)
	}
}

// patched is what is read of a change of a Node.
type patched struct {
	Metadata struct {
		Annotations map[string]*string
		Labels      map[string]*string
	}
	Spec map[string]json.RawMessage
}

func (j *judge) seeNode(e *entry, isDaemon bool) {
	name := e.ObjectRef.Name
	if e.Verb == "delete" {
		delete(j.nodes, name)
		j.gone[name] = e.at()
		// What it has held goes with it, by the garbage collector, of whom the log does
		// not tell.
		for slot, holder := range j.slots {
			if holder == name {
				j.slots[slot] = ""
			}
		}
		return
	}
	n := j.node(name)
	var p patched
	if json.Unmarshal(e.RequestObject, &p) != nil {
		return
	}
	if v, ok := p.Spec["unschedulable"]; ok {
		switch on := string(v) == "true"; {
		case on && n.cordoned == "":
			n.cordoned = "others"
			if isDaemon {
				n.cordoned = "rebootd"
				j.Cordons++
				j.mayBegin(e, name)
			}
		case !on && isDaemon && n.cordoned == "others":
			j.broken(e, "the daemon of %s removes a cordon that others have set", name)
			n.cordoned = ""
		case !on:
			n.cordoned = ""
			if !isDaemon {
				n.freed = e.at()
			}
		}
	}
	if v, ok := p.Metadata.Annotations["rebootd.dev/operation"]; ok {
		j.seeRecord(e, n, v)
	}
	if v, ok := p.Metadata.Annotations[CrashAnnotation]; ok && v != nil {
		n.crash = true
	}
	if v, ok := p.Metadata.Labels[j.Down]; ok {
		if v != nil && !n.down {
			j.goesDown(e, name, n)
		}
		n.down, n.off = v != nil, n.off && v != nil
	}
}

// mayBegin judges a cordon by the gates.
func (j *judge) mayBegin(e *entry, name string) {
	for _, c := range j.Closed {
		if (c.Node == "" || c.Node == name) && e.RequestReceivedTimestamp.After(c.From) && e.RequestReceivedTimestamp.Before(c.To) {
			j.broken(e, "%s is cordoned though the gate %s was closed from %s to %s", name, c.What, c.From.Format("15:04:05.000"), c.To.Format("15:04:05.000"))
		}
	}
}

func (j *judge) seeRecord(e *entry, n *node, record *string) {
	n.phase = ""
	if record != nil {
		var r struct{ Phase string }
		if err := json.Unmarshal([]byte(*record), &r); err != nil {
			j.broken(e, "the record of %s is no record: %s", e.ObjectRef.Name, *record)
		}
		n.phase = r.Phase
	}
	disturbed := 0
	for _, x := range j.nodes {
		if x.disturbed() {
			disturbed++
		}
	}
	j.Most = max(j.Most, disturbed)
	// Those whose slot was taken away need a moment to be put back, while others have
	// taken it already.
	allowed := j.Slots
	for _, at := range j.stolen {
		if e.at().Sub(at) < 10*mercy {
			allowed++
		}
	}
	if disturbed > allowed && n.disturbed() {
		j.broken(e, "%d nodes are drained or down at the same time, under %d slots", disturbed, j.Slots)
	}
}

func (n *node) disturbed() bool {
	return slices.Contains([]string{"Draining", "Rebooting", "Verifying", "Halted"}, n.phase)
}

// goesDown judges a machine's going down.
func (j *judge) goesDown(e *entry, name string, n *node) {
	if n.crash {
		n.crash = false
		j.Crashes++
		return
	}
	j.Reboots++
	if j.forgotten(e, name) {
		return
	}
	// Also where people take slots away: whoever takes one waits for those at work.
	n.off = true
	off := 0
	for _, x := range j.nodes {
		if x.off {
			off++
		}
	}
	if off > j.Slots {
		j.broken(e, "%d machines are off at the same time, under %d slots", off, j.Slots)
	}
	if n.phase != "Rebooting" && n.phase != "Halted" {
		j.broken(e, "%s reboots, and its record says %q: nobody was told before", name, n.phase)
	}
	if n.cordoned == "" && e.at().Sub(n.freed) > mercy {
		j.broken(e, "%s reboots, and is not cordoned", name)
	}
	for _, holder := range j.slots {
		if holder == name {
			return
		}
	}
	if at, ok := j.stolen[name]; !ok || e.at().Sub(at) > mercy {
		j.broken(e, "%s reboots without a slot", name)
	}
}

// forgotten says whether somebody has just deleted the Node, and with it what was
// written there.
func (j *judge) forgotten(e *entry, name string) bool {
	at, ok := j.gone[name]
	return ok && e.at().Sub(at) < 10*mercy
}

func (j *judge) seeSlot(e *entry, daemon string, isDaemon bool) {
	var p struct{ Spec map[string]json.RawMessage }
	if e.Verb != "delete" && json.Unmarshal(e.RequestObject, &p) != nil {
		return
	}
	was, slot := j.slots[e.ObjectRef.Name], e.ObjectRef.Name
	now := ""
	if v, ok := p.Spec["holderIdentity"]; ok {
		_ = json.Unmarshal(v, &now)
	} else if e.Verb != "delete" && e.Verb != "create" && !isDaemon {
		return // people may write other things
	}
	switch {
	case !isDaemon && was != "" && now != was:
		j.Thefts++
		j.stolen[was] = e.at()
	case isDaemon && now != "" && now != daemon:
		j.broken(e, "the daemon of %s takes %s for %s", daemon, slot, now)
	case isDaemon && was != "" && was != daemon:
		j.broken(e, "the daemon of %s takes %s from %s", daemon, slot, was)
	}
	j.slots[slot] = now
}

func (j *judge) seeEviction(e *entry, daemon string) {
	j.Evictions++
	var ev struct {
		DeleteOptions struct{ Preconditions struct{ UID string } }
	}
	if json.Unmarshal(e.RequestObject, &ev) != nil || ev.DeleteOptions.Preconditions.UID == "" {
		j.broken(e, "%s/%s is evicted by its name alone", e.ObjectRef.Namespace, e.ObjectRef.Name)
	}
	if n := j.node(daemon); !j.forgotten(e, daemon) && (n.phase != "Draining" || n.cordoned == "" && e.at().Sub(n.freed) > mercy) {
		j.broken(e, "%s/%s is evicted by %s, which is in phase %q, cordoned by %q", e.ObjectRef.Namespace, e.ObjectRef.Name, daemon, n.phase, n.cordoned)
	}
}

// String is one line.
func (s *Summary) String() string {
	return fmt.Sprintf("%d reboots, %d crashes, %d cordons, %d evictions, %d slots taken away by people; at most %d nodes drained or down at the same time",
		s.Reboots, s.Crashes, s.Cordons, s.Evictions, s.Thefts, s.Most)
}
