package login

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"
)

// errEmpty are the refusals of the original plugin, which scripts match.
func errEmpty(what string) error { return errors.New(what + " cannot be empty") }

// newMethod chooses the implementation for the options.
func newMethod(o *Options, sys *Surroundings, s *Session) (method, error) {
	switch o.Login {
	case ManagedIdentity:
		return newMSI(o, sys), nil
	case AzureCLI:
		return newAzureCLI(o, sys)
	case AzureDeveloper:
		return newAzd(o, sys)
	}
	base, err := newEntra(o, sys, s)
	if err != nil {
		return nil, err
	}
	switch o.Login {
	case DeviceCode:
		return &deviceCode{entra: base}, nil
	case Interactive:
		return newInteractive(base)
	case ROPC:
		return newPassword(base)
	case ServicePrincipal:
		return newServicePrincipal(base)
	case WorkloadIdentity:
		return newWorkload(base)
	case AzurePipelines:
		return newPipelines(base)
	}
	return nil, errors.New("unsupported token provider")
}

// entra is what all methods share that talk to the token endpoint.
type entra struct {
	o       *Options
	sys     *Surroundings
	session *Session
	client  *oauthClient
}

func newEntra(o *Options, sys *Surroundings, s *Session) (*entra, error) {
	if o.ClientID == "" {
		return nil, errEmpty("client ID")
	}
	if o.TenantID == "" {
		return nil, errEmpty("tenant ID")
	}
	auth, err := newAuthority(o)
	if err != nil {
		return nil, err
	}
	return &entra{o: o, sys: sys, session: s, client: &oauthClient{
		auth: auth, clock: sys.Clock, http: sys.HTTP, logf: sys.Logf,
		version: sys.Version, timeout: o.Timeout, sleep: sleep,
	}}, nil
}

func (e *entra) account() string            { return "" }
func (e *entra) secrets() ([][]byte, error) { return nil, nil }
func (e *entra) keep() time.Duration        { return -1 }
func (e *entra) human() bool                { return false }

// scope is the v2 scope with what every client of the reference library adds.
func (e *entra) scope() string { return e.o.Scope() + " openid offline_access profile" }

// form starts the body of a token request.
func (e *entra) form(grant string) (url.Values, error) {
	f := url.Values{"grant_type": {grant}, "client_id": {e.o.ClientID}, "scope": {e.scope()}, "client_info": {"1"}}
	if e.o.usesPoP() {
		key, err := e.session.popSigningKey()
		if err != nil {
			return nil, err
		}
		f.Set("token_type", "pop")
		f.Set("req_cnf", key.ReqCnf())
	}
	return f, nil
}

func (e *entra) formV1(grant string) url.Values {
	return url.Values{"grant_type": {grant}, "client_id": {e.o.ClientID}, "resource": {e.o.ServerID}}
}

// publicRefresh redeems a refresh token of a public client.
func (e *entra) publicRefresh(ctx context.Context, refreshToken string) (*tokenResponse, error) {
	if e.o.usesV1() {
		f := e.formV1("refresh_token")
		f.Set("refresh_token", refreshToken)
		return e.client.tokenV1(ctx, f)
	}
	f, err := e.form("refresh_token")
	if err != nil {
		return nil, err
	}
	f.Set("refresh_token", refreshToken)
	return e.client.token(ctx, f, false)
}

func popName(o *Options, name string) string {
	if o.usesPoP() {
		return name + "WithPoP"
	}
	return name
}

func sameFold(a string) string { return strings.ToLower(strings.TrimSpace(a)) }
