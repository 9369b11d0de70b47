package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"rebootd.dev/daemon/api"
)

// advice is what a person could do about a reason, as the runbook has it.
type advice struct {
	// None is why nothing is to be done; the rest is then empty.
	None     string   `json:"none,omitempty"`
	What     string   `json:"what,omitempty"`
	Commands []string `json:"commands,omitempty"`
	// Runbook is the file in docs/runbooks that says more.
	Runbook string `json:"runbook,omitempty"`
}

// The commands that many steps share. NODE, NAMESPACE and POD are replaced, and REBOOTD by
// rebootd's namespace.
const (
	doAbort     = "kubectl rebootd abort NODE --reason 'why'"
	doHold      = "kubectl rebootd hold NODE --reason 'why'"
	doPreflight = "kubectl rebootd preflight NODE"
	doPods      = "kubectl get pods -A -o wide --field-selector spec.nodeName=NODE"
	doBudgets   = "kubectl -n NAMESPACE get pdb"
	doDelete    = "kubectl -n NAMESPACE delete pod POD"
	doDescribe  = "kubectl describe node NODE"
)

// advices has what can be done by the reason of a node's condition. A test sees to it that
// every reason is here.
var advices = map[api.Reason]advice{
	api.ReasonNotRequired:     {None: "no reboot is requested"},
	api.ReasonRebootRequested: {None: "the daemon asks its gates and joins the queue by itself"},
	api.ReasonSlotAcquired:    {None: "the node is next, and begins by itself"},
	api.ReasonDraining:        {None: "pods are leaving the node"},
	api.ReasonDrained:         {None: "the reboot is ordered next"},
	api.ReasonRebooting:       {None: "the machine is going down, or is down"},
	api.ReasonVerifying:       {None: "the daemon waits for the node to be healthy"},
	api.ReasonRebootVerified:  {None: "the reboot has succeeded"},
	api.ReasonUncordoned:      {None: "the node is in use again"},
	api.ReasonReleased:        {None: "the slot is free for the next node"},
	api.ReasonCancelled:       {None: "the request was withdrawn, and the node was put back"},
	api.ReasonAborted:         {None: "somebody gave the reboot up, and the node was put back"},
	api.ReasonApproved:        {None: "the reboot is approved"},
	api.ReasonCoolingDown:     {None: "it passes by itself"},
	api.ReasonSlotLost:        {None: "the node is put back and joins the queue again by itself"},
	api.ReasonNodeLeaseLost:   {None: "the node is put back, and tries again when the other operator is done"},

	api.ReasonHeld:   {What: "Ask whoever holds the node. To let it go:", Commands: []string{"kubectl rebootd unhold NODE"}, Runbook: "reboot-pending.md"},
	api.ReasonPaused: {What: "Ask whoever has paused the reboots. To end the pause:", Commands: []string{"kubectl rebootd resume"}, Runbook: "reboot-pending.md"},
	api.ReasonBlocked: {
		What: "The message names what blocks it: look there first. To give this reboot up:", Commands: []string{doDescribe, doAbort}, Runbook: "reboot-pending.md",
	},
	api.ReasonCannotReboot: {What: "Mend on the machine what the message names; the node then continues by itself. To give this reboot up:", Commands: []string{doAbort}, Runbook: "cannot-reboot.md"},
	api.ReasonQueued:       {What: "Nothing, as long as others make progress. To see who goes first and about when:", Commands: []string{"kubectl rebootd slots", "kubectl rebootd plan"}, Runbook: "slot-held-too-long.md"},
	api.ReasonCordonLost:   {What: "Somebody uncordoned the node, and it is tried again after a pause. To have it left alone:", Commands: []string{doHold}, Runbook: "reboot-pending.md"},
	api.ReasonDrainBlocked: {What: "See each pod above. To put the node back for now, or to give this reboot up:", Commands: []string{doHold, doAbort}, Runbook: "drain-stuck.md"},
	api.ReasonDrainTimedOut: {
		What: "Find out what keeps the pods, and mend that before the next try. To give this reboot up:", Commands: []string{doPreflight, doAbort}, Runbook: "drain-stuck.md",
	},
	api.ReasonHookFailed: {What: "Look at what the hook says in the daemon's log. To give this reboot up:", Commands: []string{doAbort}, Runbook: "reboot-pending.md"},
	api.ReasonRebootFailed: {
		What: "Look at the message and at the daemon's log: the reboot command does not work there. To give this reboot up:", Commands: []string{doAbort}, Runbook: "cannot-reboot.md",
	},
	api.ReasonRebootOverdue: {
		What: "On the machine, see what delays the shutdown (systemctl list-jobs, systemd-inhibit --list). Once it has booted, the daemon continues. To give this reboot up and let the other nodes continue:", Commands: []string{doAbort}, Runbook: "rollout-halted.md",
	},
	api.ReasonUnhealthy: {
		What: "Mend what the message names; once the node is healthy the daemon continues. If the reboot itself makes nodes unhealthy, pause first. To give this node up and let the others continue:", Commands: []string{"kubectl rebootd pause --reason 'why'", doAbort}, Runbook: "rollout-halted.md",
	},
	api.ReasonAbortPending: {None: "the reboot was ordered before it was given up: the machine goes down, or the node is put back"},
	api.ReasonRecordTooNew: {What: "Run the newer version of rebootd on the node again. If that cannot be, and the machine is not about to go down:", Commands: []string{doAbort}, Runbook: "record-unreadable.md"},
	api.ReasonRecordInvalid: {
		What: "Find out who has changed the annotation rebootd.dev/operation. Once you are sure that the machine is not about to go down:", Commands: []string{doAbort}, Runbook: "record-unreadable.md",
	},
	api.ReasonAPIUnreachable:    {What: "If all nodes say so, look at the API server; if one does, at its network, its certificate or token:", Commands: []string{"kubectl get --raw '/readyz?verbose'"}, Runbook: "api-unreachable.md"},
	api.ReasonAnnotationInvalid: {What: "Correct or remove the annotation that the message names:", Commands: []string{"kubectl edit node NODE"}, Runbook: "reboot-pending.md"},
	api.ReasonOtherRebooter:     {What: "Disable the automatic reboots of the program that the message names, on the machine.", Runbook: "reboot-pending.md"},
	api.ReasonConfigRefused:     {What: "Correct the configuration file before anything restarts the daemon; the message says what is wrong.", Commands: []string{"kubectl -n REBOOTD get configmaps"}, Runbook: "config-refused.md"},

	api.ReasonOutsideWindow: {
		What: "Nothing, if that window is right. To have it reboot now, outside its windows:", Commands: []string{`kubectl annotate node NODE --overwrite rebootd.dev/deadline="$(date -u +%FT%TZ)"`}, Runbook: "deadline-before-window.md",
	},
	api.ReasonFrozen:           {What: "Nothing, if the freeze is right: no deadline passes it over. It stands in --window, or in the annotation rebootd.dev/windows of the Node.", Runbook: "reboot-pending.md"},
	api.ReasonAwaitingApproval: {What: "To approve this reboot:", Commands: []string{"kubectl rebootd approve NODE"}, Runbook: "reboot-pending.md"},
	api.ReasonAlertsFiring:     {What: "Resolve the alerts that the message names; the node then continues by itself.", Runbook: "reboot-pending.md"},
	api.ReasonPodsBlock:        {What: "Wait for the pods that the message names, or remove them:", Commands: []string{doPods}, Runbook: "reboot-pending.md"},
	api.ReasonConditionBlocks:  {What: "Mend what the condition of the Node reports:", Commands: []string{doDescribe}, Runbook: "reboot-pending.md"},
	api.ReasonPolicyDenies: {
		What: "The message has the policy's words. Ask whoever keeps it, or find it:", Commands: []string{"kubectl get validatingadmissionpolicies,validatingwebhookconfigurations"}, Runbook: "reboot-pending.md",
	},
	api.ReasonWouldNotDrain: {What: "See which pods would stay and why, and mend that; the node is tried again by itself:", Commands: []string{doPreflight}, Runbook: "budget-never-allows.md"},
	api.ReasonPodsNotReady:  {What: "Find out why the pods that the message names are not Ready:", Commands: []string{doPods}, Runbook: "rollout-halted.md"},
}

