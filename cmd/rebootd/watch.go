package main

import (
	"context"
	"path/filepath"
	"time"

	"rebootd.dev/daemon/sentinel"
)

// quietFor is for how long a file must not have changed before it is read again: whoever
// writes it may not be done.
const quietFor = time.Second

// watchFile calls changed when a file may have changed, by whatever way: it is written,
// another is moved in its place, a link on the way to it is turned elsewhere, as the kubelet
// does with the files of a ConfigMap. It calls it once at first, too.
func watchFile(ctx context.Context, path string, quiet time.Duration, changed func()) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	w, err := sentinel.New("/", []string{path})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			<-ended
			return nil
		case <-w.States():
			timer.Reset(quiet)
		case <-timer.C:
			changed()
		}
	}
}
