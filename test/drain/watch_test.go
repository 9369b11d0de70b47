package drain

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/daemon/api"
	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/proxy"
)

// through puts a proxy between the drain and the API server.
func (b *bed) through() *proxy.Proxy {
	b.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	b.must(err)
	p, err := proxy.New(cfg)
	b.must(err)
	b.Cleanup(p.Close)
	b.api = b.client(&rest.Config{Host: p.URL})
	return p
}

// The watch of the node's pods is cut at every point: between any two events, in
// the middle of one, with the version forgotten, with the list failing too, and
// with everything late. No pod is lost, the node is not drained early, and
// nothing waits for ever.
func TestWatchIsCutAtEveryPoint(t *testing.T) {
	gone := func(r *http.Request) bool { return r.URL.Query().Get("resourceVersion") != "0" }
	faults := map[string]func(n int64, point int, r *http.Request) proxy.Fault{
		"between events": func(n int64, point int, _ *http.Request) proxy.Fault {
			if n <= 3 {
				return proxy.Fault{CutAfter: point}
			}
			return proxy.Fault{}
		},
		"in an event": func(n int64, point int, _ *http.Request) proxy.Fault {
			if n <= 3 {
				return proxy.Fault{CutAfter: point, InEvent: true}
			}
			return proxy.Fault{}
		},
		"and its version is forgotten": func(n int64, point int, r *http.Request) proxy.Fault {
			switch {
			case n == 1:
				return proxy.Fault{CutAfter: point}
			case n <= 3 && gone(r):
				return proxy.Fault{Answer: proxy.Gone()}
			}
			return proxy.Fault{}
		},
		"and all is late": func(n int64, point int, _ *http.Request) proxy.Fault {
			f := proxy.Fault{Delay: 200 * time.Millisecond, EventDelay: 100 * time.Millisecond}
			if n <= 2 {
				f.CutAfter = point
			}
			return f
		},
	}
	const points = 12 // three pods give nine to twelve events
	for name, fault := range faults {
		for point := 1; point <= points; point++ {
			t.Run(fmt.Sprintf("%s/%d", strings.ReplaceAll(name, " ", "-"), point), func(t *testing.T) {
				b := newBed(t)
				b.pod("a", nil)
				b.pod("b", func(p *corev1.Pod) { p.Annotations[cluster.Sim+"term-seconds"] = "2" })
				b.ready("a", "b")
				var watches atomic.Int64
				b.through().Faults(func(r *http.Request) proxy.Fault {
					if !proxy.IsWatch(r, "pods") || !strings.HasPrefix(r.URL.Query().Get("fieldSelector"), "spec.nodeName=") {
						return proxy.Fault{}
					}
					return fault(watches.Add(1), point, r)
				})
				go func() { // one that a scheduler with an old view puts there
					_ = shared.WaitPods(b.ctx, b.ns, "told to go", func(pods map[string]*corev1.Pod) bool {
						return pods["b"] == nil || pods["b"].DeletionTimestamp != nil
					})
					b.pod("late", nil)
				}()
				began := time.Now()
				b.start(func(c *drain.Config, _ *drain.Options) { c.MinWait = 3 * time.Second })
				p := b.drained()
				list, err := shared.Client.CoreV1().Pods(b.ns).List(b.ctx, metav1.ListOptions{})
				b.must(err)
				if len(list.Items) > 0 {
					t.Errorf("drained with %d pods on the node", len(list.Items))
				}
				if p.Report.Totals[api.OutcomeDrained] != 3 || len(p.Report.Pods) != 3 {
					t.Errorf("the report has %+v", p.Report)
				}
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("took %s", took)
				}
				if watches.Load() < 1 {
					t.Error("the watch did not go through the proxy")
				}
			})
		}
	}
}

// The watch tells of everything, late; the node looks empty, and is not: a last look at
// the newest state says so.
func TestWatchThatIsBehind(t *testing.T) {
	b := newBed(t)
	b.through().Faults(func(r *http.Request) proxy.Fault {
		if proxy.IsWatch(r, "pods") && strings.HasPrefix(r.URL.Query().Get("fieldSelector"), "spec.nodeName=") {
			return proxy.Fault{EventDelay: 12 * time.Second}
		}
		return proxy.Fault{}
	})
	b.start()
	b.pod("late", nil)
	b.drained()
	list, err := shared.Client.CoreV1().Pods(b.ns).List(b.ctx, metav1.ListOptions{})
	b.must(err)
	if len(list.Items) > 0 {
		t.Errorf("drained with %d pods on the node", len(list.Items))
	}
}
