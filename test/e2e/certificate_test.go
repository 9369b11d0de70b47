package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The daemon's certificate expires while a connection stands, in the middle of an
// operation: it says that it is refused, and goes on once the file has a good one.
func TestCertificateExpires(t *testing.T) {
	t.Parallel()
	b := newBed(t, 4*time.Minute)
	m := b.stopped()
	const valid = 5 * time.Second
	b.must(shared.RenewDaemonCertificate(m.Name, valid))
	expired := time.After(valid)
	b.must(m.StartDaemon())
	before := m.BootID()
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":"x"}}}`)
	b.must(m.Touch("x"))
	b.phase(m, "Waiting")
	<-expired
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`)
	b.eventually("the daemon says that it is refused", func() bool { return strings.Contains(m.Log(), "nauthorized") })
	if n := b.node(m, "there", func(*corev1.Node) bool { return true }); n.Spec.Unschedulable || len(b.holders()) != 0 {
		t.Errorf("with a certificate that has expired it cordoned (%t) and holds %v", n.Spec.Unschedulable, b.holders())
	}
	b.must(shared.RenewDaemonCertificate(m.Name, time.Hour))
	b.rebooted(m, before)
	if _, agreed := m.Orders(); agreed != 1 {
		t.Errorf("the command was obeyed %d times, want once", agreed)
	}
	b.released()
}
