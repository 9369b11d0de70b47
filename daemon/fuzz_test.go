package daemon

import (
	"context"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/lock"
	"rebootd.dev/reboot"
)

// oneBoot is a machine that has been up for an hour.
type oneBoot struct{}

func (oneBoot) Boot() (reboot.Boot, error) {
	return reboot.Boot{ID: "b", Time: time.Now().Add(-time.Hour)}, nil
}
func (oneBoot) Uptime() time.Duration { return time.Hour }
func (oneBoot) KexecLoaded() bool     { return false }

// fuzzedDaemon knows its machine and its Node, and has asked nobody else.
func fuzzedDaemon(t *testing.T, n *corev1.Node) *Daemon {
	t.Helper()
	d, err := New(Config{
		NodeName: "a", Host: oneBoot{}, Gates: OwnGates(), Stages: []Stage{Drain(nil, time.Hour, decide.Rollback)},
		API: struct{ NodeAPI }{}, Lock: struct{ lock.Locker }{}, Sentinels: make(chan sentinel.State),
		WatchShutdown: func(context.Context, func(reboot.Shutdown, error)) {}, CancelShutdown: func(context.Context) error { return nil },
		Userspace: func(context.Context) (reboot.Userspace, error) { return reboot.Userspace{}, nil },
		Spawn:     func(api.Level, func(string)) (Child, error) { return nil, nil },
		Status:    func(string) {}, Alive: func() {}, Log: zerolog.Nop(), Metrics: NewMetrics(prometheus.NewRegistry(), ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	d.host.seeSentinels(sentinel.State{})
	d.host.seeUserspace(userspaceFound{})
	d.node.see(n)
	if missing := d.missing(); missing != "" {
		t.Fatal(missing)
	}
	return d
}

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
				key: value, api.OperationAnnotation: operation, api.ReportAnnotation: report, api.ServedAnnotation: report, api.HoldAnnotation: hold, api.RequestAnnotation: request, api.PriorityAnnotation: priority,
			},
		}}
		n.Spec.Taints = []corev1.Taint{{Key: key, Value: value}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeConditionType(key), Status: corev1.ConditionTrue, Reason: value}, {Type: api.RebootRequired, Status: corev1.ConditionStatus(value)}}
		d := fuzzedDaemon(t, n)
		s := d.decide(d.clock.now())
		step := s.step
		if step.Reason == "" || step.Message == "" {
			t.Errorf("a step without words: %+v", step)
		}
		if step.Do == decide.DoSpawn || step.Do == decide.DoStage || step.Do == decide.DoCordon || step.KeepUp && s.phase() == api.PhaseDraining {
			t.Errorf("by what is written on the Node alone: %+v", step)
		}
		if d.node.recordErr != nil && step.Do != decide.DoWait {
			t.Errorf("a record that cannot be read leads to %+v", step)
		}
		if asked := request == "reboot"; asked != d.facts(d.clock.now()).Request.Wanted {
			t.Errorf("the request %q is taken for %t", request, !asked)
		}
		condition := d.conditionFor(step, s.record != nil, s.now)
		patch, _, err := d.recordPatch(s, step, condition)
		data := patch.data
		if err != nil {
			t.Errorf("the patch: %v", err)
		}
		if text := d.status(step, s.record, s.now); len(text) > api.MaxStatus || s.record == nil && text != "" || s.record != nil && len(s.record.ID) < 1000 && text == "" {
			t.Errorf("the status: %q", text)
		}
		if condition != nil && len(condition.Message) > maxMessage || !utf8.Valid(data) {
			t.Errorf("the condition, or the patch, is not fit to be sent: %q", data)
		}
		_ = d.stages.drain.previous(d.node.view)
		if c, ok := decide.CandidateOf("rebootd", "a", operation, priority, "", false); ok && !strings.Contains(operation, string(api.PhaseQueued)) {
			t.Errorf("a candidate: %+v", c)
		}
	})
}
