package pop

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/pop/jws"
)

const (
	// MaxLength bounds a shell's text: an access token of the greatest length,
	// encoded once more, and the shell's own few hundred bytes.
	MaxLength = 92 << 10
	// DefaultValidity is how long after its time a shell is accepted.
	DefaultValidity = 15 * time.Minute
	// DefaultMaxFuture is how far ahead a client's clock may be.
	DefaultMaxFuture = 5 * time.Minute
)

// Class says why a shell was refused. The list is closed and may only grow at
// its end.
type Class uint8

// The classes of refusal.
const (
	_              Class = iota
	ClassTooLong         // longer than any real shell
	ClassMalformed       // not three parts of canonical base64url
	ClassJSON            // header or payload is not strict JSON
	ClassHeader          // a header that must not be there, or of a wrong type
	ClassAlgorithm       // alg is not RS256
	ClassKind            // typ is not pop: perhaps a bearer token
	ClassClaims          // a member that must be there is not, or of a wrong type
	ClassKey             // the key is unusable, or kid is not its thumbprint
	ClassExpired         // ts is too old
	ClassFuture          // ts is too far ahead
	ClassHost            // u is another host
	ClassSignature       // the signature is wrong
	ClassReplay          // seen too often
	ClassFull            // the replay memory is full
)

var classNames = [...]string{
	ClassTooLong: "too-long", ClassMalformed: "malformed", ClassJSON: "json", ClassHeader: "header",
	ClassAlgorithm: "algorithm", ClassKind: "kind", ClassClaims: "claims", ClassKey: "key",
	ClassExpired: "expired", ClassFuture: "future", ClassHost: "host", ClassSignature: "signature",
	ClassReplay: "replay", ClassFull: "full",
}

// String returns the name of the class.
func (c Class) String() string {
	if c > 0 && int(c) < len(classNames) {
		return classNames[c]
	}
	return "none"
}

// Error is a refused shell. Its text never quotes the shell.
type Error struct {
	Class  Class
	Detail string
}

// Error returns the detail after the phrase that operators of Microsoft's
// webhook know.
func (e *Error) Error() string { return "failed to verify pop token: " + e.Detail }

// ClassOf returns the class of a refusal, or zero for any other error.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return 0
}

func refuse(c Class, detail string) error { return &Error{c, detail} }

// Options say which shells are acceptable.
type Options struct {
	// Host is what u must be, in any letter case. It must not be empty.
	Host string
	Now  time.Time
	// Validity is how old ts may be; zero is DefaultValidity.
	Validity time.Duration
	// MaxFuture is how far ahead ts may be; zero is DefaultMaxFuture.
	MaxFuture time.Duration
}

// Shell is a verified shell: whoever made it holds the key with Thumbprint.
// That says nothing of the access token yet. The caller verifies that too, and
// that its cnf.kid is Thumbprint.
type Shell struct {
	AccessToken string
	Thumbprint  string // of the key that signed the shell
	Nonce       string // as the client chose it; may be empty
	Time        time.Time
	Expires     time.Time         // from then on the shell is refused by its age
	Hash        [sha256.Size]byte // of the whole shell, for a replay memory
}

// IsShell reports whether a token looks like a shell, to choose between Verify
// and the verifier of bearer tokens. It proves nothing.
func IsShell(token string) bool {
	t, err := jws.Parse(token, MaxLength)
	if err != nil {
		return false
	}
	typ, _ := t.Header.Get("typ").Str()
	return strings.EqualFold(typ, "pop")
}

// Verify checks a shell and returns what is in it, or an *Error. The members
// m, p, q, h and b, which bind a shell to one HTTP request, are not looked at:
// the API server does not tell its webhook what was requested.
func Verify(token string, o Options) (*Shell, error) {
	if o.Host == "" {
		return nil, refuse(ClassHost, "no host is configured")
	}
	t, err := jws.Parse(token, MaxLength)
	switch {
	case err == nil:
	case errors.Is(err, jws.ErrTooLong):
		return nil, refuse(ClassTooLong, err.Error())
	case errors.Is(err, jws.ErrJSON):
		return nil, refuse(ClassJSON, err.Error())
	default:
		return nil, refuse(ClassMalformed, err.Error())
	}
	kid, err := readHeader(t.Header)
	if err != nil {
		return nil, err
	}
	s, key, err := readPayload(t.Payload, o)
	if err != nil {
		return nil, err
	}
	if kid != s.Thumbprint {
		return nil, refuse(ClassKey, "kid is not the thumbprint of the key in cnf")
	}
	sum := sha256.Sum256([]byte(t.SigningInput))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], t.Signature) != nil {
		return nil, refuse(ClassSignature, "signature is wrong")
	}
	s.Hash = sha256.Sum256([]byte(token))
	return s, nil
}

