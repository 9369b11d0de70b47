package drain

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
)

// A scheduler that has not yet seen the cordon may bind a pod for some seconds more,
// to a node that is empty as well: it is waited for.
func TestSchedulerWithAnOldView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode()
		d := n.drain(t, nil)
		defer d.stop()
		for range 45 {
			time.Sleep(100 * time.Millisecond)
			if d.drained() {
				t.Fatal("drained within 4.5 s of the cordon")
			}
		}
		n.come("late")
		time.Sleep(2 * time.Second)
		if evicted, _, _, left := n.count(); evicted != 1 || left != 0 || !d.drained() {
			t.Errorf("%d evictions, %d pods left, drained %t", evicted, left, d.drained())
		}
	})
}

// A watch may be behind, and the cache that the first list comes from: a last look at
// the newest state finds the pod of which they do not tell.
func TestLastLookAtTheNewestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode("unseen")
		n.behind = true
		d := n.drain(t, nil)
		defer d.stop()
		time.Sleep(time.Minute)
		// Asked again, since the watch does not say that it is gone, either.
		if evicted, _, _, left := n.count(); evicted != 2 || left != 0 || !d.drained() {
			t.Errorf("drained %t with %d pods on the node, %d evictions", d.drained(), left, evicted)
		}
	})
}

// What an answer says and a list contradicts is not believed for ever, asked in a
// loop, nor kept from people, and ends by force: whoever it is that answers so.
func TestAnswersThatAreNotTrue(t *testing.T) {
	for name, tc := range map[string]struct {
		answer error
		reason api.PodReason
		words  string
	}{
		"not found":   {notFound("web"), api.PodAPIOverloaded, `pods "web" not found`},
		"another UID": {apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, "web", errors.New("the UID in the precondition (a) does not match the UID in record (b)")), api.PodAPIOverloaded, "the UID in the precondition"},
		"no such path": {
			refused(404, metav1.StatusReasonNotFound, "the server could not find the requested resource", nil), api.PodAPIOverloaded, "could not find the requested resource",
		},
		"accepted": {nil, api.PodTerminating, "was accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNode("web", "other")
				n.evict = func(pod string) error {
					if pod == "web" {
						return tc.answer
					}
					n.leave(pod)
					return nil
				}
				began := time.Now()
				d := n.drain(t, func(_ *Config, o *Options) { o.Limit = 20 * time.Minute })
				defer d.stop()
				time.Sleep(15 * time.Second)
				synctest.Wait()
				evicted, _, lists, _ := n.count()
				if evicted > 8 || lists > 8 {
					t.Errorf("%d evictions and %d lists of the newest state within 15 s", evicted, lists)
				}
				p := d.last()
				if len(p.Blocked) != 1 || p.Blocked[0].Reason != tc.reason || !strings.Contains(p.Blocked[0].Message, tc.words) {
					t.Errorf("told %+v", p.Blocked)
				}
				time.Sleep(10*time.Minute - 15*time.Second)
				if evicted, _, lists, _ := n.count(); evicted > 16 || lists > 16 || evicted < 3 {
					t.Errorf("%d evictions and %d lists of the newest state within ten minutes", evicted, lists)
				}
				time.Sleep(time.Until(began.Add(20 * time.Minute)))
				if _, deleted, _, left := n.count(); deleted != 1 || left != 0 {
					t.Errorf("%d deletions, %d pods left at the deadline", deleted, left)
				}
				if d.last(); n.deleted != nil && n.deleted[0].GracePeriodSeconds != nil && *n.deleted[0].GracePeriodSeconds < 20 {
					t.Errorf("its grace was cut to %d s", *n.deleted[0].GracePeriodSeconds)
				}
				time.Sleep(time.Minute)
				if !d.drained() {
					t.Errorf("not drained in the end: %+v", d.last().Blocked)
				}
			})
		})
	}
}

