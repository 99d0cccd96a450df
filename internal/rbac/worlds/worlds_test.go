package worlds_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/rbac/worlds"
)

func load(t *testing.T) []*worlds.World {
	t.Helper()
	ws, err := worlds.Load(os.DirFS("../../../test/worlds/access"))
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

// TestWorlds asks every question of every world of the engine, by the way that
// requests take and by the way of explain, and who-can.
func TestWorlds(t *testing.T) {
	ws := load(t)
	if len(ws) < 30 {
		t.Errorf("%d worlds; there should be at least 30", len(ws))
	}
	asked := 0
	for _, w := range ws {
		t.Run(w.Name, func(t *testing.T) {
			s, err := w.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			for i := range w.Questions {
				q := &w.Questions[i]
				asked++
				t.Run(q.String(), func(t *testing.T) {
					if q.Ask != "" {
						askCluster(t, w, s, q)
					} else {
						askARM(t, w, s, q)
					}
				})
			}
		})
	}
	t.Logf("%d worlds, %d questions", len(ws), asked)
}

func askCluster(t *testing.T, w *worlds.World, s *rbac.Snapshot, q *worlds.Question) {
	c, err := w.Cluster(q.On)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.Review(q)
	if err != nil {
		t.Fatal(err)
	}
	got := c.Authorize(s, r, w, w.Time())
	explained := c.Explain(s, r, w, w.Time(), 5)
	if got.Verdict != explained.Verdict || got.Reason != explained.Reason {
		t.Errorf("asked %v (%s), explained %v (%s)", got.Verdict, got.Reason, explained.Verdict, explained.Reason)
	}
	if q.Want == "error" {
		if got.Err == nil || got.Verdict != k8s.Deny {
			t.Errorf("no error: %v (%s)", got.Verdict, got.Reason)
		}
		return
	}
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	want := map[string]k8s.Verdict{"allow": k8s.Allow, "deny": k8s.Deny, "none": k8s.NoOpinion}[q.Want]
	reason, err := w.WantReason(q)
	if err != nil {
		t.Fatal(err)
	}
	if got.Verdict != want || got.Reason != reason {
		t.Fatalf("%v (%s), want %v (%s)", got.Verdict, got.Reason, want, reason)
	}
	if len(q.Actions) > 0 {
		checks, err := c.Checks(r)
		if err != nil {
			t.Fatal(err)
		}
		var actions []string
		for _, k := range checks {
			actions = append(actions, strings.TrimPrefix(k.Action.String(), c.Prefix+"/"))
		}
		if d := cmp.Diff(q.Actions, actions); d != "" {
			t.Errorf("actions (-want +got):\n%s", d)
		}
	}
	if len(got.Checks) > 0 {
		because(t, w, q, got.Checks[len(got.Checks)-1].Decision)
	}
	whoCan(t, w, s, q, c, r, got)
	suggested(t, w, s, q, c, r, explained)
}

// suggested makes each assignment that explain suggests, and asks again.
func suggested(t *testing.T, w *worlds.World, s *rbac.Snapshot, q *worlds.Question, c *k8s.Cluster, r *k8s.Review, e k8s.Explained) {
	for _, sug := range e.Suggestions {
		who, err := w.ObjectID(q.Who)
		if err != nil {
			t.Fatal(err)
		}
		s2, err := s.WithAssignments(rbac.RoleAssignment{Tenant: w.Tenant(), Name: w.ID("assignment", "suggested"), Scope: sug.Scope, RoleID: sug.Role.ID, PrincipalID: who, PrincipalType: rbac.User})
		if err != nil {
			if strings.Contains(err.Error(), "already exists") { // a condition holds it back
				continue
			}
			t.Errorf("suggested %s at %s: %v", sug.Role.Name, sug.Scope, err)
			continue
		}
		if got := c.Authorize(s2, r, w, w.Time()); got.Verdict != k8s.Allow {
			t.Errorf("with the suggested %s at %s: %v", sug.Role.Name, sug.Scope, got.Verdict)
		}
	}
}

// inWorld answers who-can's questions about principals.
type inWorld struct{ *worlds.World }

func (w inWorld) Members(group directory.ObjectID) []directory.ObjectID {
	var out []directory.ObjectID
	for _, set := range []map[string]worlds.Principal{w.Users, w.ServicePrincipals} {
		for name := range set {
			if p, err := w.World.Principal(name); err == nil && slices.Contains(p.Groups, group) {
				out = append(out, p.ID)
			}
		}
	}
	return out
}

// whoCan asks who may do it, and looks for who asks.
func whoCan(t *testing.T, w *worlds.World, s *rbac.Snapshot, q *worlds.Question, c *k8s.Cluster, r *k8s.Review, got k8s.Result) {
	if len(got.Checks) == 0 {
		return
	}
	holders, err := c.WhoCan(s, r, inWorld{w}, w.Time())
	if err != nil {
		t.Fatal(err)
	}
	listed := slices.ContainsFunc(holders, func(h k8s.Result) bool { return h.Who.Principal.ID == got.Who.Principal.ID })
	if listed != (got.Verdict == k8s.Allow) {
		t.Errorf("the verdict is %v, and who-can lists %s: %v", got.Verdict, q.Who, listed)
	}
}

func askARM(t *testing.T, w *worlds.World, s *rbac.Snapshot, q *worlds.Question) {
	r, err := w.Request(q)
	if err != nil {
		t.Fatal(err)
	}
	got, message := s.Decide(r), ""
	if !q.Data {
		got, message = s.AuthorizeARM("the client", *r)
	}
	if got.Allowed() != (q.Want == "allow") {
		t.Fatalf("%v (%v), want %s", got.Verdict, got.Reason, q.Want)
	}
	if e := s.Explain(r); e.Decision != got {
		t.Errorf("explained %+v, asked %+v", e.Decision, got)
	}
	if got.Allowed() && got.Assignment.Name != w.ID("assignment", q.By) {
		t.Errorf("allowed by %s, want %s", got.Assignment.Name, q.By)
	}
	if !got.Allowed() && !q.Data && !strings.HasPrefix(message, "The client 'the client' with object id '"+string(r.Principal.ID)+"' does not have authorization to perform action '"+q.Action+"' over scope '"+r.Scope.String()+"' or the scope is invalid.") {
		t.Errorf("message: %s", message)
	}
	because(t, w, q, got)
}

func because(t *testing.T, w *worlds.World, q *worlds.Question, d rbac.Decision) {
	kind, name, _ := strings.Cut(q.Because, " ")
	switch kind {
	case "":
		if q.Want == "deny" && d.Reason != rbac.NoAssignment {
			t.Errorf("refused because %v; the world does not say so", d.Reason)
		}
	case "deny":
		if d.Reason != rbac.DeniedExplicitly || d.Deny.Name != w.ID("deny", name) {
			t.Errorf("refused because %v (%+v), want the deny assignment %s", d.Reason, d.Deny, name)
		}
	case "condition":
		if d.Reason != rbac.ConditionNotMet || d.Assignment.Name != w.ID("assignment", name) {
			t.Errorf("refused because %v, want the condition of %s", d.Reason, name)
		}
	default:
		t.Errorf("the world says because %q", q.Because)
	}
}

// rows are the rows of the tables that the worlds must cover.
var rows = strings.Fields(`
verb/get verb/list verb/watch verb/create verb/update verb/patch verb/delete verb/deletecollection
verb/bind verb/escalate verb/use verb/impersonate verb/star verb/other
req/pods-exec-get req/pods-exec-create req/pods-log req/portforward-create req/portforward-get req/attach-create
req/attach-get req/eviction-create req/nodes-proxy-get req/nodes-proxy-create req/deployments-scale req/status
req/sa-token req/impersonate-users req/impersonate-groups req/impersonate-serviceaccounts req/impersonate-userextras
req/subjectaccessreviews req/nonresource-logs req/nonresource-metrics req/metrics-pods
strict/log strict/exec strict/attach strict/portforward strict/proxy strict/ephemeralcontainers strict/scale strict/token
order/system-user order/no-oid order/name-mismatch order/disabled order/discovery order/allow order/deny order/malformed
scope/cluster scope/namespace scope/resource-group scope/subscription scope/management-group scope/root
scope/namespace-not-cluster-wide scope/namespace-object scope/managed-namespace scope/configuration-namespaces
wildcard/all wildcard/verb wildcard/resource wildcard/namespaced wildcard/custom-group wildcard/empty wildcard/no-resources
custom/reader-refused custom/writer-refused custom/admin custom/cluster-admin custom/wildcard-role custom/literal-role
custom/abac-group custom/abac-kind custom/abac-other-verb custom/abac-known-resource
rule/deny-beats-allow rule/deny-exclude rule/deny-child-scopes rule/deny-everyone rule/deny-group
rule/not-actions-own-role rule/additive rule/nested-groups rule/case-insensitive rule/wildcard-not-itself
rule/wildcard-anywhere rule/scope-is-by-segment rule/owner-no-data
role/aks-rbac-reader role/aks-rbac-writer role/aks-rbac-admin role/aks-rbac-cluster-admin role/aks-cluster-user
role/aks-cluster-admin role/aks-contributor role/aks-monitoring-user role/arc-cluster-user role/arc-viewer role/arc-writer
role/arc-admin role/arc-cluster-admin role/rbac-administrator role/owner role/contributor role/reader
role/user-access-administrator
condition/action-matches condition/suboperation condition/exists condition/principal-attribute condition/environment
condition/string-equals condition/string-starts-with condition/string-like condition/string-ignore-case condition/string-not
condition/numeric condition/bool condition/datetime condition/cross-product condition/missing-attribute
condition/filters-only condition/aks-custom-resources condition/fleet-abac-roles condition/delegation-write
condition/delegation-delete`)

func TestWorldsCoverTheTables(t *testing.T) {
	covered := map[string]bool{}
	for _, w := range load(t) {
		for _, row := range w.Covers {
			covered[row] = true
		}
	}
	for _, row := range rows {
		if !covered[row] {
			t.Errorf("no world covers %s", row)
		}
	}
}

func TestParseIsStrict(t *testing.T) {
	const good = "name: x\nusers: {a: {}}\nsubscriptions: {s: \"\"}\nclusters: {c: {subscription: s, resourceGroup: r}}\n"
	const ask = "questions: [{who: a, on: c, ask: get pods, want: deny}]\n"
	if _, err := worlds.Parse([]byte(good + ask)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ text, want string }{
		{good + ask + "colour: red\n", "colour"},
		{good, "asks nothing"},
		{good + "questions: [{who: b, on: c, ask: get pods, want: deny}]\n", `no principal "b"`},
		{good + "questions: [{who: a, on: d, ask: get pods, want: deny}]\n", `no cluster "d"`},
		{good + "questions: [{who: a, on: c, ask: get pods, want: maybe}]\n", `want is "maybe"`},
		{good + "questions: [{who: a, on: c, ask: get pods, want: allow}]\n", "names the assignment"},
		{good + "assignments: [{name: n, principal: a, role: Nobody, scope: \"cluster:c\"}]\n" + ask, `no role "Nobody"`},
		{good + "assignments: [{name: n, principal: a, role: Reader, scope: \"cluster:c\", condition: \"x\"}]\n" + ask, "column 1"},
	} {
		if _, err := worlds.Parse([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\nerror %v, want one about %s", tc.text, err, tc.want)
		}
	}
}
