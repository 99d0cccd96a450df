package clients

import (
	"context"
	"net/url"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/test/clients/harness"
)

// TestOIDC signs in as programs do that know nothing of Microsoft: with the
// library that Kubernetes, Dex and Argo CD verify ID tokens with, and Go's own
// OAuth client beside it.
func TestOIDC(t *testing.T) {
	c := harness.Start(t)
	const callback = "https://shop.example/cb"
	app, _ := c.AddApp("Shop", func(a *directory.Application) {
		a.Web.RedirectURIs = []string{callback}
		a.Credentials.Passwords = []directory.Password{c.Secret("shop-secret")}
	})
	ctx := oidc.ClientContext(context.Background(), c.Client())
	issuer := c.URL + "/" + string(c.Tenant.ID) + "/v2.0"
	t.Run("person", func(t *testing.T) {
		completes(t, goOIDC, "discovery, authorization code with PKCE and nonce, ID token, userinfo, refresh")
		provider, err := oidc.NewProvider(ctx, issuer)
		if err != nil {
			t.Fatal(err)
		}
		config := oauth2.Config{
			ClientID: string(app.AppID), ClientSecret: "shop-secret", Endpoint: provider.Endpoint(), RedirectURL: callback,
			Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
		}
		proof := oauth2.GenerateVerifier()
		b := c.Browser().Get(config.AuthCodeURL("the state", oidc.Nonce("the nonce"), oauth2.S256ChallengeOption(proof))).SignIn(c.User.UserPrincipalName)
		if b.Page == "consent" {
			b.Submit(map[string]string{"answer": "accept"})
		}
		answer := b.Answer()
		if answer.Get("state") != "the state" {
			t.Errorf("state %q", answer.Get("state"))
		}
		got, err := config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(proof))
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := got.Extra("id_token").(string)
		id, err := provider.Verifier(&oidc.Config{ClientID: string(app.AppID)}).Verify(ctx, raw)
		if err != nil {
			t.Fatalf("the ID token: %v", err)
		}
		if id.Nonce != "the nonce" {
			t.Errorf("nonce %q", id.Nonce)
		}
		var claims struct {
			OID, TID, Email string
			Name            string `json:"preferred_username"`
		}
		if err := id.Claims(&claims); err != nil || claims.OID != string(c.User.ID) || claims.TID != string(c.Tenant.ID) || claims.Name != c.User.UserPrincipalName || claims.Email != c.User.Mail {
			t.Errorf("claims %+v, %v", claims, err)
		}
		// The user information is about the same subject, as OpenID Connect
		// Core 5.3.2 demands of who asks.
		info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(got))
		if err != nil {
			t.Fatalf("userinfo: %v", err)
		}
		if info.Subject != id.Subject || info.Email != c.User.Mail {
			t.Errorf("userinfo %+v, the ID token's subject is %s", info, id.Subject)
		}
		fresh, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: got.RefreshToken}).Token()
		if err != nil || fresh.AccessToken == got.AccessToken {
			t.Errorf("refresh: %v", err)
		}
		// A code is good once.
		if _, err := config.Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(proof)); err == nil {
			t.Error("a code worked twice")
		}
	})
	// An application by its secret, with Go's own client.
	t.Run("client credentials", func(t *testing.T) {
		completes(t, goOIDC, "client credentials, secret in the header and in the form")
		provider, err := oidc.NewProvider(ctx, issuer)
		if err != nil {
			t.Fatal(err)
		}
		for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
			endpoint := provider.Endpoint()
			endpoint.AuthStyle = style
			config := oauth2.Config{ClientID: string(app.AppID), ClientSecret: "shop-secret", Endpoint: endpoint}
			got, err := config.Exchange(ctx, "", oauth2.SetAuthURLParam("grant_type", "client_credentials"), oauth2.SetAuthURLParam("scope", aksScope))
			if err != nil {
				t.Fatalf("%v: %v", style, err)
			}
			c.Verify(got.AccessToken, aks)
		}
	})
	// Discovery of a tenant that does not exist.
	if _, err := oidc.NewProvider(ctx, c.URL+"/"+url.PathEscape(directory.NewGUID())+"/v2.0"); err == nil {
		t.Error("a tenant that does not exist has a discovery document")
	}
}
