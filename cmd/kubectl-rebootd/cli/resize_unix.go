//go:build unix

package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// resizes tells that the terminal has another size, until ctx ends.
func resizes(ctx context.Context) <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	context.AfterFunc(ctx, func() { signal.Stop(c) })
	return c
}
