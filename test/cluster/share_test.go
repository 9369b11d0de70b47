package cluster

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The directory of a process that was killed is removed by the next, that of one that
// lives is not.
func TestTemporaryDirs(t *testing.T) {
	if os.Getenv("CLUSTER_TEST_KILLED") != "" {
		dir, _, err := temporaryDir()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stdout.WriteString("made " + dir + "\n"); err != nil {
			t.Fatal(err)
		}
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("REBOOTD_TEST_KEEP", "")
	cmd := exec.Command(os.Args[0], "-test.run=^TestTemporaryDirs$")
	cmd.Env = append(os.Environ(), "CLUSTER_TEST_KILLED=1")
	out, _ := cmd.CombinedOutput()
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), temporaryName+"*")); len(left) != 1 {
		t.Fatalf("the killed process has left %q\n%s", left, out)
	}
	first, release, err := temporaryDir()
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := temporaryDir()
	if err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), temporaryName+"*"))
	if len(left) != 2 || first == second {
		t.Errorf("there are %q, want %s and %s", left, first, second)
	}
	release()
}

// A control plane is joined with the keys and at the address that its directory has.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	owner := &Cluster{Dir: dir, server: "https://127.0.0.1:1"}
	owner.paths()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "pki"), 0o755))
	var err error
	owner.pki, err = newAuthority(filepath.Join(dir, "pki"))
	must(err)
	must(owner.pki.kubeconfig(owner.Kubeconfig, owner.server, "admin", "system:masters"))
	must(os.WriteFile(filepath.Join(dir, serverFile), []byte(owner.server), 0o644))

	t.Setenv(KubeconfigVariable, "")
	t.Setenv(DirVariable, dir)
	c, err := Start(t.Context(), Options{})
	must(err)
	if c.server != owner.server || c.AuditLog != owner.AuditLog || c.Config.Host != owner.server {
		t.Errorf("joined %+v", c)
	}
	must(c.pki.kubeconfig(filepath.Join(dir, "x"), c.server, "daemon"))
	must(loadedCertificate(t, dir, "client-daemon.crt").CheckSignatureFrom(owner.pki.cert))
	for what, err := range map[string]error{"StopAPIServer": c.StopAPIServer(), "EndAPIServer": c.EndAPIServer(), "StartAPIServer": c.StartAPIServer(t.Context())} {
		if err == nil {
			t.Errorf("%s is done to a control plane that others share", what)
		}
	}
	c.Stop()
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("who joined has removed the directory: %v", err)
	}
}

func loadedCertificate(t *testing.T, dir, name string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "pki", name))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
