package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/internal/tokencache"
)

// Surroundings are what a sign-in needs from the machine.
type Surroundings struct {
	Clock   clock.Clock
	Env     Environment
	Stdin   io.Reader // where a person may paste an address; nil if not a terminal
	Stderr  io.Writer // prompts and notices
	Logf    func(level int, format string, args ...any)
	Version string
	// Interactive says that a person may be asked. It is false when kubectl
	// says so.
	Interactive bool
	OpenBrowser func(url string) error
	// HTTP makes the client for requests; nil means the default one.
	HTTP func() *http.Client
}

// Token is what the API server gets.
type Token struct {
	Value     string
	ExpiresOn time.Time
	// Account and FromCache are for people who ask where a token came from.
	Account   tokencache.Account
	FromCache bool
}

// Cached tokens are used until this long before they end.
const expirySkew = 5 * time.Minute

// Session gets tokens for one set of options.
type Session struct {
	o      *Options
	sys    Surroundings
	store  *tokencache.Store
	method method
	key    tokencache.Key
	bind   string
	pop    *pop.Key
}

// method is one way to get a token. Implementations check their options when
// they are made and send nothing before acquire.
type method interface {
	// name is the credential's name in messages and logs.
	name() string
	// account is what tells accounts apart before the sign-in.
	account() string
	// secrets are what the caller proves the identity with; a cached token is
	// only good for the same ones. An error means the token must not be cached.
	secrets() ([][]byte, error)
	// keep is the longest time for which the token may be cached: 0 for not
	// at all, -1 for its whole life.
	keep() time.Duration
	// human says that acquire asks a person.
	human() bool
	acquire(ctx context.Context) (*tokenResponse, error)
}

// refresher is a method whose sign-in earns a refresh token.
type refresher interface {
	refresh(ctx context.Context, refreshToken string) (*tokenResponse, error)
}

// NewSession checks the options and prepares the sign-in. Nothing is read
// from the network before Token.
func NewSession(o *Options, store *tokencache.Store, sys Surroundings) (*Session, error) {
	if o.ServerID == "" {
		return nil, errors.New("server-id is required")
	}
	if sys.Logf == nil {
		sys.Logf = func(int, string, ...any) {}
	}
	if sys.HTTP == nil {
		sys.HTTP = sync.OnceValue(newHTTPClient)
	}
	s := &Session{o: o, sys: sys, store: store}
	m, err := newMethod(o, &sys, s)
	if err != nil {
		return nil, fmt.Errorf("failed to create azidentity credential: %w", err)
	}
	s.method = m
	sys.Logf(5, "using credential: %s", m.name())
	mode := o.Login
	if o.usesV1() {
		mode += "+legacy"
	}
	if o.usesPoP() {
		mode += "+pop"
	}
	s.key = tokencache.Key{Tenant: strings.ToLower(o.TenantID), Client: strings.ToLower(o.ClientID),
		Account: m.account(), Resource: o.resource(), Mode: mode}
	switch o.Login {
	case ManagedIdentity, AzureCLI, AzureDeveloper:
	default:
		auth, err := newAuthority(o)
		if err != nil {
			return nil, fmt.Errorf("failed to create azidentity credential: %w", err)
		}
		s.key.Authority = auth.cacheName()
	}
	return s, nil
}

// newHTTPClient is the client for identity providers: proxies and CA files
// from the environment, TLS 1.2 or later, and no redirects, which could carry
// a secret elsewhere.
func newHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 0 // each request has its own deadline
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Key is the cache key of this session.
func (s *Session) Key() tokencache.Key { return s.key }

// MethodName is the name of the credential, for logs and doctor.
func (s *Session) MethodName() string { return s.method.name() }

// cacheable computes the binding and says whether the cache may be used.
func (s *Session) cacheable() bool {
	if s.method.keep() == 0 {
		return false
	}
	parts, err := s.method.secrets()
	if err != nil {
		s.sys.Logf(5, "not cached: %v", err)
		return false
	}
	if s.o.usesPoP() {
		// A token that is bound to a key that was lost is of no use.
		k, err := s.popSigningKey()
		if err != nil {
			s.sys.Logf(5, "not cached: %v", err)
			return false
		}
		parts = append(parts, []byte(k.Thumbprint()))
	}
	if len(parts) > 0 {
		s.bind = s.store.Digest(parts...)
	}
	return true
}

// Peek returns the cached entry, if there is a usable one. It sends nothing.
func (s *Session) Peek() (tokencache.Entry, bool) {
	if !s.cacheable() {
		return tokencache.Entry{}, false
	}
	return s.lookup()
}

