package token

import (
	"errors"

	"github.com/entrance-id/entrance/internal/errs"
)

// Class says why a token was refused. The list is closed and may only grow at
// its end; the names are used in metrics, logs and test vectors.
type Class uint8

// The classes of refusal, in the order in which a verifier looks.
const (
	_              Class = iota
	ClassTooLong         // longer than any real token
	ClassMalformed       // not three parts
	ClassEncoding        // not canonical base64url
	ClassJSON            // header or payload is not strict JSON
	ClassHeader          // a header that must not be there, or of a wrong type
	ClassAlgorithm       // any algorithm but those allowed
	ClassKind            // a token, but of another kind: ID token, PoP shell, ...
	ClassClaims          // a claim that must be there is not, or of a wrong type
	ClassIssuer          // issuer is not trusted
	ClassTenant          // tid is not the issuer's tenant
	ClassKey             // the issuer has no such key
	ClassKeyTime         // the key is not valid now
	ClassSignature       // the signature is wrong
	ClassAudience        // meant for somebody else
	ClassExpired         // no longer valid
	ClassNotYet          // not yet valid, or issued in the future
	ClassLifetime        // valid for longer than any such token may be
	ClassBinding         // bound to another key, or shown without proof of the key
	ClassSubject         // sub is not the one expected
)

var classNames = [...]string{
	ClassTooLong: "too-long", ClassMalformed: "malformed", ClassEncoding: "encoding", ClassJSON: "json",
	ClassHeader: "header", ClassAlgorithm: "algorithm", ClassKind: "kind", ClassClaims: "claims",
	ClassIssuer: "issuer", ClassTenant: "tenant", ClassKey: "key", ClassKeyTime: "key-time",
	ClassSignature: "signature", ClassAudience: "audience", ClassExpired: "expired", ClassNotYet: "not-yet",
	ClassLifetime: "lifetime", ClassBinding: "binding", ClassSubject: "subject",
}

// String returns the name of the class.
func (c Class) String() string {
	if c > 0 && int(c) < len(classNames) {
		return classNames[c]
	}
	return "none"
}

// Classes returns all classes, for metrics that want each from the start.
func Classes() []Class {
	list := make([]Class, 0, len(classNames))
	for c := ClassTooLong; int(c) < len(classNames); c++ {
		list = append(list, c)
	}
	return list
}

// Error is a refused token. Its text is a fixed sentence and never quotes the
// token. It reads as errs.Unauthenticated.
type Error struct {
	Class  Class
	Detail string // what exactly, in words of ours
	// Issuer is the trusted issuer whose key was not found, for ClassKey alone:
	// its keys may be worth another look, see Gate.
	Issuer string
}

// Error returns the class and the detail.
func (e *Error) Error() string { return "token refused (" + e.Class.String() + "): " + e.Detail }

// Unwrap gives the error its kind.
func (e *Error) Unwrap() error { return unauthenticated }

var unauthenticated = errs.New(errs.Unauthenticated, "The token is not valid.")

// ClassOf returns the class of a refusal, or zero for any other error.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return 0
}

func refuse(c Class, detail string) error { return &Error{Class: c, Detail: detail} }
