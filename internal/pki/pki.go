// Package pki makes the certificates that Entrance itself needs: its own
// authority, the listeners' certificates and the client certificates by which
// API servers prove themselves to the webhooks.
//
// An authority for one person's machine is confined by name constraints
// (RFC 5280, section 4.2.1.10): even if its key leaks after it was added to
// the system's trust store, it can speak only for this machine and for the
// Microsoft names that Entrance stands in for.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// Authority is a certificate authority. Its fields are a record that can be
// stored; Key must be sealed where it is.
type Authority struct {
	Name        string `json:"name"`
	Certificate []byte `json:"certificate"` // DER
	Key         []byte `json:"key"`         // PKCS #8
}

// Constraints confine the names that an authority may certify. The zero value
// confines nothing.
type Constraints struct {
	DNSNames []string
	IPRanges []*net.IPNet
}

// slack covers clocks that differ a little between the machine that makes a
// certificate and one that checks it.
const slack = 5 * time.Minute

// NewAuthority makes an authority with a P-256 key that is valid from now for
// life.
func NewAuthority(name string, c Constraints, now time.Time, life time.Duration) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:                serial(),
		Subject:                     pkix.Name{CommonName: name, Organization: []string{"Entrance"}},
		NotBefore:                   now.Add(-slack),
		NotAfter:                    now.Add(life),
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		PermittedDNSDomains:         c.DNSNames,
		PermittedIPRanges:           c.IPRanges,
		PermittedDNSDomainsCritical: len(c.DNSNames)+len(c.IPRanges) > 0,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &Authority{Name: name, Certificate: der, Key: pkcs8}, nil
}

// PEM returns the authority's certificate in PEM form.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate})
}

// Pool returns a pool that holds the authority's certificate alone.
func (a *Authority) Pool() (*x509.CertPool, error) {
	cert, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool, nil
}

// Server issues a certificate for a TLS server that is reached under the given
// DNS names and addresses.
func (a *Authority) Server(names []string, ips []net.IP, now time.Time, life time.Duration) (*tls.Certificate, error) {
	cn := "localhost"
	if len(names) > 0 {
		cn = names[0]
	}
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: cn, Organization: []string{"Entrance"}},
		DNSNames:    names,
		IPAddresses: ips,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, now, life)
}

// Client issues a certificate for a TLS client with the given organization and
// common name.
func (a *Authority) Client(organization, commonName string, now time.Time, life time.Duration) (*tls.Certificate, error) {
	return a.issue(&x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName, Organization: []string{organization}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, now, life)
}

// Renew issues what Client does for a key that somebody else holds, and returns
// the chain in PEM form. Invalid for a request that is not signed by its own
// key, or for a key that is too weak; whom the request names is not looked at.
func (a *Authority) Renew(csr []byte, organization, commonName string, now time.Time, life time.Duration) ([]byte, error) {
	block, _ := pem.Decode(csr)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errs.New(errs.Invalid, "There is no certificate request in PEM form.")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The certificate request cannot be used")
	}
	switch k := request.PublicKey.(type) {
	case *ecdsa.PublicKey: // of a NIST curve: others cannot be parsed
		if k.Curve.Params().BitSize < 256 {
			return nil, errs.New(errs.Invalid, "The key of the certificate request is too short.")
		}
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 || k.N.BitLen() > 4096 {
			return nil, errs.New(errs.Invalid, "The key of the certificate request has %d bits; it needs 2048 to 4096.", k.N.BitLen())
		}
	default:
		return nil, errs.New(errs.Invalid, "The key of the certificate request is neither ECDSA nor RSA.")
	}
	c, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName, Organization: []string{organization}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, request.PublicKey, now, life)
	if err != nil {
		return nil, err
	}
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return chain, nil
}

func (a *Authority) issue(template *x509.Certificate, now time.Time, life time.Duration) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c, err := a.sign(template, key.Public(), now, life)
	if err == nil {
		c.PrivateKey = key
	}
	return c, err
}

// sign certifies a public key. The result has no private key.
func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey, now time.Time, life time.Duration) (*tls.Certificate, error) {
	parent, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "reading the authority %s", a.Name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "reading the key of the authority %s", a.Name)
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errs.New(errs.Internal, "the key of the authority %s cannot sign", a.Name)
	}
	template.SerialNumber = serial()
	template.NotBefore = now.Add(-slack)
	template.NotAfter = now.Add(life)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.Certificate}, Leaf: leaf}, nil
}

// Encode returns a certificate's chain and its key in PEM form.
func Encode(c *tls.Certificate) (chain, key []byte, err error) {
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// Thumbprint returns the SHA-256 of a certificate.
func Thumbprint(der []byte) [32]byte { return sha256.Sum256(der) }

func serial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f // a positive number of at most 20 octets (RFC 5280, section 4.1.2.2)
	return new(big.Int).SetBytes(b[:])
}
