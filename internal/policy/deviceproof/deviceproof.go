// Package deviceproof is the signed answer to a challenge by which a device
// proves its key: a JSON Web Signature (RFC 7515) in the manner of DPoP
// (RFC 9449), with the public key in its header.
//
// # What a proof proves
//
// Verify says which key has signed which claims, and nothing else. Whether the
// nonce was issued here and is still unused, whether the audience is us and
// whether a device of the tenant has that key is for whoever issued the
// challenge. The purpose keeps a proof that was made to register a key from
// being used to sign in, and the other way round.
//
// # Keys
//
// RSA with 2048 to 4096 bits (RS256, what TPMs have) and P-256 (ES256). A key is
// named by the SHA-256 of its SubjectPublicKeyInfo, so that the same key has the
// same name in a certificate and in a proof.
package deviceproof

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"math/big"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

// Type is the typ of a proof's header.
const Type = "device-proof+jwt"

// MaxLength bounds a proof's text.
const MaxLength = 4 << 10

// Purpose is what a proof is for.
type Purpose string

// The purposes.
const (
	SignIn   Purpose = "signIn"
	Register Purpose = "register"
)

// Claims are what a device signs.
type Claims struct {
	Nonce    string             `json:"nonce"`
	Audience string             `json:"aud"` // the public base URL that the nonce came from
	Tenant   directory.TenantID `json:"tid"`
	Purpose  Purpose            `json:"purpose"`
}

type jwk struct {
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
}

const exponent = 65537

func refused(format string, args ...any) error {
	return errs.New(errs.Unauthenticated, "The proof of the device is not valid: "+format, args...)
}

// Thumbprint returns the name of a device's key: the base64url SHA-256 of its
// SubjectPublicKeyInfo. Invalid for a key of another kind.
func Thumbprint(key crypto.PublicKey) (string, error) {
	if _, err := algorithm(key); err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", errs.Wrap(errs.Invalid, err, "The device's key cannot be used.")
	}
	sum := sha256.Sum256(der)
	return jws.Encode(sum[:]), nil
}

func algorithm(key crypto.PublicKey) (string, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); k.E == exponent && n >= 2048 && n <= 4096 {
			return "RS256", nil
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return "ES256", nil
		}
	}
	return "", errs.New(errs.Invalid, "The device's key must be RSA with 2048 to 4096 bits and the exponent 65537, or P-256.")
}

// Sign makes a proof with the device's key.
func Sign(key crypto.Signer, c Claims) (string, error) {
	alg, err := algorithm(key.Public())
	if err != nil {
		return "", err
	}
	public, err := encodeKey(key.Public())
	if err != nil {
		return "", err
	}
	header, err := json.Marshal(struct {
		Type string `json:"typ"`
		Alg  string `json:"alg"`
		Key  jwk    `json:"jwk"`
	}{Type, alg, public})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	input := jws.Encode(header) + "." + jws.Encode(payload)
	sum := sha256.Sum256([]byte(input))
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return "", err
	}
	if alg == "ES256" {
		var rs struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(sig, &rs); err != nil {
			return "", err
		}
		sig = make([]byte, 64)
		rs.R.FillBytes(sig[:32])
		rs.S.FillBytes(sig[32:])
	}
	return input + "." + jws.Encode(sig), nil
}

func encodeKey(key crypto.PublicKey) (jwk, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return jwk{Kty: "RSA", N: jws.Encode(k.N.Bytes()), E: "AQAB"}, nil
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y
		if err != nil {
			return jwk{}, err
		}
		return jwk{Kty: "EC", Crv: "P-256", X: jws.Encode(point[1:33]), Y: jws.Encode(point[33:])}, nil
	}
	return jwk{}, errs.New(errs.Invalid, "The device's key is of an unknown kind.")
}

// Verify returns what a proof claims and the key that has signed it.
// Unauthenticated when it is malformed or the signature is wrong.
func Verify(proof string) (Claims, crypto.PublicKey, error) {
	t, err := jws.Parse(proof, MaxLength)
	if err != nil {
		return Claims{}, nil, refused("%v.", err)
	}
	if typ, _ := t.Header.Get("typ").Str(); typ != Type {
		return Claims{}, nil, refused("its type is not %s.", Type)
	}
	// crit would change what a signature means; nothing critical is known here.
	if t.Header.Get("crit").Kind() != jws.Missing {
		return Claims{}, nil, refused("its header has a critical extension.")
	}
	key, err := decodeKey(t.Header.Get("jwk"))
	if err != nil {
		return Claims{}, nil, err
	}
	want, err := algorithm(key)
	if err != nil {
		return Claims{}, nil, refused("%s", errs.Message(err))
	}
	// The key says which algorithm is used; the header may only agree.
	if alg, _ := t.Header.Get("alg").Str(); alg != want {
		return Claims{}, nil, refused("its algorithm is not %s.", want)
	}
	sum := sha256.Sum256([]byte(t.SigningInput))
	ok := false
	switch k := key.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], t.Signature) == nil
	case *ecdsa.PublicKey:
		if len(t.Signature) == 64 {
			ok = ecdsa.Verify(k, sum[:], new(big.Int).SetBytes(t.Signature[:32]), new(big.Int).SetBytes(t.Signature[32:]))
		}
	}
	if !ok {
		return Claims{}, nil, refused("the signature is wrong.")
	}
	var c Claims
	for _, m := range []struct {
		name string
		to   *string
	}{{"nonce", &c.Nonce}, {"aud", &c.Audience}, {"tid", (*string)(&c.Tenant)}, {"purpose", (*string)(&c.Purpose)}} {
		s, ok := t.Payload.Get(m.name).Str()
		if !ok || s == "" {
			return Claims{}, nil, refused("%s is missing.", m.name)
		}
		*m.to = s
	}
	return c, key, nil
}

func decodeKey(v jws.Value) (crypto.PublicKey, error) {
	part := func(name string) []byte {
		s, _ := v.Get(name).Str()
		b, err := jws.Decode(s)
		if err != nil {
			return nil
		}
		return b
	}
	// A private key has no business in a header.
	if v.Get("d").Kind() != jws.Missing {
		return nil, refused("it holds a private key.")
	}
	kty, _ := v.Get("kty").Str()
	switch kty {
	case "RSA":
		n, e := part("n"), part("e")
		if len(n) == 0 || len(n) > 512 || n[0] == 0 || string(e) != "\x01\x00\x01" {
			return nil, refused("its key is malformed.")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: exponent}, nil
	case "EC":
		x, y := part("x"), part("y")
		if crv, _ := v.Get("crv").Str(); crv != "P-256" || len(x) != 32 || len(y) != 32 {
			return nil, refused("its key is malformed.")
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return nil, refused("its key is malformed.") // not on the curve
		}
		return key, nil
	}
	return nil, refused("its key is of an unknown kind.")
}
