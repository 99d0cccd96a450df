package token_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

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

// ratio runs ours and the bare operation in turn and reports how many of ours
// fit into the time of one bare one, which a busy machine disturbs least: both
// suffer alike, and the fastest of each is compared too.
func ratio(b *testing.B, bare, ours func()) {
	var tBare, tOurs, minBare, minOurs time.Duration
	for b.Loop() {
		start := time.Now()
		bare()
		middle := time.Now()
		ours()
		end := time.Now()
		x, y := middle.Sub(start), end.Sub(middle)
		tBare, tOurs = tBare+x, tOurs+y
		if minBare == 0 || x < minBare {
			minBare = x
		}
		if minOurs == 0 || y < minOurs {
			minOurs = y
		}
	}
	b.ReportMetric(float64(tBare)/float64(tOurs), "of-raw")
	b.ReportMetric(float64(minBare)/float64(minOurs), "of-raw-best")
	b.ReportMetric(float64(minOurs-minBare), "ns-over-raw")
}

// BenchmarkIssueRatio is issue against the raw RS256 signing rate in one run.
func BenchmarkIssueRatio(b *testing.B) {
	k, f := testKey(b, tenantA), userFacts()
	raw, sum := private(b, k), sha256.Sum256(make([]byte, 1024))
	ratio(b, func() {
		if _, err := rsa.SignPKCS1v15(nil, raw, crypto.SHA256, sum[:]); err != nil {
			b.Fatal(err)
		}
	}, func() {
		f.UTI = token.NewUTI()
		sign(b, k, accessClaims(b, f))
	})
}

// BenchmarkVerifyRatio is Verify against the raw RS256 verification in one run.
func BenchmarkVerifyRatio(b *testing.B) {
	k, v := testKey(b, tenantA), newVerifier(b)
	tok := sign(b, k, accessClaims(b, userFacts()))
	sum := sha256.Sum256(make([]byte, 1024))
	sig, err := rsa.SignPKCS1v15(nil, private(b, k), crypto.SHA256, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	ratio(b, func() {
		if rsa.VerifyPKCS1v15(k.Public(), crypto.SHA256, sum[:], sig) != nil {
			b.Fatal("refused")
		}
	}, func() {
		if _, err := v.Verify(tok, now); err != nil {
			b.Fatal(err)
		}
	})
}
