package daemon

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/reboot"
)

// oneBoot is a machine that has been up for an hour.
type oneBoot struct{}

func (oneBoot) Boot() (reboot.Boot, error) {
	return reboot.Boot{ID: "b", Time: time.Now().Add(-time.Hour)}, nil
}
func (oneBoot) Uptime() time.Duration { return time.Hour }

// Whatever people and programs write on a Node, it leads to a decision that can be
// told and written, and to no panic. What is not understood is not obeyed.
func FuzzNode(f *testing.F) {
	f.Add("talos.dev/cordoned", "true", `{"v":1,"id":"a","phase":"Queued","since":"2026-05-04T12:00:00Z","bootID":"b"}`, `{"v":1}`, "why", "reboot", "7")
	f.Add("aws-node-termination-handler/\xff", "\x00", `{"v":2}`, `[]`, "\x1b[0m\n", "rEboot", "99999999999999999999")
	f.Add("rebootd.dev/hold", "", `null`, ``, "", " reboot", "-1")
	f.Fuzz(func(t *testing.T, key, value, operation, report, hold, request, priority string) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: "a", UID: "u", ResourceVersion: value, Labels: map[string]string{key: value},
			Annotations: map[string]string{
				key: value, OperationAnnotation: operation, ReportAnnotation: report, HoldAnnotation: hold, RequestAnnotation: request, PriorityAnnotation: priority,
			},
		}}
		n.Spec.Taints = []corev1.Taint{{Key: key, Value: value}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeConditionType(key), Status: corev1.ConditionTrue, Reason: value}, {Type: RebootRequired, Status: corev1.ConditionStatus(value)}}
		d := &Daemon{Config: Config{NodeName: "a", Log: zerolog.Nop(), Host: oneBoot{}}, start: time.Now()}
		d.events = newEvents(nil, "a", d.Log)
		d.boot, d.bootRead, d.sentinelKnown = decide.Boot{ID: "b", Time: d.start.Add(-time.Hour)}, true, true
		d.seeNode(n)
		step := d.decide(d.now())
		if step.Reason == "" || step.Message == "" {
			t.Errorf("a step without words: %+v", step)
		}
		if step.Do == decide.Spawn || step.Do == decide.Evict || step.Do == decide.Cordon {
			t.Errorf("by what is written on the Node alone: %+v", step)
		}
		if d.recordErr != nil && step.Do != decide.Wait {
			t.Errorf("a record that cannot be read leads to %+v", step)
		}
		if asked := request == "reboot"; asked != d.facts(d.now()).Request.Wanted {
			t.Errorf("the request %q is taken for %t", request, !asked)
		}
		data, _, err := d.recordPatch(step, d.conditionFor(step, d.record != nil))
		if err != nil {
			t.Errorf("the patch: %v", err)
		}
		if c := d.conditionFor(step, d.record != nil); c != nil && len(c.Message) > maxMessage || !utf8.Valid(data) {
			t.Errorf("the condition, or the patch, is not fit to be sent: %q", data)
		}
		_ = d.previousReport()
		if c, ok := decide.CandidateOf("rebootd", "a", operation, priority, "", false); ok && !strings.Contains(operation, string(decide.Queued)) {
			t.Errorf("a candidate: %+v", c)
		}
	})
}
