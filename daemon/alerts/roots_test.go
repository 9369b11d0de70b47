package alerts

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// Where the system has no certificates, those that are built in are trusted; where it has,
// it is the system's that are.
func TestTrustedRoots(t *testing.T) {
	if pool := builtIn(); pool.Equal(x509.NewCertPool()) {
		t.Error("no certificate is built in")
	}
	const child = "REBOOTD_TEST_TRUSTED"
	if os.Getenv(child) != "" {
		if trusted() == nil {
			os.Exit(3) // the system's
		}
		os.Exit(0)
	}
	for name, c := range map[string]struct {
		file string
		want int
	}{"none": {"/nonexistent", 0}, "the system's": {"testdata/root.pem", 3}} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestTrustedRoots$")
		cmd.Env = append(os.Environ(), child+"=1", "SSL_CERT_FILE="+c.file, "SSL_CERT_DIR=/nonexistent")
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != c.want {
			t.Errorf("%s: exit status %d (%v), want %d", name, cmd.ProcessState.ExitCode(), err, c.want)
		}
	}
}
