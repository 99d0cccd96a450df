package token

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

const (
	// Leeway is how far clocks may differ. It is the only allowance for time:
	// exp, nbf, iat and the times of keys all use it.
	Leeway = time.Minute
	// MaxLifetime is the longest span from iat to exp of an access token:
	// 28 hours with continuous access evaluation, and some.
	MaxLifetime = 30 * time.Hour
	// MaxLength bounds a token's text. A token with 200 groups, 100 roles and
	// long names has about 20 KiB.
	MaxLength = 64 << 10

	minModulus = 2048
	maxModulus = 8192
	maxKid     = 256
	maxDate    = 253402300799 // the end of year 9999
)

// PublicKey is a key that verifies, and when. A zero time is no bound.
type PublicKey struct {
	Key       *rsa.PublicKey
	NotBefore time.Time
	NotAfter  time.Time // exclusive
}

func (k PublicKey) validAt(now time.Time) bool {
	return (k.NotBefore.IsZero() || !now.Before(k.NotBefore)) && (k.NotAfter.IsZero() || now.Before(k.NotAfter))
}

// Trust is what is believed of an issuer: tokens whose iss is exactly its name
// may speak for one tenant, in one version, and are signed with its own keys.
type Trust struct {
	Tenant  directory.TenantID
	Version Version
}

// Keys knows the trusted issuers and their keys. Answers come from memory: a
// verifier asks for each token, and before the signature is proven.
type Keys interface {
	// Issuer returns the trust in the issuer with exactly this name.
	Issuer(name string) (Trust, bool)
	// Key returns a key of that issuer and of no other. A kid is any text a
	// stranger sent.
	Key(issuer string, kid KeyID) (PublicKey, bool)
}

// Verifier verifies access tokens. Its fields must not change while it is in
// use; it may be used concurrently.
type Verifier struct {
	Keys Keys
	// Audiences are the names of the resource that asks; aud must be one of
	// them, exactly. None means that every token is refused.
	Audiences []string
	// Graph makes the verifier Microsoft Graph's, whose tokens have a nonce in
	// the header (see SignGraph). All others refuse them.
	Graph bool
}

// Verify returns the claims of a bearer access token that is valid at now, or
// an *Error. A token that is bound to a key is refused: without proof of the
// key it is as good as stolen.
func (v *Verifier) Verify(token string, now time.Time) (*Claims, error) {
	c, err := v.verify(token, now)
	if err != nil {
		return nil, err
	}
	if c.Cnf != nil {
		return nil, refuse(ClassBinding, "token is bound to a key and was shown without proof of it")
	}
	return c, nil
}

// VerifyBound is Verify for the access token inside a proof-of-possession
// shell. Thumbprint is that of the key which signed the shell; the token must
// be bound to it.
func (v *Verifier) VerifyBound(token, thumbprint string, now time.Time) (*Claims, error) {
	c, err := v.verify(token, now)
	if err != nil {
		return nil, err
	}
	if c.Cnf == nil || thumbprint == "" || c.Cnf.KeyID != thumbprint {
		return nil, refuse(ClassBinding, "token is not bound to the key of its shell")
	}
	return c, nil
}

func (v *Verifier) verify(token string, now time.Time) (*Claims, error) {
	c, err := v.authenticate(token, now, accessToken)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(v.Audiences, c.Audience) {
		return nil, refuse(ClassAudience, "aud is not a name of this resource")
	}
	if err := checkTimes(c.IssuedAt, c.NotBefore, c.Expires, now); err != nil {
		return nil, err
	}
	if c.Expires-c.IssuedAt > int64(MaxLifetime/time.Second) {
		return nil, refuse(ClassLifetime, "token is valid for longer than any access token may be")
	}
	return c, nil
}

// VerifyIDTokenHint returns the claims of an ID token that was issued to the
// client some time ago. It serves as a hint who is signed in (id_token_hint),
// so it may have expired, and its key may have retired; it proves nothing else.
// An empty client accepts any.
func (v *Verifier) VerifyIDTokenHint(token string, client directory.AppID, now time.Time) (*Claims, error) {
	c, err := v.authenticate(token, now, idToken)
	if err != nil {
		return nil, err
	}
	if client != "" && c.Audience != string(client) {
		return nil, refuse(ClassAudience, "ID token of another client")
	}
	if err := checkTimes(c.IssuedAt, c.NotBefore, maxDate, now); err != nil {
		return nil, err
	}
	return c, nil
}

type tokenKind uint8

const (
	accessToken tokenKind = iota
	idToken
)

// authenticate proves who issued a token and what it says. It says nothing of
// its audience and times.
func (v *Verifier) authenticate(token string, now time.Time, kind tokenKind) (*Claims, error) {
	t, err := parse(token)
	if err != nil {
		return nil, err
	}
	h, err := v.header(t)
	if err != nil {
		return nil, err
	}
	c, err := parseClaims(t.Payload)
	if err != nil {
		return nil, err
	}
	// Issuer, tenant, version and key belong together: the issuer is the one
	// whose key is looked up, and the tenant is that issuer's.
	trust, ok := v.Keys.Issuer(c.Issuer)
	if !ok {
		return nil, refuse(ClassIssuer, "issuer is not trusted")
	}
	if c.Tenant != trust.Tenant || c.Tenant == "" {
		return nil, refuse(ClassTenant, "tid is not the tenant of the issuer")
	}
	if c.Version != trust.Version {
		return nil, refuse(ClassIssuer, "ver is not the version of the issuer")
	}
	key, ok := v.Keys.Key(c.Issuer, h.kid)
	if !ok {
		return nil, &Error{Class: ClassKey, Detail: "the issuer has no key with this kid", Issuer: c.Issuer}
	}
	if kind == accessToken && !key.validAt(now) {
		return nil, refuse(ClassKeyTime, "the key is not valid at this time")
	}
	input := t.SigningInput
	if h.nonce != "" {
		input = jws.Encode([]byte(nonceHeader(h.kid, signedNonce(h.nonce)))) + input[strings.IndexByte(input, '.'):]
	}
	sum := sha256.Sum256([]byte(input))
	if rsa.VerifyPKCS1v15(key.Key, crypto.SHA256, sum[:], t.Signature) != nil {
		return nil, refuse(ClassSignature, "signature is wrong")
	}
	if err := c.checkKind(kind); err != nil {
		return nil, err
	}
	return c, nil
}

