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
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/workloadidentity"
)

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
	// Token is a token of the service account. Empty: one is asked for, which a
	// cluster that runs here gives.
	Token string `json:"token,omitempty"`
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
	if q.Audience == "" {
		q.Audience = workloadidentity.DefaultAudience
	}
	t := &trial{s: s, c: c, q: q}
	if c.Connected && q.Token == "" {
		return nil, errs.New(errs.Invalid, "The cluster %s runs elsewhere, and gives us no tokens. Hand one over:\n  kubectl create token %s -n %s --audience %s |\n  entrance identity try --cluster %s -n %s --service-account %s --token -",
			q.Cluster, q.ServiceAccount, q.Namespace, q.Audience, q.Cluster, q.Namespace, q.ServiceAccount)
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"cluster has an OIDC issuer", t.issuer},
		{"service account exists and names an identity", t.account},
		{"pod is changed on admission", t.admit},
		{"API server makes a token", t.request},
		{"identity exists", t.identity},
		{"federated credential fits the token", t.credential},
		{"token is exchanged", t.exchange},
	} {
		detail, err := step.do(ctx)
		if err == nil && detail == "" {
			continue // it does not concern this cluster
		}
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
		return "", errs.New(errs.Invalid, "It has none. Enable it: %s", enable(t.c, "--enable-oidc-issuer"))
	}
	if !t.c.WorkloadIdentity {
		return t.c.Issuer + " (workload identity is off, so that pods are not changed on admission: " + enable(t.c, "--enable-workload-identity") + ")", nil
	}
	return t.c.Issuer, nil
}

// enable is the command that switches something on.
func enable(c *state.Cluster, flag string) string {
	group, name := "GROUP", "NAME"
	if parts := strings.Split(c.ID, "/"); len(parts) == 9 {
		group, name = parts[4], parts[8]
	}
	if c.Connected {
		return fmt.Sprintf("entrance cluster connect %s -g %s %s --output-dir DIR", name, group, flag)
	}
	return fmt.Sprintf("az aks update -g %s -n %s %s", group, name, flag)
}

func (t *trial) account(ctx context.Context) (string, error) {
	config, err := t.s.services.reach.config(t.c)
	if err != nil {
		return "", err
	}
	config = rest.CopyConfig(config)
	config.Timeout = 5 * time.Second
	if t.client, err = kubernetes.NewForConfig(config); err != nil {
		return "", err
	}
	sa, err := t.client.CoreV1().ServiceAccounts(t.q.Namespace).Get(ctx, t.q.ServiceAccount, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", errs.New(errs.NotFound, "There is none of the name %s in the namespace %s. Create it: kubectl create serviceaccount %s -n %s", t.q.ServiceAccount, t.q.Namespace, t.q.ServiceAccount, t.q.Namespace)
	}
	if err != nil {
		return "", err
	}
	if t.q.ClientID == "" {
		t.q.ClientID = sa.Annotations[workloadidentity.ClientIDAnnotation]
	}
	if t.q.ClientID == "" {
		return "", errs.New(errs.Invalid, "It has no annotation. Add it, or name the identity with --client-id: kubectl annotate serviceaccount %s -n %s %s=CLIENT_ID", t.q.ServiceAccount, t.q.Namespace, workloadidentity.ClientIDAnnotation)
	}
	return "client id " + t.q.ClientID, nil
}

// admit has the API server admit a pod of the service account, and not keep it.
func (t *trial) admit(ctx context.Context) (string, error) {
	if t.c.Connected || !t.c.WorkloadIdentity {
		return "", nil
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "identity-try-", Labels: map[string]string{workloadidentity.UseLabel: "true"}},
		Spec:       corev1.PodSpec{ServiceAccountName: t.q.ServiceAccount, Containers: []corev1.Container{{Name: "try", Image: "none"}}},
	}
	made, err := t.client.CoreV1().Pods(t.q.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return "", err
	}
	var set []string
	for _, e := range made.Spec.Containers[0].Env {
		set = append(set, e.Name)
	}
	if !slices.Contains(set, workloadidentity.EnvTokenFile) {
		return "", errs.New(errs.Invalid, "It is not: no webhook is registered for pods of the namespace %s.", t.q.Namespace)
	}
	return "with the label " + workloadidentity.UseLabel + ": \"true\" it gets " + strings.Join(set, ", "), nil
}

