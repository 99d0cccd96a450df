package token_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pop/jws"
	"github.com/entrance-id/entrance/internal/token"
)

// The corpus lives in test/vectors/jws, where its README says what the files
// hold. UPDATE_VECTORS=1 go test -run TestCorpus ./internal/token writes it.
const corpusDir = "../../test/vectors/jws"

// vector is one file of the corpus.
type vector struct {
	Case   int    // of the list of abuse cases; 0 for a valid token
	Name   string // file name without .txt
	About  string
	Kind   string // access, bound or assertion
	Expect string // class, or ok
	Prefix string // the token is Prefix, Repeat Count times, Suffix
	Repeat string
	Count  int
	Suffix string
}

func (v vector) token() string { return v.Prefix + strings.Repeat(v.Repeat, v.Count) + v.Suffix }

func (v vector) file() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "case: %d\nabout: %s\nkind: %s\nexpect: %s\n", v.Case, v.About, v.Kind, v.Expect)
	if v.Count == 0 {
		fmt.Fprintf(&b, "token: %s\n", strconv.Quote(v.Prefix))
	} else {
		fmt.Fprintf(&b, "prefix: %s\nrepeat: %s\ncount: %d\nsuffix: %s\n", strconv.Quote(v.Prefix), strconv.Quote(v.Repeat), v.Count, strconv.Quote(v.Suffix))
	}
	return b.Bytes()
}

func parseVector(name string, data []byte) (vector, error) {
	v := vector{Name: name}
	for line := range strings.Lines(string(data)) {
		field, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		var err error
		switch {
		case !ok:
			err = fmt.Errorf("line without a field")
		case field == "case":
			v.Case, err = strconv.Atoi(value)
		case field == "about":
			v.About = value
		case field == "kind":
			v.Kind = value
		case field == "expect":
			v.Expect = value
		case field == "token" || field == "prefix":
			v.Prefix, err = strconv.Unquote(value)
		case field == "repeat":
			v.Repeat, err = strconv.Unquote(value)
		case field == "count":
			v.Count, err = strconv.Atoi(value)
		case field == "suffix":
			v.Suffix, err = strconv.Unquote(value)
		default:
			err = fmt.Errorf("unknown field %s", field)
		}
		if err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
	}
	return v, nil
}

