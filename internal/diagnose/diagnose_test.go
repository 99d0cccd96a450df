package diagnose_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/diagnose"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const (
	home    directory.TenantID = "11111111-0000-4000-8000-000000000001"
	foreign directory.TenantID = "11111111-0000-4000-8000-000000000002"
	ann     directory.ObjectID = "33333333-0000-4000-8000-000000000001"
	eve     directory.ObjectID = "33333333-0000-4000-8000-000000000002" // of the other tenant
	robot   directory.ObjectID = "33333333-0000-4000-8000-000000000003"
	admin   directory.ObjectID = "33333333-0000-4000-8000-000000000004"
	app     directory.AppID    = "55555555-0000-4000-8000-000000000001"
	admins  directory.ObjectID = "44444444-0000-4000-8000-000000000001"
	team    directory.ObjectID = "44444444-0000-4000-8000-000000000002"
	sub                        = "22222222-0000-4000-8000-000000000001"
	cluster                    = "/subscriptions/" + sub + "/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
	reader                     = "7f6c6a51-bcf8-42ba-9220-52d62157d7db" // Azure Kubernetes Service RBAC Reader
	user                       = "4abbcc35-e782-43d8-92c5-2d3f1bd2253f" // Azure Kubernetes Service Cluster User Role
)

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

type world struct {
	t       *testing.T
	store   *store.Store
	clock   *clock.Manual
	pim     *privileged.Service
	logs    *audit.Recorder
	doctor  *diagnose.Doctor
	patient diagnose.Patient
	secret  string // of the cluster's legacy integration
}

func newWorld(t *testing.T) *world {
	t.Helper()
	tables := slices.Concat(append(state.Tables(), state.Authenticators), policy.Tables(), privileged.Tables())
	w := &world{t: t, store: storetest.Open(t, tables...), clock: clock.NewManual(start)}
	w.update(func(tx *store.Tx) error {
		for id, domain := range map[directory.TenantID]string{home: "example.com", foreign: "example.org"} {
			if err := state.CreateTenant(tx, &directory.Tenant{ID: id, DisplayName: domain, Created: start, Domains: []directory.Domain{{Name: domain, Default: true, Initial: true}}}); err != nil {
				return err
			}
		}
		for _, u := range []directory.User{{Tenant: home, ID: ann, UserPrincipalName: "ann@example.com"}, {Tenant: home, ID: admin, UserPrincipalName: "admin@example.com"}, {Tenant: foreign, ID: eve, UserPrincipalName: "eve@example.org"}} {
			u.Enabled, u.Created = true, start
			if err := state.CreateUser(tx, &u); err != nil {
				return err
			}
		}
		for id, name := range map[directory.ObjectID]string{admins: "admins", team: "team"} {
			if err := state.Groups.Create(tx, &directory.Group{Tenant: home, ID: id, DisplayName: name, SecurityEnabled: true, Created: start}); err != nil {
				return err
			}
		}
		if err := state.ServicePrincipals.Create(tx, &directory.ServicePrincipal{
			Tenant: home, ID: robot, AppID: app, AppOwnerTenant: home, DisplayName: "robot", Type: "Application", Enabled: true, Names: []string{string(app)},
			Credentials: directory.Credentials{Passwords: []directory.Password{{KeyID: directory.NewGUID(), SHA256: sum("right"), Start: start, End: start.AddDate(1, 0, 0)}}},
		}); err != nil {
			return err
		}
		if err := state.Applications.Create(tx, &directory.Application{Tenant: home, ID: directory.ObjectID(directory.NewGUID()), AppID: app, DisplayName: "robot", SignInAudience: "AzureADMyOrg"}); err != nil {
			return err
		}
		return state.Subscriptions.Create(tx, &state.Subscription{ID: sub, Tenant: home, State: "Enabled"})
	})
	logger := slog.New(slog.DiscardHandler)
	a, err := access.New(w.store, w.clock, logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	p := policy.New(w.store, w.clock, logger)
	t.Cleanup(p.Close)
	if w.logs, err = audit.OpenRecorder(t.TempDir(), audit.RecorderOptions{Options: audit.Options{Clock: w.clock, Logger: logger}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.logs.Close() })
	w.pim = privileged.New(w.store, w.clock, logger)
	w.doctor = &diagnose.Doctor{Access: a, WhatIf: p.WhatIf, Logs: w.logs, Clock: w.clock, LegacySecret: func(store.Reader, string) (string, bool) { return w.secret, w.secret != "" }}
	w.patient = diagnose.Patient{
		Cluster: &state.Cluster{Key: "c", ID: cluster, Tenant: home, Entra: true, ServerApp: directory.AKSServer, AdminGroups: []directory.ObjectID{admins}, AzureRBAC: true},
		Who:     "ann@example.com", Kubernetes: &access.KubernetesRBAC{},
	}
	return w
}

func sum(secret string) []byte {
	s := sha256.Sum256([]byte(secret))
	return s[:]
}

func (w *world) update(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(change func(u *directory.User)) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(home, ann), func(u *directory.User) error { change(u); return nil })
	})
}

