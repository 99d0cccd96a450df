package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pki"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func loopback() *net.IPNet {
	_, n, _ := net.ParseCIDR("127.0.0.0/8")
	return n
}

func verify(t *testing.T, a *pki.Authority, c *tls.Certificate, name string, usage x509.ExtKeyUsage) error {
	t.Helper()
	pool, err := a.Pool()
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestServerCertificate(t *testing.T) {
	a, err := pki.NewAuthority("test", pki.Constraints{DNSNames: []string{"localhost"}, IPRanges: []*net.IPNet{loopback()}}, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Server([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1"} {
		if err := verify(t, a, c, name, x509.ExtKeyUsageServerAuth); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := verify(t, a, c, "localhost", x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("a server certificate passes as a client's")
	}
}

func TestConstraintsConfine(t *testing.T) {
	a, err := pki.NewAuthority("test", pki.Constraints{DNSNames: []string{"localhost"}, IPRanges: []*net.IPNet{loopback()}}, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Server([]string{"bank.example"}, nil, now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, a, c, "bank.example", x509.ExtKeyUsageServerAuth); err == nil {
		t.Error("a confined authority can speak for any name")
	}
}

func TestClientCertificate(t *testing.T) {
	a, err := pki.NewAuthority("webhooks", pki.Constraints{}, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewAuthority("webhooks", pki.Constraints{}, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Client("azure", "c1", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Leaf.Subject; got.Organization[0] != "azure" || got.CommonName != "c1" {
		t.Errorf("subject = %v", got)
	}
	if err := verify(t, a, c, "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if err := verify(t, other, c, "", x509.ExtKeyUsageClientAuth); err == nil {
		t.Error("a certificate of another authority with the same name passes")
	}
	chain, key, err := pki.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(chain, key); err != nil {
		t.Errorf("the encoded pair does not load: %v", err)
	}
}

func TestRenew(t *testing.T) {
	a, err := pki.NewAuthority("test", pki.Constraints{}, now, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	request := func(key crypto.Signer) []byte {
		t.Helper()
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "somebody else", Organization: []string{"system:masters"}}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.Renew(request(key), "azure", "c1", now, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(chain)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(t, a, &tls.Certificate{Leaf: leaf}, "", x509.ExtKeyUsageClientAuth); err != nil {
		t.Error(err)
	}
	if leaf.Subject.CommonName != "c1" || leaf.Subject.Organization[0] != "azure" || !key.PublicKey.Equal(leaf.PublicKey) || leaf.IsCA {
		t.Errorf("%v", leaf.Subject)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := request(key)
	forged[len(forged)/2] ^= 1
	for name, csr := range map[string][]byte{"nothing": nil, "a certificate": chain, "a forged one": forged, "Ed25519": request(ed), "P-224": request(short)} {
		if _, err := a.Renew(csr, "azure", "c1", now, time.Hour); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}
