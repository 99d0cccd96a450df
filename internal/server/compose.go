package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/arm"
	"github.com/entrance-id/entrance/internal/connected"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph"
	"github.com/entrance-id/entrance/internal/graph/governance"
	"github.com/entrance-id/entrance/internal/imds"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/keyring"
	"github.com/entrance-id/entrance/internal/oauth"
	"github.com/entrance-id/entrance/internal/password"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/proxy"
	"github.com/entrance-id/entrance/internal/signin"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/internal/webhook"
	"github.com/entrance-id/entrance/internal/workloadidentity"
)

// services are the handlers behind the listeners.
type services struct {
	front      http.Handler // sign-in, Graph and ARM
	webhook    http.Handler
	reviews    *webhook.Service // the same
	imds       http.Handler
	arm        *arm.Service
	policy     *policy.Keeper
	logs       *logs
	privileged *privileged.Service
	connected  *connected.Service
	resources  *resources
	reach      *reach
}

func (v *services) close() error {
	v.policy.Close()
	return v.logs.Close()
}

// tables returns the tables of every package, each once.
func tables() []store.AnyTable {
	var all []store.AnyTable
	seen := map[string]bool{}
	for _, list := range [][]store.AnyTable{state.Tables(), oauth.Tables(), signin.Tables(), policy.Tables(), privileged.Tables(), arm.Tables()} {
		for _, t := range list {
			if name := t.(interface{ Name() string }).Name(); !seen[name] {
				seen[name] = true
				all = append(all, t)
			}
		}
	}
	return all
}

// compose joins the parts.
func (s *Server) compose(ctx context.Context) (*services, error) {
	base := s.baseURL()
	issuers := token.Issuers{V2: base}
	trust := &keyring.Trust{Ring: s.ring, Issuers: issuers}
	sealer, err := state.NewSealer(ctx, s.store, s.clock)
	if err != nil {
		return nil, err
	}
	hasher, err := newHasher()
	if err != nil {
		return nil, err
	}
	records, err := openLogs(s.paths.Audit(), s.store, s.clock, s.log)
	if err != nil {
		return nil, err
	}
	v := &services{
		logs:       records,
		policy:     policy.New(s.store, s.clock, s.log),
		privileged: privileged.New(s.store, s.clock, s.log),
	}
	pages, err := signin.New(signin.Config{
		Store: s.store, Clock: s.clock, Logger: s.log, BaseURL: base, Sealer: sealer, Hasher: hasher, Audit: records.attempt,
	})
	if err != nil {
		return nil, err
	}
	v.reach = &reach{store: s.store, clock: s.clock, local: s.localClusters()}
	v.resources = &resources{config: v.reach.config, log: s.log, lookup: s.health.lookup("discovery"), known: map[string]*discovered{}}
	documents, err := issuer.NewDocuments(base, s.store, clusterKeys{s.clusters, v.reach})
	if err != nil {
		return nil, err
	}
	foreign, err := issuer.New(issuer.Config{Clock: s.clock, Logger: s.log, Local: documents, AllowAddresses: s.cfg.IssuerNetworks})
	if err != nil {
		return nil, err
	}
	v.connected, err = connected.New(connected.Config{
		Store: s.store, Clock: s.clock, Logger: s.log, Documents: foreign, Lookup: s.health.lookup("groups"),
		Own: func(name string) bool { _, hosted := trust.Issuer(name); return hosted },
	})
	if err != nil {
		return nil, err
	}
	devices := policy.NewDevices(s.store, s.clock, base)
	provider, err := oauth.New(oauth.Config{
		Store: s.store, Clock: s.clock, Logger: s.log, BaseURL: base, Names: issuers,
		Aliases: map[string]directory.AppID{base: directory.Graph},
		Keys:    s.ring, Trust: trust, Sealer: sealer, SignIn: pages, Accounts: pages, Policy: v.policy,
		Issuers: foreign, Audit: signIns{records}, Devices: devices,
	})
	if err != nil {
		return nil, err
	}
	pages.SetDevices(provider)
	v.reach.tokens = managedTokens{provider}

	graphTokens := &token.Verifier{Keys: trust, Graph: true, Audiences: audiences(directory.Graph, base)}
	armTokens := &token.Verifier{Keys: trust, Audiences: audiences(directory.ARM, base)}
	msgraph, err := graph.New(graph.Config{
		Store: s.store, Clock: s.clock, Logger: s.log, BaseURL: base, Hosts: []string{"graph.microsoft.com"},
		Authenticate: func(r *http.Request) (graph.Caller, error) {
			c, err := s.bearer(r, graphTokens)
			if err != nil {
				return graph.Caller{}, err
			}
			return graph.Caller{
				Tenant: c.Tenant, ID: c.Object, AppID: c.ClientID(), AppOnly: c.AppOnly(),
				Scopes: c.Scopes(), Roles: c.Roles, Issued: c.Issued(), Methods: c.AMR,
			}, nil
		},
		Passwords: hasher, Audit: governance.Audit(records),
		Routes: governance.Routes(governance.Config{Privileged: v.privileged, WhatIf: v.policy.WhatIf, Logs: records, Devices: devices}),
	})
	if err != nil {
		return nil, err
	}
	var manager arm.Clusters // nil: no clusters are run here
	if !s.cfg.NoClusters {
		manager = s.localClusters()
	}
	resourceManager := arm.New(arm.Config{
		Store: s.store, Access: s.access, Clock: s.clock, Logger: s.log, BaseURL: base,
		Authenticate: func(r *http.Request) (arm.Caller, error) {
			c, err := s.bearer(r, armTokens)
			if err != nil {
				return arm.Caller{}, err
			}
			// How the account stands is for Resource Manager to look up, in the
			// view that it decides from.
			return arm.Caller{
				Tenant: c.Tenant, ID: c.Object, AppID: c.ClientID(), Issued: c.Issued(), MFA: slices.Contains(c.AMR, "mfa"),
			}, nil
		},
		Clusters: manager, KubernetesVersion: kubernetesVersion, Audit: activities{records},
		Privileged: v.privileged, LegacyIntegration: s.cfg.LegacyIntegration,
	})
	v.arm = resourceManager
	v.front = front(provider, pages, msgraph, resourceManager, documents, devices, s.adminConsent(&token.Verifier{Keys: trust, Audiences: audiences(directory.ADIbizaUX)}))
	pods, err := workloadidentity.New(workloadidentity.Config{
		Accounts: workloadidentity.NewClients(v.reach.config), AuthorityHost: base + "/", Logger: s.log, Metrics: s.metrics,
	})
	if err != nil {
		return nil, err
	}
	v.reviews = webhook.New(webhook.Config{
		Store: s.store, Clock: s.clock, Keys: v.connected.Beside(trust), Connected: v.connected,
		Logger: s.log, Metrics: s.metrics, Pods: pods, Observer: records, LegacySecret: arm.LegacySecret,
		Azure:  &azure{access: s.access, log: s.log, resources: v.resources},
		MaxAge: store.StaleAfter, Renew: s.renew,
	})
	v.webhook = v.reviews
	v.imds, err = imds.New(imds.Config{
		Sources: machine{s.store, s.Status}, Tokens: managedTokens{provider}, Clock: s.clock, Logger: s.log,
	})
	return v, err
}

