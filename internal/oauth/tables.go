package oauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

// Lives of what the protocol hands out.
const (
	codeLife   = 10 * time.Minute
	deviceLife = 15 * time.Minute
	pollEvery  = 5 * time.Second

	refreshLife = 90 * 24 * time.Hour
	spaLife     = 24 * time.Hour
)

// signedIn is what is known of a sign-in and goes on into every token that
// descends from it.
type signedIn struct {
	Tenant  directory.TenantID                 `json:"t"`
	User    directory.ObjectID                 `json:"u"`
	Time    time.Time                          `json:"at"` // first factor
	Methods []conditionalaccess.Authentication `json:"m"`
	Session string                             `json:"sid,omitempty"`
	Flow    conditionalaccess.AuthFlow         `json:"f,omitempty"`
	Device  string                             `json:"d,omitempty"`
	// Grant names everything that comes from one consent of the person: its
	// revocation ends all of it.
	Grant string `json:"g"`
}

// code is an authorization code. It stays after it was redeemed, so that a
// second use is noticed.
type code struct {
	Hash     string          `json:"hash"`
	Client   directory.AppID `json:"client"`
	Redirect string          `json:"redirect"`
	// RedirectGiven is whether the request named it, so that redemption must.
	RedirectGiven bool      `json:"redirectGiven"`
	SPA           bool      `json:"spa,omitempty"`
	Native        bool      `json:"native,omitempty"`
	Scope         string    `json:"scope"` // v2, as asked
	Resource      string    `json:"resource,omitempty"`
	Nonce         string    `json:"nonce,omitempty"`
	Challenge     string    `json:"challenge,omitempty"`
	Method        string    `json:"method,omitempty"`
	Claims        string    `json:"claims,omitempty"`
	SignedIn      signedIn  `json:"signedIn"`
	Expires       time.Time `json:"expires"`
	Redeemed      bool      `json:"redeemed,omitempty"`
}

var codes = store.NewTable("oauthcodes", store.Options[code]{
	Key: func(c *code) string { return c.Hash }, Direct: true, Sealed: true,
	TTL: func(*code) time.Duration { return 2 * codeLife },
})

// device is a sign-in that waits for a person on another device.
type device struct {
	Hash      string             `json:"hash"` // of the device code
	UserCode  string             `json:"userCode"`
	Client    directory.AppID    `json:"client"`
	Authority string             `json:"authority"`
	Tenant    directory.TenantID `json:"tenant,omitempty"`
	Scope     string             `json:"scope,omitempty"`
	Resource  string             `json:"resource,omitempty"`
	Claims    string             `json:"claims,omitempty"`
	From      string             `json:"from"`
	Started   time.Time          `json:"started"`
	Expires   time.Time          `json:"expires"`
	Denied    bool               `json:"denied,omitempty"`
	SignedIn  *signedIn          `json:"signedIn,omitempty"`
}

var devices = store.NewTable("oauthdevices", store.Options[device]{
	Key: func(d *device) string { return d.Hash }, Direct: true, Sealed: true,
	// A while longer than it is good for, so that the client can be told.
	TTL: func(*device) time.Duration { return deviceLife + 10*time.Minute },
})

// userCode finds the device by what the person types.
type userCode struct {
	Code   string `json:"code"`
	Device string `json:"device"`
}

var userCodes = store.NewTable("oauthusercodes", store.Options[userCode]{
	Key: func(u *userCode) string { return u.Code }, Direct: true,
	TTL: func(*userCode) time.Duration { return deviceLife },
})

// revokedGrant ends every refresh token of a grant.
type revokedGrant struct {
	Grant string    `json:"grant"`
	At    time.Time `json:"at"`
}

var revokedGrants = store.NewTable("oauthrevoked", store.Options[revokedGrant]{
	Key: func(g *revokedGrant) string { return g.Grant }, Direct: true,
	TTL: func(*revokedGrant) time.Duration { return refreshLife },
})

// usedAssertion remembers a client assertion that may not be used again.
type usedAssertion struct {
	Key  string        `json:"key"`
	Life time.Duration `json:"life"`
}

var usedAssertions = store.NewTable("oauthassertions", store.Options[usedAssertion]{
	Key: func(u *usedAssertion) string { return u.Key }, Direct: true,
	TTL: func(u *usedAssertion) time.Duration { return u.Life },
})

// tenantSecret is the secret from which a tenant's pairwise subjects are made.
type tenantSecret struct {
	Tenant   directory.TenantID `json:"tenant"`
	Pairwise []byte             `json:"pairwise"`
}

var tenantSecrets = store.NewTable("oauthsecrets", store.Options[tenantSecret]{
	Key: func(t *tenantSecret) string { return string(t.Tenant) }, Sealed: true,
})

// pairwise returns the tenant's secret, which is made when it is first needed
// and never changes: subjects would.
func (p *Provider) pairwise(ctx context.Context, tenant directory.TenantID) ([]byte, error) {
	if t, err := tenantSecrets.Get(p.store.View(), string(tenant)); err == nil {
		return t.Pairwise, nil
	}
	var secret []byte
	err := p.store.Update(ctx, func(tx *store.Tx) error {
		t, err := tenantSecrets.Get(tx, string(tenant))
		if err == nil {
			secret = t.Pairwise
			return nil
		}
		if !errs.Is(err, errs.NotFound) {
			return err
		}
		secret = make([]byte, 32)
		rand.Read(secret)
		return tenantSecrets.Create(tx, &tenantSecret{tenant, secret})
	})
	return secret, err
}

// revoke ends everything that came from one grant.
func (p *Provider) revoke(ctx context.Context, grant string) error {
	return p.store.Update(ctx, func(tx *store.Tx) error {
		return revokedGrants.Put(tx, &revokedGrant{grant, p.clock.Now()})
	})
}

func (p *Provider) revoked(ctx context.Context, grant string) (bool, error) {
	_, err := revokedGrants.GetFresh(ctx, p.store, grant)
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// random returns n random bytes as URL-safe text.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// hash is how codes are kept: whoever reads the store cannot use them.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func copyLimited(w io.Writer, r io.Reader) (int64, error) { return io.Copy(w, r) }