// podAdvices has what can be done about a pod that does not leave.
var podAdvices = map[api.PodReason]advice{
	api.PodBudgetExhausted: {What: "Other pods of the budget are away: find out why their replacements are not Ready:", Commands: []string{doBudgets, "kubectl -n NAMESPACE get pods -o wide"}, Runbook: "drain-stuck.md"},
	api.PodBudgetNeverAllows: {
		What: "Run one more replica, change the budget, or delete the pod:", Commands: []string{doBudgets, doDelete}, Runbook: "budget-never-allows.md",
	},
	api.PodUnhealthySiblings:    {What: "Mend the pods of the budget that are not Ready:", Commands: []string{"kubectl -n NAMESPACE get pods -o wide"}, Runbook: "drain-stuck.md"},
	api.PodMultipleBudgets:      {What: "Delete all but one of the budgets, or delete the pod:", Commands: []string{doBudgets, doDelete}, Runbook: "budget-never-allows.md"},
	api.PodWebhookDenied:        {What: "The message has the webhook's words. If it could not be called, mend it:", Commands: []string{"kubectl get validatingwebhookconfigurations"}, Runbook: "drain-stuck.md"},
	api.PodRelocating:           {What: "Wait. If it makes no progress, look at its operator:", Commands: []string{"kubectl -n NAMESPACE describe pod POD"}, Runbook: "drain-stuck.md"},
	api.PodForbidden:            {What: "Compare the role of rebootd with deploy/base/rbac.yaml, or delete the pod:", Commands: []string{doDelete}, Runbook: "budget-never-allows.md"},
	api.PodAPIOverloaded:        {What: "Look at the API server; evictions are tried again with growing pauses:", Commands: []string{"kubectl get --raw '/readyz?verbose'"}, Runbook: "drain-stuck.md"},
	api.PodNamespaceTerminating: {What: "See what keeps the namespace from ending:", Commands: []string{"kubectl get namespace NAMESPACE -o yaml"}, Runbook: "drain-stuck.md"},
	api.PodTerminating:          {What: "See who should remove its finalizers; without any, look at the kubelet:", Commands: []string{"kubectl -n NAMESPACE get pod POD -o yaml"}, Runbook: "drain-stuck.md"},
	api.PodAwaitingCompletion:   {What: "Wait until it has finished, or delete it:", Commands: []string{doDelete}, Runbook: "drain-stuck.md"},
	api.PodProtected:            {What: "Wait, remove the annotation that the message names, or delete the pod:", Commands: []string{doDelete}, Runbook: "drain-stuck.md"},

	api.PodAwaitingTurn:    {None: "it follows the pods that come before it in the drain order"},
	api.PodReturning:       {None: "it is not waited for"},
	api.PodEvicting:        {None: "its eviction is under way"},
	api.PodStaticPod:       {None: "it is not evicted"},
	api.PodDaemonSetPod:    {None: "it is not evicted"},
	api.PodRebootdPod:      {None: "it is not evicted"},
	api.PodSkipRequested:   {None: "it is not evicted"},
	api.PodCompleted:       {None: "it has finished"},
	api.PodDeletedByOthers: {None: "it is gone"},
	api.PodGraceShortened:  {None: "it is gone"},
}

