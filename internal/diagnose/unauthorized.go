package diagnose

import (
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// Bounds of what is looked at and said.
const (
	recent       = 24 * time.Hour      // records of the logs
	soon         = 14 * 24 * time.Hour // until a credential ends
	maxRefusals  = 3                   // that are told of
	checkTenant  = "tenant"
	checkAccount = "account"
	checkGroups  = "groups"
	checkSecret  = "credentials"
	checkCluster = "cluster secret"
	checkToken   = "token"
)

// subject finds who it is about, in the one tenant that the cluster knows.
func (e *examination) subject() bool {
	tenant := e.Cluster.Tenant
	t, err := state.Tenants.Get(e.view, string(tenant))
	if err != nil {
		e.add(Info, Unauthorized, checkTenant, "look into the sign-in log of that tenant; what the cluster refused is below",
			"the cluster belongs to tenant %s, which is connected and not hosted here: its people are not known", tenant)
		return false
	}
	id, err := access.Subject(e.view, tenant, e.Who)
	if err != nil {
		for other := range state.Tenants.All(e.view) {
			if other.ID == tenant {
				continue
			}
			if _, err := access.Subject(e.view, other.ID, e.Who); err == nil {
				e.add(Problem, Unauthorized, checkTenant,
					"sign in with an account of the cluster's tenant (kubelogin convert-kubeconfig --tenant-id "+string(tenant)+"), have them invited as a guest, or change the cluster's tenant: az aks update --aad-tenant-id "+string(other.ID),
					"%s is of tenant %s (%s); the cluster belongs to tenant %s (%s)", e.Who, other.ID, other.DisplayName, tenant, t.DisplayName)
				return false
			}
		}
		e.add(Problem, Unauthorized, checkTenant, "see who there is: az ad user list, az ad sp list --all", "there is no user or service principal %q in tenant %s (%s)", e.Who, tenant, t.DisplayName)
		return false
	}
	e.id = id
	e.add(OK, Unauthorized, checkTenant, "", "%s is of the cluster's tenant %s (%s)", e.Who, tenant, t.DisplayName)
	if u, err := state.Users.Get(e.view, state.Key(tenant, id)); err == nil {
		e.user = u
	} else if e.sp, err = state.ServicePrincipals.Get(e.view, state.Key(tenant, id)); err != nil {
		return false // it was there a moment ago, in the same view
	}
	return true
}

// account looks at what ends tokens that are valid by themselves.
func (e *examination) account() error {
	enabled, revoked := true, time.Time{}
	if e.user != nil {
		enabled, revoked = e.user.Enabled, e.user.AccessRevoked
	} else {
		enabled, revoked = e.sp.Enabled, e.sp.AccessRevoked
	}
	switch {
	case !enabled && e.user != nil:
		e.add(Problem, Unauthorized, checkAccount, "az rest --method patch --url https://graph.microsoft.com/v1.0/users/"+string(e.id)+" --body '{\"accountEnabled\": true}'", "the account is disabled")
	case !enabled:
		e.add(Problem, Unauthorized, checkAccount, "az ad sp update --id "+string(e.id)+" --set accountEnabled=true", "the service principal is disabled")
	case !revoked.IsZero() && e.now.Sub(revoked) < recent:
		e.add(Warning, Unauthorized, checkAccount, "sign in again: kubelogin remove-tokens, then kubectl", "access was revoked at %s: tokens from before are refused", stamp(revoked))
	case e.user != nil && e.user.MustChangePassword:
		e.add(Warning, SignIn, checkAccount, "sign in once in a browser, where the password is changed", "the password must be changed at the next sign-in, which not every way of signing in can ask for")
	default:
		e.add(OK, Unauthorized, checkAccount, "", "the account is enabled")
	}
	return nil
}

// groups looks for the limit of what a token names.
func (e *examination) groups() error {
	n := len(state.Memberships(e.view, e.Cluster.Tenant, e.id, e.now))
	if n > token.MaxGroups {
		e.add(Warning, Unauthorized, checkGroups, "give access by app roles or fewer groups where clusters elsewhere must let them in",
			"is in %d groups; a token names at most %d, and none beyond. Entrance looks them up, so it does no harm on this cluster; on AKS a service principal is refused, and so are clusters with OpenID Connect flags alone", n, token.MaxGroups)
		return nil
	}
	e.add(OK, Unauthorized, checkGroups, "", "is in %d groups, of at most %d that a token names", n, token.MaxGroups)
	return nil
}

// credentials looks whether an application has what to sign in with.
func (e *examination) credentials() error {
	if e.sp == nil || e.sp.Type == "ManagedIdentity" {
		return nil
	}
	sets := []*directory.Credentials{&e.sp.Credentials}
	if app, err := state.FindApplication(e.view, e.sp.AppID); err == nil {
		sets = append(sets, &app.Credentials)
	}
	var last time.Time
	valid, total := 0, 0
	note := func(start, end time.Time) {
		total++
		if !e.now.Before(start) && e.now.Before(end) {
			valid++
		}
		if end.After(last) {
			last = end
		}
	}
	federated := 0
	for _, c := range sets {
		for i := range c.Passwords {
			note(c.Passwords[i].Start, c.Passwords[i].End)
		}
		for i := range c.Keys {
			note(c.Keys[i].Start, c.Keys[i].End)
		}
		federated += len(c.Federated)
	}
	renew := "az ad app credential reset --append --id " + string(e.sp.AppID)
	switch {
	case total+federated == 0:
		e.add(Problem, SignIn, checkSecret, renew, "the application has no secret, certificate or federated credential")
	case valid == 0 && federated == 0:
		e.add(Problem, SignIn, checkSecret, renew, "every secret and certificate of the application is out of its time; the last ended at %s", stamp(last))
	case federated == 0 && last.Sub(e.now) < soon:
		e.add(Warning, SignIn, checkSecret, renew, "the last secret or certificate of the application ends at %s", stamp(last))
	default:
		e.add(OK, SignIn, checkSecret, "", "the application has %d valid secrets and certificates and %d federated credentials", valid, federated)
	}
	return nil
}

// clusterSecret looks whether a cluster of the legacy integration can look up
// groups.
func (e *examination) clusterSecret() error {
	if e.LegacySecret == nil {
		return nil
	}
	secret, ok := e.LegacySecret(e.view, e.Cluster.Key)
	if !ok {
		return nil
	}
	if !state.SecretWorks(e.view, e.Cluster.Tenant, e.Cluster.ServerApp, secret, e.now) {
		e.add(Problem, Unauthorized, checkCluster, "make a secret (az ad app credential reset --id "+string(e.Cluster.ServerApp)+") and give it to the cluster: az aks update-credentials --reset-aad --aad-server-app-secret",
			"the cluster's secret for its server application %s is wrong or has ended: nobody's groups can be looked up, and nobody gets in", e.Cluster.ServerApp)
		return nil
	}
	e.add(OK, Unauthorized, checkCluster, "", "the cluster's secret for its server application is right")
	return nil
}

// refusedTokens tells what the cluster did not accept of late. A token that is
// refused names nobody, so these may be somebody else's.
func (e *examination) refusedTokens() error {
	page, err := e.Logs.ListDecisions(e.ctx, audit.Query[audit.Decision]{Limit: maxRefusals, Since: e.now.Add(-recent), Match: func(d *audit.Decision) bool {
		return d.Surface == "tokenReview" && d.Verdict == audit.Deny && strings.EqualFold(d.Cluster, e.Cluster.ID) && e.now.Sub(d.Time) < recent
	}})
	if err != nil {
		return err
	}
	if len(page.Records) == 0 {
		e.add(OK, Unauthorized, checkToken, "", "the cluster has refused no token since %s", stamp(e.now.Add(-recent)))
		return nil
	}
	for _, d := range slices.Backward(page.Records) {
		e.add(Warning, Unauthorized, checkToken, tokenAdvice(d.Reason), "the cluster refused a token at %s: %s", stamp(d.Time), d.Reason)
	}
	return nil
}

// tokenAdvice says what to do about a refused token.
func tokenAdvice(reason string) string {
	for _, a := range []struct{ part, advice string }{
		{"belongs to tenant", "sign in to the cluster's tenant: kubelogin convert-kubeconfig --tenant-id, then kubelogin remove-tokens"},
		{"audience", "ask for a token of the cluster's server application: get the kubeconfig anew (az aks get-credentials) and check --server-id"},
		{"expired", "kubelogin remove-tokens; if it comes back, compare the clocks of both machines"},
		{"not yet", "compare the clocks of both machines"},
		{"secret", "see the cluster secret above"},
		{"credential", "sign in with a credential that exists: kubelogin remove-tokens"},
		{"revoked", "sign in again: kubelogin remove-tokens"},
		{"proof of possession", "sign in with --pop-enabled and --pop-claims u=CLUSTER-ID"},
		{"disabled", "enable the account"},
	} {
		if strings.Contains(reason, a.part) {
			return a.advice
		}
	}
	return "see what the token says: kubelogin doctor"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
