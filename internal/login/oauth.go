package login

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/entrance-id/entrance/internal/clock"
)

// maxBody bounds an answer; the largest honest one is a token of a few KiB.
const maxBody = 1 << 20

// oauthClient speaks to one authority.
type oauthClient struct {
	auth    *authority
	clock   clock.Clock
	http    func() *http.Client // made when first needed: a warm start never is
	logf    func(level int, format string, args ...any)
	version string
	timeout time.Duration
	region  string // regional token endpoint, for services
	ends    *endpoints
	sleep   func(context.Context, time.Duration) error
}

// ServerError is the answer of an identity provider that refused.
type ServerError struct {
	Status        int
	Code          string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Suberror      string `json:"suberror"`
	CorrelationID string `json:"correlation_id"`
	Claims        string `json:"claims"`
	// Where is the host and path that answered.
	Where string `json:"-"`
}

// Error holds the provider's own text: it names the AADSTS code that people
// search for.
func (e *ServerError) Error() string {
	text := clean(e.Description)
	if text == "" {
		text = "no description given"
	}
	if e.Code != "" {
		return fmt.Sprintf("%s (%s, HTTP %d from %s)", text, clean(e.Code), e.Status, e.Where)
	}
	return fmt.Sprintf("HTTP %d from %s: %s", e.Status, e.Where, text)
}

// needsPerson reports whether only a new sign-in can help.
func (e *ServerError) needsPerson() bool {
	switch e.Code {
	case "invalid_grant", "interaction_required", "login_required", "consent_required", "expired_token":
		return true
	}
	return false
}

