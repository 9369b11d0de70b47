package cli

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
)

// noNodes is the finding of every check that looks at Nodes, where they cannot be read.
func (p *patient) noNodes() []finding {
	if p.nodesErr != nil {
		return unread("the Nodes", p.nodesErr)
	}
	return nil
}

// daemons looks for nodes without one.
func (p *patient) daemons() (found []finding, well string) {
	if bad := p.noNodes(); bad != nil {
		return bad, ""
	}
	pods := map[string]*corev1.Pod{}
	for i := range p.pods {
		pods[p.pods[i].Spec.NodeName] = &p.pods[i]
	}
	ns := p.e.flags.namespace
	var never, silent, left []string
	ill := map[string][]string{}
	machines, running := 0, 0
	for _, n := range p.fleet.Nodes {
		pod, there := pods[n.Name]
		why := ""
		if there {
			why = unready(pod)
		}
		known := n.Daemon != nil || n.Condition != nil
		switch {
		case !p.marks[n.Name].machine || n.Going:
			continue
		case there && why != "" && !down(n):
			ill[why] = append(ill[why], n.Name)
		case !known && there:
			silent = append(silent, n.Name)
		case !known:
			never = append(never, n.Name)
		case p.podErr == nil && len(p.ours()) > 0 && !there && !down(n):
			left = append(left, n.Name)
		default:
			running++
		}
		machines++
	}
	add := func(v health, names []string, do, format string, args ...any) {
		if len(names) > 0 {
			found = append(found, finding{Verdict: v, Message: fmt.Sprintf(format, append([]any{count(len(names), "node"), some(names, few)}, args...)...), Do: do})
		}
	}
	if len(never) == machines && machines > 0 {
		return []finding{{Verdict: healthWrong, Message: fmt.Sprintf("no daemon has ever run on any of %s: no node reboots", count(machines, "node")), Do: "install it: README.md, Install"}}, ""
	}
	for _, why := range slices.Sorted(maps.Keys(ill)) {
		add(healthWarning, ill[why], fmt.Sprintf("kubectl -n %s describe pods -l %s; kubectl -n %s logs -l %s", ns, podLabel, ns, podLabel), "%s whose pod of rebootd is not Ready (%[3]s): %[2]s", why)
	}
	add(healthWarning, silent, fmt.Sprintf("kubectl -n %s logs -l %s", ns, podLabel), "%s where the daemon's pod runs and has not written to the Node yet: %s")
	add(healthWarning, never, "if they are to reboot, see which taints and labels keep the DaemonSet off, or install the unit there", "nothing reboots %s, on which no daemon has ever run: %s")
	add(healthWarning, left, "unless they have the systemd unit: kubectl -n "+ns+" describe daemonset", "no pod of rebootd runs on %s where a daemon has run: %s; nothing is rebooted there, or put back")
	return found, count(running, "node") + " with a daemon, and none without"
}

// tally is nodes by a word.
type tally map[string][]string

// words are "v1.2.0 on 3 nodes (a, b, c)" of each, those with the most nodes first.
func (t tally) words() string {
	var out []string
	for _, k := range slices.SortedFunc(maps.Keys(t), func(a, b string) int { return cmp.Or(cmp.Compare(len(t[b]), len(t[a])), cmp.Compare(a, b)) }) {
		out = append(out, fmt.Sprintf("%s on %s (%s)", cmp.Or(k, "none"), count(len(t[k]), "node"), some(t[k], few)))
	}
	return strings.Join(out, ", ")
}

func (p *patient) versions() (found []finding, well string) {
	if bad := p.noNodes(); bad != nil {
		return bad, ""
	}
	all := tally{}
	for _, n := range p.fleet.Nodes {
		if n.Daemon != nil {
			all[n.Daemon.Version] = append(all[n.Daemon.Version], n.Name)
		}
	}
	switch len(all) {
	case 0:
		return []finding{{Verdict: healthUnknown, Message: "no daemon has said its version"}}, ""
	case 1:
		return nil, "every daemon is " + slices.Collect(maps.Keys(all))[0]
	}
	return []finding{{
		Verdict: healthWarning, Message: fmt.Sprintf("the daemons have %d versions: %s", len(all), all.words()),
		Do: "finish the update; versions work together while it lasts",
	}}, ""
}

func (p *patient) settings() (found []finding, well string) {
	if bad := p.noNodes(); bad != nil {
		return bad, ""
	}
	type group struct{ version, pool string } // a hash is comparable within a version
	pools := map[group]tally{}
	for _, n := range p.fleet.Nodes {
		if d := n.Daemon; d != nil {
			g := group{d.Version, d.Pool}
			if pools[g] == nil {
				pools[g] = tally{}
			}
			pools[g][d.Settings] = append(pools[g][d.Settings], n.Name)
		}
	}
	if len(pools) == 0 {
		return []finding{{Verdict: healthUnknown, Message: "no daemon has said which settings it has"}}, ""
	}
	for _, g := range slices.SortedFunc(maps.Keys(pools), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.version, b.version))
	}) {
		where := "nodes without a pool"
		if g.pool != "" {
			where = "nodes of the pool " + g.pool
		}
		if t := pools[g]; len(t) > 1 {
			found = append(found, finding{
				Verdict: healthWarning, Message: fmt.Sprintf("%s have %d different settings (by their hash): %s", where, len(t), t.words()),
				Do: "compare the flags, the environment and the configuration file on one node of each: rebootd check-config",
			})
		}
	}
	return found, "nodes of one pool have the same settings"
}

