package server

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/imds"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

// countedTokens issues "token-1", "token-2" and so on.
type countedTokens struct{ n atomic.Int32 }

func (c *countedTokens) Issue(context.Context, directory.TenantID, directory.ObjectID, string) (imds.Token, error) {
	return imds.Token{Text: fmt.Sprintf("token-%d", c.n.Add(1))}, nil
}

const twoKeys = `{"keys":[{"use":"sig","kty":"RSA","kid":"k","alg":"RS256","n":"` +
	"u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRgeLezV6ffAt0gunVTLw7onLRnrq0_IzW7yWR7QkrmBL7jTKEn5u-qKhbwKfBstIs-bMY2Zkp18gnTxKLxoS2tFczGkPLPgizskuemMghRniWaoLcyehkd3qqGElvW_VDL5AaWTg0nLVkjRo9z-40RQzuVaE8AkAFmxZzow3x-VJYKdjykkJ0iT9wCS0DRTXu269V264Vf_3jvredZiKRkgwlL9xNAwxXFg0x_XFw005UWVRIkdgcKWTjpBP2dPwVZ4WWC-9aGVd-Gyn1o0CLelf4rEjGoXbAAEgAqeGUxrcIlbjXfbcmw" +
	`","e":"AQAB"}]}`

// TestConnectedKeys: the keys of a connected cluster are read as its own identity,
// which shows itself to the API server and to nobody that it points to.
func TestConnectedKeys(t *testing.T) {
	var answer atomic.Value // func(http.ResponseWriter, *http.Request)
	var asked atomic.Int32
	var authorization atomic.Value
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		authorization.Store(r.Header.Get("Authorization"))
		answer.Load().(func(http.ResponseWriter, *http.Request))(w, r)
	}))
	defer api.Close()
	stranger := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a stranger was asked, with %q", r.Header.Get("Authorization"))
	}))
	defer stranger.Close()

	c := &state.Cluster{Key: "k", ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Kubernetes/connectedClusters/edge", Tenant: "t", Connected: true, Identity: "i", ServerApp: directory.AKSServer}
	kept := storetest.Open(t, state.Tables()...)
	place := func(server string) {
		t.Helper()
		body, err := json.Marshal(map[string]any{"properties": map[string]any{"entrance": map[string]any{
			"server": server, "certificateAuthorityData": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}),
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := kept.Update(t.Context(), func(tx *store.Tx) error {
			return state.Resources.Put(tx, &state.Resource{ID: c.ID, Type: "Microsoft.Kubernetes/connectedClusters", Subscription: "s", Group: "g", Name: "edge", Body: body})
		}); err != nil {
			t.Fatal(err)
		}
	}
	clk := clock.NewManual(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	tokens := &countedTokens{}
	a := &reach{store: kept, clock: clk, tokens: tokens}
	good := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/openid/v1/jwks" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, twoKeys)
	}
	answer.Store(good)
	place(api.URL + "/")
	read := func() error {
		keys, err := a.connectedKeys(t.Context(), c)
		if err == nil && string(keys) != twoKeys {
			t.Errorf("keys %s", keys)
		}
		return err
	}
	for range 50 { // anybody may ask for a cluster's keys
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.Load(); n != 1 || authorization.Load() != "Bearer token-1" {
		t.Errorf("asked %d times, with %q", n, authorization.Load())
	}
	clk.Advance(tokenAge)
	if err := read(); err != nil || authorization.Load() != "Bearer token-2" {
		t.Errorf("later: %v, with %q", err, authorization.Load())
	}

	// What fails leaves the keys that were read for an hour, and is asked less.
	before := asked.Load()
	for name, bad := range map[string]func(http.ResponseWriter, *http.Request){
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, stranger.URL+"/openid/v1/jwks", http.StatusTemporaryRedirect)
		},
		"plain redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+"/openid/v1/jwks", http.StatusFound)
		},
		"refused":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"endless":  func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat(" ", 1<<20), twoKeys) },
		"no keys":  func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"keys":[]}`) },
		"not JSON": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `<html>`) },
	} {
		answer.Store(bad)
		clk.Advance(time.Minute)
		if err := read(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		k, err := a.connected(c)
		if err != nil || k.err == nil {
			t.Errorf("%s is taken: %v", name, err)
		}
	}
	if n := asked.Load() - before; n > 6 {
		t.Errorf("asked %d times in six minutes of failures", n)
	}
	clk.Advance(time.Hour)
	if err := read(); !errs.Is(err, errs.Unavailable) {
		t.Errorf("an hour later: %v", err)
	}
	answer.Store(good)
	clk.Advance(time.Minute)
	if err := read(); err != nil {
		t.Errorf("back again: %v", err)
	}

	// Moved elsewhere, the old place is asked no more. A cloud's metadata address
	// is not asked at all.
	place("https://169.254.169.254")
	if err := read(); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "is not allowed") {
		t.Errorf("the metadata address: %v", err)
	}
	for why, change := range map[string]func(*state.Cluster){
		"another tenant": func(c *state.Cluster) { c.Identity = "" }, "proof of possession": func(c *state.Cluster) { c.ProofOfPossession = true },
	} {
		other := *c
		change(&other)
		if _, err := a.connectedKeys(t.Context(), &other); !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: %v", why, err)
		}
	}
}
