// Package cluster is a real Kubernetes control plane for tests: etcd,
// kube-apiserver with RBAC, NodeRestriction and an audit log,
// kube-controller-manager and kube-scheduler, built from their Go modules, on
// free ports of loopback. Only the kubelets are simulated, by kwok, whose stages
// are in kwok.yaml.
//
// Each component is a process of its own and dies with the process that started
// it, whether that stops it, panics or is killed.
//
// Where the environment variable REBOOTD_TEST_CONTROLPLANE names the directory of a
// control plane that runs already (cmd/cluster starts one around a command), that one
// is joined. Where REBOOTD_TEST_KUBECONFIG names a kubeconfig, that cluster is used
// instead. It must have simulated nodes' stages like kwok.yaml's. What needs control of
// the servers cannot be done to either.
package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// KubeconfigVariable names a cluster of the user's own.
const KubeconfigVariable = "REBOOTD_TEST_KUBECONFIG"

// DirVariable names the directory of a control plane that runs and is shared.
const DirVariable = "REBOOTD_TEST_CONTROLPLANE"

//go:embed kwok.yaml
var kwokConfig []byte

//go:embed audit.yaml
var auditPolicy []byte

//go:embed critical.yaml
var criticalConfig []byte

// Options say what is different from the usual.
type Options struct {
	// Own is for who changes what all others on the control plane would notice, such as
	// whether it runs: it does not join one that is shared.
	Own bool
	// LimitCritical has the API server admit pods of the class system-node-critical only
	// where a quota allows them, as GKE's does. It needs Own.
	LimitCritical bool
}

// Cluster is a control plane that runs.
type Cluster struct {
	Dir        string
	Kubeconfig string // the admin's
	Config     *rest.Config
	Client     *kubernetes.Clientset
	AuditLog   string // one JSON object a request

	bin           string
	server        string
	foreign       bool // a cluster of the user's own
	joined        bool // started by another process, which stops it
	limitCritical bool
	release       func()
	pki           *authority
	processes     []*component
	apiserver     *component
	http          *http.Client
}

// ErrForeign says that something cannot be done to a cluster of the user's own.
var ErrForeign = errors.New("not to be had on a cluster of your own (" + KubeconfigVariable + ")")

// ErrShared says that something cannot be done to a control plane that is shared.
var ErrShared = errors.New("not to be had on a control plane that others share (" + DirVariable + ")")

// Start starts a control plane, or joins one, and returns when pods can be created.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if path := os.Getenv(KubeconfigVariable); path != "" {
		c := &Cluster{Kubeconfig: path, foreign: true}
		return c, c.connect()
	}
	if dir := os.Getenv(DirVariable); dir != "" && !o.Own {
		return joinShared(dir)
	}
	c := &Cluster{limitCritical: o.LimitCritical}
	if c.bin, err = Binaries(); err != nil {
		return nil, err
	}
	if c.Dir, c.release, err = temporaryDir(); err != nil {
		return nil, err
	}
	// A port that was free may have been taken by the time it is used.
	for try := 1; ; try++ {
		if err = c.start(ctx); err == nil || try == 3 || ctx.Err() != nil {
			break
		}
		c.stopAll()
	}
	if err != nil {
		c.Stop()
		return nil, fmt.Errorf("start the control plane in %s: %w", c.Dir, err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, d := range []string{"pki", "log"} {
		if err := os.MkdirAll(filepath.Join(c.Dir, d), 0o755); err != nil {
			return err
		}
	}
	var err error
	if c.pki, err = newAuthority(filepath.Join(c.Dir, "pki")); err != nil {
		return err
	}
	if err := c.pki.issue("server", pkix.Name{CommonName: "kube-apiserver"}, true, year); err != nil {
		return err
	}
	ports, err := FreePorts(6)
	if err != nil {
		return err
	}
	c.server = fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	users := map[string][]string{"admin": {"system:masters"}, "kwok": {"system:masters"}, "system:kube-controller-manager": nil, "system:kube-scheduler": nil}
	for user, groups := range users {
		if err := c.pki.kubeconfig(c.userConfig(user), c.server, user, groups...); err != nil {
			return err
		}
	}
	c.paths()
	for name, data := range map[string][]byte{"kwok.yaml": kwokConfig, "audit.yaml": auditPolicy, "critical.yaml": criticalConfig, serverFile: []byte(c.server)} {
		if err := os.WriteFile(filepath.Join(c.Dir, name), data, 0o644); err != nil {
			return err
		}
	}
	c.processes = c.components(ports)
	c.apiserver = c.processes[1]
	if c.limitCritical {
		c.apiserver.args = append(c.apiserver.args, "--admission-control-config-file="+filepath.Join(c.Dir, "critical.yaml"))
	}
	if err := c.connect(); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.pki.path("client-admin.crt"), c.pki.path("client-admin.key"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(c.pki.cert)
	c.http = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}},
	}}
	// etcd, then the API server, then all the others at once.
	for i, p := range c.processes {
		if err := p.start(c.bin, filepath.Join(c.Dir, "log")); err != nil {
			return err
		}
		if i < 2 {
			if err := p.ready(ctx, c.http); err != nil {
				return err
			}
		}
	}
	for _, p := range c.processes[2:] {
		if err := p.ready(ctx, c.http); err != nil {
			return err
		}
	}
	// Pods are admitted once their namespace has its default service account.
	return c.waitServiceAccount(ctx, "default")
}

func (c *Cluster) userConfig(user string) string {
	return filepath.Join(c.Dir, filepath.Base(user)+".kubeconfig")
}

