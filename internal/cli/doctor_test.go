package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/diagnose"
	"github.com/entrance-id/entrance/internal/server"
)

// TestMachineFaults makes one fault of a machine at a time and wants it found.
func TestMachineFaults(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	healthy := func() *machine {
		return &machine{
			find:    func(name string) []string { return []string{"/usr/bin/" + name} },
			version: func(context.Context, string) (string, error) { return "v1.34.2", nil },
			now:     func() time.Time { return now },
			date:    func(context.Context, string, string) (time.Time, error) { return now.Add(-4 * time.Minute), nil },
		}
	}
	without := func(name string) func(string) []string {
		return func(n string) []string {
			if n == name {
				return nil
			}
			return []string{"/usr/bin/" + n}
		}
	}
	for _, f := range healthy().examine(t.Context(), &server.Status{}, "v1.35.0+k3s1") {
		if f.Level != diagnose.OK {
			t.Errorf("healthy: %+v", f)
		}
	}
	for _, tt := range []struct {
		name  string
		fault func(m *machine)
		level diagnose.Level
		text  string
	}{
		{"no kubectl", func(m *machine) { m.find = without("kubectl") }, diagnose.Problem, "no kubectl"},
		{"no plugin", func(m *machine) { m.find = without("kubelogin") }, diagnose.Problem, "no kubelogin"},
		{"two kubectl", func(m *machine) { m.find = func(n string) []string { return []string{"/a/" + n, "/b/" + n} } }, diagnose.Warning, "2 different kubectl"},
		{"old kubectl", func(m *machine) {
			m.version = func(context.Context, string) (string, error) { return "v1.32.9", nil }
		}, diagnose.Warning, "more than one minor version apart"},
		{"odd kubectl", func(m *machine) {
			m.version = func(context.Context, string) (string, error) { return "", errors.New("it crashed") }
		}, diagnose.Warning, "does not tell its version"},
		{"clock", func(m *machine) { m.now = func() time.Time { return now.Add(2 * time.Minute) } }, diagnose.Problem, "6m0s apart"},
		{"no answer", func(m *machine) {
			m.date = func(context.Context, string, string) (time.Time, error) { return time.Time{}, errors.New("refused") }
		}, diagnose.Problem, "does not answer"},
	} {
		m := healthy()
		tt.fault(m)
		list := m.examine(t.Context(), &server.Status{}, "v1.34.0")
		if !slices.ContainsFunc(list, func(f diagnose.Finding) bool { return f.Level == tt.level && strings.Contains(f.Text, tt.text) }) {
			t.Errorf("%s: not found in %+v", tt.name, list)
		}
	}
}
