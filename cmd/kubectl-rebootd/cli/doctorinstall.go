package cli

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/cmd/kubectl-rebootd/client"
)

func (p *patient) rights() (found []finding, well string) {
	if p.askErr != nil {
		return []finding{{Verdict: healthUnknown, Message: fmt.Sprintf("what you may do could not be asked: %v", p.askErr)}}, ""
	}
	var missing []string
	roles := map[string]bool{}
	for _, r := range rightsNeeded(p.e.flags.namespace) {
		if !p.allowed[r.String()] {
			missing = append(missing, fmt.Sprintf("%s (%s)", r, r.commands))
			roles[r.role()] = true
		}
	}
	if missing == nil {
		return nil, "you may use every command"
	}
	f := finding{Verdict: healthOK, Message: "you may not " + strings.Join(missing, ", ")}
	for _, role := range []string{"rebootd-viewer", "rebootd-operator"} { // who has the second has the first
		if roles[role] {
			f.Do = "if you need that, ask for the ClusterRole and the Role " + role
		}
	}
	if p.nodesErr != nil {
		f.Verdict = healthUnknown
	}
	return []finding{f}, ""
}

// keepers are the admission policies that keep each daemon to its own node.
var keepers = []struct{ name, without string }{
	{"rebootd-own-node", "a token that is stolen on one node can change every Node"},
	{"rebootd-own-leases", "a token that is stolen on one node can take every slot"},
	{"rebootd-own-pods", "a token that is stolen on one node can delete pods on every node"},
}

func (p *patient) policies() (found []finding, well string) {
	if p.polErr != nil {
		return unread("the admission policies", p.polErr), ""
	}
	const apply = "apply deploy/base/policy.yaml again, or your overlay of it"
	user := p.user()
	for _, k := range keepers {
		// kustomize's namePrefix may stand before the name.
		all := slices.DeleteFunc(slices.Clone(p.pol), func(a client.Policy) bool {
			return a.Metadata.Name != k.name && !strings.HasSuffix(a.Metadata.Name, "-"+k.name)
		})
		if len(all) == 0 {
			found = append(found, finding{Verdict: healthWrong, Message: fmt.Sprintf("the admission policy %s is missing: %s", k.name, k.without), Do: apply})
			continue
		}
		var worst []finding
		for _, one := range all {
			f := p.inForce(one, user)
			if worst = f; len(f) == 0 {
				break // one that is in force is enough
			}
		}
		for _, f := range worst {
			f.Message += ": " + k.without
			f.Do = apply
			found = append(found, f)
		}
	}
	return found, "the three admission policies that keep each daemon to its own node are in force for " + user
}

// user is as whom the daemons run: in the namespace, else wherever they are.
func (p *patient) user() string {
	for _, s := range append(p.ours(), p.elsewhere()...) {
		if name := s.Spec.Template.Spec.ServiceAccountName; name != "" {
			return "system:serviceaccount:" + s.Metadata.Namespace + ":" + name
		}
	}
	return "system:serviceaccount:" + p.e.flags.namespace + ":rebootd"
}

// inForce is why a policy does not do for the daemons' user what it is there for.
func (p *patient) inForce(one client.Policy, user string) (found []finding) {
	wrong := func(format string, args ...any) {
		found = append(found, finding{Verdict: healthWrong, Message: fmt.Sprintf("the admission policy "+one.Metadata.Name+" "+format, args...)})
	}
	var denies bool
	var bound []string
	for _, b := range p.bindings {
		if b.Spec.PolicyName == one.Metadata.Name {
			bound = append(bound, fmt.Sprintf("%s has validationActions [%s]", b.Metadata.Name, strings.Join(b.Spec.ValidationActions, ", ")))
			if b.Spec.MatchResources.Confines() {
				bound[len(bound)-1] += " and matches some resources only"
			} else {
				denies = denies || slices.Contains(b.Spec.ValidationActions, "Deny")
			}
		}
	}
	switch {
	case bound == nil:
		wrong("has no binding, and so applies to nobody")
	case !denies:
		wrong("does not deny everywhere (its binding %s)", strings.Join(bound, "; its binding "))
	}
	for _, m := range one.Spec.MatchConditions {
		if is, known := matchesUser(m.Expression, user); known && !is {
			wrong("does not apply to %s, as which the daemons run (its condition %s)", user, m.Name)
		}
	}
	if one.Spec.FailurePolicy == "Ignore" {
		wrong("has failurePolicy Ignore, and so allows what it cannot judge")
	}
	return found
}

var (
	userEquals  = regexp.MustCompile(`username\s*==\s*'([^']*)'`)
	quoted      = regexp.MustCompile(`'[^']*'`)
	userMatches = regexp.MustCompile(`username\.matches\('([^']*)'\)`)
)

// matchesUser says whether a condition of a policy is true for a user, as far as that can
// be told without CEL: from all that it says of the username, joined by "and".
func matchesUser(expression, user string) (is, known bool) {
	if logic := quoted.ReplaceAllString(expression, ""); strings.Contains(logic, "||") || strings.Contains(logic, "?") {
		return false, false
	}
	is = true
	for _, m := range userEquals.FindAllStringSubmatch(expression, -1) {
		is, known = is && m[1] == user, true
	}
	for _, m := range userMatches.FindAllStringSubmatch(expression, -1) {
		if re, err := regexp.Compile(m[1]); err == nil {
			is, known = is && re.MatchString(user), true
		}
	}
	return is, known
}

