package login

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// assertionType is the client_assertion_type of a JWT.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clientSecret is spn with a secret.
type clientSecret struct{ *entra }

// clientCertificate is spn with a certificate. The file is parsed only when a
// token is asked for: PKCS#12 files are slow to open by design.
type clientCertificate struct {
	*entra
	file []byte
}

func newServicePrincipal(e *entra) (method, error) {
	e.client.region = regionOf(e.sys.Env)
	if e.o.usesPoP() {
		if _, err := ParsePoPClaims(e.o.PoPClaims); err != nil {
			return nil, err
		}
	}
	if e.o.ClientCertificate != "" {
		file, err := os.ReadFile(e.o.ClientCertificate)
		if err != nil {
			return nil, fmt.Errorf("failed to read certificate: failed to read the certificate file (%s): %w", e.o.ClientCertificate, err)
		}
		return &clientCertificate{e, file}, nil
	}
	if e.o.ClientSecret == "" {
		return nil, errEmpty("client secret")
	}
	return &clientSecret{e}, nil
}

// regionOf is the region of the token endpoint that services may ask for.
func regionOf(env Environment) string {
	r, _ := env("AZURE_REGIONAL_AUTHORITY_NAME")
	if r == "" || strings.EqualFold(r, "TryAutoDetect") || strings.ContainsFunc(r, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9')
	}) {
		return ""
	}
	return r
}

func (c *clientSecret) name() string {
	if c.o.usesV1() {
		return "ADALClientSecretCredential"
	}
	return popName(c.o, "ClientSecretCredential")
}

func (c *clientSecret) secrets() ([][]byte, error) { return [][]byte{[]byte(c.o.ClientSecret)}, nil }

func (c *clientSecret) acquire(ctx context.Context) (*tokenResponse, error) {
	if c.o.usesV1() {
		f := c.formV1("client_credentials")
		f.Set("client_secret", c.o.ClientSecret)
		return c.client.tokenV1(ctx, f)
	}
	f, err := c.form("client_credentials")
	if err != nil {
		return nil, err
	}
	f.Del("client_info")
	f.Set("client_secret", c.o.ClientSecret)
	return c.client.token(ctx, f, false)
}

func (c *clientCertificate) name() string {
	if c.o.usesV1() {
		return "ADALClientCertCredential"
	}
	return popName(c.o, "ClientCertificateCredential")
}

func (c *clientCertificate) secrets() ([][]byte, error) {
	return [][]byte{c.file, []byte(c.o.ClientCertificatePass)}, nil
}

func (c *clientCertificate) acquire(ctx context.Context) (*tokenResponse, error) {
	key, chain, err := parseCertificate(c.o.ClientCertificate, c.file, c.o.ClientCertificatePass)
	if err != nil {
		return nil, fmt.Errorf("failed to read certificate: %w", err)
	}
	var f url.Values
	if c.o.usesV1() {
		f = c.formV1("client_credentials")
		aud := c.client.auth.url(c.client.auth.tenant + "/oauth2/token")
		assertion, err := clientAssertion(key, chain, c.o.ClientID, aud, c.sys.Clock.Now(), true)
		if err != nil {
			return nil, err
		}
		f.Set("client_assertion_type", assertionType)
		f.Set("client_assertion", assertion)
		return c.client.tokenV1(ctx, f)
	}
	ends, err := c.client.resolve(ctx)
	if err != nil {
		return nil, err
	}
	if f, err = c.form("client_credentials"); err != nil {
		return nil, err
	}
	assertion, err := clientAssertion(key, chain, c.o.ClientID, ends.Token, c.sys.Clock.Now(), false)
	if err != nil {
		return nil, err
	}
	f.Set("client_assertion_type", assertionType)
	f.Set("client_assertion", assertion)
	return c.client.token(ctx, f, false)
}

// clientAssertion is a JWT that proves possession of the certificate's key.
// v1 uses RS256 and a SHA-1 thumbprint, as its clients always did.
func clientAssertion(key *rsa.PrivateKey, chain []*x509.Certificate, clientID, audience string, now time.Time, v1 bool) (string, error) {
	x5c := make([]string, len(chain))
	for i, c := range chain {
		x5c[i] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	header := map[string]any{"typ": "JWT", "x5c": x5c}
	if v1 {
		sum := sha1.Sum(chain[0].Raw)
		header["alg"], header["x5t"] = "RS256", base64.RawURLEncoding.EncodeToString(sum[:])
	} else {
		sum := sha256.Sum256(chain[0].Raw)
		header["alg"], header["x5t#S256"] = "PS256", base64.RawURLEncoding.EncodeToString(sum[:])
	}
	payload := map[string]any{"aud": audience, "iss": clientID, "sub": clientID, "jti": newGUID(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	h, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	p, err := json.Marshal(payload)
	if err != nil {
		return "", err
	}
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(p)
	sum := sha256.Sum256([]byte(input))
	var sig []byte
	if v1 {
		sig, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	} else {
		sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// parseCertificate reads a PFX or PEM file. It returns the key and the chain
// with the key's own certificate first.
func parseCertificate(name string, data []byte, password string) (*rsa.PrivateKey, []*x509.Certificate, error) {
	if strings.HasSuffix(strings.ToLower(name), ".pfx") || strings.HasSuffix(strings.ToLower(name), ".p12") ||
		len(data) > 0 && data[0] == 0x30 && !bytes.Contains(data, []byte("-----BEGIN")) {
		key, cert, cas, err := pkcs12.DecodeChain(data, password)
		if errors.Is(err, pkcs12.ErrIncorrectPassword) {
			return nil, nil, errors.New("the password of the PFX file is wrong (--client-certificate-password)")
		}
		if err != nil {
			return nil, nil, err
		}
		return ordered(key, append([]*x509.Certificate{cert}, cas...))
	}
	var key any
	var certs []*x509.Certificate
	for rest := data; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		var err error
		switch {
		case block.Type == "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err != nil {
				return nil, nil, fmt.Errorf("unable to parse certificate: %w", err)
			}
			certs = append(certs, c)
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, nil, errors.New("the private key in the PEM file is encrypted; use a PFX file with a password, or a PEM file without")
		case block.Type == "PRIVATE KEY" || block.Type == "RSA PRIVATE KEY":
			if key != nil {
				return nil, nil, errors.New("the PEM file holds more than one private key")
			}
			var perr error
			if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
				if key, perr = x509.ParsePKCS1PrivateKey(block.Bytes); perr != nil {
					return nil, nil, fmt.Errorf("failed to parse private key as Pkcs#1 or Pkcs#8. (%w), (%w)", perr, err)
				}
			}
		case block.Type == "EC PRIVATE KEY":
			return nil, nil, errors.New("the private key is not an RSA key, which Entra needs")
		}
	}
	if key == nil {
		return nil, nil, errors.New("failed to decode a pem block from private key")
	}
	return ordered(key, certs)
}

func ordered(k any, certs []*x509.Certificate) (*rsa.PrivateKey, []*x509.Certificate, error) {
	key, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("pkcs8 contained non-RSA key. Expected RSA key")
	}
	for i, c := range certs {
		if pub, ok := c.PublicKey.(*rsa.PublicKey); ok && pub.Equal(&key.PublicKey) {
			certs[0], certs[i] = certs[i], certs[0]
			return key, certs, nil
		}
	}
	return nil, nil, errors.New("unable to find a matching public certificate")
}

// ReadCertificate reads the chain of a certificate file, for people who want
// to know what is in it.
func ReadCertificate(path, password string) ([]*x509.Certificate, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, chain, err := parseCertificate(path, file, password)
	return chain, err
}
