package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/pop"
	"github.com/rogpeppe/go-internal/testscript"
	"software.sslmate.com/src/go-pkcs12"
)

// TestMain makes this test binary stand for the plugin and for the programs
// that the plugin runs.
func TestMain(m *testing.M) {
	testscript.Main(tidy{m}, map[string]func(){
		"kubelogin":   main,
		"fakebrowser": fakeBrowser,
		"az":          fakeTool,
		"azd":         fakeTool,
	})
}

// tidy removes what benchmarks built.
type tidy struct{ *testing.M }

// Run runs the tests.
func (t tidy) Run() int {
	code := t.M.Run()
	if benchDir != "" {
		os.RemoveAll(benchDir)
	}
	return code
}

// fakeTool is az or azd: it says how it was called and answers with what a
// file holds.
func fakeTool() {
	f, err := os.OpenFile(os.Getenv("WORK")+"/tool.log", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		wd, _ := os.Getwd()
		fmt.Fprintf(f, "%s %q in %s\n", filepath.Base(os.Args[0]), os.Args[1:], wd)
		f.Close()
	}
	if s := os.Getenv("TOOL_SLEEP"); s != "" {
		d, _ := time.ParseDuration(s)
		time.Sleep(d)
	}
	if text, err := os.ReadFile(os.Getenv("WORK") + "/tool.fail"); err == nil {
		os.Stderr.Write(text)
		os.Exit(1)
	}
	text, err := os.ReadFile(os.Getenv("WORK") + "/tool.out")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(text)
}

// fakeBrowser hands the address to the test, which signs in and answers.
func fakeBrowser() {
	resp, err := http.PostForm(os.Getenv("BROWSER_BACK"), url.Values{"url": {os.Args[len(os.Args)-1]}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	resp.Body.Close()
}

type idpKey struct{}

// TestScripts drives the binary. Of abuse case 39 it tries a damaged, foreign,
// linked and open cache (cache.txt) and eight processes at once (parallel.txt).
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("drives the real binary")
	}
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setupScript,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"idp":      cmdIDP,
			"get":      cmdGet,
			"requests": cmdRequests,
			"parallel": cmdParallel,
			"mode":     cmdMode,
			"age":      cmdAge,
			"damage":   cmdDamage,
			"jwt":      cmdJWT,
			"nosecret": cmdNoSecret,
			"shell":    cmdShell,
			"crlf":     cmdCRLF,
			"onlycrlf": cmdOnlyCRLF,
			"swap":     cmdSwap,
		},
	})
}

func setupScript(e *testscript.Env) error {
	idp := newFakeIDP()
	e.Defer(idp.Close)
	e.Values[idpKey{}] = idp
	ca := filepath.Join(e.WorkDir, ".ca.pem")
	if err := idp.writeCA(ca); err != nil {
		return err
	}
	back := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go browse(idp, r.FormValue("url"), idp.knob("browser"))
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go back.Serve(l)
	e.Defer(func() { back.Close() })
	e.Setenv("HOME", e.WorkDir)
	e.Setenv("SSL_CERT_FILE", ca)
	e.Setenv("AUTHORITY", idp.URL+"/")
	e.Setenv("PLAIN", idp.plain.URL)
	e.Setenv("BROWSER_BACK", "http://"+l.Addr().String())
	e.Setenv("KUBELOGIN_CACHE_KEY", "file") // tests must not touch the person's keyring
	if path, err := exec.LookPath("kubelogin"); err == nil {
		e.Setenv("KUBELOGIN", path)
	}
	e.Setenv("SERVER", "6dae42f8-4368-4678-94ff-3960e28e3630")
	e.Setenv("CLIENT", "80faf920-1908-4b52-b5ef-a8e7bedfc67a")
	e.Setenv("TENANT", "11111111-2222-3333-4444-555555555555")
	return writeCertificates(e.WorkDir)
}

// writeCertificates makes the files that certificate scripts use.
func writeCertificates(dir string) error {
	key, der, err := certificate()
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	modern, err := pkcs12.Modern.Encode(key, cert, nil, "pfx-pass")
	if err != nil {
		return err
	}
	legacy, err := pkcs12.LegacyRC2.Encode(key, cert, nil, "pfx-pass")
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"cert.pem":   append(bytes.Clone(certPEM), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...),
		"pkcs1.pem":  append(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), certPEM...),
		"nokey.pem":  certPEM,
		"modern.pfx": modern,
		"legacy.pfx": legacy,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// certificate makes a key and a self-signed certificate for it.
