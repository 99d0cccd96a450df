package token_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/token"
)

// keyAt returns a key with the material of another: making one takes long.
func keyAt(t testing.TB, base *token.Key, times token.KeyTimes) *token.Key {
	t.Helper()
	r := base.Record()
	r.Published, r.Activates, r.Revoked = times.Published, times.Activates, times.Revoked
	k, err := r.Key()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKeys(t testing.TB, n int) []*token.Key {
	t.Helper()
	keys := make([]*token.Key, n)
	for i := range keys {
		k, err := token.GenerateKey(tenantA, token.KeyTimes{Published: now, Activates: now})
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = k
	}
	return keys
}

func ids(keys []*token.Key) []token.KeyID {
	var list []token.KeyID
	for _, k := range keys {
		list = append(list, k.ID)
	}
	return list
}

func TestRecordRoundTrip(t *testing.T) {
	k := testKey(t, tenantA)
	data, err := k.Record().MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var r token.Record
	if err := r.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	back, err := r.Key()
	if err != nil {
		t.Fatal(err)
	}
	if back.ID != k.ID || back.Tenant != k.Tenant || back.Times != k.Times || !back.Public().Equal(k.Public()) {
		t.Errorf("key changed: %v, %v", k, back)
	}
	other := testKey(t, tenantB).Record()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		der, _ := x509.MarshalPKCS8PrivateKey(weak)
		if _, err := (token.Record{Tenant: tenantA, PKCS8: der, Certificate: r.Certificate, Published: now, Activates: now}).Key(); err == nil {
			t.Error("a weak key was taken")
		}
	}
	for name, change := range map[string]func(*token.Record){
		"certificate of another": func(r *token.Record) { r.Certificate = other.Certificate },
		"no key":                 func(r *token.Record) { r.PKCS8 = nil },
		"no certificate":         func(r *token.Record) { r.Certificate = nil },
		"no tenant":              func(r *token.Record) { r.Tenant = "" },
		"no times":               func(r *token.Record) { r.Published = time.Time{} },
		"signs unpublished":      func(r *token.Record) { r.Activates = r.Published.Add(-1) },
	} {
		bad := r
		change(&bad)
		if _, err := bad.Key(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestKeysStayOutOfLogs(t *testing.T) {
	k := testKey(t, tenantA)
	secret := private(t, k).D.String()
	for _, s := range []string{
		fmt.Sprintf("%v %+v %#v %s", k, k, k, k), fmt.Sprintf("%v %+v %#v %s", k.Record(), k.Record(), k.Record(), k.Record()),
	} {
		if strings.Contains(s, secret[:20]) || len(s) > 400 {
			t.Errorf("shown: %.80s", s)
		}
	}
}

// TestOneActiveKey walks through two years of rotation by plan, with a replica
// that is late, and finds exactly one active key at each moment, always
// published before it signs, and verifying for the grace after.
func TestOneActiveKey(t *testing.T) {
	p := token.DefaultPolicy
	material := newKeys(t, 20)
	var keys []*token.Key
	published := make(map[token.KeyID]time.Time)
	lastActive := make(map[token.KeyID]time.Time)
	made := 0
	for at := now; at.Before(now.Add(2 * 365 * day)); at = at.Add(6 * time.Hour) {
		set := newSet(t, p, keys...)
		if times, due := p.Plan(set, at); due {
			keys = append([]*token.Key{keyAt(t, material[made], times)}, keys...)
			made++
			set = newSet(t, p, keys...)
			if _, due := p.Plan(set, at); due {
				t.Fatalf("%v: due again at once", at)
			}
		}
		for _, k := range set.Published(at) {
			if published[k.ID].IsZero() {
				published[k.ID] = at
			}
		}
		k, ok := set.Active(at)
		if !ok {
			t.Fatalf("%v: no active key", at)
		}
		if since := published[k.ID]; made > 1 && (since.IsZero() || at.Sub(since) < p.Ahead) {
			t.Errorf("%v: key signs %v after it was published", at, at.Sub(since))
		}
		lastActive[k.ID] = at
		for _, k := range keys {
			pub, _ := set.Lookup(k.ID)
			verifies := !at.Before(pub.NotBefore) && (pub.NotAfter.IsZero() || at.Before(pub.NotAfter))
			last := lastActive[k.ID]
			switch {
			case last.IsZero() && verifies && at.Before(k.Times.Activates.Add(-token.Leeway)):
				t.Errorf("%v: a key verifies before it signs", at)
			case !last.IsZero() && !verifies && at.Sub(last) < token.MaxLifetime:
				t.Errorf("%v: a key that signed at %v does not verify", at, last)
			case !last.IsZero() && verifies && at.Sub(last) > p.Grace+6*time.Hour:
				t.Errorf("%v: a key that signed at %v still verifies", at, last)
			}
		}
	}
	if made < 16 || made > 19 {
		t.Errorf("%d keys in two years", made)
	}
	if out := newSet(t, p, keys...).Outlived(now.Add(2 * 365 * day)); len(out) < made-3 {
		t.Errorf("%d of %d keys outlived", len(out), made)
	}
}

// TestTwoReplicasRotateAtOnce: whatever the order in which the records are
// read, the same one key is active.
func TestTwoReplicasRotateAtOnce(t *testing.T) {
	m := newKeys(t, 3)
	p := token.DefaultPolicy
	a := keyAt(t, m[0], token.KeyTimes{Published: now.Add(-50 * day), Activates: now.Add(-40 * day)})
	times := p.Rotate(newSet(t, p, a), now)
	b, c := keyAt(t, m[1], times), keyAt(t, m[2], times)
	later := times.Activates
	for _, at := range []time.Time{now, later.Add(-1), later, later.Add(time.Hour)} {
		x, okX := newSet(t, p, a, b, c).Active(at)
		y, okY := newSet(t, p, c, b, a).Active(at)
		if !okX || !okY || x.ID != y.ID {
			t.Errorf("%v: %v and %v", at, x, y)
		}
		if at.Before(later) != (x.ID == a.ID) {
			t.Errorf("%v: %v signs", at, x)
		}
	}
}

func TestRevoke(t *testing.T) {
	m := newKeys(t, 3)
	p := token.DefaultPolicy
	a := keyAt(t, m[0], token.KeyTimes{Published: now.Add(-50 * day), Activates: now.Add(-40 * day)})
	b := keyAt(t, m[1], token.KeyTimes{Published: now.Add(-4 * day), Activates: now.Add(-day)})
	b = b.Revoke(now)
	set := newSet(t, p, a, b)
	if k, ok := set.Active(now); ok {
		t.Errorf("%v signs although the latest key was revoked", k)
	}
	if k, ok := set.Active(now.Add(-1)); !ok || k.ID != b.ID {
		t.Error("revocation acts before its time")
	}
	if pub, _ := set.Lookup(b.ID); pub.NotAfter != now {
		t.Errorf("a revoked key verifies until %v", pub.NotAfter)
	}
	if d := cmp.Diff([]token.KeyID{a.ID}, ids(set.Published(now))); d != "" {
		t.Errorf("published: %s", d)
	}
	times, due := p.Plan(set, now)
	if !due || !times.Activates.Equal(now) {
		t.Fatalf("plan = %v, %v; want a key at once", times, due)
	}
	set = newSet(t, p, a, b, keyAt(t, m[2], times))
	if k, ok := set.Active(now); !ok || k.ID != m[2].ID {
		t.Errorf("%v signs", k)
	}
	// A key revoked before its turn never has one.
	next := keyAt(t, m[2], token.KeyTimes{Published: now, Activates: now.Add(day)}).Revoke(now)
	set = newSet(t, p, a, next)
	if k, ok := set.Active(now.Add(2 * day)); !ok || k.ID != a.ID {
		t.Errorf("%v signs", k)
	}
	if _, ok := set.Lookup(next.ID); ok {
		t.Error("a key revoked before its turn verifies")
	}
	if d := cmp.Diff([]token.KeyID{next.ID}, set.Outlived(now)); d != "" {
		t.Errorf("outlived: %s", d)
	}
}

func TestPublished(t *testing.T) {
	m := newKeys(t, 2)
	p := token.DefaultPolicy
	a := keyAt(t, m[0], token.KeyTimes{Published: now.Add(-50 * day), Activates: now.Add(-40 * day)})
	b := keyAt(t, m[1], token.KeyTimes{Published: now, Activates: now.Add(3 * day)})
	set := newSet(t, p, a, b)
	end := b.Times.Activates.Add(p.Grace)
	for _, tc := range []struct {
		at   time.Time
		want []token.KeyID
	}{
		{now.Add(-1), []token.KeyID{a.ID}}, {now, []token.KeyID{a.ID, b.ID}},
		{end.Add(-1), []token.KeyID{a.ID, b.ID}}, {end, []token.KeyID{b.ID}},
	} {
		if d := cmp.Diff(tc.want, ids(set.Published(tc.at))); d != "" {
			t.Errorf("%v: %s", tc.at, d)
		}
	}
}

func TestSetOfOneTenant(t *testing.T) {
	if _, err := token.NewSet(token.DefaultPolicy, testKey(t, tenantA), testKey(t, tenantB)); err == nil {
		t.Error("keys of two tenants in one set")
	}
	if err := token.NewTrustStore().AddTenant(tenantB, issuers, newSet(t, token.DefaultPolicy, testKey(t, tenantA))); err == nil {
		t.Error("the keys of tenant A are trusted for B")
	}
}

func TestJWKS(t *testing.T) {
	k := testKey(t, tenantA)
	doc, err := json.Marshal(newSet(t, token.DefaultPolicy, k).JWKS(now, "https://login.example.test/{tenantid}/v2.0", "microsoftonline.com"))
	if err != nil {
		t.Fatal(err)
	}
	var shown struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(doc, &shown); err != nil {
		t.Fatal(err)
	}
	e := shown.Keys[0]
	for name, want := range map[string]string{
		"kty": "RSA", "use": "sig", "kid": string(k.ID), "x5t": string(k.ID), "e": "AQAB",
		"issuer": "https://login.example.test/{tenantid}/v2.0", "cloud_instance_name": "microsoftonline.com",
	} {
		if e[name] != want {
			t.Errorf("%s = %v, want %s", name, e[name], want)
		}
	}
	der, err := base64.StdEncoding.DecodeString(e["x5c"].([]any)[0].(string))
	if err != nil || !bytes.Equal(der, k.Certificate()) {
		t.Errorf("x5c: %v", err)
	}
	if cert, err := x509.ParseCertificate(der); err != nil || cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) != nil {
		t.Errorf("certificate is not self-signed: %v", err)
	}
	keys, err := token.ParseJWKS(doc)
	if err != nil || !keys[k.ID].Equal(k.Public()) {
		t.Errorf("our own document is not understood: %v", err)
	}
}

func TestParseJWKSRefuses(t *testing.T) {
	n := `"n":"` + base64.RawURLEncoding.EncodeToString(testKey(t, tenantA).Public().N.Bytes()) + `"`
	good := `{"kty":"RSA",` + n + `,"e":"AQAB","kid":"k"}`
	if _, err := token.ParseJWKS([]byte(`{"keys":[` + good + `]}`)); err != nil {
		t.Fatal(err)
	}
	other := `"n":"` + base64.RawURLEncoding.EncodeToString(testKey(t, tenantB).Public().N.Bytes()) + `"`
	for name, doc := range map[string]string{
		"no keys": `{}`, "empty": `{"keys":[]}`, "array": `[]`, "twice": `{"keys":[],"keys":[` + good + `]}`,
		"encryption":   `{"keys":[{"kty":"RSA","use":"enc",` + n + `,"e":"AQAB","kid":"k"}]}`,
		"other alg":    `{"keys":[{"kty":"RSA","alg":"RSA-OAEP",` + n + `,"e":"AQAB","kid":"k"}]}`,
		"symmetric":    `{"keys":[{"kty":"oct","k":"AAAA","kid":"k"}]}`,
		"exponent 1":   `{"keys":[{"kty":"RSA",` + n + `,"e":"AQ","kid":"k"}]}`,
		"exponent 2":   `{"keys":[{"kty":"RSA",` + n + `,"e":"Ag","kid":"k"}]}`,
		"exponent big": `{"keys":[{"kty":"RSA",` + n + `,"e":"AQABAQAB","kid":"k"}]}`,
		"short":        `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"k"}]}`,
		"kid twice":    `{"keys":[` + good + `,{"kty":"RSA",` + other + `,"e":"AQAB","kid":"k"}]}`,
		"late":         `{"keys":[` + strings.Repeat(`{"kty":"EC"},`, 100) + good + `]}`,
		"long":         `{"keys":[` + good + `],"x":"` + strings.Repeat("x", token.MaxJWKSLength) + `"}`,
	} {
		if keys, err := token.ParseJWKS([]byte(doc)); err == nil {
			t.Errorf("%s: taken, %d keys", name, len(keys))
		}
	}
}

func TestGate(t *testing.T) {
	var g token.Gate
	at := now
	fetches := 0
	for range 60_000 { // a minute of 1,000 unknown kids a second, every fetch succeeding
		if g.Try(at) {
			fetches++
			g.Done(true)
		}
		at = at.Add(time.Millisecond)
	}
	if fetches != 1 {
		t.Errorf("%d fetches in a window of a minute", fetches)
	}
	if !g.Try(at) {
		t.Error("no fetch in the next window")
	}
	if g.Try(at.Add(time.Hour)) {
		t.Error("a second fetch while one is under way")
	}
	g.Done(false)
	if g.Try(at.Add(119*time.Second)) || !g.Try(at.Add(120*time.Second)) {
		t.Error("a failure does not double the window")
	}
	g.Done(false)
	for range 20 {
		at = g.Next()
		if !g.Try(at) {
			t.Fatal("Next is not when Try allows")
		}
		g.Done(false)
	}
	if w := g.Next().Sub(at); w != 15*time.Minute {
		t.Errorf("window grew to %v", w)
	}
	if !g.Try(at.Add(-time.Hour)) {
		t.Error("a clock set back closes the gate")
	}
	g.Done(true)
	if w := g.Next().Sub(at.Add(-time.Hour)); w != time.Minute {
		t.Errorf("window after success is %v", w)
	}
}
