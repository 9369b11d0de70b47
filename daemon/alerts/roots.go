package alerts

import (
	"crypto/x509"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// trusted are the certificates to trust where the settings name none: nil for the system's,
// or, where it has none, as in an image of nothing but a binary, those of Mozilla that
// are built in. They are unpacked when they are needed, and not kept.
func trusted() *x509.CertPool {
	if pool, err := x509.SystemCertPool(); err == nil && !pool.Equal(x509.NewCertPool()) {
		return nil
	}
	return builtIn()
}

func builtIn() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		c, err := x509.ParseCertificate(root.Certificate)
		switch {
		case err != nil: // a newer kind than this Go knows
		case root.Constraint != nil:
			pool.AddCertWithConstraint(c, root.Constraint)
		default:
			pool.AddCert(c)
		}
	}
	return pool
}
