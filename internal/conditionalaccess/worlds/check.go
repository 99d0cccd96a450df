package worlds

import (
	"fmt"
	"slices"
	"strings"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
)

// Check compares an outcome with what the world expects and describes each
// difference. No difference: no strings.
func (w *World) Check(q Question, o ca.Outcome) []string {
	var bad []string
	differ := func(what string, got, want any) {
		if got != want {
			bad = append(bad, fmt.Sprintf("%s is %v, want %v", what, got, want))
		}
	}
	e := &q.SignIn.Expect
	differ("decision", o.Decision.String(), e.Decision)
	var r ca.Refusal
	if o.Refusal != nil {
		r = *o.Refusal
	}
	if q.Code != nil {
		differ("code", int(r.Code), *q.Code)
	}
	if e.Error != "" {
		differ("error", r.Error, e.Error)
	}
	if e.Suberror != nil {
		differ("suberror", r.Suberror, *e.Suberror)
	}
	if e.HTTP != 0 {
		differ("HTTP status", r.Status, e.HTTP)
	}
	if e.Claims != nil {
		want := *e.Claims
		for _, p := range w.Policies {
			name, _ := p["displayName"].(string)
			id, _ := p["id"].(string)
			want = strings.ReplaceAll(want, "@"+name, id)
		}
		differ("claims", r.Claims, want)
	}
	for name, want := range e.Results {
		differ("result of "+name, string(w.result(o, name).Result), want)
	}
	for name, want := range e.Because {
		differ("condition of "+name, string(w.result(o, name).NotSatisfied), want)
	}
	if e.Ask != nil {
		differ("interaction", strings.Join(asks(o.Interaction), " "), strings.Join(e.Ask, " "))
	}
	if e.Within != "" {
		differ("sign-in frequency", o.Session.SignInWithin.String(), e.Within)
	}
	if e.Browser != nil {
		differ("persistent browser", string(o.Session.PersistentBrowser), *e.Browser)
	}
	if e.Contexts != nil {
		differ("contexts", strings.Join(o.AuthContexts, " "), strings.Join(e.Contexts, " "))
	}
	if e.Status != "" {
		differ("status", o.Status(), e.Status)
	}
	for _, part := range e.Reasons {
		if !slices.ContainsFunc(o.Reasons, func(r string) bool { return strings.Contains(r, part) }) {
			bad = append(bad, fmt.Sprintf("no reason contains %q: %q", part, o.Reasons))
		}
	}
	return bad
}

func (w *World) result(o ca.Outcome, displayName string) ca.PolicyResult {
	for _, r := range o.Policies {
		if r.DisplayName == displayName {
			return r
		}
	}
	return ca.PolicyResult{Result: "missing"}
}

func asks(i ca.Interaction) []string {
	var out []string
	for _, a := range []struct {
		on   bool
		word string
	}{{i.SignIn, "signIn"}, {i.MFA, "mfa"}, {len(i.Strengths) > 0, "strength"}, {i.Register, "register"}, {i.Device, "device"}} {
		if a.on {
			out = append(out, a.word)
		}
	}
	return out
}
