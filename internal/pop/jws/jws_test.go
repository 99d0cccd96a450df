package jws_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/pop/jws"
)

func TestParseObject(t *testing.T) {
	v, err := jws.ParseObject(` {"s":"a\u00e9\ud83d\ude00\n\/","n":-12,"f":1.5e3,"t":true,"z":null,"l":["x","y"],"m":[1,["q"],{}],"o":{"k":{"k":"v"}}} `)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := v.Get("s").Str(); !ok || s != "aé😀\n/" {
		t.Errorf("s = %q", s)
	}
	if n, ok := v.Get("n").Int(); !ok || n != -12 {
		t.Errorf("n = %d", n)
	}
	if _, ok := v.Get("f").Int(); ok {
		t.Error("a fraction is an integer")
	}
	if b, ok := v.Get("t").Bool(); !ok || !b {
		t.Error("t is not true")
	}
	if k := v.Get("z").Kind(); k != jws.Null {
		t.Errorf("z is %d", k)
	}
	if l, ok := v.Get("l").Strings(); !ok || strings.Join(l, "") != "xy" {
		t.Errorf("l = %v", l)
	}
	if _, ok := v.Get("m").Strings(); ok {
		t.Error("m is a list of strings")
	}
	count := 0
	v.Get("m").Items(func(jws.Value) bool { count++; return true })
	if count != 3 {
		t.Errorf("m has %d items", count)
	}
	if s, _ := v.Get("o").Get("k").Get("k").Str(); s != "v" {
		t.Errorf("o.k.k = %q", s)
	}
	if v.Get("S").Kind() != jws.Missing || v.Get("k").Kind() != jws.Missing || v.Get("s").Get("x").Kind() != jws.Missing {
		t.Error("a member is found that is not there")
	}
	if s, ok := v.Get("l").Str(); ok {
		t.Errorf("a list is the string %q", s)
	}
}

func TestParseObjectRefuses(t *testing.T) {
	var many strings.Builder
	for i := range 500 {
		fmt.Fprintf(&many, `"%d":{"a":[1]},`, i)
	}
	if _, err := jws.ParseObject("{" + many.String() + `"a":1}`); err != nil {
		t.Errorf("many members: %v", err)
	}
	for _, s := range []string{
		"", " ", "[]", `"x"`, "1", "null", "{", "}", "{}{}", "{} x", "\ufeff{}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `{"a":1 "b":2}`,
		`{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `{"o":{"a":1,"a":1}}`, `{"l":[{"a":1,"a":1}]}`, "{" + many.String() + `"499":1}`, "{" + many.String() + `"0":1}`,
		`{"a":[1,]}`, `{"a":[,]}`, `{"a":[1 2]}`, `{"a":[}`, `{"a":01}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":1e}`, `{"a":-}`, `{"a":0x1}`, `{"a":NaN}`, `{"a":Infinity}`,
		`{"a":tru}`, `{"a":True}`, `{"a":truex}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\ud800"}`, `{"a":"\ud800\ud800"}`, `{"a":"\udc00"}`, `{"a":"\ud800\n"}`,
		"{\"a\":\"\n\"}", "{\"a\":\"\\\n\"}", "{\"a\":\"\xff\"}", "{\"a\":\"\\n\xff\"}", "{\"a\":\"\xc0\x80\"}", "{\"\xff\":1}", `{"a":"x`, `{"a":"\`, "{}\x00", "{\v}",
		`{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`, strings.Repeat(`{"a":`, 9) + "1" + strings.Repeat("}", 9),
	} {
		if _, err := jws.ParseObject(s); !errors.Is(err, jws.ErrJSON) {
			t.Errorf("%.60q: %v", s, err)
		}
	}
	if _, err := jws.ParseObject(`{"a":` + strings.Repeat("[", 6) + strings.Repeat("]", 6) + `}`); err != nil {
		t.Errorf("depth 7: %v", err)
	}
}

func TestParseInt(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "7": 7, "-7": -7, "999999999999999": 999999999999999} {
		if n, ok := jws.ParseInt(s); !ok || n != want {
			t.Errorf("%s = %d, %v", s, n, ok)
		}
	}
	for _, s := range []string{"", "-", "-0", "00", "01", "1.0", "1e3", "+1", " 1", "1000000000000000", "0x1", "１"} {
		if n, ok := jws.ParseInt(s); ok {
			t.Errorf("%q = %d", s, n)
		}
	}
}

// FuzzParseObject: what is accepted, encoding/json accepts too, and reads the
// same strings at the top.
func FuzzParseObject(f *testing.F) {
	f.Add(`{"s":"a\u00e9","n":[1,{"x":null}],"t":true}`)
	f.Add(`{"a":"\ud83d\ude00","b":{"c":[[]]}}`)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := jws.ParseObject(s)
		if err != nil {
			return
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(s), &m); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		n := 0
		v.Members(func(name string, v jws.Value) bool {
			n++
			got, is := v.Str()
			if want, isToo := m[name].(string); is != isToo || got != want {
				t.Errorf("%q is %q, encoding/json reads %v", name, got, m[name])
			}
			return true
		})
		if n != len(m) {
			t.Errorf("%d members, encoding/json has %d", n, len(m))
		}
	})
}

// FuzzDecode: what is accepted is the one spelling of what it means.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "AA", "AB", "AAA", "A", "AA==", "A\nA", "-_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := jws.Decode(s); err == nil && jws.Encode(b) != s {
			t.Errorf("%q is another spelling of %q", s, jws.Encode(b))
		}
	})
}
