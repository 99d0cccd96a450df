package e2e_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// history is what the writers of TestKillDuringWrites were told.
type history struct {
	mu     sync.Mutex
	next   int
	groups []string // names of groups that were made
	// Each of these has one writer: the paths of role assignments that were
	// made; the last value of the register whose writing was acknowledged, and
	// the last that was sent.
	assignments    []string
	written, asked int
}

func (h *history) number() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	return h.next
}

// TestKillDuringWrites kills Entrance twenty times at random moments while groups
// and role assignments are being made and one property is written again and
// again. After each restart the property is what was last acknowledged or what
// was on its way, and in the end everything acknowledged is there (abuse case
// 40).
func TestKillDuringWrites(t *testing.T) {
	c := newCloud(t, 24440)
	h := &history{}
	register := ""
	for round := range 21 {
		c.up("--no-cluster")
		graph, manager := c.application(graphScope), c.application(armScope)
		if register == "" {
			register = c.newGroup(graph, "register")
		}
		// The model: a register that one writer writes in order.
		var now struct{ Description string }
		code, raw, err := c.graph(graph, http.MethodGet, "/groups/"+register+"?$select=description", nil)
		if err != nil || code != http.StatusOK || json.Unmarshal(raw, &now) != nil {
			t.Fatalf("the register: %d %v %s", code, err, raw)
		}
		if v, _ := strconv.Atoi(now.Description); v != h.written && v != h.asked {
			t.Fatalf("after %d restarts the register is %d; %d was acknowledged and %d sent", round, v, h.written, h.asked)
		} else {
			h.written, h.asked = v, v
		}
		if round == 20 {
			break
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		writer := func(write func() error) {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if write() != nil {
						return // killed
					}
				}
			})
		}
		for range 2 {
			writer(func() error {
				name := fmt.Sprintf("group%d", h.number())
				code, _, err := c.graph(graph, http.MethodPost, "/groups", groupBody(name))
				if err == nil && code == http.StatusCreated {
					h.mu.Lock()
					h.groups = append(h.groups, name)
					h.mu.Unlock()
				}
				return err
			})
		}
		writer(func() error {
			vault := fmt.Sprintf("/subscriptions/%s/resourceGroups/sample/providers/Microsoft.KeyVault/vaults/v%d", c.status.SubscriptionID, h.number())
			if _, err := c.manage(manager, http.MethodPut, vault, `{"location":"eastus"}`); err != nil {
				return err
			}
			path := vault + "/providers/Microsoft.Authorization/roleAssignments/" + directory.NewGUID()
			code, err := c.manage(manager, http.MethodPut, path, c.assignment(register))
			if err == nil && code == http.StatusCreated {
				h.assignments = append(h.assignments, path)
			}
			return err
		})
		writer(func() error {
			h.asked++
			code, _, err := c.graph(graph, http.MethodPatch, "/groups/"+register, map[string]any{"description": strconv.Itoa(h.asked)})
			if err == nil && code == http.StatusNoContent {
				h.written = h.asked
			}
			return err
		})
		time.Sleep(time.Duration(20+rand.IntN(180)) * time.Millisecond)
		c.kill()
		close(stop)
		wg.Wait()
	}
	if len(h.groups) < 100 || len(h.assignments) < 20 || h.written < 50 {
		t.Errorf("only %d groups, %d role assignments and %d changes were acknowledged: the test sees too little", len(h.groups), len(h.assignments), h.written)
	}
	present := c.groupNames(c.application(graphScope))
	for _, name := range h.groups {
		if !present[name] {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	manager := c.application(armScope)
	for _, path := range h.assignments {
		if code, err := c.manage(manager, http.MethodGet, path, ""); err != nil || code != http.StatusOK {
			t.Errorf("the role assignment %s was acknowledged and is lost: %d %v", path, code, err)
		}
	}
	t.Logf("%d groups, %d role assignments and %d changes were acknowledged over 20 kills", len(h.groups), len(h.assignments), h.written)
}

func groupBody(name string) map[string]any {
	return map[string]any{"displayName": name, "mailNickname": name, "mailEnabled": false, "securityEnabled": true}
}

func (c *cloud) newGroup(token, name string) string {
	c.t.Helper()
	code, raw, err := c.graph(token, http.MethodPost, "/groups", groupBody(name))
	var made struct{ ID string }
	if err != nil || code != http.StatusCreated || json.Unmarshal(raw, &made) != nil {
		c.t.Fatalf("the group %s: %d %v %s", name, code, err, raw)
	}
	return made.ID
}

// groupNames returns the names of all groups, page by page.
func (c *cloud) groupNames(token string) map[string]bool {
	c.t.Helper()
	present := map[string]bool{}
	for path := "/groups?$select=displayName&$top=999"; path != ""; {
		code, raw, err := c.graph(token, http.MethodGet, path, nil)
		var page struct {
			Value []struct{ DisplayName string }
			Next  string `json:"@odata.nextLink"`
		}
		if err != nil || code != http.StatusOK || json.Unmarshal(raw, &page) != nil {
			c.t.Fatalf("listing: %d %v %s", code, err, raw)
		}
		for _, g := range page.Value {
			present[g.DisplayName] = true
		}
		_, path, _ = strings.Cut(page.Next, "/v1.0")
	}
	return present
}

// assignment is the body of a role assignment that gives a group the role Reader.
func (c *cloud) assignment(group string) string {
	const reader = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	return fmt.Sprintf(`{"properties":{"roleDefinitionId":"/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":"%s","principalType":"Group"}}`, c.status.SubscriptionID, reader, group)
}

// manage calls Resource Manager and returns the status.
func (c *cloud) manage(token, method, path, body string) (int, error) {
	req, err := http.NewRequest(method, c.status.Endpoints.ARM+path+"?api-version=2022-04-01", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

// TestKillDuringRedemption kills Entrance while authorization codes are being
// redeemed. A code whose tokens were handed out stays used and its refresh token
// good; the others are good once at most (abuse case 40).
func TestKillDuringRedemption(t *testing.T) {
	c := newCloud(t, 24490)
	c.up("--no-cluster")
	answered, other := 0, 0
	for range 5 {
		b := c.signedIn("ada")
		codes := make([]string, 16)
		for i := range codes {
			codes[i] = b.code()
		}
		refresh := make([]string, len(codes))
		var wg sync.WaitGroup
		turn := make(chan int)
		for range 4 {
			wg.Go(func() {
				for i := range turn {
					if _, token, err := c.redeem(codes[i]); err == nil {
						refresh[i] = token
					}
				}
			})
		}
		after := time.After(time.Duration(5+rand.IntN(40)) * time.Millisecond)
	handOut:
		for i := range codes {
			select {
			case turn <- i:
			case <-after:
				break handOut
			}
		}
		close(turn)
		c.kill()
		wg.Wait()
		c.up("--no-cluster")
		for i, code := range codes {
			if refresh[i] != "" {
				answered++
				form := url.Values{"grant_type": {"refresh_token"}, "client_id": {cli}, "refresh_token": {refresh[i]}, "scope": {graphScope}}
				if _, err := c.token(form); err != nil {
					t.Errorf("a refresh token that was handed out before the kill: %v", err)
				}
				if status, _, err := c.redeem(code); err == nil || status != http.StatusBadRequest {
					t.Errorf("a code whose tokens were handed out is good again: %d %v", status, err)
				}
				continue
			}
			other++
			_, _, first := c.redeem(code)
			if _, _, second := c.redeem(code); second == nil {
				t.Errorf("a code is good twice; the first time gave %v", first)
			}
		}
	}
	if answered == 0 || other == 0 {
		t.Errorf("%d codes were redeemed before a kill and %d not: the test sees too little", answered, other)
	}
	t.Logf("%d codes were redeemed before a kill, %d were not", answered, other)
}

// cli is Azure CLI's application, which every tenant has.
const cli = string(directory.AzureCLI)

const (
	redirect = "http://localhost:4711"
	verifier = "a-verifier-that-is-long-enough-for-the-standard"
)

// redeem redeems an authorization code and returns the status and the refresh
// token.
func (c *cloud) redeem(code string) (int, string, error) {
	res, err := c.http.PostForm(c.status.Endpoints.Login+"/"+string(c.status.TenantID)+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {cli}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	})
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"refresh_token"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return res.StatusCode, "", err
	}
	if answer.Token == "" {
		return res.StatusCode, "", fmt.Errorf("%s", answer.Error)
	}
	return res.StatusCode, answer.Token, nil
}

// browser is a browser without script in which somebody has signed in.
type browser struct {
	t         *testing.T
	http      *http.Client
	authorize string
}

var (
	formAction = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	formInput  = regexp.MustCompile(`<input[^>]*>`)
	attribute  = regexp.MustCompile(` (name|value)="([^"]*)"`)
)

// signedIn signs one of the sample's people in on the pages.
func (c *cloud) signedIn(name string) *browser {
	c.t.Helper()
	jar, err := cookiejar.New(nil)
	c.must(err)
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {cli}, "response_type": {"code"}, "redirect_uri": {redirect}, "scope": {graphScope + " offline_access openid"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "login_hint": {c.account(name).UserPrincipalName},
	}
	b := &browser{c.t, &http.Client{Transport: c.http.Transport, Jar: jar, Timeout: 20 * time.Second}, c.status.Endpoints.Login + "/" + string(c.status.TenantID) + "/oauth2/v2.0/authorize?" + q.Encode()}
	// Where the redirect goes to the client nobody listens: it is looked at.
	b.http.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "localhost:4711" {
			return http.ErrUseLastResponse
		}
		return nil
	}
	a := c.account(name)
	answers := map[string]string{"username": a.UserPrincipalName, "password": a.Password}
	res, err := b.http.Get(b.authorize)
	for range 5 {
		c.must(err)
		page := body(res)
		if res.StatusCode/100 == 3 {
			return b
		}
		action := formAction.FindStringSubmatch(page)
		if action == nil {
			c.t.Fatalf("no form: %s", page)
		}
		fields := url.Values{}
		for _, input := range formInput.FindAllString(page, -1) {
			is := map[string]string{}
			for _, m := range attribute.FindAllStringSubmatch(input, -1) {
				is[m[1]] = m[2]
			}
			value, ok := answers[is["name"]]
			if !ok {
				value = is["value"]
			}
			fields.Set(is["name"], value)
		}
		at, perr := res.Request.URL.Parse(action[1])
		c.must(perr)
		req, rerr := http.NewRequest(http.MethodPost, at.String(), strings.NewReader(fields.Encode()))
		c.must(rerr)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", at.Scheme+"://"+at.Host)
		res, err = b.http.Do(req)
	}
	c.t.Fatal("the sign-in does not come to an end")
	return nil
}

