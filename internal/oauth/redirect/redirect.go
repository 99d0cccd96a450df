// Package redirect decides where an answer of the authorization endpoint may go.
package redirect

import (
	"net/url"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
)

// Redirect is where an answer may go.
type Redirect struct {
	URI    string
	SPA    bool // of a single-page application
	Native bool // of an application on a device
}

// Match finds the registered redirect URI that uri is, or the only one there is
// if none is given. It must be equal
// to one, octet by octet; only the port of an http loopback address is free
// (RFC 8252, section 7.3).
func Match(app *directory.Application, uri string) (Redirect, error) {
	all := []struct {
		list        []string
		spa, native bool
	}{{app.Web.RedirectURIs, false, false}, {app.SPA.RedirectURIs, true, false}, {app.PublicClient.RedirectURIs, false, true}}
	if uri == "" {
		var only []Redirect
		for _, k := range all {
			for _, u := range k.list {
				only = append(only, Redirect{u, k.spa, k.native})
			}
		}
		switch len(only) {
		case 0:
			return Redirect{}, aadsts.New(900971)
		case 1:
			return only[0], nil
		}
		return Redirect{}, aadsts.New(50011, "", string(app.AppID))
	}
	if len(uri) <= 2048 && !strings.ContainsAny(uri, "#\\\r\n\t ") {
		// Exact matches first, then the loopback rule, over all platforms.
		for _, loose := range []bool{false, true} {
			for _, k := range all {
				for _, u := range k.list {
					if u == uri || loose && sameLoopback(u, uri) {
						return Redirect{uri, k.spa, k.native}, nil
					}
				}
			}
		}
	}
	return Redirect{}, aadsts.New(50011, uri, string(app.AppID))
}

func sameLoopback(registered, asked string) bool {
	r, err1 := url.Parse(registered)
	a, err2 := url.Parse(asked)
	if err1 != nil || err2 != nil || r.Scheme != "http" || a.Scheme != "http" || a.User != nil || r.User != nil || a.Opaque != "" {
		return false
	}
	host := r.Hostname()
	if host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return false
	}
	path := func(u *url.URL) string {
		if p := u.EscapedPath(); p != "" {
			return p
		}
		return "/"
	}
	if a.Hostname() != host || path(a) != path(r) || a.RawQuery != r.RawQuery || a.ForceQuery != r.ForceQuery {
		return false
	}
	// What was parsed is what was sent: no other spelling of the same host.
	return strings.HasPrefix(asked, "http://"+a.Host)
}