// components are the processes with their flags, in the order of their start.
func (c *Cluster) components(ports []int) []*component {
	http := func(i int) string { return fmt.Sprintf("http://127.0.0.1:%d", ports[i]) }
	https := func(i int) string { return fmt.Sprintf("https://127.0.0.1:%d", ports[i]) }
	serving := []string{
		"--bind-address=127.0.0.1", "--profiling=false",
		"--tls-cert-file=" + c.pki.path("server.crt"), "--tls-private-key-file=" + c.pki.path("server.key"),
	}
	return []*component{
		{name: "etcd", url: http(0) + "/readyz", args: []string{
			"--name=test", "--data-dir=" + filepath.Join(c.Dir, "etcd"), "--log-level=warn",
			"--listen-client-urls=" + http(0), "--advertise-client-urls=" + http(0),
			"--listen-peer-urls=" + http(1), "--initial-advertise-peer-urls=" + http(1), "--initial-cluster=test=" + http(1),
			"--unsafe-no-fsync", "--quota-backend-bytes=8589934592",
		}},
		{name: "kube-apiserver", url: c.server + "/readyz", args: append([]string{
			fmt.Sprintf("--secure-port=%d", ports[2]), "--etcd-servers=" + http(0),
			// A loopback address is not allowed in the endpoints of the Service.
			"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/16",
			"--client-ca-file=" + c.pki.path("ca.crt"), "--authorization-mode=Node,RBAC",
			// Some distributions have the second on: who changes an object's owner must be
			// allowed to delete it.
			"--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement", "--allow-privileged=true",
			"--service-account-issuer=https://kubernetes.default.svc", "--api-audiences=https://kubernetes.default.svc",
			"--service-account-key-file=" + c.pki.path("sa.pub"), "--service-account-signing-key-file=" + c.pki.path("sa.key"),
			"--audit-policy-file=" + filepath.Join(c.Dir, "audit.yaml"), "--audit-log-path=" + c.AuditLog, "--audit-log-mode=blocking", "--audit-log-maxsize=100000",
			"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000",
		}, serving...)},
		{name: "kube-controller-manager", url: https(3) + "/healthz", args: append([]string{
			fmt.Sprintf("--secure-port=%d", ports[3]), "--kubeconfig=" + c.userConfig("system:kube-controller-manager"),
			"--leader-elect=false", "--use-service-account-credentials=true",
			"--root-ca-file=" + c.pki.path("ca.crt"), "--service-account-private-key-file=" + c.pki.path("sa.key"),
			"--kube-api-qps=300", "--kube-api-burst=600",
		}, serving...)},
		{name: "kube-scheduler", url: https(4) + "/readyz", args: append([]string{
			fmt.Sprintf("--secure-port=%d", ports[4]), "--kubeconfig=" + c.userConfig("system:kube-scheduler"),
			"--leader-elect=false", "--kube-api-qps=500", "--kube-api-burst=1000",
		}, serving...)},
		{name: "kwok", url: http(5) + "/healthz", args: []string{
			"--kubeconfig=" + c.userConfig("kwok"), "--config=" + filepath.Join(c.Dir, "kwok.yaml"),
			fmt.Sprintf("--server-address=127.0.0.1:%d", ports[5]),
		}},
	}
}

func (c *Cluster) connect() error {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig %s: %w", c.Kubeconfig, err)
	}
	cfg.QPS = -1
	c.Config = cfg
	if c.Client, err = kubernetes.NewForConfig(cfg); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	return nil
}

// Stop ends everything, the last started first, and removes the directory; where others
// share the control plane, it is theirs, and nothing happens. It may be called more than
// once.
func (c *Cluster) Stop() {
	if c.ours() != nil {
		return
	}
	c.stopAll()
	if os.Getenv("REBOOTD_TEST_KEEP") == "" {
		_ = os.RemoveAll(c.Dir)
	}
	c.release()
}

// ours is an error where the servers are not this process's.
func (c *Cluster) ours() error {
	switch {
	case c.foreign:
		return ErrForeign
	case c.joined:
		return ErrShared
	}
	return nil
}

// stopAll kills the components: nothing of theirs has to be saved.
func (c *Cluster) stopAll() {
	for _, p := range slices.Backward(c.processes) {
		if p.Process != nil {
			p.Kill()
		}
	}
	c.processes = nil
}

// StopAPIServer takes the API server away, as an outage would.
func (c *Cluster) StopAPIServer() error {
	if err := c.ours(); err != nil {
		return fmt.Errorf("stop the API server: %w", err)
	}
	c.apiserver.Kill()
	return nil
}

// EndAPIServer has it end by itself: what it has done is in the audit log then.
func (c *Cluster) EndAPIServer() error {
	if err := c.ours(); err != nil {
		return fmt.Errorf("end the API server: %w", err)
	}
	c.apiserver.Signal(syscall.SIGTERM)
	select {
	case <-c.apiserver.Done():
	case <-time.After(20 * time.Second):
		c.apiserver.Kill()
	}
	return nil
}

// StartAPIServer brings it back, at the same address and with the same data.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	if err := c.ours(); err != nil {
		return fmt.Errorf("start the API server: %w", err)
	}
	if err := c.apiserver.start(c.bin, filepath.Join(c.Dir, "log")); err != nil {
		return err
	}
	return c.apiserver.ready(ctx, c.http)
}

// APIServerPID is the API server's process.
func (c *Cluster) APIServerPID() int { return c.apiserver.PID() }

// Kubectl is the path of kubectl.
func (c *Cluster) Kubectl() (string, error) {
	bin, err := Binaries()
	return filepath.Join(bin, "kubectl"), err
}
