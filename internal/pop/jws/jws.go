// Package jws takes compact JSON Web Signatures apart, strictly.
//
// # One token has one spelling
//
// A token that this package accepts has exactly one reading: three parts of
// unpadded, canonical base64url; header and payload each one JSON object in
// valid UTF-8, of bounded depth, with no member named twice and nothing after
// it. What was checked and what a consumer reads are the same bytes parsed
// once, so no two parsers can disagree about a claim, and caches may be keyed
// by the token's text.
//
// The package checks form alone. It knows no keys, algorithms or claims, and
// uses only the standard library, since the credential plugin links it too.
package jws

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// What Parse and ParseObject refuse. Errors wrap exactly one of these.
var (
	ErrTooLong  = errors.New("token is too long")
	ErrParts    = errors.New("token is not three non-empty parts")
	ErrEncoding = errors.New("token is not canonical base64url")
	ErrJSON     = errors.New("token holds JSON that is not acceptable")
)

// maxSignature bounds a decoded signature: RSA with 8192 bits.
const maxSignature = 1024

// Token is a compact JWS taken apart. Nothing in it is proven until the
// signature has been verified over SigningInput.
type Token struct {
	Header       Value
	Payload      Value
	RawHeader    string // the decoded header, byte for byte
	SigningInput string // the first two parts and the dot between them
	Signature    []byte
}

// Parse takes token apart if it is not longer than limit bytes. The length is
// looked at before anything else, and the parts are found without splitting,
// so that a hostile token costs no more than its length check or one scan.
func Parse(token string, limit int) (*Token, error) {
	if len(token) > limit {
		return nil, ErrTooLong
	}
	first := strings.IndexByte(token, '.')
	last := strings.LastIndexByte(token, '.')
	if first <= 0 || last == len(token)-1 || last-first < 2 ||
		strings.IndexByte(token[first+1:last], '.') >= 0 {
		return nil, ErrParts
	}
	if base64.RawURLEncoding.DecodedLen(len(token)-last-1) > maxSignature {
		return nil, fmt.Errorf("%w: signature", ErrTooLong)
	}
	t := &Token{SigningInput: token[:last]}
	header, err := Decode(token[:first])
	if err != nil {
		return nil, err
	}
	payload, err := Decode(token[first+1 : last])
	if err != nil {
		return nil, err
	}
	if t.Signature, err = Decode(token[last+1:]); err != nil {
		return nil, err
	}
	t.RawHeader = string(header)
	if t.Header, err = ParseObject(t.RawHeader); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if t.Payload, err = ParseObject(string(payload)); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	return t, nil
}

var strict = base64.RawURLEncoding.Strict()

// Decode decodes base64url in its one canonical spelling: no padding, no white
// space, trailing bits zero.
func Decode(s string) ([]byte, error) {
	// The standard decoder skips line ends wherever they stand.
	if strings.IndexByte(s, '\r') >= 0 || strings.IndexByte(s, '\n') >= 0 {
		return nil, ErrEncoding
	}
	b, err := strict.DecodeString(s)
	if err != nil {
		return nil, ErrEncoding // without err: it would quote the token's bytes
	}
	return b, nil
}

// Encode encodes b as Decode expects it.
func Encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