func (w *world) robot(change func(p *directory.ServicePrincipal)) {
	w.t.Helper()
	w.patient.Who = string(app)
	w.update(func(tx *store.Tx) error {
		return state.ServicePrincipals.Modify(tx, state.Key(home, robot), func(p *directory.ServicePrincipal) error { change(p); return nil })
	})
}

func (w *world) member(group directory.ObjectID) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, home, group, ann) })
}

func (w *world) assign(role, scope string) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		return state.AccessAssignments.Create(tx, &state.AccessAssignment{Tenant: home, Name: directory.NewGUID(), Scope: scope, Role: role, Principal: ann, PrincipalType: rbac.User, Created: start})
	})
}

func (w *world) request(by privileged.Caller, action pim.Action, sort pim.Sort, t pim.Target, d time.Duration) {
	w.t.Helper()
	if _, err := w.pim.CreateRequest(context.Background(), home, by, privileged.NewRequest{
		Action: action, Sort: sort, Target: t, Principal: ann, Justification: "INC-1", Expiration: pim.Expiration{Duration: d},
	}); err != nil {
		w.t.Fatal(err)
	}
}

var (
	administrator = privileged.Caller{ID: admin, Administrator: true, MFA: true}
	herself       = privileged.Caller{ID: ann, MFA: true}
	membership    = pim.GroupTarget(admins, pim.Member)
	readerRole    = pim.AzureRoleTarget("/subscriptions/"+sub+"/providers/Microsoft.Authorization/roleDefinitions/"+reader, cluster+"/namespaces/prod")
)

func (w *world) policy(state, conditions, controls string) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		_, err := policy.CreatePolicy(tx, home, fmt.Appendf(nil, `{"displayName": "the policy", "state": %q,
			"conditions": {"users": {"includeUsers": ["All"]}, "applications": {"includeApplications": ["All"]}, "clientAppTypes": ["all"]%s}, "grantControls": {"operator": "OR", "builtInControls": [%q]}}`, state, conditions, controls), start)
		return err
	})
}

func binding(kind, name string) *access.KubernetesRBAC {
	return &access.KubernetesRBAC{
		ClusterRoles: []rbacv1.ClusterRole{{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}}},
		ClusterRoleBindings: []rbacv1.ClusterRoleBinding{{
			ObjectMeta: metav1.ObjectMeta{Name: "b"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "all"}, Subjects: []rbacv1.Subject{{Kind: kind, Name: name}},
		}},
	}
}

var pods = &k8s.ResourceAttributes{Verb: "list", Resource: "pods", Version: "v1", Namespace: "prod"}

