package token_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/internal/pop/jws"
	"github.com/entrance-id/entrance/internal/token"
)

// makeCorpus makes all vectors anew.
func makeCorpus(t *testing.T, w *world) []vector {
	a := w.keys["a-active"]
	hdr := fmt.Sprintf(`{"typ":"JWT","alg":"RS256","kid":%q}`, a.ID)
	claims := accessClaims(t, userFacts())
	body := string(claims.JSON())
	good := raw(t, a, hdr, body)
	input, sig := good[:strings.LastIndexByte(good, '.')], good[strings.LastIndexByte(good, '.')+1:]
	parts := strings.Split(good, ".")

	var list []vector
	seen := make(map[string]bool)
	addKind := func(kind string, n int, expect, name, about, tok string) {
		name = fmt.Sprintf("%02d-%s", n, name)
		if seen[name] {
			t.Fatalf("two vectors %s", name)
		}
		seen[name] = true
		list = append(list, vector{Case: n, Name: name, About: about, Kind: kind, Expect: expect, Prefix: tok})
	}
	add := func(n int, expect, name, about, tok string) { addKind("access", n, expect, name, about, tok) }
	// edit signs the good token with a text of its payload or header replaced.
	edit := func(s, old, new string) string {
		if strings.Count(s, old) != 1 {
			t.Fatalf("%q is not once in %s", old, s)
		}
		return strings.Replace(s, old, new, 1)
	}
	pay := func(old, new string) string { return raw(t, a, hdr, edit(body, old, new)) }
	head := func(old, new string) string { return raw(t, a, edit(hdr, old, new), body) }
	with := func(f func(*token.Claims)) string {
		c := *claims
		f(&c)
		return raw(t, a, hdr, string(c.JSON()))
	}

	add(0, "ok", "user-v1", "user, version 1.0", sign(t, a, claims))
	f := userFacts()
	f.Resource.Version = token.V2
	add(0, "ok", "user-v2", "user, version 2.0", sign(t, a, accessClaims(t, f)))
	add(0, "ok", "app-v1", "application, version 1.0", sign(t, a, accessClaims(t, appFacts())))
	f = appFacts()
	f.Resource.Version = token.V2
	add(0, "ok", "app-v2", "application, version 2.0", sign(t, a, accessClaims(t, f)))
	f = userFacts()
	f.Groups = nil
	for i := range 201 {
		f.Groups = append(f.Groups, token.Group{ID: directory.ObjectID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), Security: true})
	}
	add(0, "ok", "overage", "user in 201 groups", sign(t, a, accessClaims(t, f)))
	f.Groups = f.Groups[:200]
	add(0, "ok", "groups-200", "user in 200 groups", sign(t, a, accessClaims(t, f)))
	add(0, "ok", "unknown-claim", "a claim that is not known is ignored", pay(`"ver":`, `"xms_new":{"a":[1,2.5,null,true]},"ver":`))
	add(0, "ok", "spaces", "white space between JSON tokens", pay(`,"ver":`, " ,\n\t\"ver\" : "))
	tenB := userFacts()
	tenB.Tenant.ID = tenantB
	add(0, "ok", "tenant-b", "the other tenant's own token", sign(t, w.keys["b-active"], accessClaims(t, tenB)))

	for _, alg := range []string{"none", "None", "NONE", "nOnE"} {
		h := edit(hdr, "RS256", alg)
		u := jws.Encode([]byte(h)) + "." + parts[1] + "."
		// On file systems that ignore letter case, names must still differ.
		add(1, "malformed", fmt.Sprintf("none-unsigned-%x", alg), "alg "+alg+", empty signature", u)
		add(1, "algorithm", fmt.Sprintf("none-%x", alg), "alg "+alg+", with the signature of the good token", u+sig)
	}
	add(1, "algorithm", "alg-absent", "no alg", head(`,"alg":"RS256"`, ""))
	add(1, "algorithm", "alg-null", "alg null", head(`"alg":"RS256"`, `"alg":null`))
	add(1, "algorithm", "alg-list", "alg as a list", head(`"alg":"RS256"`, `"alg":["RS256"]`))
	add(1, "algorithm", "alg-lower", "alg in lower case", head("RS256", "rs256"))
	add(1, "algorithm", "alg-empty", "alg empty", head("RS256", ""))
	add(1, "signature", "alg-ok-sig-short", "RS256 with a signature of one byte", input+".AA")

	pub := private(t, a).Public().(*rsa.PublicKey)
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(newSet(t, token.DefaultPolicy, a).JWKS(now, "", "").Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"spki-pem": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}), "spki-der": spki,
		"pkcs1-der": x509.MarshalPKCS1PublicKey(pub), "cert-der": a.Certificate(),
		"cert-pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate()}),
		"jwk":      jwk, "modulus": pub.N.Bytes(),
	} {
		in := jws.Encode([]byte(edit(hdr, "RS256", "HS256"))) + "." + parts[1]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(in))
		add(2, "algorithm", "hs256-"+name, "HS256 under the public key as "+name, in+"."+jws.Encode(mac.Sum(nil)))
		mac = hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		add(2, "signature", "rs256-mac-"+name, "RS256 with an HMAC under the public key as "+name, input+"."+jws.Encode(mac.Sum(nil)))
	}
	for alg, hash := range map[string]crypto.Hash{"RS384": crypto.SHA384, "RS512": crypto.SHA512, "PS256": crypto.SHA256} {
		in := jws.Encode([]byte(edit(hdr, "RS256", alg))) + "." + parts[1]
		h := hash.New()
		h.Write([]byte(in))
		var s []byte
		if alg == "PS256" {
			s, err = rsa.SignPSS(rand.Reader, private(t, a), hash, h.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			s, err = rsa.SignPKCS1v15(nil, private(t, a), hash, h.Sum(nil))
		}
		if err != nil {
			t.Fatal(err)
		}
		add(2, "algorithm", strings.ToLower(alg), "a correct "+alg+" signature of the right key", in+"."+jws.Encode(s))
	}
	s512 := sha512.Sum512([]byte(input))
	wrong, err := rsa.SignPKCS1v15(nil, private(t, a), crypto.SHA512, s512[:])
	if err != nil {
		t.Fatal(err)
	}
	add(2, "signature", "rs512-as-rs256", "an RS512 signature under the name of RS256", input+"."+jws.Encode(wrong))

	stranger := w.keys["stranger"]
	strangerJWK, err := json.Marshal(newSet(t, token.DefaultPolicy, stranger).JWKS(now, "", "").Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, member := range map[string]string{
		"jwk": `"jwk":` + string(strangerJWK), "jku": `"jku":"https://evil.example.test/keys"`,
		"x5u": `"x5u":"https://evil.example.test/cert"`,
		"x5c": `"x5c":["` + base64.StdEncoding.EncodeToString(stranger.Certificate()) + `"]`,
	} {
		h := edit(hdr, `"kid"`, member+`,"kid"`)
		add(3, "header", name+"-stranger", name+" brings the key that signed", raw(t, stranger, h, body))
		add(3, "header", name+"-signed", name+" in a token that is good otherwise", raw(t, a, h, body))
	}
	add(3, "signature", "stranger", "signed by a stranger under our kid", raw(t, stranger, hdr, body))

	for name, kid := range map[string]string{
		"path": "../../../../etc/passwd", "sql": "' OR 1=1 --", "url": "https://evil.example.test/key",
		"control": "\x00\x1b[2J\r\nkid: x", "long": strings.Repeat("k", 300), "empty": "", "trailing-space": string(a.ID) + " ",
		"unicode": "ｋｉｄ", "template": "{{.}}${jndi:ldap://x}", "b": string(w.keys["b-active"].ID),
	} {
		quoted, _ := json.Marshal(kid)
		add(4, "key", "kid-"+name, "kid that names no key: "+name, head(strconv.Quote(string(a.ID)), string(quoted)))
	}
	add(4, "header", "kid-number", "kid as a number", head(strconv.Quote(string(a.ID)), "1"))
	add(4, "key", "kid-absent", "no kid", head(`,"kid":"`+string(a.ID)+`"`, ""))
	list = append(list, vector{Case: 4, Name: "04-kid-64k", About: "kid of 64 KiB", Kind: "access", Expect: "too-long",
		Prefix: jws.Encode([]byte(`{"typ":"JWT","alg":"RS256","kid":"`)), Repeat: "YWFh", Count: 22000, Suffix: "In0." + parts[1] + "." + sig})
	add(5, "key", "kid-random", "kid that the issuer never published", head(string(a.ID), "AAAAAAAAAAAAAAAAAAAAAAAAAAA"))

	zero, n := make([]byte, 32), elliptic.P256().Params().N.Bytes()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sumIn := sha256.Sum256([]byte(input))
	der, err := ecdsa.SignASN1(rand.Reader, ec, sumIn[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string][]byte{
		"zero": append(bytes.Clone(zero), zero...), "n": append(bytes.Clone(n), n...),
		"r-zero": append(bytes.Clone(zero), n...), "short": make([]byte, 63), "long": make([]byte, 65), "der": der,
	} {
		add(6, "algorithm", "es256-"+name, "ES256, signature "+name, jws.Encode([]byte(edit(hdr, "RS256", "ES256")))+"."+parts[1]+"."+jws.Encode(s))
	}
	rawSig, _ := jws.Decode(sig)
	one := make([]byte, 256)
	one[255] = 1
	plusN := new(big.Int).Add(new(big.Int).SetBytes(rawSig), pub.N)
	for name, s := range map[string][]byte{
		"zero": make([]byte, 256), "one": one, "modulus": pub.N.Bytes(), "leading-zero": append([]byte{0}, rawSig...),
		"truncated": rawSig[:255], "trailing": append(bytes.Clone(rawSig), 0), "plus-n": plusN.Bytes(),
	} {
		add(6, "signature", "rs256-"+name, "RS256, signature "+name, input+"."+jws.Encode(s))
	}
	flipped := bytes.Clone(rawSig)
	flipped[128] ^= 1
	add(6, "signature", "rs256-bit", "one bit of the signature turned", input+"."+jws.Encode(flipped))
	add(6, "signature", "payload-changed", "another payload under the good signature",
		parts[0]+"."+jws.Encode([]byte(edit(body, string(userID), string(otherID))))+"."+sig)

	aud := `"aud":"` + string(directory.AKSServer) + `"`
	for name, p := range map[string]string{
		"aud-twice":         edit(body, aud, `"aud":"other",`+aud),
		"exp-twice":         edit(body, `"exp":`, `"exp":1,"exp":`),
		"escaped-twice":     edit(body, aud, aud+`,"a\u0075d":"other"`),
		"nested-twice":      edit(body, `"ver":`, `"cnf":{"kid":"a","kid":"b"},"ver":`),
		"unknown-twice":     edit(body, `"ver":`, `"x":[{"y":1,"y":2}],"ver":`),
		"trailing-object":   body + `{"aud":"x"}`,
		"trailing-brace":    body + `}`,
		"trailing-nul":      body + "\x00",
		"bom":               "\xef\xbb\xbf" + body,
		"utf8-invalid":      edit(body, `"Ann `, "\"Ann\xff "),
		"utf8-overlong":     edit(body, `"Ann `, "\"Ann\xc0\xaf "),
		"utf8-surrogate":    edit(body, `"Ann `, "\"Ann\xed\xa0\x80 "),
		"lone-surrogate":    edit(body, `"Ann `, `"Ann\ud800 `),
		"swapped-surrogate": edit(body, `"Ann `, `"Ann\udc00\ud800 `),
		"control":           edit(body, `"Ann `, "\"Ann\n "),
		"deep":              edit(body, `"ver":`, `"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,"ver":`),
		"deep-9":            edit(body, `"ver":`, `"x":`+strings.Repeat("[", 8)+strings.Repeat("]", 8)+`,"ver":`),
		"array":             "[" + body + "]",
		"string":            `"` + parts[1] + `"`,
		"null":              "null",
		"empty-object-cut":  "{",
		"trailing-comma":    edit(body, `"ver":"1.0"`, `"ver":"1.0",`),
		"comment":           edit(body, `"ver":`, `/* */"ver":`),
		"single-quotes":     edit(body, `"ver":"1.0"`, `'ver':'1.0'`),
		"nan":               edit(body, `"ver":`, `"x":NaN,"ver":`),
		"leading-zero":      edit(body, `"exp":`, `"exp":0`),
		"plus":              edit(body, `"exp":`, `"exp":+`),
		"hex":               edit(body, `"ver":`, `"x":0x10,"ver":`),
		"bad-escape":        edit(body, `"Ann `, `"Ann\x20 `),
		"no-colon":          edit(body, `"ver":`, `"ver" `),
		"vertical-tab":      edit(body, `,"ver":`, "\v,\"ver\":"),
	} {
		add(7, "json", name, "payload: "+name, raw(t, a, hdr, p))
	}
	add(7, "json", "header-alg-twice", "header: alg twice", raw(t, a, edit(hdr, `"alg"`, `"alg":"none","alg"`), body))
	add(7, "json", "header-trailing", "header: data after the object", raw(t, a, hdr+" {}", body))
	add(7, "json", "header-bom", "header: byte order mark", raw(t, a, "\xef\xbb\xbf"+hdr, body))
	var many strings.Builder
	for i := range 200 {
		fmt.Fprintf(&many, `"m%d":0,`, i)
	}
	add(7, "json", "many-members-twice", "a name twice among very many", pay(`"ver":`, many.String()+`"m3":0,"ver":`))
	add(7, "claims", "case-folded", "AUD instead of aud", pay(`"aud":`, `"AUD":`))
	add(7, "header", "crit", "crit", head(`"kid"`, `"crit":["exp"],"kid"`))
	add(7, "header", "crit-empty", "crit, empty", head(`"kid"`, `"crit":[],"kid"`))
	add(7, "header", "b64", "unencoded payload", head(`"kid"`, `"b64":false,"kid"`))
	add(7, "header", "zip", "compressed payload", head(`"kid"`, `"zip":"DEF","kid"`))

	add(8, "malformed", "empty", "nothing", "")
	add(8, "malformed", "dots-2", "two dots", "..")
	add(8, "malformed", "parts-2", "two parts", input)
	add(8, "malformed", "parts-4", "four parts", good+".AAAA")
	add(8, "malformed", "parts-empty-payload", "detached payload", parts[0]+".."+sig)
	add(8, "malformed", "jwe-pbes2", "JWE with a huge p2c",
		jws.Encode([]byte(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAA"}`))+".AAAA.AAAA.AAAA.AAAA")
	big := func(expect, name, about, prefix, repeat string, count int, suffix string) {
		list = append(list, vector{Case: 8, Name: "08-" + name, About: about, Kind: "access", Expect: expect, Prefix: prefix, Repeat: repeat, Count: count, Suffix: suffix})
	}
	big("too-long", "1-mib", "a token of 1 MiB", parts[0]+".", "AAAA", 1<<18, "."+sig)
	big("too-long", "dots-100000", "100,000 dots", "", ".", 100000, "")
	big("malformed", "dots-60000", "60,000 dots, short enough to be looked at", "", ".", 60000, "")
	big("malformed", "parts-30000", "30,000 parts", "a", ".a", 30000, "")
	big("too-long", "groups-100000", "100,000 groups", parts[0]+"."+jws.Encode([]byte(`{"groups":[`)),
		jws.Encode([]byte(`"00000000-0000-4000-8000-000000000000",`)), 100000, jws.Encode([]byte(`""]}`))+"."+sig)
	big("too-long", "signature-long", "a signature of 3,000 bytes", input+".", "AAAA", 1000, "")

	last := func(s string) string { // the last character with its lowest bit set: the same bytes to a loose decoder
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		i := strings.IndexByte(alphabet, s[len(s)-1])
		return s[:len(s)-1] + string(alphabet[i|1])
	}
	padBody := body
	for len(padBody)%3 == 0 {
		padBody = edit(padBody, `"Ann `, `"Ann  `)
	}
	padded := raw(t, a, hdr, padBody)
	pp := strings.Split(padded, ".")
	add(9, "encoding", "padding-signature", "signature with padding", good+"==")
	add(9, "encoding", "padding-payload", "payload with padding", pp[0]+"."+pp[1]+"="+"."+pp[2])
	add(9, "encoding", "standard-plus", "a plus in the signature", input+"."+strings.Repeat("+", 342))
	add(9, "encoding", "standard-slash", "a slash in the signature", input+"."+strings.Repeat("/", 342))
	add(9, "encoding", "space-before", "white space before", " "+good)
	add(9, "encoding", "space-after", "white space after", good+" ")
	add(9, "encoding", "newline-after", "line end after", good+"\n")
	add(9, "encoding", "newline-inside", "line end inside the payload", parts[0]+"."+parts[1][:40]+"\r\n"+parts[1][40:]+"."+sig)
	add(9, "encoding", "trailing-bits-signature", "last bits of the signature are not zero", input+"."+last(sig))
	add(9, "encoding", "trailing-bits-payload", "last bits of the payload are not zero", pp[0]+"."+last(pp[1])+"."+pp[2])
	add(9, "encoding", "length-1", "a part of a length that none can have", input+"."+sig[:len(sig)-1])
	add(9, "encoding", "percent", "percent encoding", strings.Replace(good, "-", "%2D", 1)+"%")
	add(9, "encoding", "non-ascii", "a full-width letter", parts[0]+"."+parts[1]+".Ａ"+sig)
	add(9, "encoding", "nul", "a NUL byte", good+"\x00")

	at := now.Unix()
	times := func(iat, nbf, exp int64) string {
		return with(func(c *token.Claims) { c.IssuedAt, c.NotBefore, c.Expires = iat, nbf, exp })
	}
	add(10, "expired", "exp-over", "exp as far back as the leeway", times(at-3600, at-3600, at-60))
	add(10, "ok", "exp-within", "exp one second less far back", times(at-3600, at-3600, at-59))
	add(10, "not-yet", "nbf-over", "nbf one second beyond the leeway", times(at, at+61, at+3600))
	add(10, "ok", "nbf-within", "nbf as far ahead as the leeway", times(at, at+60, at+3600))
	add(10, "not-yet", "iat-over", "iat one second beyond the leeway", times(at+61, at, at+3600))
	add(10, "ok", "iat-within", "iat as far ahead as the leeway", times(at+60, at, at+3600))
	add(10, "not-yet", "iat-far", "iat ten years ahead", times(at+10*365*86400, at, at+11*365*86400))
	add(10, "lifetime", "year-9999", "exp in the year 9999", times(at, at, 253402300799))
	add(10, "lifetime", "life-over", "life one second over the longest", times(at-300, at-300, at-300+30*3600+1))
	add(10, "ok", "life-longest", "the longest life", times(at-300, at-300, at-300+30*3600))
	add(10, "claims", "ends-before-begin", "exp before nbf", times(at-10, at+50, at+40))
	exp := fmt.Sprintf(`"exp":%d`, claims.Expires)
	for name, v := range map[string]string{
		"float": fmt.Sprintf("%d.0", claims.Expires), "fraction": fmt.Sprintf("%d.5", claims.Expires), "exponent": "1e10",
		"string": fmt.Sprintf(`"%d"`, claims.Expires), "negative": "-1", "minus-zero": "-0", "null": "null", "bool": "true",
		"overflow-64": "18446744073709551617", "overflow-63": "9223372036854775808", "year-10000": "253402300800",
		"huge": strings.Repeat("9", 400), "list": fmt.Sprintf("[%d]", claims.Expires),
	} {
		add(10, "claims", "exp-"+name, "exp as "+name, pay(exp, `"exp":`+v))
	}
	add(10, "claims", "nbf-float", "nbf as a fraction", pay(fmt.Sprintf(`"nbf":%d`, claims.NotBefore), `"nbf":0.5`))
	add(10, "claims", "iat-string", "iat as a string", pay(fmt.Sprintf(`"iat":%d`, claims.IssuedAt), `"iat":"0"`))
	add(10, "claims", "exp-absent", "no exp", pay(exp+",", ""))
	add(10, "claims", "nbf-absent", "no nbf", pay(fmt.Sprintf(`"nbf":%d,`, claims.NotBefore), ""))
	add(10, "claims", "iat-absent", "no iat", pay(fmt.Sprintf(`"iat":%d,`, claims.IssuedAt), ""))

	for _, v := range []token.Version{token.V1, token.V2} {
		f := userFacts()
		f.IDVersion, f.Client.AppID, f.Nonce = v, directory.AKSServer, "n-1"
		id, err := token.IDToken(f)
		if err != nil {
			t.Fatal(err)
		}
		add(11, "kind", "id-token-"+string(v)[:1], "ID token for the cluster application as client", sign(t, a, id))
		id.Nonce = ""
		add(11, "kind", "id-token-plain-"+string(v)[:1], "ID token without a nonce", sign(t, a, id))
	}
	graph := userFacts()
	graph.Resource = token.Resource{AppID: directory.Graph, Audience: "https://graph.microsoft.com"}
	g, err := a.SignGraph(accessClaims(t, graph), "bm9uY2U")
	if err != nil {
		t.Fatal(err)
	}
	add(11, "kind", "graph", "Graph token", g)
	add(11, "audience", "graph-no-nonce", "Graph token without nonce", sign(t, a, accessClaims(t, graph)))
	g, err = a.SignGraph(claims, "bm9uY2U")
	if err != nil {
		t.Fatal(err)
	}
	add(11, "kind", "graph-our-audience", "token with a Graph header for the cluster", g)
	add(11, "audience", "arm", "token for ARM", pay(aud, `"aud":"https://management.azure.com/"`))
	add(11, "audience", "aud-case", "aud in upper case", pay(aud, `"aud":"`+strings.ToUpper(string(directory.AKSServer))+`"`))
	add(11, "audience", "aud-slash", "aud with a slash", pay(string(directory.AKSServer)+`"`, string(directory.AKSServer)+`/"`))
	add(11, "audience", "aud-spn", "aud with spn:", pay(`"aud":"`, `"aud":"spn:`))
	add(11, "claims", "aud-list", "aud as a list", pay(aud, `"aud":["`+string(directory.AKSServer)+`","x"]`))
	add(11, "claims", "aud-absent", "no aud", pay(aud+",", ""))
	add(11, "claims", "aud-empty", "empty aud", pay(aud, `"aud":""`))
	add(11, "malformed", "refresh-token", "opaque refresh token", "1.AXkAMe_Ncm9mZXJlbmNl")
	add(11, "malformed", "device-code", "device code", "DAQABIQEAAABVrSpeuWamRam2jAF1XRQE")
	add(11, "malformed", "guid", "a GUID", string(userID))
	add(11, "claims", "client-assertion", "client assertion", assertion(t, w.keys["client"], "RS256", nil, nil))
	popKey, err := pop.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	shell, err := popKey.Sign(good, "/subscriptions/s", pop.NewNonce(), now)
	if err != nil {
		t.Fatal(err)
	}
	add(11, "kind", "pop-shell", "PoP shell around a good token", shell)
	for name, typ := range map[string]string{"at-jwt": `"at+jwt"`, "lower": `"jwt"`, "logout": `"logout+jwt"`, "empty": `""`, "pop": `"pop"`} {
		add(11, "kind", "typ-"+name, "typ "+name, head(`"typ":"JWT"`, `"typ":`+typ))
	}
	add(11, "kind", "typ-absent", "no typ", head(`"typ":"JWT",`, ""))
	add(11, "header", "typ-number", "typ as a number", head(`"typ":"JWT"`, `"typ":1`))
	add(11, "kind", "no-client", "no appid", with(func(c *token.Claims) { c.AppID, c.AppIDACR = "", "" }))
	add(11, "claims", "client-not-guid", "appid that is no GUID", with(func(c *token.Claims) { c.AppID = "kubectl" }))
	add(11, "claims", "client-acr", "appidacr 3", with(func(c *token.Claims) { c.AppIDACR = "3" }))
	add(11, "kind", "user-no-scope", "user token without scp", with(func(c *token.Claims) { c.Scope = "" }))
	add(11, "kind", "app-with-scope", "application token with scp", with(func(c *token.Claims) { c.Subject = string(c.Object) }))
	add(11, "kind", "app-as-user", "application token that says it is a user's", with(func(c *token.Claims) {
		c.Scope, c.Subject, c.IDTyp = "", string(c.Object), "user"
	}))
	add(11, "kind", "nonce-claim", "access token with a nonce claim", with(func(c *token.Claims) { c.Nonce = "x" }))
	add(11, "kind", "at-hash", "access token with at_hash", with(func(c *token.Claims) { c.AtHash = "x" }))
	add(11, "claims", "scp-list", "scp as a list", pay(`"scp":"user.read"`, `"scp":["user.read"]`))
	add(11, "claims", "roles-string", "roles as a string", pay(`"ver":`, `"roles":"Admin","ver":`))
	add(11, "claims", "groups-object", "groups with an object inside", pay(`"groups":["`, `"groups":[{"id":"x"},"`))

	v1A, v1B := issuers.Name(token.V1, tenantA), issuers.Name(token.V1, tenantB)
	iss := func(s string) string { return with(func(c *token.Claims) { c.Issuer = s }) }
	b := w.keys["b-active"]
	hdrB := edit(hdr, string(a.ID), string(b.ID))
	bodyB := edit(edit(body, v1A, v1B), `"tid":"`+string(tenantA), `"tid":"`+string(tenantB))
	add(12, "key", "key-b-iss-a", "tenant B's key, issuer and tid of A", raw(t, b, hdrB, body))
	add(12, "signature", "key-b-kid-a", "tenant B's key under A's kid, issuer and tid of A", raw(t, b, hdr, body))
	add(12, "tenant", "key-b-tid-a", "tenant B's key and issuer, tid of A", raw(t, b, hdrB, edit(body, v1A, v1B)))
	add(12, "tenant", "key-a-tid-b", "tenant A's key and issuer, tid of B", with(func(c *token.Claims) { c.Tenant = tenantB }))
	add(12, "key", "key-a-iss-b", "tenant A's key, issuer and tid of B", raw(t, a, hdr, bodyB))
	add(12, "tenant", "tid-absent", "no tid", pay(`"tid":"`+string(tenantA)+`",`, ""))
	add(12, "tenant", "tid-space", "tid with a space", pay(`"tid":"`+string(tenantA), `"tid":" `+string(tenantA)))
	add(12, "claims", "tid-list", "tid as a list", pay(`"tid":"`+string(tenantA)+`"`, `"tid":["`+string(tenantA)+`"]`))
	add(12, "issuer", "common", "issuer of the common document, unexpanded", iss("https://login.example.test/{tenantid}/v2.0"))
	add(12, "issuer", "common-name", "issuer common", iss("https://sts.windows.net/common/"))
	add(12, "issuer", "no-slash", "v1.0 issuer without slash", iss(strings.TrimSuffix(v1A, "/")))
	add(12, "issuer", "v2-slash", "v2.0 issuer with slash", iss(issuers.Name(token.V2, tenantA)+"/"))
	add(12, "issuer", "upper", "issuer in upper case", iss(strings.ToUpper(v1A)))
	add(12, "issuer", "http", "issuer without TLS", iss(strings.Replace(v1A, "https", "http", 1)))
	add(12, "issuer", "userinfo", "issuer with a name before the host", iss("https://sts.windows.net@evil.example.test/"+string(tenantA)+"/"))
	add(12, "issuer", "unknown-tenant", "issuer of a tenant that is not hosted", iss(issuers.Name(token.V1, directory.TenantID(otherID))))
	add(12, "issuer", "v2-issuer-v1-claims", "v2.0 issuer with ver 1.0", iss(issuers.Name(token.V2, tenantA)))
	add(12, "claims", "iss-absent", "no iss", pay(`"iss":"`+v1A+`",`, ""))
	add(12, "issuer", "ver-absent", "no ver", pay(`,"ver":"1.0"`, ""))
	add(12, "header", "nested", "signed token inside an envelope (cty JWT)", raw(t, a, edit(hdr, `"kid"`, `"cty":"JWT","kid"`), `{"jwt":"`+good+`"}`))
	add(12, "algorithm", "unsigned-envelope", "unsigned envelope around a signed token",
		jws.Encode([]byte(`{"typ":"JWT","alg":"none","ctx":"x"}`))+"."+jws.Encode([]byte(`{"assertion":"`+good+`"}`))+"."+sig)

	for name, c := range map[string]func(*token.Claims){
		"upn":       func(c *token.Claims) { c.UPN = "victim@contoso.test" },
		"email":     func(c *token.Claims) { c.Email = "victim@contoso.test" },
		"preferred": func(c *token.Claims) { c.Preferred = "victim@contoso.test" },
		"lookalike": func(c *token.Claims) { c.UPN = "аnn@contoso.test" },
		"upper":     func(c *token.Claims) { c.UPN = "ANN@CONTOSO.TEST" },
		"name":      func(c *token.Claims) { c.UniqueName = string(otherID) },
	} {
		add(13, "ok", "mutable-"+name, "a name that is somebody else's; identity stays tid and oid: "+name, with(c))
	}
	add(13, "claims", "oid-absent", "no oid", pay(`"oid":"`+string(userID)+`",`, ""))
	add(13, "claims", "oid-upper", "oid in upper case", with(func(c *token.Claims) { c.Object = "ABCDEF00-3333-4333-8333-333333333333" }))
	add(13, "claims", "oid-name", "oid that is a name", with(func(c *token.Claims) { c.Object = "victim@contoso.test" }))
	add(13, "claims", "oid-braces", "oid in braces", with(func(c *token.Claims) { c.Object = "{" + userID + "}" }))
	add(13, "claims", "sub-absent", "no sub", pay(`"sub":"`+claims.Subject+`",`, ""))

	for name, expect := range map[string]string{"a-retired": "key-time", "a-grace": "ok", "a-active": "ok", "a-next": "key-time", "a-revoked": "key-time"} {
		add(14, expect, "key-"+name, "signed with the key "+name, sign(t, w.keys[name], claims))
	}

	bound := userFacts()
	bound.Cnf = &token.Confirmation{KeyID: boundThumbprint, Location: "sw"}
	boundToken := sign(t, a, accessClaims(t, bound))
	add(30, "binding", "bound-as-bearer", "token bound to a key, without its shell", boundToken)
	addKind("bound", 30, "ok", "bound", "token in the shell that it is bound to", boundToken)
	addKind("bound", 30, "binding", "unbound", "token without cnf in a shell", good)
	bound.Cnf.KeyID = jws.Encode(bytes.Repeat([]byte{8}, 32))
	addKind("bound", 30, "binding", "bound-other", "token bound to another key", sign(t, a, accessClaims(t, bound)))
	for name, v := range map[string]string{"null": "null", "string": `"x"`, "empty": "{}", "jwk": `{"jwk":{"kty":"RSA"}}`, "kid-empty": `{"kid":""}`, "kid-list": `{"kid":["a"]}`} {
		addKind("bound", 30, "claims", "cnf-"+name, "cnf "+name, pay(`"ver":`, `"cnf":`+v+`,"ver":`))
		add(30, "claims", "cnf-bearer-"+name, "cnf "+name+", as bearer", pay(`"ver":`, `"cnf":`+v+`,"ver":`))
	}

	client := w.keys["client"]
	as := func(expect, name, about, tok string) { addKind("assertion", 20, expect, "assertion-"+name, about, tok) }
	as("ok", "rs256", "RS256 and x5t", assertion(t, client, "RS256", nil, nil))
	as("ok", "ps256", "PS256 and x5t#S256", assertion(t, client, "PS256", nil, nil))
	as("ok", "x5c", "with its certificate in x5c, which is not looked at", assertion(t, client, "RS256", func(h map[string]any) {
		h["x5c"] = []string{base64.StdEncoding.EncodeToString(client.Certificate())}
	}, nil))
	as("key", "x5c-stranger", "a stranger's key and x5c", assertion(t, stranger, "RS256", func(h map[string]any) {
		h["x5c"] = []string{base64.StdEncoding.EncodeToString(stranger.Certificate())}
	}, nil))
	as("signature", "stranger", "a stranger's key under the certificate's thumbprint", assertion(t, stranger, "RS256", func(h map[string]any) {
		h["x5t"] = string(client.ID)
		delete(h, "kid")
	}, nil))
	as("key", "disagree", "x5t of the right certificate, x5t#S256 of another", assertion(t, client, "RS256", func(h map[string]any) {
		h["x5t#S256"] = jws.Encode(make([]byte, 32))
	}, nil))
	hset := func(name string, v any) func(map[string]any) { return func(m map[string]any) { m[name] = v } }
	for _, name := range []string{"crit", "jwk", "jku", "x5u", "b64", "cty", "zip"} {
		as("header", name, "header "+name, assertion(t, client, "RS256", hset(name, "x"), nil))
	}
	as("header", "x5c-long", "a chain of seven", assertion(t, client, "RS256", hset("x5c", []string{"", "", "", "", "", "", ""}), nil))
	as("algorithm", "hs256", "HS256", assertion(t, client, "RS256", hset("alg", "HS256"), nil))
	as("algorithm", "none", "alg none", assertion(t, client, "RS256", hset("alg", "none"), nil))
	as("algorithm", "ps512", "PS512", assertion(t, client, "PS256", hset("alg", "PS512"), nil))
	as("signature", "rs-as-ps", "an RS256 signature under the name of PS256", assertion(t, client, "RS256", hset("alg", "PS256"), nil))
	as("kind", "pop", "typ pop", assertion(t, client, "RS256", hset("typ", "pop"), nil))
	as("key", "no-thumbprint", "no header that finds a key", assertion(t, client, "RS256", func(h map[string]any) {
		delete(h, "x5t")
		delete(h, "kid")
	}, nil))
	as("audience", "aud", "meant for another server", assertion(t, client, "RS256", nil, hset("aud", "https://other.example.test/token")))
	as("audience", "aud-prefix", "aud that is longer", assertion(t, client, "RS256", nil, hset("aud", assertAud+"/")))
	as("ok", "aud-list", "aud as a list that names us", assertion(t, client, "RS256", nil, hset("aud", []string{"x", assertAud})))
	as("claims", "aud-numbers", "aud as a list of numbers", assertion(t, client, "RS256", nil, hset("aud", []int{1})))
	as("claims", "aud-none", "aud as an empty list", assertion(t, client, "RS256", nil, hset("aud", []string{})))
	as("issuer", "iss", "iss of another application", assertion(t, client, "RS256", nil, hset("iss", string(otherID))))
	as("subject", "sub", "sub of another application", assertion(t, client, "RS256", nil, hset("sub", string(otherID))))
	as("claims", "jti", "no jti", assertion(t, client, "RS256", nil, func(m map[string]any) { delete(m, "jti") }))
	as("claims", "exp", "no exp", assertion(t, client, "RS256", nil, func(m map[string]any) { delete(m, "exp") }))
	as("expired", "expired", "expired", assertion(t, client, "RS256", nil, hset("exp", at-60)))
	as("not-yet", "nbf", "not valid yet", assertion(t, client, "RS256", nil, hset("nbf", at+61)))
	as("lifetime", "life", "exp a second beyond the bound", assertion(t, client, "RS256", nil, hset("exp", at+901)))
	as("ok", "life-longest", "exp at the bound", assertion(t, client, "RS256", nil, hset("exp", at+900)))

	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}
