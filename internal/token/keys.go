package token

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

// KeyID names a signing key: the kid of tokens and key documents. As in Entra
// it is the certificate's SHA-1 thumbprint, so it is the x5t too.
type KeyID string

// KeyTimes say what a key is for at which time.
type KeyTimes struct {
	// Published is when the key enters the key document. It verifies nothing
	// before Activates.
	Published time.Time
	// Activates is when the key begins to sign. It ends when the next key of
	// its set activates; no write is needed for that.
	Activates time.Time
	// Revoked, if not zero, ends the key at once for signing, publication and
	// verification, without grace.
	Revoked time.Time
}

// Key is a tenant's signing key: RSA with 2048 bits and a self-signed
// certificate. It does not change after it was made.
type Key struct {
	ID     KeyID
	Tenant directory.TenantID
	Times  KeyTimes

	private *rsa.PrivateKey
	cert    []byte
	headers headers
}

// certificateLife is what Entra gives its own signing certificates. Nobody
// checks it: the key's times decide.
const certificateLife = 5 * 365 * 24 * time.Hour

// GenerateKey makes a new key for a tenant.
func GenerateKey(tenant directory.TenantID, times KeyTimes) (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "generating a signing key")
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "choosing a serial number")
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: "Entrance token signing", Organization: []string{string(tenant)}},
		NotBefore:    times.Published.UTC(),
		NotAfter:     times.Activates.UTC().Add(certificateLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, errs.Wrap(errs.Internal, err, "making a signing certificate")
	}
	return newKey(tenant, times, private, cert), nil
}

func newKey(tenant directory.TenantID, times KeyTimes, private *rsa.PrivateKey, cert []byte) *Key {
	sum := sha1.Sum(cert) // the x5t of RFC 7515 is SHA-1 by definition; it is a name here, not a proof
	k := &Key{ID: KeyID(jws.Encode(sum[:])), Tenant: tenant, Times: times, private: private, cert: cert}
	k.headers = newHeaders(k.ID)
	return k
}

// Public returns the key's public half.
func (k *Key) Public() *rsa.PublicKey { return &k.private.PublicKey }

// Certificate returns the DER of the key's certificate.
func (k *Key) Certificate() []byte { return bytes.Clone(k.cert) }

// Record is a key as it is stored. PKCS8 holds the private key in the clear:
// the store seals records before they leave the process.
type Record struct {
	Tenant      directory.TenantID `json:"tenantId"`
	PKCS8       []byte             `json:"pkcs8"`
	Certificate []byte             `json:"certificate"`
	Published   time.Time          `json:"published"`
	Activates   time.Time          `json:"activates"`
	Revoked     time.Time          `json:"revoked,omitzero"`
}

// String keeps the private key out of logs.
func (Record) String() string { return "token.Record(sealed)" }

// GoString keeps the private key out of logs.
func (r Record) GoString() string { return r.String() }

// Record returns the key as it is to be stored.
func (k *Key) Record() Record {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		panic("token: an RSA key has no PKCS #8 form: " + err.Error()) // cannot happen
	}
	return Record{
		Tenant: k.Tenant, PKCS8: der, Certificate: bytes.Clone(k.cert),
		Published: k.Times.Published, Activates: k.Times.Activates, Revoked: k.Times.Revoked,
	}
}

