package jws

import "testing"

func TestSeconds(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1700000000": 1700000000, "1700000000.25": 1700000000, "1700000000.9999999": 1700000000, "-1.5": -1,
		"1e9": -2, "1.5e9": -2, "1.0E1": -2, `"1"`: -2, "1234567890123456": -2, "1.1234567890": -2, "true": -2,
	} {
		v, err := ParseObject(`{"n":` + text + `}`)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, ok := v.Get("n").Seconds()
		if ok != (want != -2) || ok && got != want {
			t.Errorf("%s: %d, %v", text, got, ok)
		}
	}
}
