package token

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"

	"github.com/entrance-id/entrance/internal/pop/jws"
)

// AssertionHeader is what an assertion says of the key that signed it. None of
// it is proven; it only helps to find a key that is trusted for other reasons.
type AssertionHeader struct {
	Kid     string
	X5T     string   // base64url SHA-1 of the certificate
	X5TS256 string   // base64url SHA-256 of the certificate
	X5C     []string // certificates in standard base64, leaf first; at most MaxChain
}

// MaxChain is how many certificates an x5c header may have.
const MaxChain = 6

// AssertionPolicy says which assertion is acceptable.
type AssertionPolicy struct {
	// Issuer is the only iss that is acceptable.
	Issuer string
	// Subject is the only sub that is acceptable; empty leaves the comparison
	// to the caller.
	Subject string
	// Audiences: one of the assertion's audiences must be one of these, exactly.
	Audiences []string
	// Find returns the keys of this issuer that the header may mean, at most a
	// few. Each of them is tried.
	Find func(AssertionHeader) []PublicKey
	// MaxLifetime is how far ahead exp may lie; zero means a day and Leeway.
	MaxLifetime time.Duration
	// RequireID demands a jti, for issuers whose assertions may be used once.
	RequireID bool
	// NoPSS refuses PS256, for issuers that do not use it.
	NoPSS bool
}

// Assertion is a proven assertion: what it says is what its issuer says.
type Assertion struct {
	Issuer    string
	Subject   string
	Audiences []string
	ID        string // jti: the caller remembers it until Expires plus Leeway
	IssuedAt  int64  // zero if absent
	NotBefore int64  // zero if absent
	Expires   int64
	Header    AssertionHeader
	// Hash is of the whole token, for a replay memory where there is no jti.
	Hash [sha256.Size]byte

	claims jws.Value
}

// Text returns a claim of any name if it is a string.
func (a *Assertion) Text(name string) (string, bool) { return a.claims.Get(name).Str() }

// List returns a claim of any name if it is a list of strings.
func (a *Assertion) List(name string) ([]string, bool) { return a.claims.Get(name).Strings() }

// Claim returns a claim of any name; its Kind is jws.Missing if there is none.
func (a *Assertion) Claim(name string) jws.Value { return a.claims.Get(name) }

const maxAudiences = 16

// AssertionIssuer returns iss and sub of an assertion that nothing is proven
// of, to find the policy under which to verify it.
func AssertionIssuer(token string) (issuer, subject string, err error) {
	t, err := parse(token)
	if err != nil {
		return "", "", err
	}
	issuer, _ = t.Payload.Get("iss").Str()
	subject, _ = t.Payload.Get("sub").Str()
	if issuer == "" {
		return "", "", refuse(ClassClaims, "iss is missing")
	}
	return issuer, subject, nil
}

// VerifyAssertion verifies a client assertion, or a token of another OpenID
// Connect issuer, and returns what it says or an *Error.
func VerifyAssertion(token string, p AssertionPolicy, now time.Time) (*Assertion, error) {
	t, err := parse(token)
	if err != nil {
		return nil, err
	}
	a := &Assertion{claims: t.Payload}
	pss, err := a.readHeader(t.Header, p)
	if err != nil {
		return nil, err
	}
	if err := a.readClaims(p); err != nil {
		return nil, err
	}
	if a.Issuer != p.Issuer || p.Issuer == "" {
		return nil, refuse(ClassIssuer, "iss is not the issuer expected")
	}
	if err := p.verifySignature(a.Header, t, pss, now); err != nil {
		return nil, err
	}
	if p.Subject != "" && a.Subject != p.Subject {
		return nil, refuse(ClassSubject, "sub is not the subject expected")
	}
	if !slices.ContainsFunc(a.Audiences, func(s string) bool { return slices.Contains(p.Audiences, s) }) {
		return nil, refuse(ClassAudience, "aud does not name us")
	}
	if err := checkTimes(a.IssuedAt, a.NotBefore, a.Expires, now); err != nil {
		return nil, err
	}
	longest := p.MaxLifetime
	if longest == 0 {
		longest = 24*time.Hour + Leeway
	}
	if a.Expires-now.Unix() > int64(longest/time.Second) {
		return nil, refuse(ClassLifetime, "exp lies too far ahead")
	}
	if p.RequireID && a.ID == "" {
		return nil, refuse(ClassClaims, "jti is missing")
	}
	a.Hash = sha256.Sum256([]byte(token))
	return a, nil
}

