//go:build !unix

package cli

import (
	"context"
	"os"
)

// resizes tells nothing: here the size is looked at with each frame.
func resizes(context.Context) <-chan os.Signal { return nil }
