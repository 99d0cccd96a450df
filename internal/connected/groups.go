package connected

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

const (
	graphTimeout = 10 * time.Second
	// groupsAge is how long a list of groups is used: an API server asks for
	// each of its users every ten seconds.
	groupsAge   = 30 * time.Second
	maxAnswer   = 8 << 20
	maxGroups   = 20_000
	maxPages    = 50
	maxRemember = 10_000
	tokenMargin = 5 * time.Minute
)

type graphToken struct {
	text    string
	expires time.Time
	client  directory.AppID
	secret  string
}

type membership struct {
	at   time.Time
	list []directory.ObjectID
}

// Groups returns the groups of the bearer of a verified token of a connected
// tenant: those in the token, or Graph's when the token says that it has no room
// for them. access is the text of that token. Unauthenticated for an application
// with so many, as on AKS.
func (s *Service) Groups(ctx context.Context, c *token.Claims, access string) ([]directory.ObjectID, error) {
	if !c.GroupsOverage() {
		var list []directory.ObjectID
		for _, g := range c.Groups {
			// Anything that is no object id, such as a synchronised account name,
			// could be the name of something in the cluster.
			id, ok := directory.ParseGUID(g)
			if !ok {
				return nil, errs.New(errs.Unauthenticated, "the token's groups are not object ids")
			}
			list = append(list, directory.ObjectID(id))
		}
		return list, nil
	}
	if c.AppOnly() {
		return nil, errs.New(errs.Unauthenticated, "the application is in more groups than a token has room for, which is not supported for applications")
	}
	t, ok := s.tenant(c.Tenant)
	if !ok {
		return nil, errs.New(errs.Unauthenticated, "tenant %s is not connected", c.Tenant)
	}
	if t.ClientID == "" {
		return nil, errs.New(errs.Unauthenticated, "the user is in more groups than a token has room for, and the connected tenant has no application with which to ask Microsoft Graph for them")
	}
	key := state.Key(t.ID, c.Object)
	now := s.clock.Now()
	s.mu.Lock()
	m := s.groups[key]
	s.mu.Unlock()
	hit := m != nil && now.Sub(m.at) >= 0 && now.Sub(m.at) < groupsAge
	s.cfg.Lookup(hit)
	if hit {
		return m.list, nil
	}
	ask := question{tenant: t, path: "/v1.0/users/" + url.PathEscape(string(c.Object)) + "/getMemberGroups"}
	if t.OnBehalfOf {
		// Whose token it is decides who "me" is.
		ask = question{tenant: t, path: "/v1.0/me/getMemberGroups", assertion: access}
	}
	list, err := s.askGraph(ctx, &ask)
	if err != nil {
		s.log.Warn("groups cannot be asked of Microsoft Graph", "tenant", t.ID, "user", c.Object, "error", err)
		return nil, errs.Wrap(errs.Unauthenticated, err, "the user is in more groups than a token has room for, and Microsoft Graph does not tell them now; try again")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.groups) >= maxRemember {
		clear(s.groups)
	}
	s.groups[key] = &membership{now, list}
	return list, nil
}

// question is what is asked of a tenant's Graph: as its application, or on behalf
// of the bearer of an assertion.
type question struct {
	tenant    *state.ConnectedTenant
	path      string
	assertion string
	bearer    *graphToken // on behalf of somebody; it serves this question alone
}

