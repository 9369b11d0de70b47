package cluster

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"rebootd.dev/test/proc"
)

// component is a process of the control plane.
type component struct {
	name string
	args []string
	url  string // answers 200 when it is ready
	*proc.Process
}

func (p *component) start(bin, logDir string) error {
	var err error
	p.Process, err = proc.Start(filepath.Join(logDir, p.name+".log"), nil, append([]string{filepath.Join(bin, p.name)}, p.args...)...)
	return err
}

// ready waits until the component answers.
func (p *component) ready(ctx context.Context, client *http.Client) error {
	for {
		resp, err := client.Get(p.url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("answers %s", resp.Status)
		}
		select {
		case <-p.Done():
			return fmt.Errorf("%s ended with status %d\n%s", p.name, p.ExitCode(), p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w): %w\n%s", p.name, context.Cause(ctx), err, p.Tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// FreePorts finds n ports of loopback that nobody uses.
func FreePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // only at the end, so that no port comes twice
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}
