package password

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// cheap keeps the tests quick; the format and the rules are the same.
var cheap = Params{Memory: 64, Time: 1, Parallelism: 1}

func mustHasher(t testing.TB, p Params, parallel, waiting int) *Hasher {
	t.Helper()
	h, err := New(p, parallel, waiting)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHashAndVerify(t *testing.T) {
	ctx := context.Background()
	h := mustHasher(t, cheap, 2, 2)
	phc, err := h.Hash(ctx, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("not PHC form: %s", phc)
	}
	if again, _ := h.Hash(ctx, "correct horse"); again == phc {
		t.Error("two hashes of one password are equal: the salt is not random")
	}
	for _, tt := range []struct {
		phc, password string
		want          bool
	}{
		{phc, "correct horse", true},
		{phc, "correct horsE", false},
		{phc, "", false},
		{"", "correct horse", false},
		{"", "", false},
		{phc, strings.Repeat("x", MaxLength+1), false},
	} {
		if ok, _, err := h.Verify(ctx, tt.phc, tt.password); err != nil || ok != tt.want {
			t.Errorf("Verify(%q, %q) = %v, %v, want %v", tt.phc, tt.password, ok, err, tt.want)
		}
	}
}

func TestKnownHash(t *testing.T) {
	// Made with the reference implementation's command line tool.
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h := mustHasher(t, Default, 1, 0)
	ok, stale, err := h.Verify(context.Background(), phc, "password")
	if err != nil || !ok || !stale {
		t.Fatalf("Verify = %v, %v, %v; want true, true, nil", ok, stale, err)
	}
}

func TestStale(t *testing.T) {
	ctx := context.Background()
	phc, _ := mustHasher(t, cheap, 1, 0).Hash(ctx, "x")
	dear := cheap
	dear.Time = 2
	if ok, stale, err := mustHasher(t, dear, 1, 0).Verify(ctx, phc, "x"); !ok || !stale || err != nil {
		t.Errorf("Verify = %v, %v, %v; want a right password whose hash is stale", ok, stale, err)
	}
	if ok, stale, _ := mustHasher(t, cheap, 1, 0).Verify(ctx, phc, "x"); !ok || stale {
		t.Errorf("a fresh hash reads as stale")
	}
}

func TestMalformedHash(t *testing.T) {
	h := mustHasher(t, cheap, 1, 0)
	good, _ := h.Hash(context.Background(), "x")
	for _, phc := range []string{
		"x", "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA",
		strings.Replace(good, "m=64", "m=4294967295", 1),
		strings.Replace(good, "m=64", "m=064", 1),
		strings.Replace(good, "t=1", "t=99", 1),
		strings.Replace(good, "p=1", "p=0", 1),
		strings.Replace(good, "v=19", "v=16", 1),
		good + "=", good + "$", good + "\n",
	} {
		if ok, _, err := h.Verify(context.Background(), phc, "x"); ok || !errs.Is(err, errs.Internal) {
			t.Errorf("Verify(%q) = %v, %v; want an internal error", phc, ok, err)
		}
	}
}

// TestBounded holds all turns and shows that callers beyond the queue are sent
// away at once and that one in the queue gives up with its context.
func TestBounded(t *testing.T) {
	h := mustHasher(t, cheap, 1, 1)
	release, err := h.acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := h.Hash(ctx, "x"); !errs.Is(err, errs.Unavailable) {
			t.Errorf("a waiting caller whose context ended got %v, want unavailable", err)
		}
	})
	for len(h.queue) < 2 {
		time.Sleep(time.Millisecond)
	}
	if _, err := h.Hash(context.Background(), "x"); !errs.Is(err, errs.Throttled) {
		t.Errorf("a caller beyond the queue got %v, want throttled", err)
	}
	cancel()
	waiting.Wait()
	release()
	if _, err := h.Hash(context.Background(), "x"); err != nil {
		t.Errorf("after the turn came free: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		password string
		ok       bool
	}{
		{"Tr0ub4dor", true}, {"short1A", false}, {"alllowercase1", false}, {"ALLUPPER1!", true},
		{"P@ssw0rd1", false}, {"Welcome123", false}, {"xAda.Lovelace9", false},
		{strings.Repeat("aA1", 90), false}, {"tab\tIn3it.", false}, {"Ünïcode7x", true},
	} {
		if err := Check(tt.password, "ada.lovelace"); (err == nil) != tt.ok {
			t.Errorf("Check(%q) = %v, want ok=%v", tt.password, err, tt.ok)
		}
	}
}

func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		p := Generate()
		if err := Check(p); err != nil || len(p) != 20 || seen[p] {
			t.Fatalf("Generate() = %q: %v", p, err)
		}
		seen[p] = true
	}
}

func BenchmarkVerify(b *testing.B) {
	h := mustHasher(b, Default, 1, 0)
	phc, _ := h.Hash(context.Background(), "x")
	for b.Loop() {
		if ok, _, err := h.Verify(context.Background(), phc, "x"); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