// In a dry run what would go counts as gone, whatever the watch tells of it.
func TestDryRunAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode("web")
		n.evict = func(string) error { return nil }
		d := n.drain(t, func(c *Config, _ *Options) { c.DryRun = true })
		defer d.stop()
		for range 20 {
			time.Sleep(500 * time.Millisecond)
			n.touch("web")
		}
		if evicted, _, _, _ := n.count(); evicted != 1 || !d.drained() {
			t.Errorf("asked %d times, drained %t", evicted, d.drained())
		}
	})
}

// A pod that is called gone, and is there, is told as that also while others are
// waited for: nobody looks at the newest state for their sake.
func TestPodThatIsCalledGoneWhileOthersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode("web", "other")
		n.evict = func(pod string) error {
			if pod == "web" {
				return notFound(pod)
			}
			return refused(403, metav1.StatusReasonForbidden, `admission webhook "w" denied the request: no`, nil)
		}
		d := n.drain(t, nil)
		defer d.stop()
		time.Sleep(12 * time.Second)
		for range 600 { // and all the while
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if p := d.last(); len(p.Blocked) != 2 || p.Blocked[0].Reason != api.PodAPIOverloaded || p.Blocked[1].Reason != api.PodWebhookDenied {
				t.Fatalf("told %+v", p.Blocked)
			}
		}
		if _, _, lists, _ := n.count(); lists > 10 {
			t.Errorf("%d lists of the newest state", lists)
		}
	})
}

// An API server that does not let itself be asked for the newest state is asked with
// growing pauses.
func TestLastLookThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode()
		n.list = func() error { return errors.New("etcd is away") }
		d := n.drain(t, nil)
		defer d.stop()
		time.Sleep(time.Minute)
		if _, _, lists, _ := n.count(); lists < 5 || lists > 20 || d.drained() {
			t.Errorf("asked %d times within a minute, drained %t", lists, d.drained())
		}
		n.mu.Lock()
		n.list = nil
		n.mu.Unlock()
		time.Sleep(lastRelist)
		if !d.drained() {
			t.Error("not drained when it answers again")
		}
	})
}

// A webhook that hangs does not take from the grace that a pod has by the deadline,
// whether it is asked when that comes, or in the last moment.
func TestWebhookThatHangsAtTheDeadline(t *testing.T) {
	for _, left := range []time.Duration{100 * time.Second, 35 * time.Second} { // asked at once, with 30 s of grace
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNode("web")
			n.hangs = 30 * time.Second
			n.evict = func(string) error {
				return refused(500, metav1.StatusReasonInternalError, `failed calling webhook "w": timeout`, nil)
			}
			began := time.Now()
			n.remove = func(pod string) error {
				if after := time.Since(began); after > left-20*time.Second {
					t.Errorf("of %s: deleted after %s", left, after)
				}
				n.leave(pod)
				return nil
			}
			d := n.drain(t, func(_ *Config, o *Options) { o.Limit = left })
			defer d.stop()
			time.Sleep(left)
			if _, deleted, _, pods := n.count(); deleted != 1 || pods != 0 {
				t.Errorf("of %s: %d deletions, %d pods at the deadline", left, deleted, pods)
			}
		})
	}
}

// Many pods that are called gone, and of which the watch tells all the time, take no
// request's place for ever: what can go goes.
func TestManyPodsThatAreCalledGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode()
		var names []string
		for i := range 2 * maxInFlight {
			names = append(names, fmt.Sprint("web-", i))
			n.pods[names[i]] = fakePod(names[i])
		}
		open := false
		n.hangs = 300 * time.Millisecond
		n.evict = func(pod string) error {
			if open {
				n.leave(pod)
				return nil
			}
			return notFound(pod)
		}
		d := n.drain(t, nil)
		defer d.stop()
		for range 60 {
			time.Sleep(100 * time.Millisecond)
			for _, name := range names {
				n.touch(name)
			}
		}
		n.mu.Lock()
		open = true
		n.mu.Unlock()
		time.Sleep(3 * time.Minute)
		if evicted, _, lists, left := n.count(); left != 0 || !d.drained() || lists > 20 || evicted > 10*len(names) {
			t.Errorf("%d pods left, drained %t, %d evictions, %d lists of the newest state", left, d.drained(), evicted, lists)
		}
	})
}

