package cluster

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// program is what is built of a package whose version is that of
// test/controlplane/go.mod.
type program struct{ name, pkg string }

// programs are what the control plane consists of.
var programs = []program{
	{"etcd", "go.etcd.io/etcd/server/v3"},
	{"kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"},
	{"kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"},
	{"kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"},
	{"kubectl", "k8s.io/kubernetes/cmd/kubectl"},
	{"kwok", "sigs.k8s.io/kwok/cmd/kwok"},
}

// CacheDir is where what is built once is kept, outside the sources:
// $REBOOTD_TEST_CACHE, else rebootd-test in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("REBOOTD_TEST_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory (REBOOTD_TEST_CACHE names one): %w", err)
	}
	return filepath.Join(dir, "rebootd-test"), nil
}

// SourceDir is the test module's directory.
func SourceDir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(file))
}

// Binaries builds the control plane if it has not been built yet, which takes 5
// to 20 minutes, and returns the directory of its programs. Several processes
// may ask at the same time: one builds, the others wait.
func Binaries() (string, error) { return build(programs...) }

// KubeletProgram builds the kubelet, which no control plane needs, and returns its
// path. It takes some minutes, once.
func KubeletProgram() (string, error) {
	dir, err := build(program{"kubelet", "k8s.io/kubernetes/cmd/kubelet"})
	return filepath.Join(dir, "kubelet"), err
}

func build(programs ...program) (string, error) {
	source := filepath.Join(SourceDir(), "controlplane")
	versions, err := moduleVersions(filepath.Join(source, "go.mod"), "k8s.io/kubernetes", "sigs.k8s.io/kwok")
	if err != nil {
		return "", err
	}
	flags := linkerFlags(versions["k8s.io/kubernetes"], versions["sigs.k8s.io/kwok"])
	key, err := cacheKey(source, flags)
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "controlplane-"+key)
	unlock, err := LockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the cache of the control plane: %w", err)
	}
	for i, p := range programs {
		path := filepath.Join(dir, p.name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "building %s (%d of %d; once, kept in %s)\n", p.name, i+1, len(programs), dir)
		// Built beside its place and moved there: a build that is interrupted
		// leaves nothing that looks finished.
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", flags, "-o", path+".part", p.pkg)
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly -buildvcs=false", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", p.pkg, err, out)
		}
		if err := os.Rename(path+".part", path); err != nil {
			return "", fmt.Errorf("keep the built %s: %w", p.name, err)
		}
	}
	return dir, nil
}

// linkerFlags stamp the versions, as Kubernetes' own build does: without them
// clients cannot parse what /version says.
func linkerFlags(kubernetes, kwok string) string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(kubernetes, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	flags := []string{"-s", "-w", "-X sigs.k8s.io/kwok/pkg/consts.Version=" + kwok}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for k, v := range map[string]string{"gitVersion": kubernetes, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"} {
			flags = append(flags, fmt.Sprintf("-X %s.%s=%s", pkg, k, v))
		}
	}
	// A map has no order, and the cache's key must have one.
	return strings.Join(sorted(flags), " ")
}

func moduleVersions(gomod string, modules ...string) (map[string]string, error) {
	f, err := os.Open(gomod)
	if err != nil {
		return nil, fmt.Errorf("read the control plane's versions: %w", err)
	}
	defer f.Close()
	out := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		for _, m := range modules {
			if len(fields) >= 2 && fields[0] == m && strings.HasPrefix(fields[1], "v") {
				out[m] = fields[1]
			}
		}
	}
	if len(out) != len(modules) {
		return nil, fmt.Errorf("read the control plane's versions from %s: found only %v", gomod, out)
	}
	return out, nil
}

func cacheKey(source, flags string) (string, error) {
	h := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", fmt.Errorf("find out whether the control plane is built: %w", err)
		}
		h.Write(data)
	}
	fmt.Fprint(h, flags, runtime.Version(), runtime.GOARCH)
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// Rebootd builds the daemon from the sources, once for a process, and returns the path
// of the binary.
func Rebootd() (string, error) { return rebootd() }

// Plugin builds kubectl-rebootd from the sources, once for a process, and returns the path
// of the binary.
func Plugin() (string, error) { return plugin() }

// Each is built once for a process: to find it up to date for every machine takes
// seconds of a busy one, which would count against the tests' time limits.
var (
	rebootd = sync.OnceValues(func() (string, error) { return buildInto("rebootd", filepath.Dir(SourceDir()), "./cmd/rebootd") })
	plugin  = sync.OnceValues(func() (string, error) {
		return buildInto("kubectl-rebootd", filepath.Dir(SourceDir()), "./cmd/kubectl-rebootd")
	})
	pause     = sync.OnceValues(func() (string, error) { return buildInto("pause", SourceDir(), "./cmd/pause") })
	simreboot = sync.OnceValues(func() (string, error) { return buildInto("simreboot", SourceDir(), "./cmd/simreboot") })
)

// earlierCommit counts as the last release for as long as no version is tagged.
const earlierCommit = "c507a4a1e236"

// Earlier builds the daemon as it was in the last tagged version, from the
// project's own history, and says which that is.
func Earlier() (binary, version string, err error) {
	root := filepath.Dir(SourceDir())
	git := func(args ...string) ([]byte, error) {
		cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("find an earlier version (git %s): %w", strings.Join(args, " "), err)
		}
		return out, nil
	}
	version = earlierCommit
	// The last before this one: a release is tested against the one before it.
	if tag, err := git("describe", "--tags", "--abbrev=0", "HEAD~1"); err == nil {
		version = strings.TrimSpace(string(tag))
	}
	if _, err := git("cat-file", "-e", version+"^{commit}"); err != nil {
		// Sources without their history: what is left is that any start of the daemon
		// takes over from another.
		binary, err := Rebootd()
		return binary, "this one, for the project's history is not here", err
	}
	source, err := git("archive", version)
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp("", "rebootd-earlier-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	tar := exec.Command("tar", "-x", "-C", dir)
	tar.Stdin = bytes.NewReader(source)
	if out, err := tar.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("unpack the version %s: %w\n%s", version, err, out)
	}
	binary, err = buildInto("rebootd-"+version, dir, "./cmd/rebootd")
	return binary, version, err
}

// Pause builds the program that does nothing.
func Pause() (string, error) { return pause() }

// Simreboot builds the reboot command of simulated machines.
func Simreboot() (string, error) { return simreboot() }

func buildInto(name, dir, pkg string) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	out := filepath.Join(cache, "bin", name)
	unlock, err := LockFile(out + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w -X main.version=test", "-o", out+".part", pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	// A daemon that runs keeps the old file.
	if err := os.Rename(out+".part", out); err != nil {
		return "", fmt.Errorf("keep the built %s: %w", name, err)
	}
	return out, nil
}

// LockFile takes an exclusive lock between processes, waiting for it.
func LockFile(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the cache: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock the cache: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
