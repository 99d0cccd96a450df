package clients

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestConformanceNames: each test that docs/conformance.md names is there, in
// the package that it names.
func TestConformanceNames(t *testing.T) {
	raw, err := os.ReadFile("../../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`(?:(internal|test)/[a-z/]+)|(?:Test|Fuzz)[A-Z]\w+`)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	known := map[string]map[string]bool{}
	tests := func(dir string) map[string]bool {
		if known[dir] == nil {
			known[dir] = map[string]bool{}
			files, err := filepath.Glob(filepath.Join("..", "..", dir, "*_test.go"))
			if err != nil || len(files) == 0 {
				t.Errorf("%s has no tests (%v)", dir, err)
			}
			for _, f := range files {
				source, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range declared.FindAllSubmatch(source, -1) {
					known[dir][string(m[1])] = true
				}
			}
		}
		return known[dir]
	}
	rows := 0
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 || !strings.Contains(cells[2], "Test") && !strings.Contains(cells[2], "Fuzz") {
			continue
		}
		rows++
		dir := ""
		for _, word := range name.FindAllString(cells[2], -1) {
			if strings.Contains(word, "/") {
				dir = word
			} else if !tests(dir)[word] {
				t.Errorf("%s: %s has no %s", strings.TrimSpace(cells[1]), dir, word)
			}
		}
	}
	if rows < 40 {
		t.Errorf("only %d rows name a test", rows)
	}
}
