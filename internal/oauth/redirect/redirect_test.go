package redirect_test

import (
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/redirect"
)

func TestMatch(t *testing.T) {
	app := &directory.Application{AppID: "11111111-2222-4333-8444-555555555555"}
	app.Web.RedirectURIs = []string{"https://shop.example/cb", "http://127.0.0.1/web"}
	app.SPA.RedirectURIs = []string{"https://spa.example/"}
	app.PublicClient.RedirectURIs = []string{"http://localhost", "ms-app://shop"}
	for _, tt := range []struct {
		uri  string
		want redirect.Redirect
		code aadsts.Code
	}{
		{"https://shop.example/cb", redirect.Redirect{URI: "https://shop.example/cb"}, 0},
		{"https://spa.example/", redirect.Redirect{URI: "https://spa.example/", SPA: true}, 0},
		{"ms-app://shop", redirect.Redirect{URI: "ms-app://shop", Native: true}, 0},
		{"http://localhost:4711", redirect.Redirect{URI: "http://localhost:4711", Native: true}, 0},
		{"http://localhost:4711/", redirect.Redirect{URI: "http://localhost:4711/", Native: true}, 0},
		{"http://127.0.0.1:80/web", redirect.Redirect{URI: "http://127.0.0.1:80/web"}, 0},

		{"https://shop.example/cb/", redirect.Redirect{}, 50011},
		{"https://shop.example:443/cb", redirect.Redirect{}, 50011},
		{"https://spa.example", redirect.Redirect{}, 50011},
		{"http://127.0.0.1:80/", redirect.Redirect{}, 50011},
		{"http://[::1]:80/web", redirect.Redirect{}, 50011},
		{"HTTP://localhost:4711", redirect.Redirect{}, 50011},
		{"http://localhost:4711/x", redirect.Redirect{}, 50011},
		{"http://localhost:4711?x", redirect.Redirect{}, 50011},
		{"https://localhost:4711", redirect.Redirect{}, 50011},
		{"http://x@localhost:4711", redirect.Redirect{}, 50011},
		{"", redirect.Redirect{}, 50011}, // there are several
	} {
		got, err := redirect.Match(app, tt.uri)
		if got != tt.want || (err != nil) != (tt.code != 0) || err != nil && aadsts.From(err).Code != tt.code {
			t.Errorf("Match(%q) = %+v, %v", tt.uri, got, err)
		}
	}
	app = &directory.Application{}
	if _, err := redirect.Match(app, ""); err == nil || aadsts.From(err).Code != 900971 {
		t.Errorf("with no address at all: %v", err)
	}
	app.Web.RedirectURIs = []string{"https://only.example/"}
	if got, err := redirect.Match(app, ""); err != nil || got.URI != "https://only.example/" {
		t.Errorf("the only one: %+v, %v", got, err)
	}
}