// ofRebootd says whether a DaemonSet is one of rebootd.
func ofRebootd(s client.DaemonSet) bool {
	return s.Metadata.Labels["app.kubernetes.io/name"] == "rebootd" || s.Metadata.Name == "rebootd" || strings.HasSuffix(s.Metadata.Name, "-rebootd")
}

// ours are the DaemonSets of rebootd in the namespace.
func (p *patient) ours() []client.DaemonSet { return p.setsWhere(true) }

// elsewhere are those in other namespaces.
func (p *patient) elsewhere() []client.DaemonSet { return p.setsWhere(false) }

func (p *patient) setsWhere(here bool) (out []client.DaemonSet) {
	for _, s := range p.sets {
		if (s.Metadata.Namespace == p.e.flags.namespace) == here && ofRebootd(s) {
			out = append(out, s)
		}
	}
	return out
}

func (p *patient) daemonSet() (found []finding, well string) {
	if p.setErr != nil {
		return unread("the DaemonSets", p.setErr), ""
	}
	ns := p.e.flags.namespace
	sets := p.ours()
	for _, s := range p.elsewhere() {
		f := finding{
			Verdict: healthWarning, Message: fmt.Sprintf("a second DaemonSet of rebootd is in the namespace %s: its daemons take slots there, beside those of %s", s.Metadata.Namespace, ns),
			Do: "keep one of them, unless no node has both",
		}
		if len(sets) == 0 {
			f.Message = fmt.Sprintf("rebootd's DaemonSet is not in the namespace %s, but in %s: slots and pauses were looked for in the wrong place", ns, s.Metadata.Namespace)
			f.Do = p.e.name + " doctor -n " + s.Metadata.Namespace + ", and the same -n with every other command"
		}
		found = append(found, f)
	}
	if len(sets) == 0 {
		return found, "there is none in the namespace " + ns + ": the daemons run as systemd units, if at all"
	}
	for _, s := range sets {
		name, st := s.Metadata.Namespace+"/"+s.Metadata.Name, s.Status
		pods := fmt.Sprintf("kubectl -n %s get pods -o wide -l %s", ns, podLabel)
		switch {
		case st.Desired == 0:
			found = append(found, finding{Verdict: healthWrong, Message: name + " selects no node: no daemon runs", Do: "see its nodeSelector and affinity: kubectl -n " + ns + " get daemonset " + s.Metadata.Name + " -o yaml"})
		case st.Ready == 0:
			found = append(found, finding{Verdict: healthWrong, Message: fmt.Sprintf("%s: none of %s is Ready", name, count(st.Desired, "pod")), Do: pods})
		case st.Ready < st.Desired:
			found = append(found, finding{Verdict: healthWarning, Message: fmt.Sprintf("%s: %d of %s are Ready", name, st.Ready, count(st.Desired, "pod")), Do: pods})
		}
		if st.Updated < st.Desired && st.Desired > 0 {
			found = append(found, finding{Verdict: healthWarning, Message: fmt.Sprintf("%s is being rolled out: %d of %s are of the new template", name, st.Updated, count(st.Desired, "pod")), Do: "kubectl -n " + ns + " rollout status daemonset " + s.Metadata.Name})
		}
		well = fmt.Sprintf("%s: %d of %s are Ready", name, st.Ready, count(st.Desired, "pod"))
	}
	return found, well
}

// unready is why a pod is not Ready, "" if it is.
func unready(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			return c.State.Waiting.Reason
		case c.State.Terminated != nil:
			return fmt.Sprintf("ended with status %d", c.State.Terminated.ExitCode)
		case c.State.Running != nil:
			return "it runs, and is not Ready"
		}
	}
	return string(pod.Status.Phase)
}

// metricsPort is where a daemon serves its metrics by default.
const metricsPort = 9650

// scrape asks one daemon for its metrics.
func (p *patient) scrape(ctx context.Context, c client.API) {
	for i := range p.pods {
		pod := &p.pods[i]
		if unready(pod) != "" {
			continue
		}
		port := metricsPort
		for _, container := range pod.Spec.Containers {
			for _, one := range container.Ports {
				if one.Name == "metrics" {
					port = int(one.ContainerPort)
				}
			}
		}
		p.textOf = pod.Namespace + "/" + pod.Name
		p.text, p.metricsErr = c.Metrics(ctx, pod.Namespace, pod.Name, port)
		return
	}
}

func (p *patient) metrics() (found []finding, well string) {
	switch {
	case p.textOf == "":
		return []finding{{Verdict: healthUnknown, Message: "there is no pod of rebootd that is Ready and could be asked; a systemd unit is not reached through the API server"}}, ""
	case apierrors.IsForbidden(p.metricsErr):
		return []finding{{Verdict: healthUnknown, Message: "you may not get pods/proxy, by which a daemon's metrics are asked for"}}, ""
	case p.metricsErr != nil:
		return []finding{{
			Verdict: healthUnknown, Message: fmt.Sprintf("the metrics of the pod %s cannot be reached through the API server (%v); Prometheus may reach them all the same", p.textOf, p.metricsErr),
			Do: "see whether RebootdAbsent fires in Prometheus, and whether a firewall keeps port 9650 shut",
		}}, ""
	case !bytes.Contains(p.text, []byte("\nrebootd_")):
		return []finding{{Verdict: healthWrong, Message: "what the pod " + p.textOf + " serves as metrics are not those of rebootd", Do: "see whether another program has its port on the host"}}, ""
	}
	return nil, "the pod " + p.textOf + " serves them; whether Prometheus asks for them, the alert RebootdAbsent tells"
}
