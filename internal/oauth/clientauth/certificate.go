package clientauth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/token"
)

func (a *Authenticator) checkCertificate(c *wire.Call, tenant *directory.Tenant, cl *Client, assertion, issuer, subject string) error {
	var certs []*x509.Certificate
	var ids []string
	for _, set := range cl.credentials() {
		for i := range set.Keys {
			k := &set.Keys[i]
			if k.Usage != "Verify" || c.Now.Before(k.Start) || !k.End.IsZero() && !c.Now.Before(k.End) {
				continue
			}
			if cert, err := k.Certificate(); err == nil {
				certs, ids = append(certs, cert), append(ids, k.KeyID)
			}
		}
	}
	find := token.CertificateKeys(certs)
	var seen token.AssertionHeader
	proof, err := token.VerifyAssertion(assertion, token.AssertionPolicy{
		Issuer: issuer, Subject: subject, Audiences: a.audiences(c, tenant),
		MaxLifetime: 24*time.Hour + token.Leeway,
		Find: func(h token.AssertionHeader) []token.PublicKey {
			h.X5T, h.X5TS256 = base64URL(h.X5T), base64URL(h.X5TS256)
			seen = h
			if keys := find(h); len(keys) > 0 || len(h.X5C) == 0 {
				return keys
			}
			return chainKeys(h.X5C, certs, c.Now)
		},
	}, c.Now)
	if err != nil {
		return assertionFault(c, err, assertion, seen, certs)
	}
	cl.Auth = token.ClientAssertion
	for i := range certs {
		if len(token.CertificateKeys(certs[i:i+1])(seen)) > 0 {
			cl.Credential = ids[i]
		}
	}
	id := proof.ID
	if id == "" {
		id = hex.EncodeToString(proof.Hash[:])
	}
	life := time.Unix(proof.Expires, 0).Sub(c.Now) + 2*token.Leeway
	cl.used = &assertionUse{string(cl.ID) + "/" + ticket.Hash(id), life}
	return nil
}

// base64URL returns a thumbprint in the spelling of RFC 7515. Microsoft's
// libraries for Go and others write it in standard base64, and Entra takes both.
func base64URL(s string) string {
	return strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
}

// chainKeys implements the subject name and issuer form of certificates (x5c):
// a registered certificate of an authority vouches for a newer leaf that has
// the same subject as another registered certificate. Without that a renewed
// certificate would have to be registered anew.
func chainKeys(x5c []string, registered []*x509.Certificate, now time.Time) []token.PublicKey {
	var chain []*x509.Certificate
	for _, s := range x5c {
		der, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return nil
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, cert)
	}
	leaf := chain[0]
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	named := false
	for _, r := range registered {
		if r.IsCA {
			roots.AddCert(r)
		} else if r.Subject.String() == leaf.Subject.String() && r.Issuer.String() == leaf.Issuer.String() && leaf.Subject.String() != "" {
			named = true
		}
	}
	if !named {
		return nil
	}
	for _, m := range chain[1:] {
		middle.AddCert(m)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return nil
	}
	return token.CertificateKeys([]*x509.Certificate{leaf})(token.AssertionHeader{Kid: hexThumb(leaf)})
}

func hexThumb(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// audiences are the names under which a client may mean us: the token
// endpoints and the issuers, under the public address and under the host that
// the client used, which may be one of the public cloud's.
func (a *Authenticator) audiences(c *wire.Call, tenant *directory.Tenant) []string {
	var list []string
	segments := []string{c.Authority}
	if tenant != nil {
		segments = append(segments, string(tenant.ID))
		for _, d := range tenant.Domains {
			segments = append(segments, d.Name)
		}
		list = append(list, a.Names.Name(token.V1, tenant.ID), a.Names.Name(token.V2, tenant.ID))
	}
	for _, h := range a.Hosts {
		for _, s := range segments {
			// The older library for Go (ADAL) names the v1 address with its query.
			list = append(list, h+"/"+s+"/oauth2/token", h+"/"+s+"/oauth2/token?api-version=1.0", h+"/"+s+"/oauth2/v2.0/token", h+"/"+s+"/v2.0", h+"/"+s+"/", h+"/"+s)
		}
	}
	return list
}

// assertionFault chooses the code of a refused certificate assertion.
func assertionFault(c *wire.Call, err error, assertion string, h token.AssertionHeader, certs []*x509.Certificate) error {
	switch token.ClassOf(err) {
	case token.ClassAudience:
		return fault(700023).WithCause(err)
	case token.ClassExpired, token.ClassNotYet, token.ClassLifetime:
		return fault(700024, c.Now.UTC().Format(aadsts.TimeFormat), expiryOf(assertion)).WithCause(err)
	case token.ClassKeyTime:
		return fault(1000502, h.X5T+h.X5TS256).WithCause(err)
	case token.ClassKey:
		if len(h.X5C) > 0 && len(certs) > 0 {
			return fault(700030, subjectOf(h.X5C)).WithCause(err)
		}
		return fault(700027, "The key was not found").WithCause(err)
	case token.ClassSignature:
		return fault(700027, "The signature is wrong").WithCause(err)
	case token.ClassSubject, token.ClassIssuer:
		return fault(700021).WithCause(err)
	case token.ClassAlgorithm, token.ClassHeader, token.ClassKind, token.ClassClaims:
		return fault(50012, "the client assertion is not of an acceptable form").WithCause(err)
	}
	return fault(50027, "it cannot be read").WithCause(err)
}

func subjectOf(x5c []string) string {
	der, err := base64.StdEncoding.DecodeString(x5c[0])
	if err != nil {
		return ""
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return ""
	}
	return cert.Subject.String()
}