// halted looks for nodes that need a person.
func (p *patient) halted() (found []finding, well string) {
	if bad := p.noNodes(); bad != nil {
		return bad, ""
	}
	for _, n := range p.fleet.Nodes {
		switch s := n.State(); {
		case n.Newer():
			found = append(found, finding{
				Verdict: healthUnknown, Message: fmt.Sprintf("this program is older than the daemon of %s: %v", n.Name, n.RecordErr),
				Do: "use the kubectl rebootd of that daemon's version",
			})
		case s == fleet.Unreadable:
			found = append(found, finding{
				Verdict: healthWrong, Message: fmt.Sprintf("the record of %s cannot be read, and its daemon takes no action: %v", n.Name, n.RecordErr),
				Do: "see docs/runbooks/record-unreadable.md",
			})
		case s == fleet.Halted:
			found = append(found, finding{
				Verdict: healthWrong, Message: fmt.Sprintf("%s has halted, and keeps its slot: %s", n.Name, sentenceOf(&n)),
				Do: p.e.program() + " why " + n.Name + "; see docs/runbooks/rollout-halted.md",
			})
		}
	}
	return found, "none has halted, and every record can be read"
}

func (p *patient) slots() (found []finding, well string) {
	if p.fleet.Unread != nil {
		return unread("the Leases of the namespace "+p.e.flags.namespace, p.fleet.Unread), ""
	}
	if bad := p.noNodes(); bad != nil {
		return bad, ""
	}
	taken := 0
	for _, s := range p.fleet.Slots {
		if s.Holder == "" {
			continue
		}
		taken++
		n, there := p.fleet.Node(s.Holder)
		held := "has been held"
		if !s.Since.IsZero() {
			held += " for " + ago(p.fleet.At.Sub(s.Since))
		}
		_, lingers := p.fleet.Lingers(s)
		release := fmt.Sprintf("%s release %s --holder %s", p.e.program(), s.Name, s.Holder)
		switch {
		case s.TooNew:
			found = append(found, finding{Verdict: healthWarning, Message: s.Name + " was taken by a newer version of rebootd", Do: "use that version's kubectl rebootd"})
		case !there:
			found = append(found, finding{Verdict: healthWarning, Message: fmt.Sprintf("%s %s by %s, which is not a Node of the cluster", s.Name, held, s.Holder), Do: "it is freed within minutes unless the Node was deleted with --cascade=orphan; then: " + release})
		case lingers != "":
			found = append(found, finding{Verdict: healthWarning, Message: fmt.Sprintf("%s %s by %s, which is not at work: %s", s.Name, held, s.Holder, sentenceOf(&n)), Do: "see whether its daemon runs; if it does not: " + release})
		}
	}
	if taken == 0 {
		return found, "none is held"
	}
	return found, count(taken, "slot") + " held, each by a node at work"
}

func (p *patient) pauses() (found []finding, well string) {
	if p.fleet.Unread != nil {
		return unread("the Leases of the namespace "+p.e.flags.namespace, p.fleet.Unread), ""
	}
	for _, pause := range p.fleet.Pauses {
		if pause.Over(p.fleet.At) {
			continue
		}
		end := "until somebody ends that"
		switch {
		case !pause.Until.IsZero():
			end = "until " + p.e.clock(pause.Until)
		case pause.UntilText != "":
			end = fmt.Sprintf("until somebody ends that, since its end %q is not a time", pause.UntilText)
		}
		do := p.e.program() + " resume"
		if pause.Lock != fleet.DefaultLock {
			do += " --lock " + pause.Lock
		}
		found = append(found, finding{Verdict: healthWarning, Message: fmt.Sprintf("the lock %s is paused %s (%s): no node of it reboots", pause.Lock, end, orNone(pause.Why)), Do: do})
	}
	return found, "no lock is paused"
}

// ignoredAnnotation is how the daemons say that they cannot read what people have set.
var ignoredAnnotation = regexp.MustCompile(`the annotation (\S+) has the value .*`)

func (p *patient) annotations() (found []finding, well string) {
	if bad := p.noNodes(); bad != nil {
		return bad, ""
	}
	for _, n := range p.fleet.Nodes {
		if n.Condition == nil {
			continue
		}
		if m := ignoredAnnotation.FindStringSubmatch(n.Condition.Message); m != nil {
			found = append(found, finding{Verdict: healthWarning, Message: n.Name + ": " + m[0], Do: fmt.Sprintf("set it as the message says, or remove it: kubectl annotate node %s %s-", n.Name, m[1])})
		}
	}
	return found, "no daemon complains of one"
}
