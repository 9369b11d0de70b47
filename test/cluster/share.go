package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// serverFile has the API server's address, for processes that join.
const serverFile = "server"

// paths are where things are in a control plane's directory.
func (c *Cluster) paths() {
	c.Kubeconfig = c.userConfig("admin")
	c.AuditLog = filepath.Join(c.Dir, "log", "audit.log")
}

// joinShared uses the control plane of another process.
func joinShared(dir string) (*Cluster, error) {
	c := &Cluster{Dir: dir, joined: true}
	c.paths()
	server, err := os.ReadFile(filepath.Join(dir, serverFile))
	if err != nil {
		return nil, fmt.Errorf("join the control plane of %s: %w", DirVariable, err)
	}
	c.server = string(server)
	if c.pki, err = loadAuthority(filepath.Join(dir, "pki")); err != nil {
		return nil, fmt.Errorf("join the control plane of %s: %w", DirVariable, err)
	}
	return c, c.connect()
}

const (
	temporaryName = "rebootd-cluster-"
	ownerFile     = "owner" // locked for as long as the process lives whose directory it is
)

// temporaryDir makes a directory for a control plane, and removes those of processes
// that ended without doing so: killed, by a panic, or past the tests' time limit.
func temporaryDir() (dir string, release func(), err error) {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), temporaryName+"*", ownerFile))
	for _, path := range old {
		if f, ok := tryLock(path); ok {
			_ = os.RemoveAll(filepath.Dir(path))
			f.Close()
		}
	}
	if dir, err = os.MkdirTemp("", temporaryName); err != nil {
		return "", nil, fmt.Errorf("make the cluster's directory: %w", err)
	}
	if os.Getenv("REBOOTD_TEST_KEEP") != "" { // without an owner, it is nobody's to remove
		return dir, func() {}, nil
	}
	// Locked before it has its name, so that nobody takes it for left over.
	path := filepath.Join(dir, ownerFile)
	f, err := os.Create(path + ".new")
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return "", nil, fmt.Errorf("make the cluster's directory: %w", err)
	}
	return dir, func() { f.Close() }, nil
}

// tryLock locks a file that nobody else has locked.
func tryLock(path string) (*os.File, bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, false
	}
	return f, true
}