// newHasher bounds how much memory and how many cores hashing passwords may
// take: two at a time, and a queue that refuses rather than grows.
func newHasher() (*password.Hasher, error) { return password.New(password.Default, 2, 64) }

// audiences returns the names under which tokens for a first-party resource may
// have been asked for, each with and without a final slash.
func audiences(app directory.AppID, more ...string) []string {
	list := []string{string(app)}
	if a, ok := directory.FirstParty(app); ok {
		for _, uri := range append(a.IdentifierURIs, more...) {
			uri = strings.TrimRight(uri, "/")
			list = append(list, uri, uri+"/")
		}
	}
	return list
}

// bearer verifies the bearer token of a request.
func (s *Server) bearer(r *http.Request, v *token.Verifier) (*token.Claims, error) {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || raw == "" || len(r.Header.Values("Authorization")) != 1 {
		return nil, errs.New(errs.Unauthenticated, "An access token is required.")
	}
	return v.Verify(strings.TrimSpace(raw), s.clock.Now())
}

// front routes the one listener by Host, for the names that the proxy and the
// hosts file bring here, and by path otherwise.
func front(provider *oauth.Provider, pages *signin.Server, msgraph *graph.Service, resourceManager *arm.Service, documents, devices, consent http.Handler) http.Handler {
	graphHosts := map[string]bool{"graph.microsoft.com": true, "graph.windows.net": true}
	armHosts := map[string]bool{"management.azure.com": true, "management.core.windows.net": true}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		host, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
		path := r.URL.Path
		isGraph := strings.HasPrefix(path, "/v1.0/") || strings.HasPrefix(path, "/beta/")
		known := false
		for _, n := range proxy.Names {
			known = known || n == host
		}
		switch {
		case graphHosts[host] && path != "/oidc/userinfo":
			msgraph.ServeHTTP(w, r)
		case armHosts[host]:
			resourceManager.ServeHTTP(w, r)
		case host == consentHost:
			consent.ServeHTTP(w, r)
		case provider.Handles(path):
			provider.ServeHTTP(w, r)
		case pages.Handles(path):
			pages.ServeHTTP(w, r)
		case path == policy.ChallengePath:
			devices.ServeHTTP(w, r)
		case issuer.Handles(path):
			documents.ServeHTTP(w, r)
		case known:
			http.NotFound(w, r)
		case isGraph:
			msgraph.ServeHTTP(w, r)
		case arm.Handles(strings.Replace(path, "//", "/", 1)):
			resourceManager.ServeHTTP(w, r)
		case path == "/":
			http.Redirect(w, r, "/devicelogin", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	})
}
