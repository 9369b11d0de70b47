package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// A watch of which nothing is heard, not even a bookmark, ends; one that is heard of
// does not.
func TestSilentWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := watch.NewFake()
		began := time.Now()
		w, err := open(t.Context(), func(context.Context) (watch.Interface, error) { return inner, nil })
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range 3 { // three bookmarks, and then silence
				time.Sleep(time.Minute)
				inner.Action(watch.Bookmark, &corev1.Pod{})
			}
		}()
		events := 0
		for range w.ResultChan() {
			events++
		}
		if after := time.Since(began); events != 3 || after != 3*time.Minute+staleAfter {
			t.Errorf("%d events, and the end after %s", events, after)
		}
		if !inner.IsStopped() {
			t.Error("the watch goes on beneath")
		}
		w.Stop()
	})
}

// A request for a watch that is never answered is given up.
func TestWatchThatIsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := open(t.Context(), func(ctx context.Context) (watch.Interface, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if err == nil || !strings.Contains(err.Error(), "no answer") || time.Since(began) != openTimeout {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// Who has had enough of a watch, or whose time is over, leaves nothing behind.
func TestWatchIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := watch.NewFake()
		var seen context.Context
		w, err := open(t.Context(), func(ctx context.Context) (watch.Interface, error) { seen = ctx; return inner, nil })
		if err != nil {
			t.Fatal(err)
		}
		go inner.Add(&corev1.Pod{}) // nobody takes it
		synctest.Wait()
		w.Stop()
		w.Stop()
		if !inner.IsStopped() || seen.Err() == nil {
			t.Error("the watch goes on beneath")
		}
		if _, err := open(t.Context(), func(context.Context) (watch.Interface, error) { return nil, errors.New("refused") }); err == nil || err.Error() != "refused" {
			t.Errorf("a refusal is told as %v", err)
		}
	})
}
