package token

import (
	"crypto/rsa"
	"errors"
	"math/big"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

const (
	// MaxJWKSLength bounds a key document; a reader of one from the network
	// stops there.
	MaxJWKSLength = 512 << 10
	// maxJWKSKeys is how many keys of a document are used.
	maxJWKSKeys = 100
)

// ParseJWKS reads the key document of a foreign issuer: the RSA signing keys
// among its first 100 entries, by kid. Entries of other types or uses, and those
// that are unusable, are left out, since a document may hold keys for other
// purposes; a kid that names two different keys is an error. A single key without kid
// is under the empty one.
func ParseJWKS(document []byte) (map[KeyID]*rsa.PublicKey, error) {
	if len(document) > MaxJWKSLength {
		return nil, errs.New(errs.Invalid, "The key document is longer than %d bytes.", MaxJWKSLength)
	}
	doc, err := jws.ParseObject(string(document))
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The key document is not acceptable JSON.")
	}
	list := doc.Get("keys")
	if list.Kind() != jws.Array {
		return nil, errs.New(errs.Invalid, "The key document has no list of keys.")
	}
	keys := make(map[KeyID]*rsa.PublicKey)
	var bad error
	count := 0
	list.Items(func(v jws.Value) bool {
		if count++; count > maxJWKSKeys {
			return false
		}
		kid, key, ok := parseJWK(v)
		if !ok {
			return true
		}
		if old, twice := keys[kid]; twice && !old.Equal(key) {
			bad = errs.New(errs.Invalid, "The key document has two keys with one kid.")
			return false
		}
		keys[kid] = key
		return true
	})
	if bad != nil {
		return nil, bad
	}
	if len(keys) == 0 {
		return nil, errs.New(errs.Invalid, "The key document has no RSA signing key.")
	}
	return keys, nil
}

func parseJWK(v jws.Value) (KeyID, *rsa.PublicKey, bool) {
	if kty, _ := v.Get("kty").Str(); kty != "RSA" {
		return "", nil, false
	}
	if use := v.Get("use"); use.Kind() != jws.Missing {
		if s, _ := use.Str(); s != "sig" {
			return "", nil, false
		}
	}
	if alg := v.Get("alg"); alg.Kind() != jws.Missing {
		if s, _ := alg.Str(); s != "RS256" && s != "PS256" {
			return "", nil, false
		}
	}
	var kid string
	if k := v.Get("kid"); k.Kind() != jws.Missing {
		var ok bool
		if kid, ok = k.Str(); !ok || len(kid) > maxKid {
			return "", nil, false
		}
	}
	n, _ := v.Get("n").Str()
	e, _ := v.Get("e").Str()
	key, err := parseRSA(n, e)
	return KeyID(kid), key, err == nil
}

var errKey = errors.New("not a usable RSA key")

func parseRSA(n, e string) (*rsa.PublicKey, error) {
	if len(n) > maxModulus/6+4 || len(e) > 6 {
		return nil, errKey
	}
	nb, err := jws.Decode(n)
	if err != nil {
		return nil, errKey
	}
	eb, err := jws.Decode(e)
	if err != nil {
		return nil, errKey
	}
	k := &rsa.PublicKey{N: new(big.Int).SetBytes(nb), E: int(new(big.Int).SetBytes(eb).Int64())}
	if !usableKey(k) {
		return nil, errKey
	}
	return k, nil
}