// parse is jws.Parse with our classes.
func parse(token string) (*jws.Token, error) {
	t, err := jws.Parse(token, MaxLength)
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, jws.ErrTooLong):
		return nil, refuse(ClassTooLong, err.Error())
	case errors.Is(err, jws.ErrParts):
		return nil, refuse(ClassMalformed, err.Error())
	case errors.Is(err, jws.ErrEncoding):
		return nil, refuse(ClassEncoding, err.Error())
	default:
		return nil, refuse(ClassJSON, err.Error())
	}
}

type header struct {
	kid   KeyID
	nonce string
}

// header checks the protected header. Members by which a token brings its own
// key, or by which its content would mean something else, are refused; what is
// left over has no meaning and is ignored.
func (v *Verifier) header(t *jws.Token) (header, error) {
	var h header
	var alg, typ string
	var err error
	t.Header.Members(func(name string, m jws.Value) bool {
		var text string
		isText := true
		switch name {
		case "alg", "typ", "kid", "nonce":
			if text, isText = m.Str(); !isText {
				err = refuse(ClassHeader, "a header is not a string")
				if name == "alg" {
					err = refuse(ClassAlgorithm, "alg is not a string")
				}
				return false
			}
		case "crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c":
			err = refuse(ClassHeader, "the header has "+name)
			return false
		}
		switch name {
		case "alg":
			alg = text
		case "typ":
			typ = text
		case "kid":
			h.kid = KeyID(text)
		case "nonce":
			h.nonce = text
			if text == "" {
				err = refuse(ClassHeader, "the nonce is empty")
				return false
			}
		}
		return true
	})
	switch {
	case err != nil:
		return header{}, err
	case alg != "RS256":
		return header{}, refuse(ClassAlgorithm, "alg is not RS256")
	case typ != "JWT":
		return header{}, refuse(ClassKind, "typ is not JWT")
	case h.kid == "" || len(h.kid) > maxKid:
		return header{}, refuse(ClassKey, "kid is missing or too long")
	case h.nonce != "" && !v.Graph:
		return header{}, refuse(ClassKind, "this is a token for Microsoft Graph")
	case h.nonce != "" && t.RawHeader != nonceHeader(h.kid, h.nonce):
		return header{}, refuse(ClassHeader, "the header is not that of a token for Microsoft Graph")
	}
	return h, nil
}

// checkKind tells access tokens from ID tokens, and tokens of users from those
// of applications, by the claims that only the one kind has.
func (c *Claims) checkKind(kind tokenKind) error {
	client, auth := c.ClientID(), c.ClientAuth()
	if kind == idToken {
		if client != "" || auth != "" || c.Scope != "" || c.Cnf != nil || c.Capabilities != nil {
			return refuse(ClassKind, "this is an access token")
		}
		return nil
	}
	switch {
	case c.Nonce != "" || c.AtHash != "" || c.CHash != "":
		return refuse(ClassKind, "this is an ID token")
	case client == "" && auth == "":
		return refuse(ClassKind, "an access token names its client")
	case !isGUID(string(client)) || auth != "0" && auth != "1" && auth != "2":
		return refuse(ClassClaims, "the client is not named as access tokens do")
	case c.Scope == "" && !c.AppOnly():
		return refuse(ClassKind, "neither a user's token nor an application's")
	case c.Scope != "" && c.Subject == string(c.Object):
		return refuse(ClassKind, "an application's token with delegated scopes")
	case c.Scope != "" && c.IDTyp == "app" || c.Scope == "" && c.IDTyp == "user":
		return refuse(ClassKind, "idtyp contradicts the rest")
	}
	return nil
}

// checkTimes compares whole seconds, so that there is nothing to round.
func checkTimes(iat, nbf, exp int64, now time.Time) error {
	at, leeway := now.Unix(), int64(Leeway/time.Second)
	switch {
	case at >= exp+leeway:
		return refuse(ClassExpired, "token has expired")
	case nbf > at+leeway:
		return refuse(ClassNotYet, "token is not valid yet")
	case iat > at+leeway:
		return refuse(ClassNotYet, "token was issued in the future")
	case iat > exp || nbf > exp:
		return refuse(ClassClaims, "token ends before it begins")
	}
	return nil
}

// isGUID reports whether s is a GUID in its one spelling.
func isGUID(s string) bool {
	p, ok := directory.ParseGUID(s)
	return ok && p == s
}

// date reads a numeric date: a plain integer from 1970 to 9999.
func date(v jws.Value) (int64, bool) {
	n, ok := v.Int()
	return n, ok && n >= 0 && n <= maxDate
}

// usableKey reports whether an RSA key may verify anything: its size is sane
// and its exponent too, so that neither time nor safety depend on a stranger.
func usableKey(k *rsa.PublicKey) bool {
	return k != nil && k.N != nil && k.N.Sign() > 0 && k.N.Bit(0) == 1 &&
		k.N.BitLen() >= minModulus && k.N.BitLen() <= maxModulus &&
		k.E >= 3 && k.E&1 == 1 && k.E <= math.MaxInt32
}