// clean makes text from elsewhere safe to print on a terminal: line breaks
// become spaces and control characters vanish.
func clean(s string) string {
	if len(s) > 4096 {
		s = s[:4096]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r), unicode.In(r, unicode.Cf), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// number is a JSON number that v1 endpoints write as a string.
type number int64

// UnmarshalJSON accepts 5, "5" and 5.0.
func (n *number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "" || s == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f < 0 || f > 1e12 {
		return fmt.Errorf("%q is not a number of seconds", clean(s))
	}
	*n = number(f)
	return nil
}

// tokenResponse is the answer of a token endpoint, v1 or v2.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    number `json:"expires_in"`
	ExpiresOn    number `json:"expires_on"`
	RefreshIn    number `json:"refresh_in"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	ClientInfo   string `json:"client_info"`
}

// token posts form to the v2 token endpoint. once says that the grant may be
// redeemed a single time, so that a lost answer is not asked for again.
func (c *oauthClient) token(ctx context.Context, form url.Values, once bool) (*tokenResponse, error) {
	ends, err := c.resolve(ctx)
	if err != nil {
		return nil, err
	}
	where := ends.Token
	if c.region != "" {
		where = regional(where, c.region)
	}
	return c.tokenAt(ctx, where, form, once)
}

// tokenV1 posts form to the v1 token endpoint.
func (c *oauthClient) tokenV1(ctx context.Context, form url.Values) (*tokenResponse, error) {
	return c.tokenAt(ctx, c.auth.url(c.auth.tenant+"/oauth2/token?api-version=1.0"), form, false)
}

func (c *oauthClient) tokenAt(ctx context.Context, where string, form url.Values, once bool) (*tokenResponse, error) {
	var out tokenResponse
	if err := c.do(ctx, http.MethodPost, where, nil, form, once, &out); err != nil {
		return nil, err
	}
	if out.AccessToken == "" {
		return nil, errors.New("the token endpoint answered without an access token")
	}
	if strings.ContainsFunc(out.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token endpoint answered with a malformed access token")
	}
	return &out, nil
}

// regional puts a region before the token endpoint's host, as Entra does for
// services that run in it.
func regional(endpoint, region string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return endpoint
	}
	if _, known := cloudHosts[u.Host]; !known {
		return endpoint
	}
	if cloudHosts[u.Host] == cloudHosts[publicHost] {
		u.Host = region + ".login.microsoft.com"
	} else {
		u.Host = region + "." + u.Host
	}
	return u.String()
}

func (c *oauthClient) getJSON(ctx context.Context, where string, header http.Header, out any) error {
	return c.do(ctx, http.MethodGet, where, header, nil, false, out)
}

// Retry follows the reference client: three retries, 0.8 s doubling.
const (
	retries    = 3
	retryFirst = 800 * time.Millisecond
	retryMax   = 60 * time.Second
)

func retriable(status int) bool {
	switch status {
	case 408, 429, 500, 502, 503, 504:
		return true
	}
	return false
}

// do sends one request, with retries inside the I/O time limit, and decodes
// the answer into out.
func (c *oauthClient) do(ctx context.Context, method, where string, header http.Header, form url.Values, once bool, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	u, err := url.Parse(where)
	if err != nil {
		return err
	}
	place := u.Host + u.Path
	delay := retryFirst
	for try := 0; ; try++ {
		status, head, body, err := c.send(ctx, method, where, header, form)
		c.logf(6, "%s %s: %v", method, place, outcome(status, err))
		switch {
		case err != nil && (once || try == retries || ctx.Err() != nil):
			return c.explain(err, u.Host)
		case err == nil && !retriable(status):
			return decodeAnswer(status, place, body, out)
		case err == nil && (once || try == retries):
			return decodeAnswer(status, place, body, out)
		}
		wait := delay
		if s, perr := strconv.Atoi(head.Get("Retry-After")); perr == nil && s >= 0 && s < 3600 {
			wait = time.Duration(s) * time.Second
		}
		if serr := c.sleep(ctx, wait); serr != nil {
			if err != nil {
				return c.explain(err, u.Host)
			}
			return decodeAnswer(status, place, body, out)
		}
		delay = min(2*delay, retryMax)
	}
}

func outcome(status int, err error) string {
	if err != nil {
		return err.Error()
	}
	return "HTTP " + strconv.Itoa(status)
}

// explain turns a transport error into one line. url.Error is unwrapped since
// it would print the URL with its query.
func (c *oauthClient) explain(err error, host string) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s did not answer within %s (--timeout): %w", host, c.timeout, err)
	}
	return fmt.Errorf("cannot reach %s: %w", host, err)
}

// send sends one request whose body, if any, is a form.
func (c *oauthClient) send(ctx context.Context, method, where string, header http.Header, form url.Values) (int, http.Header, []byte, error) {
	if form == nil {
		return c.sendBody(ctx, method, where, header, nil)
	}
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	return c.sendBody(ctx, method, where, header, []byte(form.Encode()))
}

func (c *oauthClient) sendBody(ctx context.Context, method, where string, header http.Header, content []byte) (int, http.Header, []byte, error) {
	var body io.Reader
	if content != nil {
		body = bytes.NewReader(content)
	}
	req, err := http.NewRequestWithContext(ctx, method, where, body)
	if err != nil {
		return 0, nil, nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	req.Header.Set("User-Agent", "entrance-kubelogin/"+c.version+" ("+runtime.Version()+"; "+runtime.GOOS+")")
	if header == nil || header.Get("Metadata") == "" && header.Get("Authorization") == "" {
		req.Header.Set("Client-Request-Id", newGUID())
		req.Header.Set("Return-Client-Request-Id", "false")
		req.Header.Set("X-Client-SKU", "entrance.kubelogin")
		req.Header.Set("X-Client-Ver", c.version)
		req.Header.Set("X-Client-OS", runtime.GOOS)
		req.Header.Set("X-Client-CPU", runtime.GOARCH)
	}
	resp, err := c.http().Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(b) > maxBody {
		err = errors.New("the answer is too large")
	}
	return resp.StatusCode, resp.Header, b, err
}

func decodeAnswer(status int, place string, body []byte, out any) error {
	if status >= 200 && status < 300 {
		if err := json.Unmarshal(body, out); err != nil {
			return fmt.Errorf("%s answered with something that is not the JSON expected", place)
		}
		return nil
	}
	se := &ServerError{Where: place}
	if err := json.Unmarshal(body, se); err != nil {
		// Some services nest the error or answer in HTML; keep what helps.
		var nested struct {
			Error struct{ Code, Message string }
		}
		*se = ServerError{Where: place}
		if json.Unmarshal(body, &nested) == nil && nested.Error.Message != "" {
			se.Code, se.Description = nested.Error.Code, nested.Error.Message
		} else if bytes.ContainsRune(body, '<') {
			se.Description = "an HTML page; is a proxy or a captive portal in between?"
		}
	}
	se.Status = status
	return se
}

func sleep(ctx context.Context, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return context.DeadlineExceeded
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// newGUID is a random (version 4) GUID.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// claimsOf reads a token's payload without trusting it: only to show it to its
// owner and to name cache entries.
func claimsOf(token string, out any) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	return err == nil && json.Unmarshal(b, out) == nil
}