func certificate() (*rsa.PrivateKey, []byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	return key, der, err
}

// browse signs in as a person would and brings the answer to the plugin.
func browse(idp *fakeIDP, address, how string) {
	redirect, form, err := authorize(idp, address)
	if err != nil {
		return
	}
	switch how {
	case "decline":
		form = url.Values{"error": {"access_denied"}, "state": form["state"]}
	case "forge":
		// Somebody else's answer first; it must change nothing.
		http.PostForm(redirect, url.Values{"code": {"stolen"}, "state": {"guess"}})
	}
	if strings.Contains(address, "response_mode=query") {
		http.Get(redirect + "?" + form.Encode())
		return
	}
	http.PostForm(redirect, form)
}

// get MODE ARGS... is get-token with the arguments that all scripts share.
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("kubelogin", append(getArgs(ts, args[0]), args[1:]...)...)
	switch {
	case neg && err == nil:
		ts.Fatalf("get succeeded and should not")
	case !neg && err != nil:
		ts.Fatalf("get failed: %v", err)
	}
}

func getArgs(ts *testscript.TestScript, mode string) []string {
	return []string{"get-token", "-l", mode, "--server-id", ts.Getenv("SERVER"), "--client-id", ts.Getenv("CLIENT"), "-t", ts.Getenv("TENANT"),
		"--authority-host", ts.Getenv("AUTHORITY"), "--disable-instance-discovery"}
}

func idpOf(ts *testscript.TestScript) *fakeIDP { return ts.Value(idpKey{}).(*fakeIDP) }

// idp set NAME VALUE | idp unset NAME | idp stop | idp tokens N | idp prompts N
func cmdIDP(ts *testscript.TestScript, neg bool, args []string) {
	idp := idpOf(ts)
	idp.mu.Lock()
	defer idp.mu.Unlock()
	switch args[0] {
	case "set":
		idp.set[args[1]] = args[2]
	case "unset":
		delete(idp.set, args[1])
	case "stop":
		go idp.Server.Close()
		idp.Server.CloseClientConnections()
		idp.Server.Listener.Close()
	case "tokens", "prompts":
		got := map[string]int{"tokens": idp.tokens, "prompts": idp.prompts}[args[0]]
		if want, _ := strconv.Atoi(args[1]); got != want {
			ts.Fatalf("%s: got %d, want %d\n%s", args[0], got, want, strings.Join(idp.log, ""))
		}
	default:
		ts.Fatalf("idp: unknown %q", args[0])
	}
}

// requests FILE compares the recorded requests with a golden file and forgets
// them; requests none wants that there were none.
func cmdRequests(ts *testscript.TestScript, neg bool, args []string) {
	idp := idpOf(ts)
	idp.mu.Lock()
	got := strings.Join(idp.log, "")
	idp.log = nil
	idp.mu.Unlock()
	switch args[0] {
	case "forget":
		return
	case "none":
		if got != "" {
			ts.Fatalf("unexpected requests:\n%s", got)
		}
		return
	}
	want := ts.ReadFile(args[0])
	if got != want {
		ts.Fatalf("requests:\n%s\nwant:\n%s", got, want)
	}
}

// parallel N MODE ARGS... runs get N times at once; all must succeed with
// the same stdout, which is kept as parallel.out, and stderr as parallel.err.
func cmdParallel(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	path, err := exec.LookPath("kubelogin")
	if err != nil {
		path = filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], "kubelogin")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	outs, errs := make([]bytes.Buffer, n), make([]bytes.Buffer, n)
	fails := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			cmd := exec.CommandContext(ctx, path, append(getArgs(ts, args[1]), args[2:]...)...)
			cmd.Dir = ts.Getenv("WORK")
			cmd.Env = scriptEnv(ts)
			cmd.Stdout, cmd.Stderr = &outs[i], &errs[i]
			fails[i] = cmd.Run()
		})
	}
	wg.Wait()
	var all bytes.Buffer
	for i := range n {
		all.Write(errs[i].Bytes())
		if fails[i] != nil {
			ts.Fatalf("process %d: %v\n%s", i, fails[i], errs[i].String())
		}
		if outs[i].String() != outs[0].String() {
			ts.Fatalf("process %d printed something else:\n%s\n%s", i, outs[i].String(), outs[0].String())
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("parallel.out"), outs[0].Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("parallel.err"), all.Bytes(), 0o600))
}

