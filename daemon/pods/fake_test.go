package pods

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/gate"
)

// fakeAPI has pods, counts what is asked, and lets a test change them.
type fakeAPI struct {
	t *testing.T

	mu             sync.Mutex
	pods           []corev1.Pod
	err            error
	lists, watches int
	events         chan watch.Event // of the watch that is open
	from           string           // which version it is from
}

func (a *fakeAPI) ListPods(_ context.Context, namespace string, opts metav1.ListOptions) (*corev1.PodList, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lists++
	if namespace != "" || opts.FieldSelector != "spec.nodeName=n" || opts.ResourceVersion != "0" || opts.LabelSelector != "" {
		a.t.Errorf("lists %q %+v", namespace, opts)
	}
	if a.err != nil {
		return nil, a.err
	}
	return &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: a.pods}, nil
}

func (a *fakeAPI) WatchPods(_ context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watches++
	if namespace != "" || opts.FieldSelector != "spec.nodeName=n" || opts.ResourceVersion == "" || opts.ResourceVersion == "0" || !opts.AllowWatchBookmarks {
		a.t.Errorf("watches %q %+v", namespace, opts)
	}
	if a.err != nil {
		return nil, a.err
	}
	a.events, a.from = make(chan watch.Event), opts.ResourceVersion
	return watch.NewProxyWatcher(a.events), nil
}

// fail has all calls fail from now on, or none.
func (a *fakeAPI) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

// runs has these pods from now on.
func (a *fakeAPI) runs(pods ...corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pods = pods
}

// count is one of the counts.
func (a *fakeAPI) count(of *int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return *of
}

// version is that from which was watched last.
func (a *fakeAPI) version() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.from
}

// watched is the watch that is open.
func (a *fakeAPI) watched() chan watch.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.events
}

// pod runs on the node n.
func pod(name string, change ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, UID: types.UID("uid-" + name), ResourceVersion: "8", Labels: map[string]string{"app": "training"}},
		Spec:       corev1.PodSpec{NodeName: "n", RestartPolicy: corev1.RestartPolicyAlways},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

// asked runs a gate, and keeps what it says.
type asked struct {
	mu   sync.Mutex
	said []gate.Verdict
}

func run(t *testing.T, g gate.Asker, v gate.View) *asked {
	t.Helper()
	a := new(asked)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx, v, func(v gate.Verdict) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.said = append(a.said, v)
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	return a
}

// verdict is what was said last.
func (a *asked) verdict() gate.Verdict {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.said) == 0 {
		return gate.Verdict{}
	}
	return a.said[len(a.said)-1]
}

// want checks what was said last; an empty why is open.
func (a *asked) want(t *testing.T, why string) {
	t.Helper()
	want := gate.Verdict{State: gate.Open}
	if why != "" {
		want = gate.Verdict{State: gate.Closed, Why: why}
	}
	if got := a.verdict(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// words is what was said until now.
func (a *asked) words() []gate.Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.said)
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func selector(t *testing.T, s string) Selector {
	t.Helper()
	out, err := ParseSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var errAway = fmt.Errorf("connection refused")
