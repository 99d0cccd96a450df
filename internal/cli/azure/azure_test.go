package azure

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/login"
)

func answer(status int, body string) error {
	return runtime.NewResponseError(&http.Response{
		StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{},
		Request: httptest.NewRequest("GET", "https://management.azure.com/x", nil),
	})
}

// TestExplain holds the text, kind and advice of refusals in all shapes that the
// services have.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		kind errs.Kind
		want string
	}{
		{"resource manager", answer(403, `{"error":{"code":"AuthorizationFailed","message":"No."}}`), errs.Forbidden, "(AuthorizationFailed) No.\nAsk an owner"},
		{"not nested", answer(400, `{"code":"BadRequest","message":"Not so."}`), errs.Invalid, "(BadRequest) Not so."},
		{"html", answer(502, `<html>`), errs.Unavailable, "Bad Gateway"},
		{"empty", answer(404, ``), errs.NotFound, "Not Found"},
		{"control characters", answer(400, `{"error":{"code":"X","message":"a\u001b[2Jb"}}`), errs.Invalid, "(X) a[2Jb"},
		{"token", answer(401, `{"error":{"code":"InvalidAuthenticationToken","message":"Old."}}`), errs.Unauthenticated, "(InvalidAuthenticationToken) Old.\nSign in again: entrance login"},
		{"sign-in", &login.ServerError{Status: 400, Code: "invalid_grant", Description: "AADSTS50076: More.", Where: "x"}, errs.Unauthenticated, "AADSTS50076: More. (invalid_grant, HTTP 400 from x)\nA second factor"},
		{"sign-in by list", &login.ServerError{Status: 400, Code: "invalid_grant", Codes: []int{53003}, Description: "No."}, errs.Unauthenticated, "entrance logs signins"},
		{"other", errors.New("x"), errs.Internal, "x"},
	} {
		err := Explain(c.err)
		if errs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v %q, want %v %q", c.name, errs.KindOf(err), err, c.kind, c.want)
		}
	}
	// The code may be asked for before.
	err := answer(409, `{"error":{"code":"RoleAssignmentExists","message":"There."}}`)
	if ErrorCode(err) != "RoleAssignmentExists" || !strings.HasPrefix(Explain(err).Error(), "(RoleAssignmentExists) There.") {
		t.Errorf("%q %v", ErrorCode(err), Explain(err))
	}
}

// TestProgress holds that where there is no terminal a line is written now and
// then, and nothing at once.
func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, false, "Making it")
	start := p.start
	p.draw(start.Add(time.Second))
	if b.Len() != 0 {
		t.Errorf("at once: %q", b.String())
	}
	p.draw(start.Add(lineEvery + time.Second))
	p.draw(start.Add(lineEvery + 2*time.Second))
	p.end()
	if b.String() != "Making it ... 16s\n" {
		t.Errorf("%q", b.String())
	}
	p.terminal = true
	b.Reset()
	p.draw(start.Add(2 * time.Second))
	p.end()
	if b.String() != "\rMaking it ... 2s\x1b[K\r\x1b[K" {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	q := newProgress(&b, true, "Making it")
	q.draw(q.start.Add(time.Hour))
	if b.Len() != 0 {
		t.Errorf("--only-show-errors: %q", b.String())
	}
}

func TestProfile(t *testing.T) {
	t.Setenv("ENTRANCE_CONFIG_DIR", t.TempDir())
	p, err := LoadProfile()
	if err != nil {
		t.Fatal(err)
	}
	here, there := Cloud{Login: "https://a", DataDir: "/a"}, Cloud{Login: "https://b"}
	p.Put(Account{ID: "1", Name: "ann", Cloud: here}, []Subscription{{ID: "s1", Name: "One"}, {ID: "s2", Name: "Two"}})
	p.Put(Account{ID: "1", Name: "ann", Cloud: there}, []Subscription{{ID: "s3", Name: "Three"}})
	if s, _ := p.Find(""); s.ID != "s3" {
		t.Errorf("default %+v", s)
	}
	if !p.Choose("TWO") || p.Choose("nope") {
		t.Error("choose")
	}
	if err := p.Save(); err != nil {
		t.Fatal(err)
	}
	if p, err = LoadProfile(); err != nil {
		t.Fatal(err)
	}
	s, ok := p.Find("")
	if a, found := p.AccountOf(*s); !ok || s.ID != "s2" || !found || a.Cloud.Login != "https://a" {
		t.Errorf("%+v", s)
	}
	// Signing in again replaces what was known.
	p.Put(Account{ID: "1", Name: "ann", Cloud: here}, []Subscription{{ID: "s9", Name: "Nine"}})
	if len(p.Accounts) != 2 || len(p.Subscriptions) != 2 {
		t.Errorf("%+v", p)
	}
	p.Drop(func(a Account) bool { return a.Cloud.Login == "https://a" })
	if s, _ := p.Find(""); s == nil || s.ID != "s3" {
		t.Errorf("after drop %+v", s)
	}
	if err := os.WriteFile(p.file(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadProfile(); err == nil || !strings.Contains(err.Error(), "account clear") {
		t.Errorf("broken: %v", err)
	}
}

// TestFindCloud holds which clouds are found and which are refused; that the
// metadata of one are followed is tested with a whole cloud, in test/control.
func TestFindCloud(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	c := Cloud{ARM: srv.URL, CAFile: ca}
	if _, err := c.HTTP(); err == nil {
		t.Error("a missing authority was taken")
	}
	if err := os.WriteFile(ca, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.HTTP(); err == nil {
		t.Error("an empty authority was taken")
	}
	// The server's certificate is nobody's that the system trusts.
	if _, err := FindCloud(t.Context(), srv.URL, ""); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("untrusted: %v", err)
	}
	for _, bad := range []string{"http://localhost", "https://u:p@localhost", "https://localhost?x=y", "https://", "://"} {
		var arg ArgumentError
		if _, err := FindCloud(t.Context(), bad, ""); !errors.As(err, &arg) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, name := range []string{"AzureCloud", "azureusgovernment", "AzureChinaCloud"} {
		if c, err := FindCloud(t.Context(), name, ""); err != nil || !strings.HasPrefix(c.Login, "https://") || c.DataDir != "" {
			t.Errorf("%s: %+v %v", name, c, err)
		}
	}
}
