package token_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/token"
)

func BenchmarkRawSign(b *testing.B) {
	k := private(b, testKey(b, tenantA))
	sum := sha256.Sum256(make([]byte, 1024))
	for b.Loop() {
		if _, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIssue is all that this package does for a token: claims from facts,
// and the signature.
func BenchmarkIssue(b *testing.B) {
	k := testKey(b, tenantA)
	for name, f := range map[string]token.Facts{"user": userFacts(), "app": appFacts()} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f.UTI = token.NewUTI()
				sign(b, k, accessClaims(b, f))
			}
		})
	}
}

func BenchmarkRawVerify(b *testing.B) {
	k := private(b, testKey(b, tenantA))
	sum := sha256.Sum256(make([]byte, 1024))
	sig, err := rsa.SignPKCS1v15(nil, k, crypto.SHA256, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], sig); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b)
	for _, groups := range []int{1, 200} {
		f := userFacts()
		f.Groups = nil
		for i := range groups {
			f.Groups = append(f.Groups, token.Group{ID: directory.ObjectID(fmt.Sprintf("00000000-0000-4000-8000-%012d", i)), Security: true})
		}
		tok := sign(b, testKey(b, tenantA), accessClaims(b, f))
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(tok, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefuse is what a stranger's token costs.
func BenchmarkRefuse(b *testing.B) {
	w := loadWorld(b)
	for _, v := range readCorpus(b) {
		switch v.Name {
		case "08-1-mib", "08-dots-60000", "07-deep", "05-kid-random", "12-common":
			tok := v.token()
			b.Run(v.Name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := w.verifier.Verify(tok, now); err == nil {
						b.Fatal("accepted")
					}
				}
			})
		}
	}
}
