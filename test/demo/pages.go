package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// browser walks through the sign-in pages as a browser without script does:
// it follows redirects, keeps cookies, fills in forms and presses the main
// button.
type browser struct{ http *http.Client }

func newBrowser(transport http.RoundTripper) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &browser{&http.Client{Transport: transport, Jar: jar}}, nil
}

// form is the form of a page that a person would fill in.
type form struct {
	action string
	fields url.Values
	inputs []string // names of the inputs that a person sees
}

// approve completes a device sign-in as one person, from the page where the
// code is typed to the last page, whose text it returns.
func (b *browser) approve(page, code, user, password string) (string, error) {
	answers := map[string]string{"otc": code, "username": user, "password": password}
	res, err := b.http.Get(page)
	for range 10 {
		if err != nil {
			return "", err
		}
		f, text, perr := parse(res)
		if perr != nil {
			return "", perr
		}
		if f == nil {
			return text, nil
		}
		for _, name := range f.inputs {
			value, ok := answers[name]
			if !ok {
				return "", fmt.Errorf("the page asks for %q: %s", name, text)
			}
			delete(answers, name) // being asked again means that it was wrong
			f.fields.Set(name, value)
		}
		at, uerr := res.Request.URL.Parse(f.action)
		if uerr != nil {
			return "", uerr
		}
		req, rerr := http.NewRequest(http.MethodPost, at.String(), strings.NewReader(f.fields.Encode()))
		if rerr != nil {
			return "", rerr
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", at.Scheme+"://"+at.Host)
		res, err = b.http.Do(req)
	}
	return "", errors.New("the sign-in does not come to an end")
}

// parse reads a page: its first form, if there is one, and its text.
func parse(res *http.Response) (*form, string, error) {
	defer res.Body.Close()
	root, err := html.Parse(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, "", err
	}
	var f *form
	done := false
	var text strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
		}
		inside := false
		switch {
		case n.Type == html.TextNode:
			text.WriteString(n.Data + " ")
		case n.Data == "style" || n.Data == "script" || n.Data == "title":
			return
		case n.Data == "form" && f == nil:
			f, inside = &form{action: attr["action"], fields: url.Values{}}, true
		case n.Data == "input" && f != nil && !done:
			_, sees := map[string]bool{"text": true, "password": true, "email": true}[attr["type"]]
			switch {
			case attr["type"] == "hidden":
				f.fields.Set(attr["name"], attr["value"])
			case sees && attr["value"] == "":
				f.inputs = append(f.inputs, attr["name"])
			case sees:
				f.fields.Set(attr["name"], attr["value"])
			}
		case n.Data == "button" && f != nil && !done && attr["class"] == "main" && attr["name"] != "":
			f.fields.Set(attr["name"], attr["value"])
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
		if inside {
			done = true
		}
	}
	walk(root)
	return f, strings.Join(strings.Fields(text.String()), " "), nil
}
