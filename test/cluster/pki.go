package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"k8s.io/client-go/tools/clientcmd"
)

// authority signs the cluster's certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// authorityKey is for processes that join the control plane.
const authorityKey = "ca.key"

// loadAuthority reads what newAuthority wrote in another process.
func loadAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir}
	pair, err := tls.LoadX509KeyPair(a.path("ca.crt"), a.path(authorityKey))
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read the authority's key: it is a %T", pair.PrivateKey)
	}
	a.cert, a.key = pair.Leaf, key
	return a, nil
}

func newAuthority(dir string) (*authority, error) {
	a := &authority{dir: dir}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test cluster"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	a.cert = tmpl
	if a.cert, err = a.sign(tmpl, &a.key.PublicKey, a.path("ca.crt")); err != nil {
		return nil, err
	}
	if err := writeKey(a.path(authorityKey), a.key); err != nil {
		return nil, err
	}
	// The service accounts' tokens have a key pair of their own.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the service accounts' key: %w", err)
	}
	if err := writeKey(a.path("sa.key"), key); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode the service accounts' key: %w", err)
	}
	return a, writePEM(a.path("sa.pub"), "PUBLIC KEY", der)
}

func (a *authority) sign(tmpl *x509.Certificate, pub *ecdsa.PublicKey, path string) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", path, err)
	}
	if err := writePEM(path, "CERTIFICATE", der); err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// year is how long certificates are valid of which a test wants nothing else.
const year = 365 * 24 * time.Hour

// issue writes NAME.crt and NAME.key, for a server on loopback or for a client.
func (a *authority) issue(name string, subject pkix.Name, server bool, valid time.Duration) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of %s: %w", name, err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return fmt.Errorf("make the serial number of %s: %w", name, err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if server {
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 96, 0, 1)}
		tmpl.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	}
	if _, err := a.sign(tmpl, &key.PublicKey, a.path(name+".crt")); err != nil {
		return err
	}
	return writeKey(a.path(name+".key"), key)
}

// issueClient writes the certificate of a client, or renews it.
func (a *authority) issueClient(valid time.Duration, user string, groups ...string) error {
	return a.issue("client-"+user, pkix.Name{CommonName: user, Organization: groups}, false, valid)
}

// kubeconfig writes a kubeconfig for a client certificate of user in groups.
func (a *authority) kubeconfig(path, server, user string, groups ...string) error {
	if err := a.issueClient(year, user, groups...); err != nil {
		return err
	}
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: a.path("ca.crt")}
	c.AuthInfos["user"] = &clientcmdapi.AuthInfo{
		ClientCertificate: a.path("client-" + user + ".crt"), ClientKey: a.path("client-" + user + ".key"),
	}
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "user"}
	c.CurrentContext = "test"
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("write a key: %w", err)
	}
	return nil
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
