package directory

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// TenantID identifies a Microsoft Entra tenant: a GUID in lower case.
type TenantID string

// ObjectID identifies an object of a tenant's directory (a user, a group, an
// application, a service principal, a device): a GUID in lower case.
type ObjectID string

// AppID is the client id of an application: a GUID in lower case. The
// application object and each of its service principals share it.
type AppID string

// NewGUID returns a random GUID (RFC 9562, version 4) in lower case.
func NewGUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// ParseGUID returns s in lower case and whether it has the form of a GUID:
// 8-4-4-4-12 hexadecimal digits. Braces and other spellings are refused, so
// that one id has one spelling once parsed.
func ParseGUID(s string) (string, bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return "", false
	}
	var digits [32]byte
	n := copy(digits[:], s[0:8])
	n += copy(digits[n:], s[9:13])
	n += copy(digits[n:], s[14:18])
	n += copy(digits[n:], s[19:23])
	copy(digits[n:], s[24:36])
	var out [16]byte
	if _, err := hex.Decode(out[:], digits[:]); err != nil {
		return "", false
	}
	return strings.ToLower(s), true
}
