package policy_test

import (
	"bufio"
	"context"
	"crypto"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
	"github.com/creack/pty"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/policy/deviceproof"
	"github.com/entrance-id/entrance/test/tools"
)

// chromium starts a headless browser that trusts the cloud's certificate and no
// other that it would not trust by itself.
func chromium(t *testing.T, cloud *entrancetest.Cloud) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(tools.Chromium(t, tools.Pin(t, cloud.URL)), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// agent is what a device's operating system adds to its browser: the signed
// proof of the device's key, a new one for every request to authorize.
func agent(t *testing.T, ctx context.Context, cloud *entrancetest.Cloud, key crypto.Signer) {
	t.Helper()
	paused := chromedp.Events(ctx, fetch.RequestPaused)
	if _, err := chromedp.Call(ctx, fetch.Enable, fetch.EnableParams{Patterns: []*fetch.RequestPattern{{URLPattern: cloud.URL + "/*/authorize*"}}}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for e, err := range paused {
			if err != nil {
				return
			}
			headers := []*fetch.HeaderEntry{{Name: policy.ProofHeader, Value: proof(t, cloud, key, deviceproof.SignIn)}}
			for name, value := range e.Request.Headers {
				if s, ok := value.(string); ok {
					headers = append(headers, &fetch.HeaderEntry{Name: name, Value: s})
				}
			}
			if _, err := chromedp.Call(ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: e.RequestID, Headers: headers}); err != nil && ctx.Err() == nil {
				t.Errorf("the agent: %v", err)
			}
		}
	}()
}

// on waits for one of the sign-in pages.
func on(page string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(`body[data-page="` + page + `"] h1`))
}

