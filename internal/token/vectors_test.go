package token_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/token"
)

// TestCorpus is abuse cases 1 to 14 as files, of which each says its case and how
// it must end: with which class of refusal, or with these claims.
func TestCorpus(t *testing.T) {
	if os.Getenv("UPDATE_VECTORS") != "" {
		writeCorpus(t)
	}
	w := loadWorld(t)
	made := make(map[string]vector)
	for _, v := range makeCorpus(t, w) {
		made[v.Name] = v
	}
	for _, v := range readCorpus(t) {
		t.Run(v.Name, func(t *testing.T) {
			want, ok := made[v.Name]
			if !ok {
				t.Fatal("no generator makes this file")
			}
			if v.Expect != want.Expect || v.Kind != want.Kind || v.Case != want.Case {
				t.Errorf("the file's header is not what the generator writes: run with UPDATE_VECTORS=1")
			}
			// What was committed and what is made now must both be judged so.
			for _, v := range []vector{v, want} {
				check(t, w, v)
			}
		})
		delete(made, v.Name)
	}
	for name := range made {
		t.Errorf("vector %s is not committed", name)
	}
}

func check(t *testing.T, w *world, v vector) {
	t.Helper()
	c, err := w.verify(t, v)
	if v.Expect == "ok" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		if v.Case == 13 && (c.Tenant != tenantA || c.Object != userID) {
			t.Errorf("identity is %s %s", c.Tenant, c.Object)
		}
		return
	}
	if err == nil {
		t.Fatalf("accepted, want %s", v.Expect)
	}
	if got := token.ClassOf(err).String(); got != v.Expect {
		t.Errorf("class %s (%v), want %s", got, err, v.Expect)
	}
	if !errs.Is(err, errs.Unauthenticated) {
		t.Errorf("error is of kind %v", errs.KindOf(err))
	}
	// The error text is for logs: nothing of a stranger's may get there.
	for _, part := range append(strings.Split(v.token(), "."), "evil", "passwd", "\x1b") {
		if len(part) > 3 && strings.Contains(err.Error(), part) {
			t.Errorf("the error quotes the token: %v", err)
		}
	}
}

func writeCorpus(t *testing.T) {
	path := filepath.Join(corpusDir, "keys.json")
	if _, err := os.Stat(path); err != nil {
		records := make(map[string]token.Record)
		for name, k := range worldKeys {
			key, err := token.GenerateKey(k.tenant, k.times)
			if err != nil {
				t.Fatal(err)
			}
			records[name] = key.Record()
		}
		data, err := json.MarshalIndent(records, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := loadWorld(t)
	for _, v := range makeCorpus(t, w) {
		if err := os.WriteFile(filepath.Join(corpusDir, v.Name+".txt"), v.file(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCorpusCoversEveryClass: a class without a vector is a defence without a
// test.
func TestCorpusCoversEveryClass(t *testing.T) {
	seen := make(map[string]bool)
	for _, v := range readCorpus(t) {
		seen[v.Expect] = true
	}
	for _, c := range token.Classes() {
		if !seen[c.String()] {
			t.Errorf("no vector expects %s", c)
		}
	}
}

func TestVerifierWithoutAudienceRefuses(t *testing.T) {
	v := newVerifier(t)
	v.Audiences = nil
	_, err := v.Verify(sign(t, testKey(t, tenantA), accessClaims(t, userFacts())), now)
	if token.ClassOf(err) != token.ClassAudience {
		t.Errorf("err = %v", err)
	}
}

func TestGraphToken(t *testing.T) {
	f := userFacts()
	f.Resource = token.Resource{AppID: directory.Graph, Audience: "https://graph.microsoft.com"}
	tok, err := testKey(t, tenantA).SignGraph(accessClaims(t, f), "bm9uY2U")
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t)
	v.Audiences, v.Graph = []string{"https://graph.microsoft.com"}, true
	if _, err := v.Verify(tok, now); err != nil {
		t.Errorf("Graph refuses its own token: %v", err)
	}
	v.Graph = false
	if _, err := v.Verify(tok, now); token.ClassOf(err) != token.ClassKind {
		t.Errorf("another resource: %v", err)
	}
	if _, err := testKey(t, tenantA).SignGraph(accessClaims(t, f), `x","alg":"none`); err == nil {
		t.Error("a nonce may break out of the header")
	}
}
