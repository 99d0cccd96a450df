package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// testPlugin is the test binary under the plugin's name.
func testPlugin(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubelogin")
	if err := os.Symlink(self, path); err != nil {
		missing(t, "the system makes no symbolic links: %v", err)
	}
	return path
}

// missing ends a test that the system cannot run; in CI it must.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// newTestRig is a rig that runs the test binary.
func newTestRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{bin: testPlugin(t), home: t.TempDir(), idp: newFakeIDP()}
	t.Cleanup(r.idp.Close)
	ca := filepath.Join(r.home, "ca.pem")
	if err := r.idp.writeCA(ca); err != nil {
		t.Fatal(err)
	}
	r.env = []string{"HOME=" + r.home, "SSL_CERT_FILE=" + ca, "PATH=/usr/bin:/bin", "KUBELOGIN_CACHE_KEY=file"}
	return r
}

func (r *rig) mode(mode string, extra ...string) []string {
	return append([]string{"get-token", "-l", mode, "--server-id", "server", "--client-id", "client", "-t", "tenant",
		"--authority-host", r.idp.URL + "/", "--disable-instance-discovery"}, extra...)
}

func (r *rig) setKnob(name, value string) {
	r.idp.mu.Lock()
	defer r.idp.mu.Unlock()
	r.idp.set[name] = value
}

func (r *rig) counts() (tokens, prompts int) {
	r.idp.mu.Lock()
	defer r.idp.mu.Unlock()
	return r.idp.tokens, r.idp.prompts
}

func storeFiles(t *testing.T, r *rig, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.home, ".kube/cache/kubelogin/store", pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestKillDuringWrite (abuse case 39) kills the plugin at random moments, also in the middle
// of writing the cache. Whatever it leaves, the next run must work, and a
// token that was once printed must stay remembered.
func TestKillDuringWrite(t *testing.T) {
	r := newTestRig(t)
	r.run(t, r.args()...)
	known := len(storeFiles(t, r, "*.token"))
	for i := range 40 {
		// A new client each time, so that there is something to write.
		cmd := exec.Command(r.bin, r.args("--client-id", "c"+string(rune('a'+i%26)))...)
		cmd.Env = r.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(40_000)) * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
	tokens, _ := r.counts()
	r.run(t, r.args()...)
	if now, _ := r.counts(); now != tokens {
		t.Error("the first sign-in was forgotten")
	}
	for i := range 26 {
		r.run(t, r.args("--client-id", "c"+string(rune('a'+i)))...)
	}
	if got := len(storeFiles(t, r, "*.token")); got != known+26 {
		t.Errorf("%d entries, want %d", got, known+26)
	}
	// What the killed processes left is swept once it is old.
	old := time.Now().Add(-time.Hour)
	leftovers := func() []string { return append(storeFiles(t, r, "*.tmp-*"), storeFiles(t, r, "*.lock")...) }
	before := leftovers()
	for _, f := range before {
		os.Chtimes(f, old, old)
	}
	r.run(t, r.args("--client-id", "sweeper")...)
	if left := leftovers(); len(left) > 0 {
		t.Errorf("left of %v: %v", before, left)
	}
}

// start runs the plugin with its stderr line by line.
func start(t *testing.T, r *rig, args ...string) (*exec.Cmd, *bufio.Reader, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(r.bin, args...)
	cmd.Env = r.env
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewReader(stderr), &stdout
}

func waitLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if strings.Contains(line, want) {
			return
		}
		if err != nil {
			t.Fatalf("%q did not come: %v", want, err)
		}
	}
}

