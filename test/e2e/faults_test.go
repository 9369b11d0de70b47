package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/machine"
	"rebootd.dev/test/proxy"
)

// through has the machine's daemon speak to the API server through a proxy.
func (b *bed) through(m *machine.Machine) *proxy.Proxy {
	b.Helper()
	p, err := proxy.Between(m.Kubeconfig)
	b.must(err)
	b.Cleanup(p.Close)
	return p
}

func isWrite(r *http.Request) bool { return r.Method != http.MethodGet }

// write names a write in words, the same in every run.
func write(r *http.Request) string {
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	for i, p := range path {
		switch p {
		case "nodes", "pods", "leases", "events":
			s := p
			if i+2 < len(path) {
				s += "/" + path[i+2]
			}
			return r.Method + " " + s
		}
	}
	return r.Method + " " + r.URL.Path
}

// writes counts a daemon's writes, and has one of them fail.
type writes struct {
	mu    sync.Mutex
	seen  []string
	which int // from 1; 0: none
	fault proxy.Fault
}

func (w *writes) decide(r *http.Request) proxy.Fault {
	if !isWrite(r) {
		return proxy.Fault{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, write(r))
	if len(w.seen) == w.which {
		return w.fault
	}
	return proxy.Fault{}
}

// cycle is one reboot of a node with a pod, with a fault at one of its writes. It
// returns what was written.
func cycle(t *testing.T, which int, fault proxy.Fault) []string {
	b := newBed(t, 90*time.Second)
	m := b.stopped("--reboot-timeout=8s")
	w := &writes{which: which, fault: fault}
	b.through(m).Faults(w.decide)
	b.pod(m, "work")
	b.must(m.StartDaemon())
	before := m.BootID()
	b.must(m.Touch("x"))
	n := b.rebooted(m, before)
	if _, agreed := m.Orders(); agreed != 1 || len(m.Outages()) != 1 {
		t.Errorf("the command was obeyed %d times and the machine was down %d times, want once", agreed, len(m.Outages()))
	}
	b.released()
	b.leaseReleased(m)
	b.node(m, "as it was", func(n *corev1.Node) bool {
		for k := range n.Annotations {
			if strings.Contains(k, "karpenter") || strings.Contains(k, "autoscaler") || k == "rebootd.dev/operation" {
				return false
			}
		}
		for _, c := range n.Status.Conditions {
			if c.Reason == "Rebootd" {
				return false
			}
		}
		return true
	})
	report, err := api.ParseReport([]byte(n.Annotations["rebootd.dev/report"]))
	b.must(err)
	if got := report.Totals[api.OutcomeDrained]; got != 1 {
		t.Errorf("the report counts %d pods as drained, want 1: %s", got, n.Annotations["rebootd.dev/report"])
	}
	if s := b.remembers(n, 0); s.Totals[api.OutcomeDrained] != 1 || s.Queued.IsZero() || s.Cordoned.IsZero() || s.Drained.IsZero() || s.Back.IsZero() {
		t.Errorf("the history says %+v", s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if which > 0 && len(w.seen) >= which {
		injected.Add(1)
	}
	return w.seen
}

func status(code int32, reason metav1.StatusReason) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: "a fault that was injected",
	}
}

// injected counts the faults that have happened: how many writes there are varies a
// little, with what is told to people in one and not in two.
var injected atomic.Int64

// Whatever becomes of any one write of a reboot, the reboot comes to its end, and
// happens once: done and the answer lost, never done, refused, a conflict, the
// server overloaded or in trouble.
func TestEveryWrite(t *testing.T) {
	t.Parallel()
	usual := cycle(t, 0, proxy.Fault{})
	t.Logf("a reboot's writes: %s", strings.Join(usual, ", "))
	var meant atomic.Int64
	t.Cleanup(func() {
		if n := injected.Load(); n < meant.Load()*9/10 {
			t.Errorf("only %d of %d faults have happened", n, meant.Load())
		}
	})
	for name, f := range map[string]proxy.Fault{
		"done, answer lost":   {Forget: true},
		"not done":            {Lose: true},
		"conflict":            {Answer: status(http.StatusConflict, metav1.StatusReasonConflict)},
		"overloaded":          {Answer: status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests)},
		"internal error":      {Answer: status(http.StatusInternalServerError, metav1.StatusReasonInternalError)},
		"service unavailable": {Answer: status(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)},
	} {
		for i, what := range usual {
			if strings.HasSuffix(what, "events") && !f.Lose {
				continue // only told to people
			}
			t.Run(fmt.Sprintf("%s/%d %s", name, i+1, strings.ReplaceAll(what, "/", " ")), func(t *testing.T) {
				t.Parallel()
				meant.Add(1)
				cycle(t, i+1, f)
			})
		}
	}
}