// Key returns the key of a record. It fails if the record's parts do not belong
// together.
func (r Record) Key() (*Key, error) {
	bad := func(what string) (*Key, error) {
		return nil, errs.New(errs.Internal, "stored signing key: %s", what)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(r.PKCS8)
	if err != nil {
		return bad("not PKCS #8") // without err, which may quote the key
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok || private.N.BitLen() < minModulus {
		return bad("not an RSA key of 2048 bits or more")
	}
	cert, err := x509.ParseCertificate(r.Certificate)
	if err != nil {
		return bad("certificate is broken")
	}
	if !private.PublicKey.Equal(cert.PublicKey) {
		return bad("certificate is of another key")
	}
	if r.Tenant == "" || r.Published.IsZero() || r.Activates.Before(r.Published) {
		return bad("tenant or times are missing")
	}
	times := KeyTimes{Published: r.Published, Activates: r.Activates, Revoked: r.Revoked}
	return newKey(r.Tenant, times, private, bytes.Clone(r.Certificate)), nil
}

// MarshalBinary encodes the record for a store that seals bytes.
func (r Record) MarshalBinary() ([]byte, error) { return json.Marshal(r) }

// UnmarshalBinary decodes what MarshalBinary made.
func (r *Record) UnmarshalBinary(data []byte) error { return json.Unmarshal(data, r) }

// Policy says how keys follow one another.
type Policy struct {
	// Life is how long a key signs before the next one takes over.
	Life time.Duration
	// Ahead is how long a key is published before it signs. Clients keep key
	// documents for a day.
	Ahead time.Duration
	// Grace is how long a key verifies after the next one took over: no less
	// than the longest life of a token.
	Grace time.Duration
}

// DefaultPolicy changes keys every six weeks, as Entra does.
var DefaultPolicy = Policy{Life: 42 * 24 * time.Hour, Ahead: 3 * 24 * time.Hour, Grace: MaxLifetime + 2*time.Hour}

// Set is the keys of one tenant and what follows from their times. It does not
// change; a changed set is a new one.
type Set struct {
	keys  []*Key  // that become active at some time, by activation
	dead  []KeyID // that never do
	grace time.Duration
}

// NewSet makes a set of a tenant's stored keys, in any order. It fails if they
// are of more than one tenant.
func NewSet(p Policy, keys ...*Key) (*Set, error) {
	s := &Set{grace: p.Grace}
	for _, k := range keys {
		if k.Tenant != keys[0].Tenant {
			return nil, errs.New(errs.Internal, "signing keys of tenants %s and %s in one set", keys[0].Tenant, k.Tenant)
		}
		// A key that was revoked before its turn never has a turn.
		if k.Times.Revoked.IsZero() || k.Times.Revoked.After(k.Times.Activates) {
			s.keys = append(s.keys, k)
		} else {
			s.dead = append(s.dead, k.ID)
		}
	}
	// Two replicas may have made keys for the same time: the id decides, the
	// same way everywhere.
	slices.SortFunc(s.keys, func(a, b *Key) int {
		return cmp.Or(a.Times.Activates.Compare(b.Times.Activates), cmp.Compare(a.ID, b.ID))
	})
	return s, nil
}

// Active returns the one key that signs at now. There is none before the first
// key activates, and none while the latest key is revoked and has no
// successor: a retired key never comes back.
func (s *Set) Active(now time.Time) (*Key, bool) {
	for i := len(s.keys) - 1; i >= 0; i-- {
		k := s.keys[i]
		if k.Times.Activates.After(now) {
			continue
		}
		return k, !k.revoked(now)
	}
	return nil, false
}

func (k *Key) revoked(now time.Time) bool {
	return !k.Times.Revoked.IsZero() && !now.Before(k.Times.Revoked)
}

// validity returns from when until when the i-th key verifies; a zero end means
// that none is known yet. The clocks of replicas may differ by Leeway.
func (s *Set) validity(i int) (from, until time.Time) {
	k := s.keys[i]
	from = k.Times.Activates.Add(-Leeway)
	if i+1 < len(s.keys) {
		until = s.keys[i+1].Times.Activates.Add(s.grace)
	}
	if r := k.Times.Revoked; !r.IsZero() && (until.IsZero() || r.Before(until)) {
		until = r
	}
	return from, until
}

// Published returns the keys that the key document shows at now: those that
// may sign or verify, and those that will.
func (s *Set) Published(now time.Time) []*Key {
	var list []*Key
	for i, k := range s.keys {
		_, until := s.validity(i)
		if !now.Before(k.Times.Published) && (until.IsZero() || now.Before(until)) {
			list = append(list, k)
		}
	}
	return list
}

// Lookup returns the key with the given id for verification, with the times
// between which it may verify.
func (s *Set) Lookup(id KeyID) (PublicKey, bool) {
	for i, k := range s.keys {
		if k.ID == id {
			from, until := s.validity(i)
			return PublicKey{Key: k.Public(), NotBefore: from, NotAfter: until}, true
		}
	}
	return PublicKey{}, false
}

// Outlived returns the ids of keys that neither sign nor verify at now or
// later. Their records may be deleted.
func (s *Set) Outlived(now time.Time) []KeyID {
	list := slices.Clone(s.dead)
	// From the front only, and never the last: a key that stays needs its
	// successor, whose activation is what retires it.
	for i := 0; i < len(s.keys)-1; i++ {
		_, until := s.validity(i)
		if until.IsZero() || now.Before(until) {
			break
		}
		list = append(list, s.keys[i].ID)
	}
	return list
}

// NextRotation returns when the next key of the set is to be made. The zero
// time means at once.
func (p Policy) NextRotation(s *Set) time.Time {
	if len(s.keys) == 0 {
		return time.Time{}
	}
	last := s.keys[len(s.keys)-1]
	if !last.Times.Revoked.IsZero() {
		return time.Time{}
	}
	return last.Times.Activates.Add(p.Life - p.Ahead)
}

// Plan returns the times of the key that is to be made at now, and whether one
// is due. A key is published at once and signs after Ahead, unless there is no
// key that could sign until then.
func (p Policy) Plan(s *Set, now time.Time) (KeyTimes, bool) {
	if now.Before(p.NextRotation(s)) {
		return KeyTimes{}, false
	}
	return p.Rotate(s, now), true
}

// Rotate returns the times of a key that is made at now because somebody asked
// for it, due or not.
func (p Policy) Rotate(s *Set, now time.Time) KeyTimes {
	t := KeyTimes{Published: now, Activates: now.Add(p.Ahead)}
	if _, ok := s.Active(now); !ok {
		t.Activates = now
	} else if last := s.keys[len(s.keys)-1].Times.Activates; t.Activates.Before(last) {
		t.Activates = last // after a key that is already waiting, never before it
	}
	return t
}

// Revoke returns a copy of the key that is revoked from now on. If it was the
// active one the caller stores a new key (see Plan) in the same transaction.
func (k *Key) Revoke(now time.Time) *Key {
	c := *k
	if c.Times.Revoked.IsZero() || now.Before(c.Times.Revoked) {
		c.Times.Revoked = now
	}
	return &c
}

// JWK is one entry of a key document.
type JWK struct {
	Kty               string   `json:"kty"`
	Use               string   `json:"use"`
	Kid               KeyID    `json:"kid"`
	X5t               string   `json:"x5t"`
	N                 string   `json:"n"`
	E                 string   `json:"e"`
	X5c               []string `json:"x5c"`
	CloudInstanceName string   `json:"cloud_instance_name,omitempty"`
	Issuer            string   `json:"issuer,omitempty"`
}

// JWKS is a key document.
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// JWKS returns the key document at now. Issuer is what the entries name as
// their issuer: the tenant's, or the template with {tenantid} in the documents
// of /common; it and cloud are left out where empty, as in v1.0 documents.
func (s *Set) JWKS(now time.Time, issuer, cloud string) JWKS {
	doc := JWKS{Keys: []JWK{}}
	for _, k := range s.Published(now) {
		doc.Keys = append(doc.Keys, JWK{
			Kty: "RSA", Use: "sig", Kid: k.ID, X5t: string(k.ID),
			N: jws.Encode(k.Public().N.Bytes()), E: jws.Encode(big.NewInt(int64(k.Public().E)).Bytes()),
			X5c: []string{stdBase64(k.cert)}, CloudInstanceName: cloud, Issuer: issuer,
		})
	}
	return doc
}

// thumbprints returns x5t and x5t#S256 of a certificate.
func thumbprints(der []byte) (sha1sum, sha256sum string) {
	a, b := sha1.Sum(der), sha256.Sum256(der)
	return jws.Encode(a[:]), jws.Encode(b[:])
}

// sameHex reports whether s is the certificate's SHA-1 in hexadecimal.
func sameHex(s string, der []byte) bool {
	sum := sha1.Sum(der)
	return strings.EqualFold(s, hex.EncodeToString(sum[:]))
}

// String keeps the private key out of logs.
func (k *Key) String() string { return "token.Key(" + string(k.ID) + ")" }

// GoString keeps the private key out of logs.
func (k *Key) GoString() string { return k.String() }