func (s *Session) lookup() (tokencache.Entry, bool) {
	e, ok := s.store.Get(s.key)
	if !ok || e.Binding != s.bind {
		return tokencache.Entry{}, false
	}
	if keep := s.method.keep(); keep > 0 {
		// Within its short life, and not from the future either.
		if age := s.sys.Clock.Now().Sub(e.Stored); age > keep || age < -time.Minute {
			return tokencache.Entry{}, false
		}
	}
	return e, true
}

func (s *Session) fresh(e tokencache.Entry) bool {
	return e.AccessToken != "" && s.sys.Clock.Now().Add(expirySkew).Before(e.ExpiresOn)
}

// Token returns a token: from the cache, with a refresh token, or by signing
// in. Of several processes that need the same one, one signs in and the others
// wait for it.
func (s *Session) Token(ctx context.Context) (Token, error) {
	e, cached, err := s.entry(ctx)
	if err != nil {
		return Token{}, err
	}
	t := Token{Value: e.AccessToken, ExpiresOn: e.ExpiresOn, Account: e.Account, FromCache: cached}
	if s.o.usesPoP() {
		return s.signed(t)
	}
	return t, nil
}

func (s *Session) entry(ctx context.Context) (tokencache.Entry, bool, error) {
	if !s.cacheable() {
		if err := s.allowed(nil); err != nil {
			return tokencache.Entry{}, false, err
		}
		e, err := s.signIn(ctx)
		return e, false, err
	}
	if e, ok := s.lookup(); ok && s.fresh(e) {
		if e.RefreshOn.IsZero() || s.sys.Clock.Now().Before(e.RefreshOn) {
			s.sys.Logf(5, "token from the cache")
			return e, true, nil
		}
		return s.early(ctx, e)
	}
	lock, err := s.lock(ctx)
	if err != nil {
		return tokencache.Entry{}, false, err
	}
	defer lock.Unlock()
	// Somebody may have signed in while we waited.
	old, ok := s.lookup()
	if ok && s.fresh(old) {
		s.sys.Logf(5, "token from the cache, put there while waiting")
		return old, true, nil
	}
	if ok && old.RefreshToken != "" {
		lock.Say("refreshing the sign-in")
		e, err := s.tryRefresh(ctx, old)
		if err == nil {
			return e, false, nil
		}
		var se *ServerError
		if !errors.As(err, &se) || !se.needsPerson() {
			return tokencache.Entry{}, false, s.failed(err)
		}
		s.sys.Logf(3, "the refresh token is no longer good: %v", err)
		if aerr := s.allowed(se); aerr != nil {
			return tokencache.Entry{}, false, aerr
		}
	}
	if err := s.allowed(nil); err != nil {
		return tokencache.Entry{}, false, err
	}
	if s.method.human() {
		lock.Say("asking somebody to sign in")
	} else {
		lock.Say("signing in")
	}
	e, err := s.signIn(ctx)
	if err != nil {
		return tokencache.Entry{}, false, err
	}
	s.put(e)
	return e, false, nil
}

// early refreshes a token that is still good because the provider suggested
// it. Nothing about that may fail the call.
func (s *Session) early(ctx context.Context, e tokencache.Entry) (tokencache.Entry, bool, error) {
	lock, ok := s.store.TryLock(s.key)
	if !ok {
		return e, true, nil
	}
	defer lock.Unlock()
	if n, ok := s.lookup(); ok && s.fresh(n) && n.Stored.After(e.Stored) {
		return n, true, nil
	}
	n, err := s.tryRefresh(ctx, e)
	if err != nil {
		s.sys.Logf(3, "early refresh failed, the token is still good: %v", err)
		// Ask again in a while, not at each call.
		e.RefreshOn = s.sys.Clock.Now().Add(expirySkew)
		s.put(e)
		return e, true, nil
	}
	return n, false, nil
}

func (s *Session) tryRefresh(ctx context.Context, old tokencache.Entry) (tokencache.Entry, error) {
	r, ok := s.method.(refresher)
	if !ok || old.RefreshToken == "" {
		if s.method.human() {
			return tokencache.Entry{}, &ServerError{Code: "interaction_required"}
		}
		e, err := s.signIn(ctx)
		if err == nil {
			s.put(e)
		}
		return e, err
	}
	resp, err := r.refresh(ctx, old.RefreshToken)
	if err != nil {
		return tokencache.Entry{}, err
	}
	e, err := s.toEntry(resp)
	if err != nil {
		return tokencache.Entry{}, err
	}
	if e.RefreshToken == "" {
		e.RefreshToken = old.RefreshToken
	}
	if e.Account == (tokencache.Account{}) {
		e.Account = old.Account
	}
	// A refresh never changes who somebody is.
	if old.Account.HomeID != "" && e.Account.HomeID != old.Account.HomeID {
		return tokencache.Entry{}, fmt.Errorf("the refreshed sign-in is for %s, not for %s", clean(e.Account.Username), clean(old.Account.Username))
	}
	s.put(e)
	return e, nil
}

