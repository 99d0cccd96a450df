package pop_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

const host = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/c1"

var (
	now     = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	options = pop.Options{Host: host, Now: now}
	testKey = sync.OnceValue(func() *pop.Key {
		k, err := pop.GenerateKey()
		if err != nil {
			panic(err)
		}
		return k
	})
	otherKey = sync.OnceValue(func() *pop.Key {
		k, err := pop.GenerateKey()
		if err != nil {
			panic(err)
		}
		return k
	})
)

func shell(t testing.TB, k *pop.Key, at time.Time) string {
	t.Helper()
	s, err := k.Sign("inner.access.token", host, "0123456789abcdef0123456789abcdef", at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSignVerify(t *testing.T) {
	tok := shell(t, testKey(), now)
	s, err := pop.Verify(tok, options)
	if err != nil {
		t.Fatal(err)
	}
	if s.AccessToken != "inner.access.token" || s.Thumbprint != testKey().Thumbprint() || s.Nonce != "0123456789abcdef0123456789abcdef" ||
		!s.Time.Equal(now) || !s.Expires.Equal(now.Add(15*time.Minute)) || s.Hash != sha256.Sum256([]byte(tok)) {
		t.Errorf("shell = %+v", s)
	}
	if !pop.IsShell(tok) || pop.IsShell("a.b.c") || pop.IsShell("") {
		t.Error("IsShell is wrong")
	}
	upper := options
	upper.Host = strings.ToUpper(host)
	if _, err := pop.Verify(tok, upper); err != nil {
		t.Errorf("host in another case: %v", err)
	}
}

// TestWireForm holds the form that kubelogin writes and guard reads.
func TestWireForm(t *testing.T) {
	parts := strings.Split(shell(t, testKey(), now), ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	kid := testKey().Thumbprint()
	if want := `{"typ":"pop","alg":"RS256","kid":"` + kid + `"}`; string(header) != want {
		t.Errorf("header %s, want %s", header, want)
	}
	var p struct {
		Cnf struct {
			JWK struct{ N string } `json:"jwk"`
		} `json:"cnf"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"at":"inner.access.token","ts":%d,"u":"%s","cnf":{"jwk":{"e":"AQAB","kty":"RSA","n":"%s","alg":"RS256","kid":"%s"}},"nonce":"0123456789abcdef0123456789abcdef"}`,
		now.Unix(), host, p.Cnf.JWK.N, kid)
	if string(payload) != want {
		t.Errorf("payload\n%s\nwant\n%s", payload, want)
	}
	if n := pop.NewNonce(); len(n) != 32 || n == pop.NewNonce() || n[12] != '4' {
		t.Errorf("nonce %s", n)
	}
}

// TestThumbprint uses the key and the result of RFC 7638, section 3.1.
func TestThumbprint(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	if got := pop.ThumbprintForTest(n); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Errorf("thumbprint %s", got)
	}
}

func TestReqCnf(t *testing.T) {
	c, err := pop.DecodeReqCnf(testKey().ReqCnf())
	if err != nil || c.KeyID != testKey().Thumbprint() || c.Location != "sw" {
		t.Errorf("%+v, %v", c, err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(testKey().ReqCnf())
	if want := `{"kid":"` + testKey().Thumbprint() + `","xms_ksl":"sw"}`; string(raw) != want {
		t.Errorf("req_cnf %s", raw)
	}
	kid := testKey().Thumbprint()
	for name, s := range map[string]string{
		"empty": "", "padded": testKey().ReqCnf() + "=", "not JSON": jws.Encode([]byte("kid")), "no kid": jws.Encode([]byte("{}")),
		"short kid": jws.Encode([]byte(`{"kid":"abc"}`)), "kid twice": jws.Encode([]byte(`{"kid":"x","kid":"` + kid + `"}`)),
		"kid number": jws.Encode([]byte(`{"kid":1}`)), "other place": jws.Encode([]byte(`{"kid":"` + kid + `","xms_ksl":"hw"}`)),
		"long": jws.Encode([]byte(`{"kid":"` + kid + `","x":"` + strings.Repeat("x", 5000) + `"}`)),
	} {
		if c, err := pop.DecodeReqCnf(s); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestKeyRoundTrip(t *testing.T) {
	der, err := testKey().MarshalPKCS8()
	if err != nil {
		t.Fatal(err)
	}
	k, err := pop.ParseKey(der)
	if err != nil || k.Thumbprint() != testKey().Thumbprint() {
		t.Errorf("%v, %v", k, err)
	}
	if _, err := pop.Verify(shell(t, k, now), options); err != nil {
		t.Errorf("a key that was read back: %v", err)
	}
	if s := fmt.Sprintf("%v %+v %#v", k, k, k); len(s) > 300 {
		t.Errorf("a key is shown: %.60s", s)
	}
	for name, der := range map[string][]byte{"empty": nil, "cut": der[:len(der)-1]} {
		if _, err := pop.ParseKey(der); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// parts of a good shell, to be changed and signed again.
type parts struct {
	header, payload string
	private         *rsa.PrivateKey
}

func take(t testing.TB, k *pop.Key) parts {
	t.Helper()
	der, err := k.MarshalPKCS8()
	if err != nil {
		t.Fatal(err)
	}
	p, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	s := strings.Split(shell(t, k, now), ".")
	header, _ := base64.RawURLEncoding.DecodeString(s[0])
	payload, _ := base64.RawURLEncoding.DecodeString(s[1])
	return parts{string(header), string(payload), p.(*rsa.PrivateKey)}
}

func (p parts) sign(t testing.TB) string {
	t.Helper()
	input := jws.Encode([]byte(p.header)) + "." + jws.Encode([]byte(p.payload))
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, p.private, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + jws.Encode(sig)
}

// rename changes the modulus, and the kid everywhere to its thumbprint.
func (p parts) rename(from, to string) parts {
	r := strings.NewReplacer(from, to, pop.ThumbprintForTest(from), pop.ThumbprintForTest(to))
	p.header, p.payload = r.Replace(p.header), r.Replace(p.payload)
	return p
}

func replace(t testing.TB, s, old, new string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("%q is not in %s", old, s)
	}
	return strings.Replace(s, old, new, 1)
}

// refusals are shells that must be refused, each with its class.
func refusals(t testing.TB) map[string]struct {
	class pop.Class
	token string
} {
	good := take(t, testKey())
	m := make(map[string]struct {
		class pop.Class
		token string
	})
	add := func(name string, class pop.Class, token string) {
		m[name] = struct {
			class pop.Class
			token string
		}{class, token}
	}
	head := func(name string, class pop.Class, old, new string) {
		p := good
		p.header = replace(t, p.header, old, new)
		add("header: "+name, class, p.sign(t))
	}
	pay := func(name string, class pop.Class, old, new string) {
		p := good
		p.payload = replace(t, p.payload, old, new)
		add("payload: "+name, class, p.sign(t))
	}
	tok := good.sign(t)
	dot := strings.LastIndexByte(tok, '.')
	kid, other := testKey().Thumbprint(), otherKey().Thumbprint()
	n := jws.Encode(good.private.N.Bytes())
	ts := fmt.Sprintf(`"ts":%d`, now.Unix())

	add("long", pop.ClassTooLong, strings.Repeat("a", pop.MaxLength+1))
	add("two parts", pop.ClassMalformed, tok[:dot])
	add("no signature", pop.ClassMalformed, tok[:dot+1])
	add("padding", pop.ClassMalformed, tok+"==")
	add("signature of zeros", pop.ClassSignature, tok[:dot+1]+jws.Encode(make([]byte, 256)))
	add("inner token alone", pop.ClassKind, replaceToken(t, good, `"typ":"pop"`, `"typ":"JWT"`))
	head("alg none", pop.ClassAlgorithm, "RS256", "none")
	head("alg PS256", pop.ClassAlgorithm, "RS256", "PS256")
	head("alg lower", pop.ClassAlgorithm, "RS256", "rs256")
	head("alg number", pop.ClassAlgorithm, `"RS256"`, `1`)
	head("no typ", pop.ClassKind, `"typ":"pop",`, "")
	head("crit", pop.ClassHeader, `"typ"`, `"crit":["x"],"typ"`)
	head("jwk", pop.ClassHeader, `"typ"`, `"jwk":{},"typ"`)
	head("typ twice", pop.ClassJSON, `"typ"`, `"typ":"x","typ"`)
	head("no kid", pop.ClassKey, `,"kid":"`+kid+`"`, "")
	head("kid of another", pop.ClassKey, kid, other)
	pay("no ts", pop.ClassClaims, ts+",", "")
	pay("ts fraction", pop.ClassClaims, ts, ts+".5")
	pay("ts word", pop.ClassClaims, ts, `"ts":"now"`)
	pay("ts negative", pop.ClassClaims, ts, `"ts":-1`)
	pay("ts huge", pop.ClassClaims, ts, `"ts":99999999999999999999`)
	pay("ts old", pop.ClassExpired, ts, fmt.Sprintf(`"ts":%d`, now.Unix()-900))
	pay("ts ahead", pop.ClassFuture, ts, fmt.Sprintf(`"ts":%d`, now.Unix()+301))
	pay("ts far ahead", pop.ClassFuture, ts, `"ts":253402300799`)
	pay("ts twice", pop.ClassJSON, ts, ts+","+ts)
	pay("host", pop.ClassHost, "/c1", "/c2")
	pay("host longer", pop.ClassHost, "/c1", "/c1/")
	pay("no host", pop.ClassClaims, `"u":"`+host+`",`, "")
	pay("no cnf", pop.ClassClaims, `"cnf":`, `"cnx":`)
	pay("no n", pop.ClassClaims, `"n":`, `"m":`)
	pay("n of another", pop.ClassKey, n, jws.Encode(take(t, otherKey()).private.N.Bytes()))
	pay("n with a zero before", pop.ClassKey, n, jws.Encode(append([]byte{0}, good.private.N.Bytes()...)))
	pay("e 3", pop.ClassKey, "AQAB", "Aw")
	pay("e empty", pop.ClassKey, "AQAB", "")
	pay("e long", pop.ClassKey, "AQAB", "AAEAAQ")
	pay("kty", pop.ClassKey, `"kty":"RSA"`, `"kty":"EC"`)
	pay("jwk alg", pop.ClassKey, `"alg":"RS256"`, `"alg":"none"`)
	pay("jwk kid", pop.ClassKey, kid, other)
	pay("no at", pop.ClassClaims, `"at":"inner.access.token",`, "")
	pay("at object", pop.ClassClaims, `"inner.access.token"`, `{}`)
	pay("at empty", pop.ClassClaims, `"inner.access.token"`, `""`)
	pay("at twice", pop.ClassJSON, `"at":`, `"at":"x","at":`)
	pay("nonce number", pop.ClassClaims, `"nonce":"0123456789abcdef0123456789abcdef"`, `"nonce":1`)

	// A stranger's shell around a stolen token: all of it his own but kid, or
	// all of the owner's but the signature.
	stolen := take(t, otherKey())
	stolen.header = replace(t, stolen.header, other, kid)
	add("stranger under the owner's kid", pop.ClassKey, stolen.sign(t))
	forged := good
	forged.private = stolen.private
	add("stranger's signature", pop.ClassSignature, forged.sign(t))
	big, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		weak := good
		weak.private = big
		add("weak key", pop.ClassKey, weak.rename(n, jws.Encode(big.N.Bytes())).sign(t))
	}
	add("one key by two names", pop.ClassKey, good.rename(n, jws.Encode(append([]byte{0}, good.private.N.Bytes()...))).sign(t))
	return m
}

func replaceToken(t testing.TB, p parts, old, new string) string {
	p.header = replace(t, p.header, old, new)
	return p.sign(t)
}

func TestRefusals(t *testing.T) {
	for name, tc := range refusals(t) {
		t.Run(name, func(t *testing.T) {
			s, err := pop.Verify(tc.token, options)
			if err == nil {
				t.Fatalf("accepted: %+v", s)
			}
			if got := pop.ClassOf(err); got != tc.class {
				t.Errorf("class %v (%v), want %v", got, err, tc.class)
			}
			if strings.Contains(err.Error(), "inner") {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
	anywhere, err := testKey().Sign("inner", "", "", now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pop.Verify(anywhere, pop.Options{Now: now}); pop.ClassOf(err) != pop.ClassHost {
		t.Errorf("without a configured host: %v", err)
	}
}

func TestBounds(t *testing.T) {
	for ts, ok := range map[int64]bool{-900: false, -899: true, 300: true, 301: false} {
		_, err := pop.Verify(shell(t, testKey(), now.Add(time.Duration(ts)*time.Second)), options)
		if (err == nil) != ok {
			t.Errorf("ts %+d s: %v", ts, err)
		}
	}
	o := options
	o.Validity, o.MaxFuture = time.Minute, time.Second
	for ts, ok := range map[int64]bool{-60: false, -59: true, 1: true, 2: false} {
		_, err := pop.Verify(shell(t, testKey(), now.Add(time.Duration(ts)*time.Second)), o)
		if (err == nil) != ok {
			t.Errorf("ts %+d s with short bounds: %v", ts, err)
		}
	}
	p := take(t, testKey())
	p.payload = replace(t, p.payload, fmt.Sprint(now.Unix()), fmt.Sprintf(`"%d"`, now.Unix()))
	if _, err := pop.Verify(p.sign(t), options); err != nil {
		t.Errorf("ts as a string of digits: %v", err)
	}
	p = take(t, testKey())
	p.header = replace(t, p.header, `"pop"`, `"PoP"`)
	if _, err := pop.Verify(p.sign(t), options); err != nil {
		t.Errorf("typ in another case: %v", err)
	}
}

func TestReplay(t *testing.T) {
	verify := func(k *pop.Key, at time.Time) *pop.Shell {
		s, err := pop.Verify(shell(t, k, at), options)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b, c := verify(testKey(), now), verify(testKey(), now.Add(time.Second)), verify(testKey(), now.Add(2*time.Second))

	strict := pop.NewReplay(2, 1)
	if n, err := strict.Note(a, now); n != 1 || err != nil {
		t.Errorf("first: %d, %v", n, err)
	}
	// Until the last second in which the shell is good it is refused.
	for _, at := range []time.Time{now, a.Expires.Add(-time.Second), a.Expires} {
		if _, err := strict.Note(a, at); pop.ClassOf(err) != pop.ClassReplay {
			t.Errorf("replay at %v: %v", at, err)
		}
	}
	if _, err := strict.Note(b, now); err != nil {
		t.Errorf("another shell: %v", err)
	}
	if _, err := strict.Note(c, now); pop.ClassOf(err) != pop.ClassFull {
		t.Errorf("full: %v", err)
	}
	if _, err := strict.Note(c, a.Expires.Add(time.Second)); err != nil || strict.Len() != 2 {
		t.Errorf("room again: %v, %d", err, strict.Len())
	}

	counting := pop.NewReplay(1, 0)
	for i := 1; i <= 3; i++ {
		if n, err := counting.Note(a, now); n != i || err != nil {
			t.Errorf("sighting %d: %d, %v", i, n, err)
		}
	}
	if n, err := counting.Note(b, now); n != 1 || err != nil || counting.Len() != 1 {
		t.Errorf("full: %d, %v, %d", n, err, counting.Len())
	}
	three := pop.NewReplay(10, 3)
	for i := 1; i <= 4; i++ {
		if _, err := three.Note(a, now); (err == nil) != (i <= 3) {
			t.Errorf("use %d of three: %v", i, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(shell(f, testKey(), now))
	for _, tc := range refusals(f) {
		f.Add(tc.token)
	}
	f.Fuzz(func(t *testing.T, tok string) {
		s, err := pop.Verify(tok, options)
		if err != nil {
			if pop.ClassOf(err) == 0 {
				t.Errorf("an error without a class: %v", err)
			}
			return
		}
		if s.AccessToken == "" || len(s.Thumbprint) != 43 || !now.Before(s.Expires) {
			t.Errorf("accepted %+v", s)
		}
	})
}

// FuzzPayload signs any payload, so that the fuzzer gets past the signature.
func FuzzPayload(f *testing.F) {
	good := take(f, testKey())
	f.Add(good.payload)
	for _, tc := range refusals(f) {
		if p := strings.Split(tc.token, "."); len(p) == 3 {
			if raw, err := base64.RawURLEncoding.DecodeString(p[1]); err == nil {
				f.Add(string(raw))
			}
		}
	}
	f.Fuzz(func(t *testing.T, payload string) {
		p := good
		p.payload = payload
		s, err := pop.Verify(p.sign(t), options)
		if err != nil {
			return
		}
		var std struct {
			AT  string `json:"at"`
			U   string `json:"u"`
			Cnf struct {
				JWK struct {
					N string `json:"n"`
				} `json:"jwk"`
			} `json:"cnf"`
		}
		var exact map[string]json.RawMessage
		if json.Unmarshal([]byte(payload), &exact) != nil || json.Unmarshal(exact["at"], &std.AT) != nil || json.Unmarshal(exact["u"], &std.U) != nil {
			t.Fatal("accepted what encoding/json refuses")
		}
		if std.AT != s.AccessToken || !strings.EqualFold(std.U, host) || s.Thumbprint != testKey().Thumbprint() {
			t.Errorf("read %+v where encoding/json reads %+v", s, std)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for b.Loop() {
		shell(b, testKey(), now)
	}
}

func BenchmarkVerify(b *testing.B) {
	inner := strings.Repeat("a", 2000)
	tok, err := testKey().Sign(inner, host, pop.NewNonce(), now)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pop.Verify(tok, options); err != nil {
			b.Fatal(err)
		}
	}
}