// However many pods are called gone, the newest state is not looked at again and again
// for their sakes.
func TestFewLooksAtTheNewestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode()
		for i := range 100 {
			name := fmt.Sprint("web-", i)
			n.pods[name] = fakePod(name)
		}
		n.evict = notFound
		d := n.drain(t, nil)
		defer d.stop()
		time.Sleep(10 * time.Minute)
		if _, _, lists, left := n.count(); lists > 60 || left != 100 {
			t.Errorf("%d lists of the newest state in ten minutes, %d pods", lists, left)
		}
	})
}

// While the node's pods cannot be listed, nobody knows whether it is still drained.
func TestDrainedAndNoLongerSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode("a")
		api := &cutNode{fakeNode: n}
		d := n.drain(t, func(c *Config, _ *Options) { c.API = api })
		time.Sleep(10 * time.Second)
		if !d.drained() {
			t.Fatal("not drained")
		}
		api.cut.Store(true)
		n.watcher.Stop()
		time.Sleep(10 * time.Second)
		n.mu.Lock()
		n.pods["unseen"] = fakePod("unseen")
		n.mu.Unlock()
		time.Sleep(time.Hour)
		if d.drained() {
			t.Error("called drained by the word of an hour ago, and a pod is there")
		}
		if turns := api.turns.Load(); turns > 1000 {
			t.Errorf("asked %d times in an hour", turns)
		}
		n.mu.Lock()
		n.watcher = watch.NewFakeWithChanSize(100, false)
		n.mu.Unlock()
		api.cut.Store(false)
		time.Sleep(time.Minute)
		if _, _, _, left := n.count(); left > 0 || !d.drained() {
			t.Errorf("%d pods are left when the API server answers again; %+v", left, d.last())
		}
		d.stop()
	})
}

// What comes after the node was drained may have volumes, though those before it had
// none.
func TestVolumesOfPodsThatComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &volumeNode{fakeNode: newFakeNode()}
		d := n.drain(t, func(c *Config, _ *Options) { c.API, c.VolumeTimeout = n, time.Minute })
		time.Sleep(10 * time.Second)
		if !d.drained() {
			t.Fatal("an empty node without volumes is not drained")
		}
		n.attached.Store(true)
		p := fakePod("late")
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
		n.mu.Lock()
		n.pods["late"] = p
		n.watcher.Add(p.DeepCopy())
		n.mu.Unlock()
		time.Sleep(20 * time.Second)
		if _, _, _, left := n.count(); left > 0 {
			t.Error("the pod was not evicted")
		}
		if d.drained() {
			t.Error("drained, and the volume of the pod that came late is still attached")
		}
		time.Sleep(time.Minute)
		if !d.drained() {
			t.Error("the volume is waited for longer than it may be")
		}
		d.stop()
	})
}

// volumeNode has a volume, at times.
type volumeNode struct {
	*fakeNode
	attached atomic.Bool
}

func (n *volumeNode) ListVolumeAttachments(context.Context, metav1.ListOptions) (*storagev1.VolumeAttachmentList, error) {
	list := &storagev1.VolumeAttachmentList{}
	if n.attached.Load() {
		pv := "pv"
		list.Items = []storagev1.VolumeAttachment{{
			ObjectMeta: metav1.ObjectMeta{Name: "attachment"},
			Spec:       storagev1.VolumeAttachmentSpec{NodeName: "node", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &pv}},
		}}
	}
	return list, nil
}

func (n *volumeNode) WatchVolumeAttachments(context.Context, metav1.ListOptions) (watch.Interface, error) {
	return watch.NewFake(), nil
}

// An API server that is away when the drain begins is waited for, and the loop with it.
func TestAPIServerAwayAtTheBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNode()
		away := awayNode{n}
		d, err := New(Config{API: away, Node: "node"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		turns := 0
		if err := d.Run(ctx, Options{ID: "op"}, func(p Progress) {
			turns++
			if p.Drained {
				t.Error("drained before a list was seen")
			}
		}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if turns > 500 {
			t.Errorf("the loop has turned %d times in an hour without an answer", turns)
		}
	})
}
