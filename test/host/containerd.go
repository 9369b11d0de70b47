package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"rebootd.dev/test/cluster"
)

// containerdVersion is of the series that kubelets ask for since Kubernetes 1.37; Debian
// has an older one.
const containerdVersion = "v2.4.2"

// Containerd builds containerd, its shim and ctr from their Go module, once, which takes
// some minutes, and returns their directory.
func Containerd() (string, error) {
	cache, err := cluster.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "containerd-"+containerdVersion)
	unlock, err := cluster.LockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	fmt.Fprintf(os.Stderr, "building containerd %s (once, kept in %s)\n", containerdVersion, dir)
	args := []string{"install", "-trimpath", "-ldflags", "-s -w"}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		args = append(args, "github.com/containerd/containerd/v2/cmd/"+program+"@"+containerdVersion)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOBIN="+dir+".part", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build containerd %s: %w\n%s", containerdVersion, err, out)
	}
	if err := os.Rename(dir+".part", dir); err != nil {
		return "", fmt.Errorf("keep the built containerd: %w", err)
	}
	return dir, nil
}