// TestFaults makes one fault at a time and wants it found. Without the fault the
// same words must not appear, so that a check that says it always is no check.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(w *world)
		level diagnose.Level
		about diagnose.Symptom
		text  string
	}{
		{"another tenant", func(w *world) { w.patient.Who = "eve@example.org" }, diagnose.Problem, diagnose.Unauthorized, "eve@example.org is of tenant " + string(foreign)},
		{"nobody", func(w *world) { w.patient.Who = "nobody@example.com" }, diagnose.Problem, diagnose.Unauthorized, "no user or service principal"},
		{"connected tenant", func(w *world) { w.patient.Cluster.Tenant = "11111111-0000-4000-8000-000000000003" }, diagnose.Info, diagnose.Unauthorized, "connected and not hosted"},
		{"disabled", func(w *world) { w.user(func(u *directory.User) { u.Enabled = false }) }, diagnose.Problem, diagnose.Unauthorized, "the account is disabled"},
		{"revoked", func(w *world) { w.user(func(u *directory.User) { u.AccessRevoked = start }) }, diagnose.Warning, diagnose.Unauthorized, "access was revoked"},
		{"password", func(w *world) { w.user(func(u *directory.User) { u.MustChangePassword = true }) }, diagnose.Warning, diagnose.SignIn, "password must be changed"},
		{"more than 200 groups", func(w *world) {
			w.update(func(tx *store.Tx) error {
				for range 201 {
					g := directory.ObjectID(directory.NewGUID())
					if err := state.Groups.Create(tx, &directory.Group{Tenant: home, ID: g, DisplayName: string(g), SecurityEnabled: true}); err != nil {
						return err
					}
					if err := state.Link(tx, directory.Member, home, g, ann); err != nil {
						return err
					}
				}
				return nil
			})
		}, diagnose.Warning, diagnose.Unauthorized, "is in 201 groups"},
		{"disabled application", func(w *world) { w.robot(func(p *directory.ServicePrincipal) { p.Enabled = false }) }, diagnose.Problem, diagnose.Unauthorized, "service principal is disabled"},
		{"no secret", func(w *world) {
			w.robot(func(p *directory.ServicePrincipal) { p.Credentials = directory.Credentials{} })
		}, diagnose.Problem, diagnose.SignIn, "has no secret"},
		{"ended secret", func(w *world) {
			w.robot(func(p *directory.ServicePrincipal) { p.Credentials.Passwords[0].End = start.Add(-time.Hour) })
		}, diagnose.Problem, diagnose.SignIn, "out of its time"},
		{"secret that ends soon", func(w *world) {
			w.robot(func(p *directory.ServicePrincipal) { p.Credentials.Passwords[0].End = start.Add(time.Hour) })
		}, diagnose.Warning, diagnose.SignIn, "ends at"},
		{"secret mismatch", func(w *world) { w.patient.Cluster.ServerApp, w.secret = app, "wrong" }, diagnose.Problem, diagnose.Unauthorized, "secret for its server application"},
		{"refused token", func(w *world) {
			w.record(&audit.DecisionEvent{Surface: "tokenReview", Verdict: audit.Deny, Reason: "the token's audience is another"})
		}, diagnose.Warning, diagnose.Unauthorized, "refused a token"},

		{"no assignment", func(*world) {}, diagnose.Problem, diagnose.Forbidden, "may not list nodes"},
		{"group not activated", func(w *world) {
			w.request(administrator, pim.AdminAssign, pim.Eligible, membership, 30*24*time.Hour)
		}, diagnose.Problem, diagnose.Forbidden, "is eligible for membership of group admins"},
		{"role not activated", func(w *world) {
			w.patient.Resource = pods
			w.request(administrator, pim.AdminAssign, pim.Eligible, readerRole, 30*24*time.Hour)
		}, diagnose.Problem, diagnose.Forbidden, "is eligible for the role Azure Kubernetes Service RBAC Reader"},
		{"activation ended", func(w *world) {
			w.request(administrator, pim.AdminAssign, pim.Eligible, membership, 30*24*time.Hour)
			w.request(herself, pim.SelfActivate, pim.Active, membership, time.Hour)
			w.clock.Advance(2 * time.Hour)
		}, diagnose.Problem, diagnose.Forbidden, "is eligible for membership of group admins"},
		{"active assignment ended", func(w *world) {
			w.request(administrator, pim.AdminAssign, pim.Active, membership, time.Hour)
			w.clock.Advance(2 * time.Hour)
		}, diagnose.Problem, diagnose.Forbidden, "ended at 2026-03-02 10:00:00Z"},
		{"waits for approval", func(w *world) {
			if _, err := w.pim.UpdateRules(context.Background(), home, membership, admin, pim.Rule{ID: pim.RuleIDApproval, ApprovalRequired: true}); err != nil {
				w.t.Fatal(err)
			}
			w.request(administrator, pim.AdminAssign, pim.Eligible, membership, 30*24*time.Hour)
			w.request(herself, pim.SelfActivate, pim.Active, membership, time.Hour)
		}, diagnose.Warning, diagnose.Forbidden, "waits for approval"},
		{"Azure RBAC off", func(w *world) {
			w.patient.Cluster.AzureRBAC = false
			w.assign(reader, cluster)
		}, diagnose.Problem, diagnose.Forbidden, "Azure RBAC is off for the cluster: role assignments say nothing there"},
		{"wrong scope", func(w *world) {
			w.patient.Resource = pods
			w.assign(reader, cluster+"/namespaces/test")
		}, diagnose.Problem, diagnose.Forbidden, "does not cover list pods in namespace prod"},
		{"role of the resource", func(w *world) { w.assign(user, cluster) }, diagnose.Info, diagnose.Forbidden, "manage the cluster as a resource"},
		{"binding to a display name", func(w *world) {
			w.member(team)
			w.patient.Kubernetes = binding(rbacv1.GroupKind, "team")
		}, diagnose.Problem, diagnose.Forbidden, `names the group "team"`},
		{"binding to an object id", func(w *world) { w.patient.Kubernetes = binding(rbacv1.UserKind, string(ann)) }, diagnose.Problem, diagnose.Forbidden, "names the user"},
		{"binding to a guest's name", func(w *world) {
			w.user(func(u *directory.User) { u.Guest = true })
			w.patient.Kubernetes = binding(rbacv1.UserKind, "ann@example.com")
		}, diagnose.Problem, diagnose.Forbidden, "the cluster knows them as \"" + string(ann)},

		{"device policy", func(w *world) { w.policy("enabled", "", "compliantDevice") }, diagnose.Problem, diagnose.SignIn, `with device code: policy "the policy" stops the sign-in: RequireCompliantDevice`},
		{"mfa policy", func(w *world) { w.policy("enabled", "", "mfa") }, diagnose.Warning, diagnose.SignIn, `policy "the policy" asks for more at the sign-in: Mfa`},
		{"device code is blocked", func(w *world) {
			w.policy("enabled", `, "authenticationFlows": {"transferMethods": "deviceCodeFlow"}`, "block")
		}, diagnose.Problem, diagnose.SignIn, `with device code: policy "the policy" stops the sign-in: Block`},
		{"report-only", func(w *world) { w.policy("enabledForReportingButNotEnforced", "", "block") }, diagnose.Info, diagnose.SignIn, "report-only"},
		{"sign-in log", func(w *world) {
			if err := w.logs.SignIn(context.Background(), &audit.SignInEvent{Time: w.clock.Now(), Tenant: home, User: ann, UserName: "ann@example.com", Code: 53000, Reason: "Device is not compliant.",
				Policies: []conditionalaccess.PolicyResult{{DisplayName: "old policy", Result: conditionalaccess.Failure, GrantControls: []string{"CompliantDevice"}}}}); err != nil {
				w.t.Fatal(err)
			}
		}, diagnose.Info, diagnose.SignIn, "AADSTS53000 Device is not compliant., by policy old policy (CompliantDevice)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			find := func() []diagnose.Finding {
				list, err := w.doctor.Run(t.Context(), w.patient)
				if err != nil {
					t.Fatal(err)
				}
				return list
			}
			has := func(list []diagnose.Finding) bool {
				return slices.ContainsFunc(list, func(f diagnose.Finding) bool {
					return f.Level == tt.level && f.Symptom == tt.about && strings.Contains(f.Text, tt.text)
				})
			}
			if tt.name != "no assignment" && has(find()) {
				t.Errorf("it is found without the fault")
			}
			tt.fault(w)
			if list := find(); !has(list) {
				t.Errorf("not found: %s %q in\n%+v", tt.level, tt.text, list)
			}
		})
	}
}

func (w *world) record(e *audit.DecisionEvent) {
	w.t.Helper()
	e.Cluster, e.Tenant, e.Time = cluster, home, w.clock.Now()
	if err := w.logs.Decision(context.Background(), e); err != nil {
		w.t.Fatal(err)
	}
}

// TestHealthy: nothing is wrong with somebody who gets in.
func TestHealthy(t *testing.T) {
	w := newWorld(t)
	w.member(admins)
	list, err := w.doctor.Run(t.Context(), w.patient)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Level != diagnose.OK {
			t.Errorf("%+v", f)
		}
	}
	if len(list) < 6 {
		t.Errorf("only %d checks: %+v", len(list), list)
	}
}