// TestDeadHolder kills the process that prompts; the one that waits for it
// must notice at once and prompt itself.
func TestDeadHolder(t *testing.T) {
	r := newTestRig(t)
	r.setKnob("device", "wait")
	first, out1, _ := start(t, r, r.mode("devicecode")...)
	waitLine(t, out1, "enter the code CODE1")
	second, out2, stdout := start(t, r, r.mode("devicecode")...)
	waitLine(t, out2, "waiting for another kubelogin")
	r.setKnob("device", "")
	first.Process.Kill()
	waitLine(t, out2, "enter the code CODE2")
	io.Copy(io.Discard, out2)
	if err := second.Wait(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stdout.String(), `{"kind":"ExecCredential"`) {
		t.Errorf("stdout %q", stdout)
	}
	if left := storeFiles(t, r, "*.lock"); len(left) > 0 {
		t.Errorf("locks are left: %v", left)
	}
}

// TestWaiterWithoutPerson must not wait for a person's whole patience.
func TestWaiterWithoutPerson(t *testing.T) {
	r := newTestRig(t)
	r.setKnob("device", "wait")
	_, out1, _ := start(t, r, r.mode("devicecode")...)
	waitLine(t, out1, "enter the code")
	r.env = append(r.env, `KUBERNETES_EXEC_INFO={"apiVersion":"client.authentication.k8s.io/v1","spec":{"interactive":false}}`)
	begin := time.Now()
	second, out2, _ := start(t, r, r.mode("devicecode", "--timeout", "500ms")...)
	waitLine(t, out2, "Error: failed to get token: DeviceCodeCredential: gave up waiting for another kubelogin")
	if second.Wait() == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("it waited %v", time.Since(begin))
	}
}

// TestInterrupt presses Ctrl-C at a prompt.
func TestInterrupt(t *testing.T) {
	r := newTestRig(t)
	r.setKnob("device", "wait")
	cmd, out, stdout := start(t, r, r.mode("devicecode")...)
	waitLine(t, out, "enter the code")
	cmd.Process.Signal(os.Interrupt)
	waitLine(t, out, "Error: the sign-in was cancelled")
	cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || stdout.Len() > 0 {
		t.Errorf("exit code %d, stdout %q", cmd.ProcessState.ExitCode(), stdout)
	}
	if left := append(storeFiles(t, r, "*.lock"), storeFiles(t, r, "*.who")...); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

// onTerminal runs the plugin on a pseudo-terminal for stdin and stderr, as
// kubectl does, and returns stdout. talk sees what the person sees.
func onTerminal(t *testing.T, r *rig, args []string, talk func(screen *bufio.Reader, keyboard io.Writer)) string {
	t.Helper()
	screen, tty, err := pty.Open()
	if err != nil {
		missing(t, "no pseudo-terminal: %v", err)
	}
	defer screen.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.bin, args...)
	cmd.Env = r.env
	cmd.Stdin, cmd.Stderr = tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	talk(bufio.NewReader(screen), screen)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v; stdout %q", err, stdout.String())
	}
	return stdout.String()
}

// TestTerminalDeviceCode: the prompt is on the terminal, the token is not.
func TestTerminalDeviceCode(t *testing.T) {
	r := newTestRig(t)
	out := onTerminal(t, r, r.mode("devicecode"), func(screen *bufio.Reader, _ io.Writer) {
		waitLine(t, screen, "enter the code CODE1 to authenticate.")
		rest, _ := io.ReadAll(screen)
		if strings.Contains(string(rest), "eyJ") {
			t.Errorf("the token is on the terminal: %q", rest)
		}
	})
	if !strings.Contains(out, `"token":"eyJ`) {
		t.Errorf("stdout %q", out)
	}
}

var address = regexp.MustCompile(`https://\S+/authorize\?\S+`)

