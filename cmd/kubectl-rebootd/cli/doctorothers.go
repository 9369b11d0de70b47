package cli

import (
	"fmt"
	"strings"
	"time"

	"rebootd.dev/cmd/kubectl-rebootd/client"
)

const (
	// clockOff is a clock that people should know of: more than an answer takes.
	clockOff = 5 * time.Second
	// clockWrong is one by which windows, deadlines and pauses end at another time than meant.
	clockWrong = time.Minute
)

func (p *patient) clocks() (found []finding, well string) {
	add := func(whose string, ahead time.Duration, do string) {
		v := healthWarning
		off := ahead.Abs()
		switch {
		case off < clockOff:
			return
		case off >= clockWrong:
			v = healthWrong
		}
		how := "ahead of"
		if ahead < 0 {
			how = "behind"
		}
		found = append(found, finding{Verdict: v, Message: fmt.Sprintf("the clock of %s is %s %s the API server's", whose, ago(off), how), Do: do})
	}
	measured := 0
	for _, n := range p.fleet.Nodes {
		if m := p.marks[n.Name]; m.measured {
			measured++
			add(n.Name, m.skew, "set its clock (chronyc tracking, timedatectl): its windows, deadlines and pauses are off by as much")
		}
	}
	if p.clockErr == nil {
		add("this machine", p.ahead, "set it: the times that you see and give here are off by as much")
	}
	switch {
	case found != nil:
		return found, ""
	case p.nodesErr != nil:
		return p.noNodes(), ""
	case measured == 0:
		return []finding{{Verdict: healthUnknown, Message: "no kubelet's heartbeat tells the clock of its node"}}, ""
	case p.clockErr != nil:
		return []finding{{Verdict: healthUnknown, Message: fmt.Sprintf("the clock of this machine could not be compared: %v", p.clockErr)}}, ""
	}
	return nil, fmt.Sprintf("those of %s and of this machine agree with the API server's within %s", count(measured, "node"), ago(clockOff))
}

// kuredLock is the annotation of kured's DaemonSet by which its nodes take turns.
const kuredLock = "weave.works/kured-node-lock"

func isKured(s client.DaemonSet) bool {
	if _, locks := s.Metadata.Annotations[kuredLock]; locks {
		return true
	}
	for _, c := range s.Spec.Template.Spec.Containers {
		image, _, _ := strings.Cut(c.Image, "@")
		if at := strings.LastIndex(image, "/"); strings.HasPrefix(image[at+1:], "kured:") || image[at+1:] == "kured" {
			return true
		}
	}
	return s.Metadata.Name == "kured"
}

// kured looks for another program that reboots nodes.
func (p *patient) kured() (found []finding, well string) {
	for _, s := range p.sets {
		if !isKured(s) {
			continue
		}
		f := finding{
			Verdict: healthWrong, Message: fmt.Sprintf("kured's DaemonSet %s/%s is there: it reboots nodes past rebootd's slots and drain", s.Metadata.Namespace, s.Metadata.Name),
			Do: fmt.Sprintf("kubectl -n %s delete daemonset %s", s.Metadata.Namespace, s.Metadata.Name),
		}
		if _, locks := s.Metadata.Annotations[kuredLock]; locks {
			f.Message += "; its lock is taken just now"
		}
		found = append(found, f)
	}
	if p.nodesErr != nil {
		return append(found, p.noNodes()...), ""
	}
	var nodes, clear []string
	for _, n := range p.fleet.Nodes {
		if m := p.marks[n.Name]; len(m.kured) > 0 {
			nodes, clear = append(nodes, n.Name), append(clear, m.kured...)
		}
	}
	if len(nodes) > 0 {
		do := "if kured is no longer installed: " + strings.Join(clear[:min(3, len(clear))], "; ")
		if len(clear) > 3 {
			do += "; and so on"
		}
		found = append(found, finding{Verdict: healthWarning, Message: fmt.Sprintf("kured has left its marks on %s (%s), and a node so marked may wait for ever", count(len(nodes), "node"), some(nodes, few)), Do: do})
	}
	if p.setErr != nil || p.narrow {
		found = append(found, finding{Verdict: healthUnknown, Message: "you may not read the DaemonSets of all namespaces: whether kured runs is not known"})
	}
	return found, "kured does not run, and has left nothing"
}

// others tells who else is at work on nodes: no fault, and why a node may wait.
func (p *patient) others() (found []finding, well string) {
	if bad := p.noNodes(); bad != nil {
		return bad, ""
	}
	who := tally{}
	for _, n := range p.fleet.Nodes {
		for _, f := range p.marks[n.Name].findings {
			if f.Clear == "" { // else it is kured's, above
				key := f.Who
				if f.Leaving {
					key += ", about to remove it,"
				}
				who[key] = append(who[key], n.Name)
			}
		}
	}
	if len(who) > 0 {
		return nil, "at work on nodes, which wait as long: " + who.words()
	}
	return nil, "nobody else is at work on a node"
}