func readCorpus(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(corpusDir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors in %s (%v)", corpusDir, err)
	}
	var list []vector
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parseVector(strings.TrimSuffix(filepath.Base(f), ".txt"), data)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// world is the keys that the corpus was signed with and the verifier that it
// is for.
type world struct {
	keys     map[string]*token.Key // by the name in keys.json
	verifier *token.Verifier
	policy   token.AssertionPolicy
}

const day = 24 * time.Hour

// worldKeys names the keys. All of tenant A are in one set, with a policy whose
// grace is 32 hours.
var worldKeys = map[string]struct {
	tenant directory.TenantID
	times  token.KeyTimes
}{
	"a-retired": {tenantA, token.KeyTimes{Published: now.Add(-90 * day), Activates: now.Add(-80 * day)}},
	"a-revoked": {tenantA, token.KeyTimes{Published: now.Add(-70 * day), Activates: now.Add(-60 * day), Revoked: now.Add(-time.Hour)}},
	"a-grace":   {tenantA, token.KeyTimes{Published: now.Add(-50 * day), Activates: now.Add(-40 * day)}},
	"a-active":  {tenantA, token.KeyTimes{Published: now.Add(-4 * day), Activates: now.Add(-day)}},
	"a-next":    {tenantA, token.KeyTimes{Published: now.Add(-day), Activates: now.Add(2 * day)}},
	"b-active":  {tenantB, token.KeyTimes{Published: now.Add(-4 * day), Activates: now.Add(-day)}},
	"stranger":  {tenantA, token.KeyTimes{Published: now.Add(-4 * day), Activates: now.Add(-day)}},
	"client":    {tenantA, token.KeyTimes{Published: now.Add(-4 * day), Activates: now.Add(-day)}},
}

const (
	clientID  = "66666666-6666-4666-8666-666666666666"
	assertAud = "https://login.example.test/11111111-1111-4111-8111-111111111111/oauth2/v2.0/token"
)

func loadWorld(t testing.TB) *world {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(corpusDir, "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	var records map[string]token.Record
	if err := json.Unmarshal(data, &records); err != nil {
		t.Fatal(err)
	}
	w := &world{keys: make(map[string]*token.Key)}
	for name, r := range records {
		k, err := r.Key()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.keys[name] = k
	}
	trust := token.NewTrustStore()
	var a []*token.Key
	for name, k := range w.keys {
		if strings.HasPrefix(name, "a-") {
			a = append(a, k)
		}
	}
	if err := trust.AddTenant(tenantA, issuers, newSet(t, token.DefaultPolicy, a...)); err != nil {
		t.Fatal(err)
	}
	if err := trust.AddTenant(tenantB, issuers, newSet(t, token.DefaultPolicy, w.keys["b-active"])); err != nil {
		t.Fatal(err)
	}
	w.verifier = &token.Verifier{Keys: trust, Audiences: []string{string(directory.AKSServer)}}
	cert, err := x509.ParseCertificate(w.keys["client"].Certificate())
	if err != nil {
		t.Fatal(err)
	}
	w.policy = token.AssertionPolicy{
		Issuer: clientID, Subject: clientID, Audiences: []string{assertAud}, RequireID: true, MaxLifetime: 15 * time.Minute,
		Find: token.CertificateKeys([]*x509.Certificate{cert}),
	}
	return w
}

// boundThumbprint is the key that the vectors of kind bound are shown with.
var boundThumbprint = jws.Encode(bytes.Repeat([]byte{7}, 32))

// verify shows a vector's token to the verifier of its kind.
func (w *world) verify(t testing.TB, v vector) (*token.Claims, error) {
	t.Helper()
	switch v.Kind {
	case "access":
		return w.verifier.Verify(v.token(), now)
	case "bound":
		return w.verifier.VerifyBound(v.token(), boundThumbprint, now)
	case "assertion":
		_, err := token.VerifyAssertion(v.token(), w.policy, now)
		return nil, err
	}
	t.Fatalf("%s: unknown kind %q", v.Name, v.Kind)
	return nil, nil
}

// private returns the private half of a key, for tokens that Sign would never
// make.
func private(t testing.TB, k *token.Key) *rsa.PrivateKey {
	t.Helper()
	p, err := x509.ParsePKCS8PrivateKey(k.Record().PKCS8)
	if err != nil {
		t.Fatal(err)
	}
	return p.(*rsa.PrivateKey)
}

func rs256(t testing.TB, k *token.Key, input string) []byte { return pkcs1(t, private(t, k), input) }

func pkcs1(t testing.TB, k *rsa.PrivateKey, input string) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// raw signs any header and payload with RS256.
func raw(t testing.TB, k *token.Key, header, payload string) string {
	return rawPrivate(t, private(t, k), header, payload)
}

func rawPrivate(t testing.TB, k *rsa.PrivateKey, header, payload string) string {
	input := jws.Encode([]byte(header)) + "." + jws.Encode([]byte(payload))
	return input + "." + jws.Encode(pkcs1(t, k, input))
}

// assertion makes a client assertion of the key, after edits to its header and
// claims.
func assertion(t testing.TB, k *token.Key, alg string, header, claims func(map[string]any)) string {
	t.Helper()
	h := map[string]any{"typ": "JWT", "alg": alg, "kid": string(k.ID), "x5t": string(k.ID)}
	if alg == "PS256" {
		sum := sha256.Sum256(k.Certificate())
		delete(h, "x5t")
		h["x5t#S256"] = jws.Encode(sum[:])
	}
	c := map[string]any{"aud": assertAud, "iss": clientID, "sub": clientID, "jti": "j-1", "nbf": now.Unix(), "iat": now.Unix(), "exp": now.Unix() + 600}
	if header != nil {
		header(h)
	}
	if claims != nil {
		claims(c)
	}
	hb, _ := json.Marshal(h)
	cb, _ := json.Marshal(c)
	input := jws.Encode(hb) + "." + jws.Encode(cb)
	if alg != "PS256" {
		return input + "." + jws.Encode(rs256(t, k, input))
	}
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPSS(rand.Reader, private(t, k), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + jws.Encode(sig)
}

// payloadOf returns the decoded payload of a token, however broken that is.
func payloadOf(tok string) (string, bool) {
	parts := strings.Split(tok, ".")
	if len(parts) != 3 {
		return "", false
	}
	b, err := jws.Decode(parts[1])
	return string(b), err == nil
}