// code asks for an authorization code, which the session gives without asking.
func (b *browser) code() string {
	b.t.Helper()
	res, err := b.http.Get(b.authorize + "&prompt=none")
	if err != nil {
		b.t.Fatal(err)
	}
	page := body(res)
	at, err := res.Location()
	if err != nil || at.Query().Get("code") == "" {
		b.t.Fatalf("no code: %s %v %s", res.Status, at, page)
	}
	return at.Query().Get("code")
}

func body(res *http.Response) string {
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// TestKillDuringFirstStart kills Entrance while it makes its data directory, a
// little later each time: the next start takes up what is there, and in the end
// there is one tenant, whose keys and credentials are good (abuse case 40).
func TestKillDuringFirstStart(t *testing.T) {
	c := newCloud(t, 24490)
	for after := 10 * time.Millisecond; after < 1500*time.Millisecond; after = after*3/2 + 10*time.Millisecond {
		cmd := exec.Command(filepath.Join(c.bin, "entrance"), "up", "--no-cluster", "--data-dir", c.data, "--port-base", strconv.Itoa(c.base))
		c.must(cmd.Start())
		time.Sleep(after)
		c.must(cmd.Process.Kill())
		cmd.Wait()
	}
	c.up("--no-cluster")
	token := c.application(graphScope)
	c.person("ada", aksScope)
	for path, want := range map[string]int{"/users": 1 + len(c.people.Users), "/organization": 1} {
		var list struct{ Value []struct{ ID string } }
		code, raw, err := c.graph(token, http.MethodGet, path+"?$select=id", nil)
		if err != nil || code != http.StatusOK || json.Unmarshal(raw, &list) != nil || len(list.Value) != want {
			t.Errorf("%s: %d objects, want %d: %d %v", path, len(list.Value), want, code, err)
		}
	}
}
