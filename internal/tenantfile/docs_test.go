package tenantfile

import (
	"os"
	"strings"
	"testing"
)

// TestDocumented: every key of the format is in its documentation.
func TestDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/tenant-file.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	var walk func(at string, fields []Field)
	walk = func(at string, fields []Field) {
		for _, f := range fields {
			if f.Name != "env" && f.Name != "file" && !strings.Contains(text, "`"+f.Name+"`") {
				t.Errorf("%s of %s is not documented", f.Name, at)
			}
			for _, k := range f.Kinds {
				if !strings.Contains(text, k) {
					t.Errorf("%s of %s: the kind %s is not documented", f.Name, at, k)
				}
			}
			walk(f.Name, f.Fields)
		}
	}
	for _, k := range kinds {
		if !strings.Contains(text, "**"+k.Section+"**") {
			t.Errorf("the section %s is not documented", k.Section)
		}
		walk(k.Section, k.Fields)
	}
}
