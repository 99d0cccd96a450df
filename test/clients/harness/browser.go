package harness

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// Browser is a browser without script: it keeps cookies, follows redirects on
// the cloud's own host and fills in forms by their field names, as a person
// who reads the page would.
type Browser struct {
	T      testing.TB
	Client *http.Client
	Jar    *cookiejar.Jar
	base   string

	URL    *url.URL // of the page
	Status int
	Header http.Header
	Body   string
	Page   string // data-page of the body
	// Left is where a redirect led away from the cloud.
	Left *url.URL
	// Hops are the redirects since the last request.
	Hops []string
}

// Browser returns a new browser that has no cookies.
func (c *Cloud) Browser() *Browser { return NewBrowser(c.T, c.URL, c.Client()) }

// NewBrowser returns a new browser for the cloud at an address. client trusts
// its certificate; it gets the browser's cookies and follows no redirects.
func NewBrowser(t testing.TB, base string, client *http.Client) *Browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	own := *client
	own.Jar = jar
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Browser{T: t, Client: &own, Jar: jar, base: base}
}

// Get opens an address.
func (b *Browser) Get(to string) *Browser {
	b.T.Helper()
	if strings.HasPrefix(to, "/") {
		to = b.base + to
	}
	req, err := http.NewRequest("GET", to, nil)
	if err != nil {
		b.T.Fatal(err)
	}
	b.Left, b.Hops = nil, nil
	return b.do(req)
}

func (b *Browser) do(req *http.Request) *Browser {
	b.T.Helper()
	for range 20 {
		req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) harness")
		resp, err := b.Client.Do(req)
		if err != nil {
			b.T.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			b.T.Fatal(err)
		}
		b.URL, b.Status, b.Header, b.Body = req.URL, resp.StatusCode, resp.Header, string(body)
		b.Page = b.attr("body", "data-page")
		location := resp.Header.Get("Location")
		if resp.StatusCode < 300 || resp.StatusCode > 399 || location == "" {
			return b
		}
		next, err := req.URL.Parse(location)
		if err != nil {
			b.T.Fatal(err)
		}
		b.Hops = append(b.Hops, next.String())
		if "https://"+next.Host != b.base {
			b.Left = next
			return b
		}
		if req, err = http.NewRequest("GET", next.String(), nil); err != nil {
			b.T.Fatal(err)
		}
	}
	b.T.Fatal("too many redirects")
	return b
}

// Form is a form of a page.
type Form struct {
	Action, Method string
	Fields         url.Values
	Buttons        map[string][]string
}

// Form returns the page's first form.
func (b *Browser) Form() *Form {
	b.T.Helper()
	doc, err := html.Parse(strings.NewReader(b.Body))
	if err != nil {
		b.T.Fatal(err)
	}
	var f *Form
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode {
			switch n.Data {
			case "form":
				if f == nil {
					f = &Form{Action: get(n, "action"), Method: get(n, "method"), Fields: url.Values{}, Buttons: map[string][]string{}}
				}
			case "input":
				if f != nil && get(n, "name") != "" && (get(n, "type") != "checkbox" || has(n, "checked")) {
					f.Fields.Set(get(n, "name"), get(n, "value"))
				}
			case "button":
				if f != nil && get(n, "name") != "" {
					f.Buttons[get(n, "name")] = append(f.Buttons[get(n, "name")], get(n, "value"))
				}
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(doc)
	if f == nil {
		b.T.Fatalf("no form on the page %q (%d): %s", b.Page, b.Status, b.Text())
	}
	return f
}

// Submit fills in the page's form and sends it.
func (b *Browser) Submit(fields map[string]string) *Browser {
	b.T.Helper()
	f := b.Form()
	for k, v := range fields {
		f.Fields.Set(k, v)
	}
	return b.Post(f.Action, f.Fields)
}

// Post sends a form.
func (b *Browser) Post(action string, fields url.Values) *Browser {
	b.T.Helper()
	to, err := b.URL.Parse(action)
	if err != nil {
		b.T.Fatal(err)
	}
	req, err := http.NewRequest("POST", to.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		b.T.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", b.base)
	b.Left, b.Hops = nil, nil
	return b.do(req)
}

// Text returns what a person reads on the page.
func (b *Browser) Text() string {
	doc, err := html.Parse(strings.NewReader(b.Body))
	if err != nil {
		return b.Body
	}
	var s strings.Builder
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode {
			s.WriteString(strings.TrimSpace(n.Data) + " ")
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(doc)
	return strings.Join(strings.Fields(s.String()), " ")
}

func (b *Browser) attr(element, name string) string {
	doc, err := html.Parse(strings.NewReader(b.Body))
	if err != nil {
		return ""
	}
	value := ""
	var walk func(*html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode && n.Data == element && value == "" {
			value = get(n, name)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(doc)
	return value
}

// On fails the test unless the browser is on the given page.
func (b *Browser) On(page string) *Browser {
	b.T.Helper()
	if b.Page != page || b.Left != nil {
		b.T.Fatalf("on page %q (%d, left %v), want %q: %s", b.Page, b.Status, b.Left, page, b.Text())
	}
	return b
}

// SignIn types a name and the harness's password into the pages.
func (b *Browser) SignIn(name string) *Browser {
	b.T.Helper()
	if b.Page == "name" {
		b.Submit(map[string]string{"username": name})
	}
	return b.On("password").Submit(map[string]string{"password": Password})
}

// Answer returns the parameters with which the browser left for a client.
func (b *Browser) Answer() url.Values {
	b.T.Helper()
	if b.Left == nil {
		b.T.Fatalf("the browser did not leave for a client but is on %q (%d): %s", b.Page, b.Status, b.Text())
	}
	if b.Left.Fragment != "" {
		v, err := url.ParseQuery(b.Left.EscapedFragment())
		if err != nil {
			b.T.Fatal(err)
		}
		return v
	}
	return b.Left.Query()
}

func get(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