// askGraph returns all groups of a user, nested ones too.
func (s *Service) askGraph(ctx context.Context, q *question) ([]directory.ObjectID, error) {
	t, next := q.tenant, q.tenant.Graph+q.path
	method, body := http.MethodPost, `{"securityEnabledOnly":false}`
	var list []directory.ObjectID
	for page := 0; next != ""; page++ {
		if page == maxPages {
			return nil, errs.New(errs.Unavailable, "the list of groups does not end")
		}
		raw, err := s.graphCall(ctx, q, method, next, body)
		if err != nil {
			return nil, err
		}
		var answer struct {
			Value *[]string `json:"value"`
			Next  string    `json:"@odata.nextLink"`
		}
		if err := json.Unmarshal(raw, &answer); err != nil || answer.Value == nil {
			return nil, errs.New(errs.Unavailable, "the answer of Microsoft Graph is not a list of groups")
		}
		for _, g := range *answer.Value {
			gid, ok := directory.ParseGUID(g)
			if !ok {
				return nil, errs.New(errs.Unavailable, "the answer of Microsoft Graph holds something that is no object id")
			}
			list = append(list, directory.ObjectID(gid))
		}
		if len(list) > maxGroups {
			return nil, errs.New(errs.Unavailable, "there are more than %d groups", maxGroups)
		}
		// The token goes with the request: it may go nowhere else.
		if answer.Next != "" && !strings.HasPrefix(answer.Next, t.Graph+"/v1.0/") {
			return nil, errs.New(errs.Unavailable, "the next page of groups is on another host")
		}
		next, method, body = answer.Next, http.MethodGet, ""
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// graphCall sends one request. A token that is refused is fetched anew once: it
// may have been revoked.
func (s *Service) graphCall(ctx context.Context, q *question, method, address, body string) ([]byte, error) {
	for again := false; ; again = true {
		bearer, err := s.graphToken(ctx, q, again)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		req.Header.Set("Content-Type", "application/json")
		status, raw, err := s.send(req)
		switch {
		case err != nil:
			return nil, err
		case status == http.StatusUnauthorized && !again:
		case status != http.StatusOK:
			return nil, errs.New(errs.Unavailable, "Microsoft Graph answers with status %d (%s)", status, graphCode(raw))
		default:
			return raw, nil
		}
	}
}

// graphCode returns the code of an error, which is safe to log.
func graphCode(raw []byte) string {
	var e struct {
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	if json.Unmarshal(raw, &e) != nil || len(e.Error.Code) > 80 {
		return "no code"
	}
	return e.Error.Code
}

func (s *Service) graphToken(ctx context.Context, q *question, renew bool) (string, error) {
	t := q.tenant
	if q.assertion != "" {
		if q.bearer == nil || renew {
			got, err := s.requestToken(ctx, t, q.assertion)
			if err != nil {
				return "", err
			}
			q.bearer = got
		}
		return q.bearer.text, nil
	}
	s.mu.Lock()
	have := s.tokens[t.ID]
	s.mu.Unlock()
	now := s.clock.Now()
	if have != nil && !renew && have.client == t.ClientID && have.secret == t.ClientSecret && now.Before(have.expires.Add(-tokenMargin)) {
		return have.text, nil
	}
	got, err := s.requestToken(ctx, t, "")
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	s.tokens[t.ID] = got
	s.mu.Unlock()
	return got.text, nil
}

// requestToken is the client credentials grant or, with an assertion, that of
// acting on behalf of its bearer.
func (s *Service) requestToken(ctx context.Context, t *state.ConnectedTenant, assertion string) (*graphToken, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {string(t.ClientID)}, "client_secret": {t.ClientSecret},
		"scope": {t.Graph + "/.default"},
	}
	if assertion != "" {
		form.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
		form.Set("requested_token_use", "on_behalf_of")
		form.Set("assertion", assertion)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.Authority+"/"+string(t.ID)+"/oauth2/v2.0/token", bytes.NewReader([]byte(form.Encode())))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, raw, err := s.send(req)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Text    string `json:"access_token"`
		Expires int64  `json:"expires_in"`
		Codes   []int  `json:"error_codes"`
	}
	_ = json.Unmarshal(raw, &answer)
	if status != http.StatusOK || answer.Text == "" || answer.Expires <= 0 {
		kind := errs.Unavailable
		if status == http.StatusUnauthorized || status == http.StatusBadRequest {
			kind = errs.Invalid
		}
		return nil, errs.New(kind, "Application %s gets no token for Microsoft Graph in tenant %s: status %d, AADSTS codes %v.", t.ClientID, t.ID, status, answer.Codes)
	}
	return &graphToken{answer.Text, s.clock.Now().Add(time.Duration(answer.Expires) * time.Second), t.ClientID, t.ClientSecret}, nil
}

func (s *Service) send(req *http.Request) (int, []byte, error) {
	res, err := s.client.Do(req)
	if err != nil {
		return 0, nil, errs.Wrap(errs.Unavailable, err, "%s cannot be reached", req.URL.Host)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil || len(raw) > maxAnswer {
		return 0, nil, errs.New(errs.Unavailable, "the answer of %s was cut short or is too long", req.URL.Host)
	}
	return res.StatusCode, raw, nil
}
