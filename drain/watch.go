package drain

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// The pauses between attempts to list and watch grow between these.
const (
	firstRelist = 50 * time.Millisecond
	lastRelist  = 15 * time.Second
)

// listAndWatch lists and watches until ctx ends. A watch that ends is resumed where it
// ended; after one that fails, the list is read again. what names the objects in errors.
func listAndWatch(
	ctx context.Context, onError func(error), what string,
	list func(context.Context) (version string, err error),
	open func(ctx context.Context, version string) (watch.Interface, error),
	event func(watch.Event),
) {
	version, failed := "", 0
	for ctx.Err() == nil {
		var err error
		doing := "list"
		if version == "" {
			version, err = list(ctx)
		}
		began := time.Now()
		if err == nil {
			doing = "watch"
			version, err = follow(ctx, version, open, event)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			onError(fmt.Errorf("%s %s: %w; retrying", doing, what, err))
		}
		if time.Since(began) > time.Second {
			failed = 0
		}
		t := time.NewTimer(min(lastRelist, backoff(firstRelist, failed)))
		failed++
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func follow(ctx context.Context, version string, open func(context.Context, string) (watch.Interface, error), event func(watch.Event)) (string, error) {
	w, err := open(ctx, version)
	if err != nil {
		return "", err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return version, nil
		case ev, ok := <-w.ResultChan():
			if !ok {
				return version, nil
			}
			if ev.Type == watch.Error {
				return "", apierrors.FromObject(ev.Object)
			}
			if m, ok := ev.Object.(metav1.Object); ok {
				version = m.GetResourceVersion()
			}
			if ev.Type != watch.Bookmark {
				event(ev)
			}
		}
	}
}
