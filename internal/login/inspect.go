package login

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Claims are what a token says of itself. They are not verified: the API
// server does that. They serve to tell its owner what is in it.
type Claims struct {
	Audience string   `json:"aud"`
	Issuer   string   `json:"iss"`
	Tenant   string   `json:"tid"`
	ObjectID string   `json:"oid"`
	AppID    string   `json:"appid"`
	AZP      string   `json:"azp"`
	UPN      string   `json:"upn"`
	Name     string   `json:"name"`
	Unique   string   `json:"unique_name"`
	Username string   `json:"preferred_username"`
	Version  string   `json:"ver"`
	IDType   string   `json:"idtyp"`
	Scope    string   `json:"scp"`
	Groups   []string `json:"groups"`
	Roles    []string `json:"roles"`
	AMR      []string `json:"amr"`
	Expires  number   `json:"exp"`
	Issued   number   `json:"iat"`
	Has      bool     `json:"hasgroups"`
	Names    struct {
		Groups string `json:"groups"`
	} `json:"_claim_names"`
	Bound struct {
		Kid string `json:"kid"`
	} `json:"cnf"`
}

// Overage reports whether the user has more groups than fit into the token.
func (c Claims) Overage() bool { return c.Has || c.Names.Groups != "" }

// Who is the name to show.
func (c Claims) Who() string {
	return clean(firstOf(c.UPN, c.Username, c.Unique, c.AppID, c.AZP, c.ObjectID))
}

// IsApp reports whether the token is of an application rather than a person.
func (c Claims) IsApp() bool {
	return c.IDType == "app" || c.Scope == "" && c.UPN == "" && c.Username == "" && c.Unique == ""
}

// ReadClaims reads an access token. ok is false if it is opaque. A
// proof-of-possession token is opened first.
func ReadClaims(token string) (c Claims, ok bool) {
	var shell struct {
		At string `json:"at"`
	}
	if claimsOf(token, &shell) && shell.At != "" {
		token = shell.At
	}
	if claimsOf(token, &c) {
		return c, true
	}
	// One odd member must not hide the others.
	var raw map[string]json.RawMessage
	if !claimsOf(token, &raw) {
		return c, false
	}
	for name, dst := range map[string]any{"aud": &c.Audience, "iss": &c.Issuer, "tid": &c.Tenant, "oid": &c.ObjectID, "upn": &c.UPN, "exp": &c.Expires} {
		json.Unmarshal(raw[name], dst)
	}
	return c, true
}

// Reach is how the authority answered.
type Reach struct {
	Host string
	Took time.Duration
	// Skew is how far this machine's clock is ahead of the authority's.
	Skew    time.Duration
	HasDate bool
	Issuer  string
}

// errNoAuthority means that the mode talks to no authority of its own.
var errNoAuthority = errors.New("this mode asks no authority")

// Probe asks the tenant's metadata, without any secret.
func (s *Session) Probe(ctx context.Context) (Reach, error) {
	switch s.o.Login {
	case ManagedIdentity, AzureCLI, AzureDeveloper:
		return Reach{}, errNoAuthority
	}
	base, err := newEntra(s.o, &s.sys, s)
	if err != nil {
		return Reach{}, err
	}
	c := base.client
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	r := Reach{Host: c.auth.base.Host}
	start := time.Now()
	status, head, body, err := c.send(ctx, http.MethodGet, c.auth.url(c.auth.tenant+"/v2.0/.well-known/openid-configuration"), nil, nil)
	r.Took = time.Since(start)
	if err != nil {
		return r, c.explain(err, r.Host)
	}
	if when, derr := http.ParseTime(head.Get("Date")); derr == nil {
		// The header has whole seconds; half of one is the best guess.
		r.HasDate, r.Skew = true, s.sys.Clock.Now().Sub(when.Add(500*time.Millisecond))
	}
	var ends endpoints
	if err := decodeAnswer(status, r.Host+"/"+c.auth.tenant, body, &ends); err != nil {
		return r, err
	}
	r.Issuer = clean(ends.Issuer)
	return r, ends.check(c.auth)
}

// AsksNobody reports whether err is that of a mode without an authority.
func AsksNobody(err error) bool { return errors.Is(err, errNoAuthority) }

// NeedsPerson reports whether signing in asks a person.
func (s *Session) NeedsPerson() bool { return s.method.human() }

// Cached reports whether this mode's tokens are remembered.
func (s *Session) Cached() bool { return s.method.keep() != 0 }
