package token

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

// headers are the encoded headers of a key's tokens: made once, since they are
// the same in each token.
type headers struct{ v1, v2 string }

func newHeaders(id KeyID) headers {
	kid := string(id) // base64url: needs no escaping
	return headers{
		v1: jws.Encode([]byte(`{"typ":"JWT","alg":"RS256","x5t":"` + kid + `","kid":"` + kid + `"}`)),
		v2: jws.Encode([]byte(`{"typ":"JWT","alg":"RS256","kid":"` + kid + `"}`)),
	}
}

// nonceHeader is the header of a Graph token.
func nonceHeader(id KeyID, nonce string) string {
	kid := string(id)
	return `{"typ":"JWT","nonce":"` + nonce + `","alg":"RS256","x5t":"` + kid + `","kid":"` + kid + `"}`
}

// signedNonce is what stands in the place of the nonce when a Graph token is
// signed. Whoever does not know that cannot verify the token, which is the
// point: only the Graph is meant to read it.
func signedNonce(nonce string) string {
	sum := sha256.Sum256([]byte(nonce))
	return jws.Encode(sum[:])
}

// Sign returns the claims as a token signed with RS256. Tokens of version 1.0
// name the certificate (x5t) besides the key, as Entra's do.
func (k *Key) Sign(c *Claims) (string, error) {
	header := k.headers.v2
	if c.Version == V1 {
		header = k.headers.v1
	}
	return k.sign(header, header, c)
}

// SignGraph is Sign for access tokens to Microsoft Graph: it has a nonce in the
// header, and other resources cannot verify it. The nonce is base64url.
func (k *Key) SignGraph(c *Claims, nonce string) (string, error) {
	if nonce == "" {
		return "", errs.New(errs.Internal, "a Graph token needs a nonce")
	}
	if _, err := jws.Decode(nonce); err != nil {
		return "", errs.New(errs.Internal, "the nonce of a Graph token is not base64url")
	}
	shown := jws.Encode([]byte(nonceHeader(k.ID, nonce)))
	signed := jws.Encode([]byte(nonceHeader(k.ID, signedNonce(nonce))))
	return k.sign(shown, signed, c)
}

func (k *Key) sign(shown, signed string, c *Claims) (string, error) {
	var payload bytes.Buffer
	payload.Grow(1024)
	enc := json.NewEncoder(&payload)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return "", errs.Wrap(errs.Internal, err, "encoding claims")
	}
	body := bytes.TrimSuffix(payload.Bytes(), []byte("\n"))

	b64 := base64.RawURLEncoding
	out := make([]byte, 0, max(len(shown), len(signed))+b64.EncodedLen(len(body))+2+b64.EncodedLen(k.private.Size()))
	out = append(append(out, signed...), '.')
	out = b64.AppendEncode(out, body)
	sum := sha256.Sum256(out)
	sig, err := rsa.SignPKCS1v15(nil, k.private, crypto.SHA256, sum[:])
	if err != nil {
		return "", errs.Wrap(errs.Internal, err, "signing a token")
	}
	if shown != signed {
		out = append([]byte(shown), out[len(signed):]...)
	}
	out = append(out, '.')
	out = b64.AppendEncode(out, sig)
	return string(out), nil
}

func stdBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