func readHeader(h jws.Value) (kid string, err error) {
	var alg, typ string
	h.Members(func(name string, v jws.Value) bool {
		ok := true
		switch name {
		case "alg":
			if alg, ok = v.Str(); !ok {
				err = refuse(ClassAlgorithm, "alg is not a string")
				return false
			}
		case "typ":
			typ, ok = v.Str()
		case "kid":
			kid, ok = v.Str()
		case "crit", "b64", "zip", "enc", "cty", "jwk", "jku", "x5u", "x5c":
			ok = false
		}
		if !ok {
			err = refuse(ClassHeader, "header "+name+" is not acceptable")
		}
		return ok
	})
	switch {
	case err != nil:
		return "", err
	case alg != "RS256":
		return "", refuse(ClassAlgorithm, "alg is not RS256")
	case !strings.EqualFold(typ, "pop"):
		return "", refuse(ClassKind, "typ is not pop")
	case kid == "":
		return "", refuse(ClassKey, "kid is missing")
	}
	return kid, nil
}

func readPayload(p jws.Value, o Options) (*Shell, *rsa.PublicKey, error) {
	ts, ok := timestamp(p.Get("ts"))
	if !ok {
		return nil, nil, refuse(ClassClaims, "ts is missing or not a number of seconds")
	}
	validity, future := o.Validity, o.MaxFuture
	if validity <= 0 {
		validity = DefaultValidity
	}
	if future <= 0 {
		future = DefaultMaxFuture
	}
	s := &Shell{Time: ts, Expires: ts.Add(validity)}
	if !o.Now.Before(s.Expires) {
		return nil, nil, refuse(ClassExpired, "the token is too old")
	}
	if ts.Sub(o.Now) > future {
		return nil, nil, refuse(ClassFuture, "the token is from the future; is the client's clock right?")
	}
	u, ok := p.Get("u").Str()
	if !ok {
		return nil, nil, refuse(ClassClaims, "u is missing")
	}
	if !strings.EqualFold(u, o.Host) {
		return nil, nil, refuse(ClassHost, "u is not the host expected: "+o.Host)
	}
	jwk := p.Get("cnf").Get("jwk")
	n, okN := jwk.Get("n").Str()
	e, okE := jwk.Get("e").Str()
	if !okN || !okE {
		return nil, nil, refuse(ClassClaims, "cnf.jwk is missing")
	}
	key, ok := parsePublic(n, e)
	if !ok {
		return nil, nil, refuse(ClassKey, "the key in cnf is not RSA of 2048 to 4096 bits with exponent 65537")
	}
	s.Thumbprint = thumbprint(n)
	for name, want := range map[string]string{"kty": "RSA", "alg": "RS256", "kid": s.Thumbprint} {
		if v := jwk.Get(name); v.Kind() != jws.Missing {
			if got, _ := v.Str(); got != want {
				return nil, nil, refuse(ClassKey, "the key in cnf contradicts itself")
			}
		}
	}
	if s.AccessToken, ok = p.Get("at").Str(); !ok || s.AccessToken == "" {
		return nil, nil, refuse(ClassClaims, "at is missing")
	}
	if v := p.Get("nonce"); v.Kind() != jws.Missing {
		if s.Nonce, ok = v.Str(); !ok || len(s.Nonce) > 256 {
			return nil, nil, refuse(ClassClaims, "nonce is not a short string")
		}
	}
	return s, key, nil
}

// timestamp reads ts: seconds since 1970, as a number or a string of digits.
func timestamp(v jws.Value) (time.Time, bool) {
	n, ok := v.Int()
	if text, is := v.Str(); is {
		n, ok = jws.ParseInt(text)
	}
	const year9999 = 253402300799
	if !ok || n < 0 || n > year9999 {
		return time.Time{}, false
	}
	return time.Unix(n, 0), true
}
