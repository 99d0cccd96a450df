package control_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
)

const localAccounts = "Getting static credential is not allowed because this cluster is set to disable local accounts."

// TestLife changes a running cluster as `az aks update` does, one thing at a
// time, and looks at the API server after each: who people are there, what they
// may do, and with which flags it runs.
func TestLife(t *testing.T) {
	ada, dev := account(t, "ada"), account(t, "dev")
	first, second := newGroup(t, "life-first", dev.ObjectID), newGroup(t, "life-second", ada.ObjectID)

	// Without Entra: the user's credential is static, and a token is nothing.
	c := newCluster(t, "life", map[string]any{"oidcIssuerProfile": map[string]any{"enabled": false}})
	plain := c.apiserver()
	if f := plain.flag("authentication-token-webhook-config-file") + plain.flag("admission-control-config-file"); f != "" {
		t.Errorf("a cluster without Entra asks a webhook: %s", f)
	}
	static := c.user()
	if who := c.whoami(static); who.Username != "masterclient" || !slices.Contains(who.Groups, "system:masters") {
		t.Errorf("the static user is %+v", who)
	}
	adaToken, devToken := person(t, "ada", aksScope), person(t, "dev", aksScope)
	c.unauthorized("a token on a cluster without Entra", bearer(t, static, adaToken))

	// --enable-aad with one group: its members are administrators, others are
	// somebody.
	aad := func(more map[string]any) map[string]any {
		profile := map[string]any{"managed": true, "adminGroupObjectIDs": []string{first}}
		for name, v := range more {
			profile[name] = v
		}
		return map[string]any{"aadProfile": profile}
	}
	c.put(aad(nil))
	entra := c.apiserver()
	if entra.pid == plain.pid || entra.flag("authentication-token-webhook-config-file") == "" || entra.flag("authorization-config") == "" {
		t.Errorf("with Entra the API server runs with %q", entra.args)
	}
	user := c.user()
	asAda, asDev := bearer(t, user, adaToken), bearer(t, user, devToken)
	who := c.whoami(asAda)
	if who.Username != ada.UserPrincipalName || !slices.Contains(who.Groups, second) || !slices.Equal(who.Extra["oid"], []string{string(ada.ObjectID)}) {
		t.Errorf("ada is %+v", who)
	}
	everything := []string{"*", "*", "--all-namespaces"}
	check := func(what, kubeconfig string, want bool, question ...string) {
		t.Helper()
		if out, ok := may(kubeconfig, want, question...)(); !ok {
			t.Errorf("%s: want %v, kubectl auth can-i %v: %s", what, want, question, out)
		}
	}
	check("a member of the admin group", asDev, true, everything...)
	check("not a member", asAda, false, everything...)

	// A second admin group, on the same processes; then a member more, and the
	// group gone again.
	c.put(aad(map[string]any{"adminGroupObjectIDs": []string{first, second}}))
	eventually(t, "the admin group that was added works", may(asAda, true, everything...))
	members := "/groups/" + second + "/members/"
	nodes := func(kubeconfig string, want bool) func() (string, bool) {
		return func() (string, bool) {
			out, err := kubectl(kubeconfig, "get", "nodes")
			return out, (err == nil) == want
		}
	}
	graph(t, http.MethodDelete, members+string(ada.ObjectID)+"/$ref", nil, nil)
	eventually(t, "who has left the admin group is refused", nodes(asAda, false))
	graph(t, http.MethodPost, members+"$ref", map[string]string{"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/" + string(ada.ObjectID)}, nil)
	eventually(t, "who has joined the admin group is let in", nodes(asAda, true))
	c.put(aad(nil))
	eventually(t, "members of the group that was removed are refused", may(asAda, false, everything...))
	if now := c.apiserver(); now.pid != entra.pid {
		t.Error("the API server was restarted for a change of the admin groups")
	}

	// --enable-azure-rbac, and off again.
	const reader = "7f6c6a51-bcf8-42ba-9220-52d62157d7db" // Azure Kubernetes Service RBAC Reader
	scope := c.id + "/namespaces/default"
	name := directory.NewGUID()
	decode(t, "role assignment", call(t, armScope, http.MethodPut, "https://management.azure.com"+scope+"/providers/Microsoft.Authorization/roleAssignments/"+name+"?api-version=2022-04-01", map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/subscriptions/" + cloud.status.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + reader, "principalId": ada.ObjectID, "principalType": "User",
	}}), nil)
	pods := []string{"list", "pods", "--namespace", "default"}
	check("a role assignment while Azure RBAC is off", asAda, false, pods...)
	c.put(aad(map[string]any{"enableAzureRBAC": true}))
	eventually(t, "Azure RBAC that was switched on decides", may(asAda, true, pods...))
	check("beyond the namespace of the role", asAda, false, "list", "pods", "--namespace", "kube-system")
	check("beyond the role", asAda, false, "delete", "pods", "--namespace", "default")
	c.put(aad(map[string]any{"enableAzureRBAC": false}))
	eventually(t, "Azure RBAC that was switched off decides no more", may(asAda, false, pods...))
	if now := c.apiserver(); now.pid != entra.pid {
		t.Error("the API server was restarted for Azure RBAC")
	}

	// The issuer and workload identity.
	issuer := func(kubeconfig string) string {
		out, err := kubectl(kubeconfig, "get", "--raw", "/.well-known/openid-configuration")
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, rest, _ := strings.Cut(out, `"issuer":"`)
		out, _, _ = strings.Cut(rest, `"`)
		return out
	}
	before := issuer(asDev)
	workload := func(more map[string]any) map[string]any {
		all := aad(nil)
		all["oidcIssuerProfile"] = map[string]any{"enabled": true}
		all["securityProfile"] = map[string]any{"workloadIdentity": map[string]any{"enabled": true}}
		for name, v := range more {
			all[name] = v
		}
		return all
	}
	c.put(workload(nil))
	after := issuer(asDev)
	if now := c.apiserver(); before == after || !strings.HasPrefix(after, cloud.status.Endpoints.Login+"/") || now.flag("service-account-issuer") != after || now.flag("admission-control-config-file") == "" {
		t.Errorf("the issuer was %q and is %q; the API server runs with %q", before, after, now.args)
	}

	// --disable-local-accounts: no static credential is given out any more. The
	// old one is good until the certificates are rotated, and then nothing.
	old := c.admin()
	local := map[string]any{"disableLocalAccounts": true}
	c.put(workload(local))
	for _, action := range []string{"listClusterAdminCredential", "accessProfiles/clusterAdmin/listCredential"} {
		if a := c.call(http.MethodPost, "/"+action, nil); a.code != http.StatusBadRequest || !strings.HasPrefix(a.errorMessage(), localAccounts) {
			t.Errorf("%s: HTTP %d %s", action, a.code, a.raw)
		}
	}
	if who := c.whoami(old); who.Username != "masterclient" {
		t.Errorf("the old credential is %+v before the rotation", who)
	}
	running := c.apiserver()
	c.post("rotateClusterCertificates")
	c.unauthorized("the old administrator's kubeconfig after the rotation", old)
	c.unauthorized("the static user's kubeconfig after the rotation", static)
	rotated := c.apiserver()
	if ca := rotated.flag("client-ca-file"); rotated.pid == running.pid || ca == "" || ca == running.flag("client-ca-file") {
		t.Errorf("before the rotation the API server ran with %q, and now with %q", running.args, rotated.args)
	}
	// Entra's people are not touched; their kubeconfig has the new authority.
	check("a member of the admin group after the rotation", bearer(t, c.user(), devToken), true, everything...)
	if out, err := kubectl(user, "get", "--raw", "/version", "--token", devToken); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("the authority of before the rotation is still good: %v\n%s", err, out)
	}
	c.put(workload(map[string]any{"disableLocalAccounts": false}))
	if who := c.whoami(c.admin()); who.Username != "masterclient" || !slices.Contains(who.Groups, "system:masters") {
		t.Errorf("the new administrator is %+v", who)
	}

	// Both forms of the kubeconfig.
	for format, want := range map[string]string{"exec": "command: kubelogin", "azure": "auth-provider:"} {
		var answer struct{ Kubeconfigs []struct{ Value []byte } }
		decode(t, format, call(t, armScope, http.MethodPost, "https://management.azure.com"+c.id+"/listClusterUserCredential"+arm+"&format="+format, nil), &answer)
		if got := string(answer.Kubeconfigs[0].Value); !strings.Contains(got, want) || !strings.Contains(got, string(directory.AKSServer)) {
			t.Errorf("%s:\n%s", format, got)
		}
	}

	// Delete stops and cleans up.
	asDev = bearer(t, c.user(), devToken)
	id := c.id
	c.delete()
	c.id = id
	a := c.call(http.MethodGet, "", nil)
	c.id = ""
	if a.code != http.StatusNotFound {
		t.Errorf("the deleted cluster: HTTP %d %s", a.code, a.raw)
	}
	nothingLeft(t)
	if out, err := kubectl(asDev, "get", "nodes"); err == nil || !strings.Contains(out, "refused") {
		t.Errorf("something answers: %v\n%s", err, out)
	}
}

// nothingLeft holds that no cluster runs and that none has files.
func nothingLeft(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if list, err := components(kind); err != nil || len(list) > 0 {
			t.Errorf("still running: %+v %v", list, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(cloud.data, "clusters", "clusters"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v %v", left, err)
	}
}