func (p *AssertionPolicy) verifySignature(h AssertionHeader, t *jws.Token, pss bool, now time.Time) error {
	const tries = 8
	sum := sha256.Sum256([]byte(t.SigningInput))
	keys := p.Find(h)
	if len(keys) == 0 {
		return &Error{Class: ClassKey, Detail: "no key of the issuer matches the header", Issuer: p.Issuer}
	}
	err := refuse(ClassSignature, "signature is wrong")
	for _, k := range keys[:min(len(keys), tries)] {
		if !usableKey(k.Key) {
			continue
		}
		if !k.validAt(now) {
			err = refuse(ClassKeyTime, "the key is not valid at this time")
			continue
		}
		var wrong error
		if pss {
			wrong = rsa.VerifyPSS(k.Key, crypto.SHA256, sum[:], t.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			wrong = rsa.VerifyPKCS1v15(k.Key, crypto.SHA256, sum[:], t.Signature)
		}
		if wrong == nil {
			return nil
		}
	}
	return err
}

// readHeader reads the header and returns whether the algorithm is PS256.
func (a *Assertion) readHeader(h jws.Value, p AssertionPolicy) (pss bool, err error) {
	var alg string
	h.Members(func(name string, v jws.Value) bool {
		ok := true
		switch name {
		case "alg":
			if alg, ok = v.Str(); !ok {
				err = refuse(ClassAlgorithm, "alg is not a string")
				return false
			}
		case "typ":
			var typ string
			if typ, ok = v.Str(); ok && typ != "JWT" && typ != "client-authentication+jwt" {
				err = refuse(ClassKind, "typ is not that of an assertion")
				return false
			}
		case "kid":
			a.Header.Kid, ok = v.Str()
			ok = ok && len(a.Header.Kid) <= maxKid
		case "x5t":
			a.Header.X5T, ok = v.Str()
		case "x5t#S256":
			a.Header.X5TS256, ok = v.Str()
		case "x5c":
			a.Header.X5C, ok = v.Strings()
			ok = ok && len(a.Header.X5C) <= MaxChain
		case "crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "nonce":
			ok = false
		}
		if !ok {
			err = refuse(ClassHeader, "header "+name+" is not acceptable")
		}
		return ok
	})
	switch {
	case err != nil:
		return false, err
	case alg == "PS256" && !p.NoPSS:
		return true, nil
	case alg == "RS256":
		return false, nil
	}
	return false, refuse(ClassAlgorithm, "alg is neither RS256 nor PS256")
}

func (a *Assertion) readClaims(p AssertionPolicy) error {
	var bad string
	var exp bool
	a.claims.Members(func(name string, v jws.Value) bool {
		ok := true
		switch name {
		case "iss":
			a.Issuer, ok = v.Str()
		case "sub":
			a.Subject, ok = v.Str()
		case "aud":
			var one string
			if one, ok = v.Str(); ok {
				a.Audiences = []string{one}
			} else {
				a.Audiences, ok = v.Strings()
				ok = ok && len(a.Audiences) <= maxAudiences
			}
		case "jti":
			a.ID, ok = v.Str()
			ok = ok && len(a.ID) <= maxKid
		case "exp":
			a.Expires, ok = moment(v)
			exp = true
		case "nbf":
			a.NotBefore, ok = moment(v)
		case "iat":
			a.IssuedAt, ok = moment(v)
		}
		if !ok {
			bad = name
		}
		return ok
	})
	switch {
	case bad != "":
		return refuse(ClassClaims, "claim "+bad+" is not of its type")
	case a.Issuer == "" || a.Subject == "" || len(a.Audiences) == 0 || !exp:
		return refuse(ClassClaims, "iss, sub, aud or exp is missing")
	}
	return nil
}

// moment is date for assertions: others write them, and some write fractions of
// a second.
func moment(v jws.Value) (int64, bool) {
	n, ok := v.Seconds()
	return n, ok && n >= 0 && n <= maxDate
}

// CertificateKeys returns a Find for an application's registered certificates.
// A header finds a certificate by x5t#S256, x5t, or the thumbprint in kid (as
// Microsoft's clients write it, in base64url or hexadecimal); all that are
// given must agree. Each certificate verifies within its own dates.
func CertificateKeys(certs []*x509.Certificate) func(AssertionHeader) []PublicKey {
	return func(h AssertionHeader) []PublicKey {
		var keys []PublicKey
		for _, cert := range certs {
			key, ok := cert.PublicKey.(*rsa.PublicKey)
			if !ok || h.X5T == "" && h.X5TS256 == "" && h.Kid == "" {
				continue
			}
			s1, s256 := thumbprints(cert.Raw)
			if h.X5T != "" && h.X5T != s1 || h.X5TS256 != "" && h.X5TS256 != s256 {
				continue
			}
			if h.X5T == "" && h.X5TS256 == "" && h.Kid != s1 && h.Kid != s256 && !sameHex(h.Kid, cert.Raw) {
				continue
			}
			keys = append(keys, PublicKey{Key: key, NotBefore: cert.NotBefore, NotAfter: cert.NotAfter.Add(time.Second)})
		}
		return keys
	}
}

// IssuerKeys returns a Find for the key document of an OpenID Connect issuer:
// the key with exactly the header's kid, or the only key if the header has none.
// A key has no dates of its own: it is valid as long as it is published.
func IssuerKeys(keys map[KeyID]*rsa.PublicKey) func(AssertionHeader) []PublicKey {
	return func(h AssertionHeader) []PublicKey {
		if k, ok := keys[KeyID(h.Kid)]; ok {
			return []PublicKey{{Key: k}}
		}
		if h.Kid == "" && len(keys) == 1 {
			for _, k := range keys {
				return []PublicKey{{Key: k}}
			}
		}
		return nil
	}
}