// scriptEnv is the environment of the script for a process that we start.
func scriptEnv(ts *testscript.TestScript) []string {
	var env []string
	for _, k := range []string{"PATH", "HOME", "WORK", "SSL_CERT_FILE", "KUBELOGIN_CACHE_KEY", "KUBECACHEDIR", "TMPDIR", "BROWSER", "BROWSER_BACK", "KUBERNETES_EXEC_INFO"} {
		if v := ts.Getenv(k); v != "" {
			env = append(env, k+"="+v)
		}
	}
	return append(env, "HOME="+ts.Getenv("HOME"))
}

// mode OCTAL PATH... checks permissions.
func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	for _, pattern := range args[1:] {
		paths, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		if len(paths) == 0 {
			ts.Fatalf("%s: no such file", pattern)
		}
		for _, p := range paths {
			info, err := os.Lstat(p)
			ts.Check(err)
			if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
				ts.Fatalf("%s: mode %s, want %s", p, got, args[0])
			}
		}
	}
}

// age DURATION PATH makes a file look that old.
func cmdAge(ts *testscript.TestScript, neg bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	when := time.Now().Add(-d)
	ts.Check(os.Chtimes(ts.MkAbs(args[1]), when, when))
}

// damage HOW GLOB ruins files: empty, cut, flip, junk.
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	paths, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	if len(paths) == 0 {
		ts.Fatalf("%s: no such file", args[1])
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		ts.Check(err)
		switch args[0] {
		case "empty":
			b = nil
		case "cut":
			b = b[:len(b)/2]
		case "flip":
			b[len(b)-20] ^= 1
		case "junk":
			b = []byte("{\"not\": \"ours\"}\n")
		}
		ts.Check(os.WriteFile(p, b, 0o600))
	}
}

// jwt FILE prints header and payload of the token in an ExecCredential.
func cmdJWT(ts *testscript.TestScript, neg bool, args []string) {
	var c struct {
		Status struct{ Token, ExpirationTimestamp string }
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &c))
	parts := strings.Split(c.Status.Token, ".")
	if len(parts) != 3 {
		ts.Fatalf("not a JWT: %q", c.Status.Token)
	}
	fmt.Fprintf(ts.Stdout(), "%s\n%s\n%s\n", decode64(parts[0]), decode64(parts[1]), c.Status.ExpirationTimestamp)
}

// shell FILE verifies the proof-of-possession token in an ExecCredential as
// the API server's webhook does, and that it is asked for again in time.
func cmdShell(ts *testscript.TestScript, neg bool, args []string) {
	var c struct {
		Status struct {
			Token               string
			ExpirationTimestamp time.Time
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &c))
	shell, err := pop.Verify(c.Status.Token, pop.Options{Host: "/subscriptions/1/a=b", Now: time.Now()})
	ts.Check(err)
	if c.Status.ExpirationTimestamp.After(shell.Expires) {
		ts.Fatalf("kubectl would use the token until %v, it is good until %v", c.Status.ExpirationTimestamp, shell.Expires)
	}
	if left := time.Until(c.Status.ExpirationTimestamp); left < 10*time.Minute {
		ts.Fatalf("kubectl would ask again in %v", left)
	}
}

// crlf FILE gives a file Windows line ends.
func cmdCRLF(ts *testscript.TestScript, neg bool, args []string) {
	text := strings.ReplaceAll(ts.ReadFile(args[0]), "\n", "\r\n")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// onlycrlf FILE fails if a line ends in another way.
func cmdOnlyCRLF(ts *testscript.TestScript, neg bool, args []string) {
	text := ts.ReadFile(args[0])
	if strings.Count(text, "\n") != strings.Count(text, "\r\n") {
		ts.Fatalf("mixed line ends: %q", text)
	}
}

// swap GLOB exchanges the contents of two files.
func cmdSwap(ts *testscript.TestScript, neg bool, args []string) {
	paths, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(paths) != 2 {
		ts.Fatalf("%d files, want 2", len(paths))
	}
	a, err := os.ReadFile(paths[0])
	ts.Check(err)
	b, err := os.ReadFile(paths[1])
	ts.Check(err)
	ts.Check(os.WriteFile(paths[0], b, 0o600))
	ts.Check(os.WriteFile(paths[1], a, 0o600))
}

// nosecret SECRET DIR... fails if a file under a directory holds the secret,
// or if one can be read by others.
func cmdNoSecret(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if bytes.Contains(b, []byte(args[0])) {
				return fmt.Errorf("%s holds the secret", path)
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm()&0o077 != 0 {
				return fmt.Errorf("%s is open to others", path)
			}
			return err
		}))
	}
}

func decode64(s string) string {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return "not base64: " + s
	}
	return string(b)
}
