package e2e_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/creack/pty"

	"github.com/entrance-id/entrance/test/tools"
)

// chromium starts a headless browser that trusts the cloud's certificate and no
// other that it would not trust by itself.
func (c *cloud) chromium() context.Context {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(tools.Chromium(c.t, tools.Pin(c.t, c.status.Endpoints.Login)), 90*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

// on waits for one of the sign-in pages.
func on(page string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(`body[data-page="` + page + `"] h1`))
}

var (
	devicePrompt = regexp.MustCompile(`open the page (\S+) and enter the code (\S+) to authenticate`)
	address      = regexp.MustCompile(`https://\S+/authorize\?\S+`)
)

// prompted runs kubectl on a terminal, calls sign with the first line that
// matches, and returns everything that was printed.
func (c *cloud) prompted(kubeconfig string, match *regexp.Regexp, sign func(found []string), args ...string) (string, error) {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(c.bin, "kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+c.bin+":"+os.Getenv("PATH"), "HOME="+c.t.TempDir(), "SSL_CERT_FILE="+c.status.CAFile,
		"KUBELOGIN_CACHE_KEY=file", "KUBECACHEDIR="+filepath.Join(c.t.TempDir(), "kubelogin"), "BROWSER=true")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 2000})
	c.must(err)
	defer terminal.Close()
	timer := time.AfterFunc(80*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var out strings.Builder
	signed := false
	for lines := bufio.NewScanner(terminal); lines.Scan(); {
		out.WriteString(strings.TrimRight(lines.Text(), "\r") + "\n")
		if m := match.FindStringSubmatch(lines.Text()); m != nil && !signed {
			signed = true
			sign(m)
		}
	}
	err = cmd.Wait()
	if !signed {
		c.t.Errorf("nothing asked for a sign-in:\n%s", out.String())
	}
	return out.String(), err
}

// TestBrowser signs in to a real cluster in a real browser: by device code, and
// by the authorization code that comes back to the plugin.
func TestBrowser(t *testing.T) {
	c := newCloud(t, 24480)
	c.up()
	kubeconfig := c.kubeconfig()
	ada := c.account("ada")
	steps := func(ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, actions...); err != nil {
			t.Fatal(err)
		}
	}
	check := func(out string, err error) {
		t.Helper()
		if err != nil || !strings.Contains(out, "Ready") || !strings.Contains(out, "aks-nodepool1-") {
			t.Errorf("kubectl: %v\n%s", err, out)
		}
	}

	t.Run("device code", func(t *testing.T) {
		out, err := c.prompted(kubeconfig, devicePrompt, func(m []string) {
			steps(c.chromium(), chromedp.Navigate(m[1]), on("usercode"), chromedp.SendKeys(chromedp.CSS("#otc"), m[2]+"\r"),
				on("name"), chromedp.SendKeys(chromedp.CSS("#username"), ada.UserPrincipalName+"\r"),
				on("password"), chromedp.SendKeys(chromedp.CSS("#password"), ada.Password+"\r"),
				on("device"), chromedp.Click(chromedp.CSS(`button[value="continue"]`)), on("done"))
		}, "get", "nodes")
		check(out, err)
	})
	t.Run("interactive", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		raw, err := os.ReadFile(kubeconfig)
		c.must(err)
		c.must(os.WriteFile(file, raw, 0o600))
		if out, err := exec.Command(filepath.Join(c.bin, "kubelogin"), "convert-kubeconfig", "-l", "interactive", "--kubeconfig", file).CombinedOutput(); err != nil {
			t.Fatalf("convert-kubeconfig: %v\n%s", err, out)
		}
		out, err := c.prompted(file, address, func(m []string) {
			steps(c.chromium(), chromedp.Navigate(m[0]), on("name"),
				chromedp.SendKeys(chromedp.CSS("#username"), ada.UserPrincipalName+"\r"),
				on("password"), chromedp.SendKeys(chromedp.CSS("#password"), ada.Password+"\r"),
				// The plugin's own page says that it has what it waited for.
				chromedp.WaitVisible(chromedp.CSS("body:not([data-page])")))
		}, "get", "nodes")
		check(out, err)
	})
}
