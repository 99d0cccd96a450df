package kubeconfig

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/login"
)

func azcli() Conversion {
	o := login.NewOptions()
	o.Login = login.AzureCLI
	return Conversion{Options: o, Typed: func(string) bool { return false }}
}

// layout writes a kubeconfig as somebody with a taste of their own would:
// comments, blank lines, indented or compact lists, quotes, flow style.
func layout(rng *rand.Rand, users int) string {
	var b strings.Builder
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	noise := func(indent int) {
		switch rng.IntN(6) {
		case 0:
			b.WriteString("\n")
		case 1:
			fmt.Fprintf(&b, "%s# note %d\n", strings.Repeat(" ", indent), rng.IntN(1000))
		case 2:
			b.WriteString("# at the edge\n")
		}
	}
	noise(0)
	b.WriteString("apiVersion: v1\nkind: Config\n")
	if rng.IntN(2) == 0 {
		b.WriteString("clusters:\n- cluster:\n    certificate-authority-data: QUJD\n    server: https://c\n  name: c\n")
	}
	dash := strings.Repeat(" ", pick2(rng, 0, 2))
	b.WriteString("users:\n")
	for i := range users {
		noise(len(dash))
		body := dash + "  "
		fmt.Fprintf(&b, "%s- name: %s\n", dash, pick(fmt.Sprintf("u%d", i), fmt.Sprintf("%q", fmt.Sprintf("u%d", i)), fmt.Sprintf("u%d # who", i)))
		fmt.Fprintf(&b, "%suser:%s\n", body, pick("", " ", " # how"))
		in := body + strings.Repeat(" ", pick2(rng, 2, 4))
		if rng.IntN(3) == 0 {
			fmt.Fprintf(&b, "%sas-is: {x: [1,  2]}\n", in)
		}
		noise(len(in))
		sub := in + strings.Repeat(" ", pick2(rng, 1, 3))
		switch rng.IntN(5) {
		case 0:
			fmt.Fprintf(&b, "%sauth-provider:\n%sname: azure\n%sconfig:\n%s  apiserver-id: S\n", in, sub, sub, sub)
		case 1:
			fmt.Fprintf(&b, "%sexec: {command: kubelogin, args: [get-token, --server-id, S]}\n", in)
		case 2:
			fmt.Fprintf(&b, "%stoken: \"not\n%s  ours\"\n", in, in)
		default:
			fmt.Fprintf(&b, "%sexec:\n%scommand: %s\n", in, sub, pick("kubelogin", "'/opt/my kubelogin'"))
			noise(len(sub))
			fmt.Fprintf(&b, "%sargs:\n", sub)
			for _, a := range []string{"get-token", "--server-id", pick("S", "'S'", "S # the server")} {
				fmt.Fprintf(&b, "%s%s- %s\n", sub, pick("", ""), a)
			}
			if rng.IntN(2) == 0 {
				fmt.Fprintf(&b, "%sinstallHint: |\n%s  two\n\n%s  # lines\n", sub, sub, sub)
			}
			if rng.IntN(2) == 0 {
				fmt.Fprintf(&b, "%sx-new: >-\n%s  folded\n%s  text\n", sub, sub, sub)
			}
		}
		if rng.IntN(3) == 0 {
			fmt.Fprintf(&b, "%szz-last: %s\n", in, pick("1", "~", "'#'"))
		}
		noise(len(in))
	}
	noise(0)
	b.WriteString("current-context: c\n")
	noise(0)
	return b.String()
}

func pick2(rng *rand.Rand, a, b int) int {
	if rng.IntN(2) == 0 {
		return a
	}
	return b
}

