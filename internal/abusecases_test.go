package internal_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// abuseCases are the attacks that the tests' comments number.
var abuseCases = []string{
	1:  "`alg` none, in any case, or no signature",
	2:  "a symmetric signature made with the published key",
	3:  "keys that the token itself names or carries",
	4:  "`kid` as a path, a query, a URL, or very long",
	5:  "a flood of unknown `kid`s",
	6:  "ECDSA signatures with edge values",
	7:  "duplicate JSON members, trailing data, broken text, deep nesting",
	8:  "oversized tokens, parts and counts",
	9:  "second spellings of base64",
	10: "times: expired, not yet valid, no integers, far away",
	11: "a token made for one purpose shown for another",
	12: "a token of one tenant shown to another",
	13: "identity by a name that can change hands",
	14: "signing keys before and after their time, replicas that rotate at once",
	15: "redirect URIs that are nearly the registered one",
	16: "PKCE left out, weakened or mixed up",
	17: "an authorization code used again, and by many at once",
	18: "a refresh token used again",
	19: "device codes: guessed, polled fast, approved twice, pre-filled",
	20: "client credentials mixed up, replayed, expired, empty",
	21: "guessed passwords, and hashing as a way to exhaust the processor",
	22: "on-behalf-of with a wrong, app-only or widened assertion",
	23: "addresses that lead the server elsewhere, slow and endless bodies",
	24: "scripts, framing and forged forms on pages",
	25: "ways round Conditional Access",
	26: "privilege past its end, one's own approval",
	27: "a federated token with one of issuer, subject and audience nearly right",
	28: "an issuer taken over, the 21st credential",
	29: "the managed identity endpoint through browsers, proxies and neighbours",
	30: "proof of possession: stolen, swapped, elsewhere, too old, from the future, replayed",
	31: "webhooks called by somebody else than the API server",
	32: "user and group names that Kubernetes keeps for itself",
	33: "forged sources of groups, and groups that cannot be asked for",
	34: "access reviews that make no sense",
	35: "Entrance, its store or its disk gone: break-glass works, readiness says so",
	36: "an allow after the right has ended",
	37: "the admission webhook down, slow, or lied to by labels and annotations",
	38: "escalation through Resource Manager and Graph",
	39: "the plugin: hostile kubeconfigs, damaged and foreign caches, secrets that leak",
	40: "power cuts in the middle of writes",
}

const abuseDoc = "../docs/abuse-cases.md"

// TestAbuseCases: each attack has a test, and docs/abuse-cases.md says which.
// ENTRANCE_UPDATE=1 writes the document.
func TestAbuseCases(t *testing.T) {
	found := map[int]map[string]bool{}
	note := func(n int, name string) {
		if n < 1 || n >= len(abuseCases) {
			t.Errorf("%s: there is no abuse case %d", name, n)
			return
		}
		if found[n] == nil {
			found[n] = map[string]bool{}
		}
		found[n][name] = true
	}
	for _, dir := range []string{"internal", "cmd", "entrancetest", "test"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "abusecases_test.go" {
				return err
			}
			return numbered(path, note)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	vectors, err := filepath.Glob("../test/vectors/jws/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range vectors {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if _, err := fmt.Sscanf(string(raw), "case: %d", &n); err != nil {
			t.Errorf("%s has no case: %v", path, err)
		} else if n > 0 {
			note(n, "internal/token TestCorpus")
		}
	}

	var doc bytes.Buffer
	doc.WriteString("# Abuse cases\n\nThe attacks that are tried in the tests, and where. `internal` `TestAbuseCases` writes this table from the tests'\ncomments (`ENTRANCE_UPDATE=1 go test ./internal`) and fails when an attack has no test.\n\n| | attack | tests |\n|---|---|---|\n")
	for n, attack := range abuseCases {
		if n == 0 {
			continue
		}
		if len(found[n]) == 0 {
			t.Errorf("abuse case %d (%s) has no test", n, attack)
		}
		fmt.Fprintf(&doc, "| %d | %s | %s |\n", n, attack, strings.Join(slices.Sorted(maps.Keys(found[n])), ", "))
	}
	if os.Getenv("ENTRANCE_UPDATE") != "" {
		if err := os.WriteFile(abuseDoc, doc.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(abuseDoc)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, doc.Bytes()) {
		t.Error("docs/abuse-cases.md is not what the tests say: run ENTRANCE_UPDATE=1 go test ./internal")
	}
}

var (
	mention = regexp.MustCompile(`(?i)abuse cases?((?:[\s/]|\d|,|and|to)+)`)
	number  = regexp.MustCompile(`\d+|to`)
)

// numbered calls note with each abuse case that a file's comments name, and with
// the function that the comment is in or above.
func numbered(path string, note func(n int, name string)) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
	for _, group := range file.Comments {
		for _, m := range mention.FindAllStringSubmatch(group.Text(), -1) {
			name := ""
			for _, d := range file.Decls {
				f, ok := d.(*ast.FuncDecl)
				if ok && (f.Doc == group || f.Pos() <= group.Pos() && group.End() <= f.End()) {
					name = f.Name.Name
				}
			}
			if name == "" {
				return fmt.Errorf("%s: an abuse case is named outside of a function", set.Position(group.Pos()))
			}
			last, span := 0, false
			for _, word := range number.FindAllString(m[1], -1) {
				n, err := strconv.Atoi(word)
				if err != nil {
					span = true
					continue
				}
				if !span {
					last = n - 1
				}
				for last++; last <= n; last++ {
					note(last, dir+" "+name)
				}
				last, span = n, false
			}
		}
	}
	return nil
}