// TestTerminalPaste signs in over SSH: no browser here, the person opens the
// address elsewhere and pastes where it ended.
func TestTerminalPaste(t *testing.T) {
	r := newTestRig(t)
	out := onTerminal(t, r, r.mode("interactive", "--skip-open-browser"), func(screen *bufio.Reader, keyboard io.Writer) {
		var where string
		for where == "" {
			line, err := screen.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			where = address.FindString(line)
		}
		if !strings.Contains(where, "response_mode=query") {
			t.Errorf("the answer would not be in the address bar: %s", where)
		}
		waitLine(t, screen, "paste that address here")
		redirect, form, err := authorize(r.idp, where)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(keyboard, "hello\n")
		waitLine(t, screen, "That is not the address")
		io.WriteString(keyboard, redirect+"?code=x&state=other\n")
		waitLine(t, screen, "belongs to another sign-in")
		io.WriteString(keyboard, redirect+"?"+form.Encode()+"\n")
	})
	if !strings.Contains(out, `"token":"eyJ`) {
		t.Errorf("stdout %q", out)
	}
}

// TestSecretsAreNotInPS looks at the command line that every user of the machine
// can see, while the plugin waits for its authority (abuse case 39).
func TestSecretsAreNotInPS(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lets a process change what it shows")
	}
	r := newTestRig(t)
	r.setKnob("delay", "60000")
	for name, args := range map[string][]string{
		"apart":  {"--client-secret", goodSecret, "-v", "9"},
		"joined": {"--client-secret=" + goodSecret, "-v", "9"},
		"twice":  {"--client-certificate-password", goodPassword, "--password=" + goodPassword, "--client-secret", goodSecret, "-v", "9"},
	} {
		cmd := exec.Command(r.bin, r.mode("spn", args...)...)
		cmd.Env = r.env
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// It has asked, so it has read its arguments.
		asked := func() bool {
			r.idp.mu.Lock()
			defer r.idp.mu.Unlock()
			return len(r.idp.log) > 0 && strings.Contains(r.idp.log[len(r.idp.log)-1], "client_secret="+goodSecret)
		}
		for end := time.Now().Add(20 * time.Second); !asked(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: the plugin does not ask for a token with the secret", name)
			}
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
		cmd.Process.Kill()
		cmd.Wait()
		r.idp.mu.Lock()
		r.idp.log = nil
		r.idp.mu.Unlock()
		if err != nil || !bytes.Contains(line, []byte("--client-secret")) || !bytes.HasSuffix(line, []byte("-v\x009\x00")) {
			t.Errorf("%s: %v, the command line is %q", name, err, line)
		}
		for _, secret := range []string{goodSecret, goodPassword} {
			if bytes.Contains(line, []byte(secret)) {
				t.Errorf("%s: a secret is in the command line %q", name, line)
			}
		}
	}
}

// TestSecretsStayHidden is abuse case 39: it runs each mode with the highest
// verbosity and looks for secrets and tokens everywhere but on stdout.
func TestSecretsStayHidden(t *testing.T) {
	r := newTestRig(t)
	for _, args := range [][]string{
		r.mode("spn", "--client-secret", goodSecret),
		r.mode("spn", "--client-secret", goodSecret, "--pop-enabled", "--pop-claims", "u=x"),
		r.mode("ropc", "--username", "ann", "--password", goodPassword),
		r.mode("devicecode"),
		r.mode("spn", "--client-id", "wrong", "--client-secret", goodSecret+"-wrong"),
		r.mode("ropc", "--username", "ann", "--password", goodPassword+"-wrong"),
	} {
		for range 2 { // cold and warm
			cmd := exec.Command(r.bin, append(args, "-v", "99")...)
			cmd.Env = r.env
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			cmd.Run()
			for _, secret := range []string{goodSecret, goodPassword, "eyJ", "refresh-secret", "device-1"} {
				if strings.Contains(stderr.String(), secret) {
					t.Errorf("%v: %q is in the log:\n%s", args[2], secret, stderr.String())
				}
			}
		}
	}
	filepath.WalkDir(filepath.Join(r.home, ".kube"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, _ := os.ReadFile(path)
		for _, secret := range []string{goodSecret, goodPassword, "eyJ", "refresh-secret"} {
			if bytes.Contains(b, []byte(secret)) {
				t.Errorf("%s holds %q", path, secret)
			}
		}
		return nil
	})
}
