package drain

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// A watch of which nothing is heard, not even a bookmark, is begun anew with a
// list; one that is heard of is not.
func TestSilentWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
		defer cancel()
		var lists []time.Duration
		began := time.Now()
		keep(ctx, func(error) {}, func(context.Context) (string, error) {
			lists = append(lists, time.Since(began).Round(time.Second))
			return "1", nil
		}, func(ctx context.Context, _ string) (watch.Interface, error) {
			w := watch.NewFake()
			go func() {
				for range 3 { // three bookmarks, and then silence
					select {
					case <-time.After(time.Minute):
						w.Action(watch.Bookmark, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "2"}})
					case <-ctx.Done():
						return
					}
				}
			}()
			return w, nil
		}, func(watch.Event) {})
		if len(lists) != 3 || lists[1] != 3*time.Minute+staleAfter || lists[2] != 2*lists[1] {
			t.Errorf("listed at %v", lists)
		}
	})
}