// TestConvertAnyLayout converts many random files and compares what they mean
// with a tree that was changed without any text surgery. Lines of users that
// are not ours, and all comments outside the stanzas, must still be there.
func TestConvertAnyLayout(t *testing.T) {
	for seed := range uint64(600) {
		rng := rand.New(rand.NewPCG(seed, 1))
		text := layout(rng, 1+rng.IntN(5))
		if seed%7 == 0 {
			text = strings.ReplaceAll(text, "\n", "\r\n")
		}
		f, err := ParseUsers("config", []byte(text))
		if err != nil {
			t.Fatalf("seed %d: the generator made no YAML: %v\n%s", seed, err, text)
		}
		changes, err := azcli().Plan([]*File{f}, "")
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if len(changes) == 0 {
			continue
		}
		// The same conversion on a tree alone.
		want, err := Parse("config", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range want.items("users") {
			u := want.user(it)
			if !u.Convertible() {
				continue
			}
			ex, err := azcli().Exec(u)
			if err != nil {
				t.Fatal(err)
			}
			_, body := get(it, "user")
			_, exec := get(body, "exec")
			if exec == nil {
				exec = mapping()
			}
			fillExec(exec, ex)
			replaceKeys(body, exec)
		}
		got, err := Parse("config", changes[0].New)
		if err != nil {
			t.Fatalf("seed %d: not YAML any more: %v\n%s", seed, err, changes[0].New)
		}
		if !same(want.root, got.root) {
			t.Fatalf("seed %d: means something else\nbefore:\n%s\nafter:\n%s", seed, text, changes[0].New)
		}
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			keep := strings.HasPrefix(strings.TrimSpace(line), "# note") || strings.Contains(line, "not") || strings.Contains(line, "as-is") || strings.Contains(line, "zz-last")
			if keep && !bytes.Contains(changes[0].New, []byte(strings.TrimSpace(line))) && !strings.Contains(line, "as-is") {
				t.Fatalf("seed %d: %q is gone\nbefore:\n%s\nafter:\n%s", seed, line, text, changes[0].New)
			}
		}
		// Once more changes nothing.
		again, err := azcli().Plan([]*File{got}, "")
		if err != nil || len(again) != 0 {
			t.Fatalf("seed %d: a second run changes it: %v\n%s", seed, err, changes[0].Diff())
		}
	}
}

// TestMask: a diff is made to be pasted somewhere.
func TestMask(t *testing.T) {
	in := "users:\n- name: a\n  user:\n    token: SECRET1\n    client-key-data: SECRET2\n    password: \"SECRET3\"\n" +
		"- name: b\n  user:\n    exec:\n      args:\n      - --client-secret\n      - SECRET4\n      - --password=SECRET5\n      - --server-id\n      - visible\n" +
		"x: {\"token\": \"SECRET6\", \"server\": \"shown\"}\r\n"
	out := string(mask([]byte(in)))
	if strings.Contains(out, "SECRET") || !strings.Contains(out, "visible") || !strings.Contains(out, "shown") || !strings.HasSuffix(out, "\r\n") {
		t.Errorf("masked:\n%s", out)
	}
}

// TestWriteIsAtomic: a reader sees the old file or the new one.
func TestWriteIsAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	a, b := bytes.Repeat([]byte("a"), 1<<20), bytes.Repeat([]byte("b"), 1<<20)
	if err := Write(path, a); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			if Write(path, b) != nil || Write(path, a) != nil {
				t.Error("write failed")
			}
		}
	}()
	for {
		select {
		case <-done:
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".kubelogin-*")); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			return
		default:
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, a) && !bytes.Equal(got, b) {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
	}
}

// TestLockIsNotStolen: a fresh lock is respected, something else in its place
// is not removed.
func TestLockIsNotStolen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	unlock, err := Lock(path, func(string) { t.Error("stale?") })
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan time.Time, 1)
	go func() {
		u, err := Lock(path, func(string) { t.Error("stale?") })
		got <- time.Now()
		if err == nil {
			u()
		}
	}()
	time.Sleep(150 * time.Millisecond)
	select {
	case <-got:
		t.Fatal("two hold the lock")
	default:
	}
	unlock()
	<-got
	if err := os.WriteFile(path+lockSuffix, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(path, func(string) {}); err == nil || !strings.Contains(err.Error(), "is not a lock") {
		t.Errorf("error %v", err)
	}
}

func FuzzConvert(f *testing.F) {
	for seed := range uint64(8) {
		f.Add([]byte(layout(rand.New(rand.NewPCG(seed, 2)), 3)))
	}
	f.Add([]byte("users: [{name: a, user: &x {exec: {command: kubelogin, args: [--server-id, s]}}}, {name: b, user: *x}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Clusters that are broken stay so: nobody looks at them.
		if _, err := Parse("config", data); err != nil {
			return
		}
		file, err := ParseUsers("config", data)
		if err != nil {
			t.Fatalf("a file that parses whole does not parse in part: %v\n%q", err, data)
		}
		changes, err := azcli().Plan([]*File{file}, "")
		if err != nil || len(changes) == 0 {
			return
		}
		after, err := Parse("config", changes[0].New)
		if err != nil {
			t.Fatalf("made invalid YAML: %v\n%q\n%q", err, data, changes[0].New)
		}
		for _, name := range changes[0].Users {
			u, ok := FindUser([]*File{after}, name)
			if !ok || u.Command != "kubelogin" || len(u.Args) < 5 || u.AuthProvider != "" {
				t.Fatalf("user %q: %+v\n%q\n%q", name, u, data, changes[0].New)
			}
		}
	})
}
