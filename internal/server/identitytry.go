package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
)

// exchangeAudience is the audience of tokens that are to be exchanged in the
// public cloud.
const exchangeAudience = "api://AzureADTokenExchange"

// clientIDAnnotation names the identity of a service account.
const clientIDAnnotation = "azure.workload.identity/client-id"

// IdentityQuery asks whether a service account can sign in without a secret.
type IdentityQuery struct {
	Cluster        string `json:"cluster"`
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	// ClientID is the identity to sign in as; empty: what the service account's
	// annotation names.
	ClientID string `json:"clientId,omitempty"`
	// Audience of the service account's token; empty: that of the public cloud.
	Audience string `json:"audience,omitempty"`
}

// IdentityStep is one step of the exchange, and how it went.
type IdentityStep struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// TryIdentity walks the exchange of a service account's token step by step, in
// the instance that runs in a data directory. The last step is the first that
// failed, if one did.
func TryIdentity(ctx context.Context, dir string, q IdentityQuery) ([]IdentityStep, error) {
	var steps []IdentityStep
	return steps, ask(ctx, dir, "/identity/try", q, &steps)
}

// identityRoutes adds the trial of workload identity to the control socket.
func (s *Server) identityRoutes(mux *http.ServeMux) {
	handleControl(mux, "/identity/try", func(ctx context.Context, q IdentityQuery) (any, error) { return s.tryIdentity(ctx, q) })
}

func (s *Server) tryIdentity(ctx context.Context, q IdentityQuery) ([]IdentityStep, error) {
	c, err := s.findCluster(q.Cluster)
	if err != nil {
		return nil, err
	}
	if c.Connected {
		return nil, errs.New(errs.Invalid, "The cluster %s runs elsewhere: its API server cannot be asked for a token from here.", q.Cluster)
	}
	if q.Audience == "" {
		q.Audience = exchangeAudience
	}
	t := &trial{s: s, c: c, q: q}
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"cluster has an OIDC issuer", t.issuer},
		{"service account exists and names an identity", t.account},
		{"API server makes a token", t.request},
		{"identity exists", t.identity},
		{"federated credential fits the token", t.credential},
		{"token is exchanged", t.exchange},
	} {
		detail, err := step.do(ctx)
		if err != nil {
			t.steps = append(t.steps, IdentityStep{step.name, false, err.Error()})
			return t.steps, nil
		}
		t.steps = append(t.steps, IdentityStep{step.name, true, detail})
	}
	return t.steps, nil
}

// trial is an exchange under way.
type trial struct {
	s     *Server
	c     *state.Cluster
	q     IdentityQuery
	steps []IdentityStep

	client    kubernetes.Interface
	token     string
	iss, sub  string
	aud       []string
	principal *directory.ServicePrincipal
	federated []directory.FederatedCredential
}

func (t *trial) issuer(context.Context) (string, error) {
	if t.c.Issuer == "" {
		return "", errs.New(errs.Invalid, "It has none. Enable it: az aks update --enable-oidc-issuer")
	}
	if !t.c.WorkloadIdentity {
		return t.c.Issuer + " (workload identity is off: pods are not changed on admission)", nil
	}
	return t.c.Issuer, nil
}

func (t *trial) account(ctx context.Context) (string, error) {
	config, err := t.s.localClusters().RESTConfig(t.c.Key)
	if err != nil {
		return "", err
	}
	config = rest.CopyConfig(config)
	config.Timeout = 5 * time.Second
	if t.client, err = kubernetes.NewForConfig(config); err != nil {
		return "", err
	}
	sa, err := t.client.CoreV1().ServiceAccounts(t.q.Namespace).Get(ctx, t.q.ServiceAccount, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if t.q.ClientID == "" {
		t.q.ClientID = sa.Annotations[clientIDAnnotation]
	}
	if t.q.ClientID == "" {
		return "", errs.New(errs.Invalid, "It has no annotation %s; add it, or name the identity with --client-id.", clientIDAnnotation)
	}
	return "client id " + t.q.ClientID, nil
}

func (t *trial) request(ctx context.Context) (string, error) {
	made, err := t.client.CoreV1().ServiceAccounts(t.q.Namespace).CreateToken(ctx, t.q.ServiceAccount, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{t.q.Audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	t.token = made.Status.Token
	parts := strings.Split(t.token, ".")
	if len(parts) != 3 {
		return "", errs.New(errs.Internal, "the API server's token is not a JWT")
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims struct {
		Issuer   string   `json:"iss"`
		Subject  string   `json:"sub"`
		Audience []string `json:"aud"`
	}
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "", err
	}
	t.iss, t.sub, t.aud = claims.Issuer, claims.Subject, claims.Audience
	return fmt.Sprintf("issuer %s, subject %s, audience %s", t.iss, t.sub, strings.Join(t.aud, " ")), nil
}

func (t *trial) identity(context.Context) (string, error) {
	id, ok := directory.ParseGUID(t.q.ClientID)
	if !ok {
		return "", errs.New(errs.Invalid, "%q is not a client id.", t.q.ClientID)
	}
	v := t.s.store.View()
	p, err := state.FindServicePrincipal(v, t.c.Tenant, directory.AppID(id))
	if err != nil {
		return "", err
	}
	if !p.Enabled {
		return "", errs.New(errs.Forbidden, "The service principal of %s is disabled.", p.DisplayName)
	}
	t.principal, t.federated = p, p.Credentials.Federated
	if app, err := state.FindApplication(v, p.AppID); err == nil {
		t.federated = append(slices.Clone(t.federated), app.Credentials.Federated...)
	}
	return fmt.Sprintf("%s (%s), with %d federated credentials", p.DisplayName, p.Type, len(t.federated)), nil
}

func (t *trial) credential(context.Context) (string, error) {
	if len(t.federated) == 0 {
		return "", errs.New(errs.Invalid, "The identity has none. Add one with issuer %s, subject %s and audience %s.", t.iss, t.sub, t.q.Audience)
	}
	var near []string
	for _, f := range t.federated {
		var differs []string
		if f.Issuer != t.iss {
			differs = append(differs, fmt.Sprintf("issuer %q", f.Issuer))
		}
		if f.Subject != t.sub && f.Matching == nil {
			differs = append(differs, fmt.Sprintf("subject %q", f.Subject))
		}
		if !slices.ContainsFunc(f.Audiences, func(a string) bool { return slices.Contains(t.aud, a) }) {
			differs = append(differs, fmt.Sprintf("audience %q", strings.Join(f.Audiences, " ")))
		}
		if len(differs) == 0 {
			return f.Name, nil
		}
		near = append(near, f.Name+" differs in "+strings.Join(differs, " and "))
	}
	return "", errs.New(errs.Invalid, "None fits issuer %q, subject %q and audience %q: %s.", t.iss, t.sub, strings.Join(t.aud, " "), strings.Join(near, "; "))
}

// exchange asks the provider itself, through its own address, as a pod would.
func (t *trial) exchange(ctx context.Context) (string, error) {
	got, err := t.s.exchange(ctx, t.c.Tenant, t.q.ClientID, t.token)
	if err != nil {
		return "", err
	}
	return "an access token for Azure Resource Manager, good for " + got.String(), nil
}
