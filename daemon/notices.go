package daemon

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/others"
	"rebootd.dev/daemon/printable"
)

// notice is something that people should know of a node and that holds up nothing.
type notice struct {
	reason api.Reason
	text   string
}

// noticesOf are those that follow from what stands on the Node.
func noticesOf(n *corev1.Node) (out []notice) {
	invalid := func(annotation, why string, valid func(string) bool) {
		if value, there := n.Annotations[annotation]; there && !valid(value) {
			out = append(out, notice{api.ReasonAnnotationInvalid, fmt.Sprintf("the annotation %s has the value %.60q, which is ignored: %s", annotation, value, why)})
		}
	}
	invalid(api.RequestAnnotation, fmt.Sprintf("the only valid value is %q", api.RequestReboot), func(v string) bool { return v == api.RequestReboot })
	invalid(api.PriorityAnnotation, "it is not an integer", func(v string) bool { _, err := strconv.Atoi(v); return err == nil })
	invalid(api.DeadlineAnnotation, "it is not a time by RFC 3339 such as 2026-12-01T00:00:00Z", func(v string) bool { _, err := decide.ParseDeadline(v); return err == nil })
	for _, mark := range others.Rebooters(n) {
		out = append(out, notice{api.ReasonOtherRebooter, mark})
	}
	return out
}

// noticeWorker tells people what they should know, once as long as it is true.
type noticeWorker struct {
	rebooters []notice // of the machine
	readers   []gate.Reader
	view      func() *nodeView
	config    func() string // why the configuration file is refused; "": it is not
	events    *events
	log       zerolog.Logger
	metrics   *Metrics
	dryRun    bool

	told []notice
}

func newNoticeWorker(c Config, view func() *nodeView, e *events) *noticeWorker {
	w := &noticeWorker{view: view, config: c.ConfigRefused, events: e, log: c.Log, metrics: c.Metrics, dryRun: c.DryRun}
	for _, found := range c.Rebooters {
		w.rebooters = append(w.rebooters, notice{api.ReasonOtherRebooter, "another program is configured to reboot this machine and would bypass rebootd's lock and drain; disable its automatic reboots: " + found})
	}
	for _, g := range c.Gates {
		if r, ok := g.(gate.Reader); ok {
			w.readers = append(w.readers, r)
		}
	}
	return w
}

func (w *noticeWorker) all() []notice {
	v := w.view()
	if v == nil {
		return w.told
	}
	all := slices.Concat(v.notices, w.rebooters)
	if why := w.refused(); why != "" {
		all = append(all, notice{api.ReasonConfigRefused, "the configuration file is refused, and the settings from before stay in force: " + why})
	}
	if v.operation != "" {
		return all // the gates themselves tell what is wrong
	}
	for _, r := range w.readers {
		if text := r.Invalid(v.gates); text != "" {
			all = append(all, notice{api.ReasonAnnotationInvalid, text})
		}
	}
	return all
}

func (w *noticeWorker) follow(decided) bool {
	now := w.all()
	rebooters := 0
	for _, n := range now {
		if n.reason == api.ReasonOtherRebooter {
			rebooters++
		}
		if slices.Contains(w.told, n) {
			continue
		}
		w.log.Warn().Str("reason", string(n.reason)).Msg(printable.Line(n.text, maxMessage))
		if !w.dryRun {
			w.events.once(corev1.EventTypeWarning, n.reason, n.text)
		}
	}
	w.told = now
	w.metrics.rebooters.Set(float64(rebooters))
	return true
}

func (w *noticeWorker) facts(f *decide.Facts) {
	operates := w.view() != nil && w.view().operation != ""
	for _, n := range w.all() {
		if n.reason == api.ReasonConfigRefused && operates {
			continue // its gate tells
		}
		f.Notices = append(f.Notices, n.text)
	}
}

// refused is why the configuration file is refused; "": it is not.
func (w *noticeWorker) refused() string {
	if w.config == nil {
		return ""
	}
	return w.config()
}

func (w *noticeWorker) configVerdict() gate.Verdict {
	why := w.refused()
	return verdictOf("the configuration file is refused, and the daemon would not start with it after a reboot: "+why, why != "")
}
