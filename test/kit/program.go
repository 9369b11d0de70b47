package kit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"

	"rebootd.dev/test/cluster"
)

// Said is what a run of kubectl-rebootd has printed, and how it ended.
type Said struct {
	Out, Err string
	Status   int
}

// Program runs kubectl-rebootd as the cluster's administrator, or as whom --as names, and
// waits until it ends.
func (b *Bed) Program(args ...string) Said {
	b.Helper()
	path, err := cluster.Plugin()
	b.Must(err)
	cmd := exec.CommandContext(b.Ctx, path, append(args, "--kubeconfig="+b.Cluster.Kubeconfig)...)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	said, err := Run(b.Ctx, cmd)
	b.Must(err)
	b.Logf("$ kubectl rebootd %s\n%s%s(exit status %d)", strings.Join(args, " "), said.Out, said.Err, said.Status)
	return said
}

// Run runs a command. A status that is not 0 is no error.
func Run(ctx context.Context, cmd *exec.Cmd) (Said, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	return Said{out.String(), errs.String(), cmd.ProcessState.ExitCode()}, err
}
