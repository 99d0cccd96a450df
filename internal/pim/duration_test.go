package pim_test

import (
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
)

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for s, want := range map[string]time.Duration{
		"PT8H": 8 * time.Hour, "PT30M": 30 * time.Minute, "P180D": 180 * day, "P1DT2H3M4S": 26*time.Hour + 3*time.Minute + 4*time.Second,
		"P1Y": 365 * day, "P3M": 90 * day, "P2W": 14 * day, "PT0S": 0, "P1Y1M": 395 * day, "PT90M": 90 * time.Minute,
	} {
		if got, err := pim.ParseDuration(s); err != nil || got != want {
			t.Errorf("ParseDuration(%s) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "P", "PT", "P1", "8H", "PT8", "-PT8H", "PT-8H", "P1H", "PT1D", "PT1H1H", "PT1M1H", "PT1.5H", "PT8H ", "pt8h", "P1DT", "PTT1H", "P9999999999999999999D", "P101Y", "P100Y1D", "PT1HT1M"} {
		if got, err := pim.ParseDuration(s); !errs.Is(err, errs.Invalid) {
			t.Errorf("ParseDuration(%q) = %v, %v", s, got, err)
		}
	}
	for want, d := range map[string]time.Duration{"PT8H": 8 * time.Hour, "P365D": 365 * day, "P1DT1M": day + time.Minute, "PT0S": 0, "PT1H30M5S": 90*time.Minute + 5*time.Second} {
		if got := pim.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %s", d, got)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"PT8H", "P1Y2M3W4DT5H6M7S", "P", "PT99999999999S"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := pim.ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q is negative", s)
		}
		if again, err := pim.ParseDuration(pim.FormatDuration(d)); err != nil || again != d {
			t.Fatalf("%q became %v, %v", s, again, err)
		}
	})
}
