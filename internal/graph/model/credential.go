package model

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/odata"
)

// maxKeys bounds the certificates of one application.
const maxKeys = 100

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// KeysWith returns an application's keyCredentials with the certificates in
// them.
func KeysWith(c *directory.Credentials) any { return keysJSON(c.Keys, true) }

// setKeys replaces the list of keys. One that names a key that is there already
// and brings no certificate keeps it.
func setKeys(c *directory.Credentials, raw json.RawMessage) error {
	var in []keyWire
	if err := strict(raw, &in, "keyCredentials"); err != nil {
		return err
	}
	if len(in) > maxKeys {
		return errs.New(errs.Invalid, "The limit of %d key credentials has been exceeded.", maxKeys)
	}
	var out []directory.KeyCredential
	for _, w := range in {
		if deref(w.Key) == "" {
			i := slices.IndexFunc(c.Keys, func(k directory.KeyCredential) bool { return k.KeyID == strings.ToLower(w.KeyID) })
			if i < 0 {
				return errs.New(errs.Invalid, "A key credential needs the certificate in 'key'.")
			}
			out = append(out, c.Keys[i])
			continue
		}
		k, err := NewKey(deref(w.Key), w.Type, w.Usage)
		if err != nil {
			return err
		}
		k.DisplayName = deref(w.DisplayName)
		if err := checkText("displayName", k.DisplayName, 256); err != nil {
			return err
		}
		if w.KeyID != "" {
			id, ok := directory.ParseGUID(w.KeyID)
			if !ok {
				return errs.New(errs.Invalid, "Invalid value specified for property 'keyId' of resource 'KeyCredential'.")
			}
			k.KeyID = id
		}
		if err := k.limit(w.Start, w.End); err != nil {
			return err
		}
		if slices.ContainsFunc(out, func(o directory.KeyCredential) bool { return o.KeyID == k.KeyID }) {
			return errs.New(errs.Invalid, "The key credential '%s' occurs twice.", k.KeyID)
		}
		out = append(out, k.KeyCredential)
	}
	c.Keys = out
	return nil
}

// Key is a key credential in the making.
type Key struct{ directory.KeyCredential }

// NewKey checks a certificate: base64 of DER or of PEM, with or without line
// breaks. Only what assertions can be verified with is accepted.
func NewKey(b64, kind, usage string) (*Key, error) {
	if kind == "" {
		kind = "AsymmetricX509Cert"
	}
	if usage == "" {
		usage = "Verify"
	}
	if !strings.EqualFold(kind, "AsymmetricX509Cert") || !strings.EqualFold(usage, "Verify") {
		return nil, errs.New(errs.Invalid, "Only key credentials of type 'AsymmetricX509Cert' and usage 'Verify' are supported.")
	}
	if len(b64) > 32<<10 {
		return nil, errs.New(errs.Invalid, "The certificate is too large.")
	}
	bare := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, b64)
	der, err := base64.StdEncoding.DecodeString(bare)
	if err != nil {
		if der, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(bare, "=")); err != nil {
			return nil, errs.New(errs.Invalid, "Key credential value is invalid: it is not base64.")
		}
	}
	if b, _ := pem.Decode(der); b != nil && b.Type == "CERTIFICATE" {
		der = b.Bytes
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errs.New(errs.Invalid, "Key credential value is invalid: it is not an X.509 certificate.")
	}
	switch pub := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < 2048 || n > 8192 {
			return nil, errs.New(errs.Invalid, "The RSA key of the certificate must have 2048 to 8192 bits; it has %d.", n)
		}
	case *ecdsa.PublicKey:
	default:
		return nil, errs.New(errs.Invalid, "The certificate's key is of a kind that is not supported.")
	}
	thumb := sha1.Sum(cert.Raw) // the identifier that clients and Graph use, not a proof
	return &Key{directory.KeyCredential{
		KeyID: directory.NewGUID(), Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw,
		CustomKeyIdentifier: thumb[:], Start: cert.NotBefore.UTC(), End: cert.NotAfter.UTC(),
	}}, nil
}

// limit narrows the key's time within its certificate's.
func (k *Key) limit(start, end any) error {
	for _, l := range []struct {
		v     any
		field *time.Time
	}{{start, &k.Start}, {end, &k.End}} {
		s, ok := l.v.(string)
		if l.v == nil {
			continue
		}
		at, err := time.Parse(time.RFC3339Nano, s)
		if !ok || err != nil {
			return errs.New(errs.Invalid, "A value of an invalid type was specified for a time of resource 'KeyCredential'.")
		}
		*l.field = at.UTC()
	}
	if !k.Start.Before(k.End) {
		return errs.New(errs.Invalid, "Key credential end date is invalid: it is not after the start date.")
	}
	cert, err := k.Certificate()
	if err != nil {
		return err
	}
	if k.End.After(cert.NotAfter) {
		return errs.New(errs.Invalid, "Key credential end date is invalid: it is after the end of the certificate.")
	}
	return nil
}

// PasswordResult is a new secret with its text, which is shown this once.
func PasswordResult(p *directory.Password, secret string) any {
	return passwordWire{nil, optional(p.DisplayName), Time(p.End), p.Hint, p.KeyID, &secret, Time(p.Start)}
}

// KeyResult is a key credential as addKey answers with it.
func KeyResult(k *directory.KeyCredential) any {
	return keysJSON([]directory.KeyCredential{*k}, false).([]keyWire)[0]
}

// FederatedCredential is a trust in another issuer's tokens.
var FederatedCredential = newKind(Kind{Name: "federatedIdentityCredential", Label: "FederatedIdentityCredential", Set: "federatedIdentityCredentials"}, join(
	read("id", odata.String, func(f *directory.FederatedCredential) any { return f.ID }),
	text("name", 120, func(f *directory.FederatedCredential) *string { return &f.Name }),
	text("issuer", 600, func(f *directory.FederatedCredential) *string { return &f.Issuer }),
	text("subject", 600, func(f *directory.FederatedCredential) *string { return &f.Subject }),
	text("description", 600, func(f *directory.FederatedCredential) *string { return &f.Description }),
	texts("audiences", 10, func(f *directory.FederatedCredential) *[]string { return &f.Audiences }),
	func() property {
		p := read("claimsMatchingExpression", odata.Complex, func(f *directory.FederatedCredential) any {
			if f.Matching == nil {
				return nil
			}
			return f.Matching
		})
		p.set = func(rec any, raw json.RawMessage) error {
			f := rec.(*directory.FederatedCredential)
			if f.Matching = nil; !isNull(raw) {
				f.Matching = compact(raw)
			}
			return nil
		}
		return p
	}(),
))

// FederatedCredentials returns f as a resource.
func FederatedCredentials(at *At, f *directory.FederatedCredential) *Object {
	return &Object{Kind: FederatedCredential, ID: f.ID, Rec: f, At: at}
}