func (s *Session) lock(ctx context.Context) (*tokencache.Lock, error) {
	wctx, cancel := ctx, context.CancelFunc(func() {})
	if !s.sys.Interactive {
		wctx, cancel = context.WithTimeout(ctx, s.o.Timeout)
	}
	defer cancel()
	lock, err := s.store.Lock(wctx, s.key, func(h tokencache.Holder) {
		fmt.Fprintf(s.sys.Stderr, "kubelogin: waiting for %s\n", h)
	})
	if err != nil && ctx.Err() == nil {
		return nil, fmt.Errorf("failed to get token: %s: %w. Finish that sign-in, then try again", s.method.name(), err)
	}
	return lock, err
}

// allowed refuses to ask a person when kubectl says that there is none.
func (s *Session) allowed(cause *ServerError) error {
	if !s.method.human() || s.sys.Interactive {
		return nil
	}
	why := ""
	if cause != nil && cause.Description != "" {
		why = " The remembered sign-in was refused: " + cause.Error() + "."
	}
	return fmt.Errorf("failed to get token: %s: a person must sign in, but kubectl runs without a terminal (spec.interactive is false).%s "+
		"Sign in first with `kubectl cluster-info` on a terminal, which is then remembered, or use a mode that needs nobody: "+
		"`kubelogin convert-kubeconfig -l azurecli`, spn, msi or workloadidentity", s.method.name(), why)
}

func (s *Session) signIn(ctx context.Context) (tokencache.Entry, error) {
	resp, err := s.method.acquire(ctx)
	if err != nil {
		return tokencache.Entry{}, s.failed(err)
	}
	e, err := s.toEntry(resp)
	if err != nil {
		return tokencache.Entry{}, s.failed(err)
	}
	return e, nil
}

func (s *Session) failed(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("the sign-in was cancelled")
	}
	return fmt.Errorf("failed to get token: %s: %w", s.method.name(), err)
}

func (s *Session) put(e tokencache.Entry) {
	if err := s.store.Put(s.key, e); err != nil {
		fmt.Fprintf(s.sys.Stderr, "kubelogin: warning: the sign-in could not be remembered: %v\n", err)
	}
}

// toEntry reads an answer of a token endpoint.
func (s *Session) toEntry(r *tokenResponse) (tokencache.Entry, error) {
	now := s.sys.Clock.Now().UTC()
	e := tokencache.Entry{AccessToken: r.AccessToken, TokenType: r.TokenType, RefreshToken: r.RefreshToken, Binding: s.bind}
	switch {
	case r.ExpiresIn > 0:
		e.ExpiresOn = now.Add(time.Duration(r.ExpiresIn) * time.Second)
	case r.ExpiresOn > 0:
		e.ExpiresOn = time.Unix(int64(r.ExpiresOn), 0).UTC()
	default:
		return e, errors.New("the answer does not say when the token expires")
	}
	e.ExpiresOn = e.ExpiresOn.Truncate(time.Second)
	if r.RefreshIn > 0 {
		e.RefreshOn = now.Add(time.Duration(r.RefreshIn) * time.Second)
	} else if life := e.ExpiresOn.Sub(now); life > 2*time.Hour {
		e.RefreshOn = now.Add(life / 2)
	}
	if s.o.usesPoP() && !strings.EqualFold(r.TokenType, "pop") {
		return e, fmt.Errorf("asked for a proof-of-possession token but got one of type %q", clean(r.TokenType))
	}
	e.Account = accountOf(r)
	return e, nil
}

// accountOf reads who signed in from what only arrives over TLS from the
// token endpoint.
func accountOf(r *tokenResponse) tokencache.Account {
	var a tokencache.Account
	var ids struct {
		OID, TID, UPN     string
		PreferredUsername string `json:"preferred_username"`
		UniqueName        string `json:"unique_name"`
	}
	if r.IDToken != "" && claimsOf(r.IDToken, &ids) {
		a.TenantID = ids.TID
		a.Username = firstOf(ids.PreferredUsername, ids.UPN, ids.UniqueName)
		a.HomeID = ids.OID + "." + ids.TID
	}
	if b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(r.ClientInfo, "=")); err == nil {
		var info struct{ UID, UTID string }
		if json.Unmarshal(b, &info) == nil && info.UID != "" {
			a.HomeID = info.UID + "." + info.UTID
		}
	}
	if a.HomeID == "." {
		a.HomeID = ""
	}
	return a
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