func steps(t *testing.T, ctx context.Context, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(ctx, actions...); err != nil {
		shown, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.dataset.page + ": " + document.body.innerText`))
		t.Fatalf("%v; the browser shows %s", err, shown)
	}
}

var (
	devicePrompt = regexp.MustCompile(`open the page (\S+) and enter the code (\S+) to authenticate`)
	signInAt     = regexp.MustCompile(`https://\S+/authorize\?\S+`)
)

// prompted runs the real kubectl with the real plugin on a terminal, calls sign
// with the first line that matches, and returns everything that was printed. When
// sign returns false, kubectl is ended: it would wait until the code has.
func prompted(t *testing.T, cloud *entrancetest.Cloud, kubeconfig string, match *regexp.Regexp, sign func(found []string) bool, args ...string) (string, error) {
	t.Helper()
	bin := tools.Bin(t)
	cmd := exec.Command(filepath.Join(bin, "kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+t.TempDir(), "SSL_CERT_FILE="+cloud.CAFile,
		"KUBELOGIN_CACHE_KEY=file", "KUBECACHEDIR="+filepath.Join(t.TempDir(), "kubelogin"), "BROWSER=true")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 2000})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	timer := time.AfterFunc(80*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	var out strings.Builder
	signed := false
	for lines := bufio.NewScanner(terminal); lines.Scan(); {
		out.WriteString(strings.TrimRight(lines.Text(), "\r") + "\n")
		if m := match.FindStringSubmatch(lines.Text()); m != nil && !signed {
			if signed = true; !sign(m) {
				cmd.Process.Kill()
			}
		}
	}
	err = cmd.Wait()
	if !signed {
		t.Errorf("nothing asked for a sign-in:\n%s", out.String())
	}
	return out.String(), err
}

// TestCompliantDeviceWalkthrough is the document's: clusters are reached from
// compliant devices only. Device code is refused and says why, the browser of a
// compliant device is let in, and the sign-in log names the policy and the
// control.
func TestCompliantDeviceWalkthrough(t *testing.T) {
	cloud := entrancetest.Start(t)
	ann := cloud.AddUser(t, "ann")
	admins := cloud.AddGroup(t, "cluster-admins", ann.ID)
	k := cloud.StartCluster(t, entrancetest.ClusterOptions{AdminGroups: []string{admins.ID}})
	key := newKey(t)
	status, device := post(t, cloud, cloud.UserToken(t, ann, cloud.GraphScope()), "/devices/registerWithProof", map[string]any{
		"proof": proof(t, cloud, key, deviceproof.Register), "displayName": "ann-laptop", "operatingSystem": "Linux", "operatingSystemVersion": "6", "trustType": "AzureAd",
	})
	if status != http.StatusCreated {
		t.Fatalf("register: HTTP %d %v", status, device)
	}
	cloud.Graph(t, http.MethodPatch, "/devices/"+device["id"].(string), map[string]any{"isCompliant": true, "isManaged": true}, nil)
	const name = "Clusters from compliant devices only"
	cloud.Graph(t, http.MethodPost, "/identity/conditionalAccess/policies", map[string]any{
		"displayName": name, "state": "enabled",
		"conditions": map[string]any{
			"clientAppTypes": []string{"all"},
			"applications":   map[string]any{"includeApplications": []string{string(directory.AKSServer)}},
			"users":          map[string]any{"includeGroups": []string{admins.ID}},
		},
		"grantControls": map[string]any{"operator": "OR", "builtInControls": []string{"compliantDevice"}},
	}, nil)
	refusal := ""

	t.Run("device code is refused", func(t *testing.T) {
		out, err := prompted(t, cloud, k.UserKubeconfig, devicePrompt, func(m []string) bool {
			ctx := chromium(t, cloud)
			// The browser's device is compliant. It is not the one that gets the token.
			agent(t, ctx, cloud, key)
			steps(t, ctx, chromedp.Navigate(m[1]), on("usercode"), chromedp.SendKeys(chromedp.CSS("#otc"), m[2]+"\r"),
				on("name"), chromedp.SendKeys(chromedp.CSS("#username"), ann.UserPrincipalName+"\r"),
				on("password"), chromedp.SendKeys(chromedp.CSS("#password"), ann.Password+"\r"),
				on("error"))
			var err error
			if refusal, err = chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`)); err != nil {
				t.Fatal(err)
			}
			return false
		}, "get", "nodes")
		if err == nil || strings.Contains(out, "aks-nodepool1-") {
			t.Errorf("kubectl: %v\n%s", err, out)
		}
		if !strings.Contains(refusal, "AADSTS530003") || !strings.Contains(refusal, "Your device is required to be managed to access this resource.") {
			t.Errorf("the page says:\n%s", refusal)
		}
	})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	raw, err := os.ReadFile(k.UserKubeconfig)
	if err == nil {
		err = os.WriteFile(file, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(tools.Bin(t), "kubelogin"), "convert-kubeconfig", "-l", "interactive", "--kubeconfig", file).CombinedOutput(); err != nil {
		t.Fatalf("convert-kubeconfig: %v\n%s", err, out)
	}
	t.Run("a browser without the device is refused", func(t *testing.T) {
		out, err := prompted(t, cloud, file, signInAt, func(m []string) bool {
			ctx := chromium(t, cloud)
			steps(t, ctx, chromedp.Navigate(m[0]), on("name"), chromedp.SendKeys(chromedp.CSS("#username"), ann.UserPrincipalName+"\r"),
				on("password"), chromedp.SendKeys(chromedp.CSS("#password"), ann.Password+"\r"),
				// The page explains; from there the refusal goes back to the plugin.
				on("error"), chromedp.SendKeys(chromedp.CSS(`.actions a.button`), "\r"))
			return true
		}, "get", "--raw", "/api/v1/nodes") // once; with a table kubectl would ask, and sign in, again
		if err == nil || !strings.Contains(out, "AADSTS530002: Your device is required to be compliant to access this resource.") {
			t.Errorf("kubectl: %v\n%s", err, out)
		}
	})
	t.Run("a browser of the device is let in", func(t *testing.T) {
		out, err := prompted(t, cloud, file, signInAt, func(m []string) bool {
			ctx := chromium(t, cloud)
			agent(t, ctx, cloud, key)
			steps(t, ctx, chromedp.Navigate(m[0]), on("name"), chromedp.SendKeys(chromedp.CSS("#username"), ann.UserPrincipalName+"\r"),
				on("password"), chromedp.SendKeys(chromedp.CSS("#password"), ann.Password+"\r"), chromedp.WaitVisible(chromedp.CSS("body:not([data-page])")))
			return true
		}, "get", "nodes")
		if err != nil || !strings.Contains(out, "aks-nodepool1-") {
			t.Errorf("kubectl: %v\n%s", err, out)
		}
	})

	var log struct{ Value []audit.SignIn }
	cloud.Graph(t, http.MethodGet, "/auditLogs/signIns?"+url.Values{"$filter": {"userId eq '" + ann.ID + "'"}, "$top": {"100"}}.Encode(), nil, &log)
	var granted, refused int
	for _, r := range log.Value {
		for _, p := range r.AppliedPolicies {
			if p.DisplayName != name || len(p.GrantControls) != 1 || p.GrantControls[0] != "RequireCompliantDevice" {
				continue
			}
			switch {
			case p.Result == "success" && r.Status.ErrorCode == 0 && r.Device.DeviceID == device["deviceId"] && r.Device.IsCompliant:
				granted++
			case p.Result == "failure" && r.Status.ErrorCode != 0 && r.ConditionalAccess == "failure":
				refused++
			}
		}
	}
	if granted == 0 || refused < 2 {
		t.Errorf("the log names the policy and the control for %d sign-ins that it let in and %d that it refused, want some and at least 2", granted, refused)
	}
}
