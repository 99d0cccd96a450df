package pop

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/entrance-id/entrance/internal/pop/jws"
)

// exponent is the only public exponent in use: all clients make such keys, and
// Microsoft's verifiers read no other.
const exponent = 65537

// Sizes of the keys that a shell may be signed with.
const (
	minModulus = 2048
	maxModulus = 4096
)

// Key is a client's RSA key with 2048 bits.
type Key struct {
	private    *rsa.PrivateKey
	thumbprint string
	jwk        string
	header     string
}

// GenerateKey makes a new key.
func GenerateKey() (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, minModulus)
	if err != nil {
		return nil, fmt.Errorf("generating a proof-of-possession key: %w", err)
	}
	return newKey(private), nil
}

var errKey = errors.New("not a proof-of-possession key: RSA of 2048 to 4096 bits in PKCS #8 is needed")

// ParseKey reads a key that MarshalPKCS8 wrote.
func ParseKey(pkcs8 []byte) (*Key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, errKey // without err, which may quote the key
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok || private.E != exponent || private.N.BitLen() < minModulus || private.N.BitLen() > maxModulus {
		return nil, errKey
	}
	return newKey(private), nil
}

func newKey(private *rsa.PrivateKey) *Key {
	n := jws.Encode(private.N.Bytes())
	thumb := thumbprint(n)
	return &Key{
		private:    private,
		thumbprint: thumb,
		jwk:        `{"e":"AQAB","kty":"RSA","n":"` + n + `","alg":"RS256","kid":"` + thumb + `"}`,
		header:     jws.Encode([]byte(`{"typ":"pop","alg":"RS256","kid":"` + thumb + `"}`)),
	}
}

// MarshalPKCS8 returns the private key for a store that protects it.
func (k *Key) MarshalPKCS8() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(k.private) }

// Thumbprint returns the RFC 7638 thumbprint (SHA-256) of the public key: the
// kid of shells, and the cnf.kid of access tokens that are bound to the key.
func (k *Key) Thumbprint() string { return k.thumbprint }

// String keeps the private key out of logs.
func (k *Key) String() string { return "pop.Key(" + k.thumbprint + ")" }

// GoString keeps the private key out of logs.
func (k *Key) GoString() string { return k.String() }

// thumbprint is over the key's canonical form: the required members in order
// of their names, nothing else.
func thumbprint(n string) string {
	sum := sha256.Sum256([]byte(`{"e":"AQAB","kty":"RSA","n":"` + n + `"}`))
	return jws.Encode(sum[:])
}

// ReqCnf returns the req_cnf parameter of a token request that asks for an
// access token bound to the key.
func (k *Key) ReqCnf() string { return EncodeReqCnf(k.thumbprint) }

// EncodeReqCnf returns the req_cnf parameter for the key with a thumbprint.
func EncodeReqCnf(thumbprint string) string {
	return jws.Encode([]byte(`{"kid":"` + thumbprint + `","xms_ksl":"sw"}`))
}

// Confirmation is what a token request says of the key to bind to.
type Confirmation struct {
	KeyID    string // thumbprint
	Location string // xms_ksl: "sw", or empty
}

var errReqCnf = errors.New("req_cnf does not name a key by its thumbprint")

// DecodeReqCnf reads a req_cnf parameter. The key id must have the form of a
// SHA-256 thumbprint; whether the client has the key shows when it uses it.
func DecodeReqCnf(s string) (Confirmation, error) {
	if len(s) > 4096 {
		return Confirmation{}, errReqCnf
	}
	raw, err := jws.Decode(s)
	if err != nil {
		return Confirmation{}, errReqCnf
	}
	doc, err := jws.ParseObject(string(raw))
	if err != nil {
		return Confirmation{}, errReqCnf
	}
	var c Confirmation
	c.KeyID, _ = doc.Get("kid").Str()
	if sum, err := jws.Decode(c.KeyID); err != nil || len(sum) != sha256.Size {
		return Confirmation{}, errReqCnf
	}
	if v := doc.Get("xms_ksl"); v.Kind() != jws.Missing {
		if c.Location, _ = v.Str(); c.Location != "sw" {
			return Confirmation{}, errReqCnf
		}
	}
	return c, nil
}

// NewNonce returns the nonce of a shell: a random GUID without dashes.
func NewNonce() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return hex.EncodeToString(b[:])
}

// Sign wraps an access token in a shell for the host u (for a cluster: its ARM
// id). The members stand in the order that kubelogin writes.
func (k *Key) Sign(accessToken, u, nonce string, now time.Time) (string, error) {
	b := make([]byte, 0, len(accessToken)+len(k.jwk)+256)
	b = append(b, `{"at":`...)
	b = appendText(b, accessToken)
	b = append(b, `,"ts":`...)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, `,"u":`...)
	b = appendText(b, u)
	b = append(b, `,"cnf":{"jwk":`...)
	b = append(b, k.jwk...)
	b = append(b, `},"nonce":`...)
	b = appendText(b, nonce)
	b = append(b, '}')

	input := k.header + "." + jws.Encode(b)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("signing a proof-of-possession token: %w", err)
	}
	return input + "." + jws.Encode(sig), nil
}

func appendText(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic("pop: a string does not encode: " + err.Error()) // cannot happen
	}
	return append(b, q...)
}

// parsePublic reads the key of a shell.
func parsePublic(n, e string) (*rsa.PublicKey, bool) {
	if e != "AQAB" || len(n) > maxModulus/6+4 {
		return nil, false
	}
	raw, err := jws.Decode(n)
	if err != nil || len(raw) == 0 || raw[0] == 0 { // leading zeros would give one key two thumbprints
		return nil, false
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(raw), E: exponent}
	if bits := k.N.BitLen(); bits < minModulus || bits > maxModulus || k.N.Bit(0) == 0 {
		return nil, false
	}
	return k, true
}