func (t *trial) request(ctx context.Context) (string, error) {
	t.token = t.q.Token
	if t.token == "" {
		made, err := t.client.CoreV1().ServiceAccounts(t.q.Namespace).CreateToken(ctx, t.q.ServiceAccount, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{Audiences: []string{t.q.Audience}},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		t.token = made.Status.Token
	}
	parts := strings.Split(t.token, ".")
	if len(parts) != 3 {
		return "", errs.New(errs.Invalid, "The token is not a JWT.")
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
	if errs.Is(err, errs.NotFound) {
		return "", errs.New(errs.NotFound, "No managed identity or application of the tenant has the client id %s. See them: az identity list --query \"[].{name:name, clientId:clientId}\"", id)
	}
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
	advice := fmt.Sprintf("az identity federated-credential create -g GROUP --identity-name NAME --name NAME --issuer %s --subject %s --audiences %s", t.iss, t.sub, strings.Join(t.aud, " "))
	if t.principal.Type != "ManagedIdentity" {
		advice = fmt.Sprintf("az ad app federated-credential create --id %s --parameters '{\"name\":\"NAME\",\"issuer\":%q,\"subject\":%q,\"audiences\":[%q]}'", t.q.ClientID, t.iss, t.sub, strings.Join(t.aud, " "))
	}
	if len(t.federated) == 0 {
		return "", errs.New(errs.Invalid, "The identity has none. Add one: %s", advice)
	}
	var near []string
	for _, f := range t.federated {
		differs := difference(&f, t.iss, t.sub, t.aud)
		if len(differs) == 0 {
			return f.Name, nil
		}
		near = append(near, f.Name+" differs in "+strings.Join(differs, " and "))
	}
	return "", errs.New(errs.Invalid, "None fits issuer %q, subject %q and audience %q: %s. Change it, or add one: %s", t.iss, t.sub, strings.Join(t.aud, " "), strings.Join(near, "; "), advice)
}

// difference says in what a credential differs from a token, with the cause where
// it is one that eyes pass over.
func difference(f *directory.FederatedCredential, iss, sub string, aud []string) []string {
	var list []string
	add := func(name, has, want string) {
		text := fmt.Sprintf("%s %q", name, has)
		switch {
		case strings.EqualFold(has, want):
			text += " (letter case counts)"
		case has == strings.TrimSuffix(want, "/"):
			text += " (the final slash is missing)"
		case strings.TrimSuffix(has, "/") == want:
			text += " (the final slash is too much)"
		case strings.TrimSpace(has) == want:
			text += " (white space counts)"
		}
		list = append(list, text)
	}
	if f.Issuer != iss {
		add("issuer", f.Issuer, iss)
	}
	switch {
	case f.Matching != nil:
		list = append(list, "subject, in whose place it has a claims matching expression")
	case f.Subject != sub:
		add("subject", f.Subject, sub)
	}
	if !slices.ContainsFunc(f.Audiences, func(a string) bool { return slices.Contains(aud, a) }) {
		add("audience", strings.Join(f.Audiences, " "), strings.Join(aud, " "))
	}
	return list
}

// exchange asks the provider itself, through its own address, as a pod would.
func (t *trial) exchange(ctx context.Context) (string, error) {
	got, err := t.s.exchange(ctx, t.c.Tenant, t.q.ClientID, t.token)
	if err != nil {
		return "", err
	}
	return "an access token for Azure Resource Manager, good for " + got.String(), nil
}