// plainName is what is put into a command: what else stands on Nodes may be anybody's.
var plainName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// nodeAdvice is what can be done about a node.
func nodeAdvice(r api.Reason, node string) advice {
	return advices[r].with("NODE", node)
}

// podAdvice is what can be done about a pod, by its namespace/name.
func podAdvice(r api.PodReason, pod string) advice {
	namespace, name, _ := strings.Cut(pod, "/")
	return podAdvices[r].with("NAMESPACE", namespace).with("POD", name)
}

// with puts a name into the commands; without one that is plain, those that need it are
// left out.
func (a advice) with(what, name string) advice {
	var commands []string
	for _, c := range a.Commands {
		switch {
		case !strings.Contains(c, what):
			commands = append(commands, c)
		case plainName.MatchString(name):
			commands = append(commands, strings.ReplaceAll(c, what, name))
		}
	}
	a.Commands = commands
	return a
}

// here has the commands be for the cluster and the namespace that were asked about.
func (e *env) here(a advice) advice {
	a.Commands = slices.Clone(a.Commands)
	for i, c := range a.Commands {
		a.Commands[i] = e.again(c)
	}
	return a
}

// printAdvice prints what can be done, if anything.
func (e *env) printAdvice(indent string, a advice) {
	if a.What == "" {
		return
	}
	fmt.Fprintf(e.out, "%s%s\n", indent, a.What)
	for _, c := range a.Commands {
		fmt.Fprintf(e.out, "%s  %s\n", indent, e.paint(cyan, c))
	}
}
