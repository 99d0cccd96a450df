package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/server"
)

// measureSignIn measures whole sign-ins with a device code: the code, every page
// with its form, and the tokens. The person's own time is not in it, nor the
// wait between a client's questions.
func measureSignIn(ctx context.Context, r *run) error {
	c, err := newCloud(ctx, r, "--no-cluster")
	if err != nil {
		return err
	}
	return errors.Join(c.measureSignIn(r), c.close())
}

func (c *cloud) measureSignIn(r *run) error {
	var whole []time.Duration
	for range 15 {
		start := time.Now()
		if err := c.deviceSignIn(c.person("dev")); err != nil {
			return err
		}
		whole = append(whole, time.Since(start))
	}
	r.add("signin/device-code-whole", 1000*seconds(whole), "ms")
	return nil
}

func (c *cloud) deviceSignIn(who server.Account) error {
	res, err := c.http.PostForm(strings.TrimSuffix(c.tokenURL(), "token")+"devicecode", url.Values{
		"client_id": {azureCLI}, "scope": {"openid offline_access " + string(directory.AKSServer) + "/.default"},
	})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var code struct {
		Device string `json:"device_code"`
		User   string `json:"user_code"`
		Page   string `json:"verification_uri"`
	}
	if err := json.NewDecoder(res.Body).Decode(&code); err != nil {
		return err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Transport: c.http.Transport, Jar: jar, Timeout: 30 * time.Second}
	if err := walk(browser, code.Page, map[string]string{"otc": code.User, "username": who.UserPrincipalName, "password": who.Password}); err != nil {
		return err
	}
	_, err = c.grant(url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {azureCLI}, "device_code": {code.Device},
	}, "access_token")
	return err
}

// walk fills in the forms of page after page until there is none.
func walk(browser *http.Client, page string, answers map[string]string) error {
	res, err := browser.Get(page)
	for range 10 {
		if err != nil {
			return err
		}
		action, fields, err := form(res, answers)
		if err != nil || fields == nil {
			return err
		}
		at, err := res.Request.URL.Parse(action)
		if err != nil {
			return err
		}
		req, err := http.NewRequest(http.MethodPost, at.String(), strings.NewReader(fields.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", at.Scheme+"://"+at.Host)
		if res, err = browser.Do(req); err != nil {
			return err
		}
	}
	return errors.New("the sign-in does not come to an end")
}

// form reads a page's first form, filled in. Each answer is given once: a page
// that asks again has refused it.
func form(res *http.Response, answers map[string]string) (action string, fields url.Values, err error) {
	defer res.Body.Close()
	root, err := html.Parse(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", nil, err
	}
	var first *html.Node
	for n := range root.Descendants() {
		if n.Data == "form" && n.Type == html.ElementNode {
			first = n
			break
		}
	}
	if first == nil {
		return "", nil, nil
	}
	fields = url.Values{}
	attr := func(n *html.Node, name string) string {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
		return ""
	}
	for n := range first.Descendants() {
		name, value := attr(n, "name"), attr(n, "value")
		switch {
		case n.Type != html.ElementNode || name == "":
		case n.Data == "button" && attr(n, "class") == "main":
			fields.Set(name, value)
		case n.Data != "input":
		case attr(n, "type") == "hidden" || value != "":
			if attr(n, "type") != "checkbox" {
				fields.Set(name, value)
			}
		case attr(n, "type") == "text" || attr(n, "type") == "password" || attr(n, "type") == "email":
			answer, ok := answers[name]
			if !ok {
				return "", nil, fmt.Errorf("the page at %s asks for %q", res.Request.URL.Path, name)
			}
			delete(answers, name)
			fields.Set(name, answer)
		}
	}
	return attr(first, "action"), fields, nil
}
