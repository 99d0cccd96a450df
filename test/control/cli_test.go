package control_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/test/az"
)

// commandLine is a person's shell: a directory of its own for sign-ins and
// kubeconfigs.
type commandLine struct {
	t    *testing.T
	dir  string
	vars map[string]string
}

func newCommandLine(t *testing.T) *commandLine {
	dir := t.TempDir()
	return &commandLine{t, dir, map[string]string{
		"ENTRANCE_CONFIG_DIR": filepath.Join(dir, "entrance"), "ENTRANCE_DATA_DIR": cloud.data, "ENTRANCE_CLOUD": "",
		"AZURE_CONFIG_DIR": filepath.Join(dir, "azure"), "KUBECONFIG": filepath.Join(dir, "kubeconfig"), "HOME": dir, "WORK": dir,
		"PYTHONPATH": filepath.Join(dir, "mend"), "LANG": "C.UTF-8",
	}}
}

// run runs a line of bash and returns what it printed: standard output, and
// both.
func (l *commandLine) run(line string) (out, all string, err error) {
	l.t.Helper()
	cmd := exec.Command("bash", "-c", "set -o pipefail; "+line)
	for _, v := range os.Environ() {
		// The suite's own sign-in would win over what kubelogin is told.
		if !strings.HasPrefix(v, "AZURE_CLIENT_") && !strings.HasPrefix(v, "AZURE_TENANT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	for k, v := range l.vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stdout.String() + stderr.String(), err
}

// must runs a line that has to work and to print what is wanted.
func (l *commandLine) must(line string, want ...string) string {
	l.t.Helper()
	out, all, err := l.run(line)
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", line, err, all)
	}
	for _, w := range want {
		if !strings.Contains(all, w) {
			l.t.Errorf("%s: %q is not in\n%s", line, w, all)
		}
	}
	return strings.TrimSpace(out)
}

// refused runs a line that has to fail and to say something.
func (l *commandLine) refused(line, say string) {
	l.t.Helper()
	if _, all, err := l.run(line); err == nil || !strings.Contains(all, say) {
		l.t.Errorf("%s: %v, %q is not in\n%s", line, err, say, all)
	}
}

// TestCommandLine does with our command line what the five documents do with
// az, against a real cluster, and looks at the cluster after each change.
func TestCommandLine(t *testing.T) {
	l := newCommandLine(t)
	admin := cloud.people.Administrator
	l.vars["UPN"], l.vars["PASSWORD"] = admin.UserPrincipalName, admin.Password
	l.must(`entrance login -u $UPN -p "$PASSWORD" -o none`)
	l.vars["G"] = l.must(`entrance ad group create --display-name lineAdmins --mail-nickname lineAdmins --query id -o tsv`)
	l.must(`entrance group create --name line --location centralus`, `"provisioningState": "Succeeded"`)
	l.must(`entrance aks create -g line -n web --node-count 1 --generate-ssh-keys --query identity.type -o tsv`, "SystemAssigned", "have been generated")
	t.Cleanup(func() {
		l.must(`entrance group delete -n line --yes`)
		l.must(`entrance group exists -n line`, "false")
	})

	// The local administrator, and the integration on a cluster without it.
	l.must(`entrance aks get-credentials -g line -n web --admin`, `Merged "web-admin" as current context`)
	l.must(`kubectl get nodes`, "Ready", "aks-nodepool1-")
	l.refused(`entrance aks update -g line -n web --enable-azure-rbac`, `Cannot specify "--enable-azure-rbac" if managed AAD is not enabled`)
	l.must(`entrance aks update -g line -n web --enable-aad --aad-admin-group-object-ids $G --aad-tenant-id `+string(cloud.status.TenantID)+` --query aadProfile.managed`, "true")
	l.refused(`entrance aks update -g line -n web --enable-aad`, `Cannot specify "--enable-aad" if managed AAD is already enabled`)

	// A person of the admin group, and one with a role in a namespace.
	l.must(`entrance aks get-credentials -g line -n web --file $WORK/me`, `Merged "web" as current context`)
	l.must(`kubelogin convert-kubeconfig -l ropc --username $UPN --password "$PASSWORD" --kubeconfig $WORK/me`)
	l.refused(`kubectl --kubeconfig $WORK/me get nodes`, "orbidden")
	l.must(`entrance ad group member add --group $G --member-id $(entrance ad signed-in-user show --query id -o tsv)`)
	eventually(t, "an admin group's new member may read nodes", func() (string, bool) {
		_, all, err := l.run(`kubectl --kubeconfig $WORK/me get nodes`)
		return all, err == nil
	})
	l.must(`entrance aks update -g line -n web --enable-azure-rbac --query aadProfile.enableAzureRbac`, "true")
	dev := account(t, "dev")
	l.vars["DEV"], l.vars["DEV_UPN"], l.vars["DEV_PASSWORD"] = string(dev.ObjectID), dev.UserPrincipalName, dev.Password
	l.vars["ID"] = l.must(`entrance aks show -g line -n web --query id -o tsv`)
	l.must(`kubectl create namespace prod`)
	l.must(`cp $WORK/me $WORK/dev && kubelogin convert-kubeconfig -l ropc --username $DEV_UPN --password $DEV_PASSWORD --kubeconfig $WORK/dev`)
	l.refused(`kubectl --kubeconfig $WORK/dev get pods -n prod`, "orbidden")
	l.must(`entrance role assignment create --role "Azure Kubernetes Service RBAC Reader" --assignee $DEV --scope $ID/namespaces/prod --query principalType -o tsv`, "User")
	eventually(t, "a role assigned at a namespace works there", func() (string, bool) {
		_, all, err := l.run(`kubectl --kubeconfig $WORK/dev get pods -n prod`)
		return all, err == nil
	})
	l.refused(`kubectl --kubeconfig $WORK/dev get pods -n default`, "orbidden")
	l.must(`entrance role assignment delete --assignee $DEV --scope $ID/namespaces/prod`)
	eventually(t, "a role that is taken away is gone", func() (string, bool) {
		_, all, err := l.run(`kubectl --kubeconfig $WORK/dev get pods -n prod`)
		return all, err != nil
	})

	// No local administrator, and what its old kubeconfig is worth.
	l.must(`entrance aks update -g line -n web --disable-local-accounts --query disableLocalAccounts`, "true")
	l.refused(`entrance aks get-credentials -g line -n web --admin -f -`, "Getting static credential is not allowed")
	l.must(`kubectl get nodes`) // until the certificates are rotated
	l.must(`entrance aks rotate-certs -g line -n web -y`)
	if _, all, err := l.run(`kubectl get nodes`); err == nil {
		t.Errorf("an old administrator's kubeconfig works after the rotation:\n%s", all)
	}
	l.must(`entrance aks update -g line -n web --enable-local --query disableLocalAccounts`, "false")
	l.refused(`entrance aks get-credentials -g line -n web --admin`, "--overwrite-existing")
	l.must(`entrance aks get-credentials -g line -n web --admin --overwrite-existing`, "Merged")
	l.must(`kubectl get nodes`, "Ready")

	// Scale, stop, start; a workload's identity.
	l.must(`entrance aks scale -g line -n web -c 2 --query "agentPoolProfiles[0].count"`, "2")
	l.must(`entrance aks nodepool list -g line --cluster-name web -o table`, "nodepool1")
	l.must(`entrance aks stop -g line -n web && entrance aks show -g line -n web --query powerState.code`, "Stopped")
	l.must(`entrance aks start -g line -n web && entrance aks wait -g line -n web --updated --interval 1 && entrance aks show -g line -n web --query powerState.code`, "Running")
	l.vars["ISSUER"] = l.must(`entrance aks update -g line -n web --enable-oidc-issuer --enable-workload-identity --tags a=b c=d --query oidcIssuerProfile.issuerUrl -o tsv`)
	l.must(`entrance aks show -g line -n web --query "[tags.a, tags.c, to_string(securityProfile.workloadIdentity.enabled)]" -o tsv`, "b\nd\ntrue")
	l.must(`entrance identity create -g line -n app -o none`)
	l.must(`entrance identity federated-credential create -g line --identity-name app -n fed --issuer $ISSUER --subject system:serviceaccount:default:app --query subject`, "system:serviceaccount:default:app")
	l.vars["APP"], l.vars["TENANT"] = l.must(`entrance identity show -g line -n app --query clientId -o tsv`), string(cloud.status.TenantID)
	l.must(`kubectl create serviceaccount app`)
	l.must(`entrance identity try --cluster web --namespace default --service-account app --client-id $APP`)
	l.must(`export ENTRANCE_CONFIG_DIR=$WORK/pod && entrance login --service-principal -u $APP --tenant $TENANT --allow-no-subscriptions -o none \
		--federated-token "$(kubectl create token app --audience api://AzureADTokenExchange)" && entrance account get-access-token --resource-type ms-graph --query tenant -o tsv`, string(cloud.status.TenantID))

	l.must(`entrance role assignment create --role Reader --assignee $DEV --scope $ID -o none`)
	t.Run("as az prints", l.asAz)
}

// reads are commands that az and ours print the same for: the same names and the
// same values. What az prints as null, ours leaves out.
var reads = []string{
	"group list", "group show -n line", "account list-locations",
	"ad user list", "ad user show --id $UPN", "ad group list", "ad group show -g lineAdmins", "ad group member list -g lineAdmins", "ad signed-in-user show",
	"ad sp show --id 6dae42f8-4368-4678-94ff-3960e28e3630", "ad app list --all",
	"aks show -g line -n web", "aks list", "aks nodepool list -g line --cluster-name web", "aks get-upgrades -g line -n web",
	"identity list", "identity show -g line -n app", "identity federated-credential list -g line --identity-name app",
	`role definition list --name "Azure Kubernetes Service RBAC Reader"`, "role assignment list --scope $ID", "role assignment list --all",
	"account show", "account list",
}

// asAz compares our output with real az's for the same reads.
func (l *commandLine) asAz(t *testing.T) {
	l = &commandLine{t, l.dir, l.vars}
	if err := os.MkdirAll(l.vars["PYTHONPATH"], 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.vars["PYTHONPATH"], "sitecustomize.py"), []byte(az.MendRole), 0o600); err != nil {
		t.Fatal(err)
	}
	l.must(`az login -u $UPN -p "$PASSWORD" -o none`)
	for _, read := range reads {
		t.Run(read, func(t *testing.T) {
			l := &commandLine{t, l.dir, l.vars}
			var ours, theirs any
			for tool, v := range map[string]any{"entrance": &ours, "az": &theirs} {
				if err := json.Unmarshal([]byte(l.must(tool+" "+read+" -o json 2>$WORK/err")), v); err != nil {
					t.Fatal(fmt.Errorf("%s %s: %w", tool, read, err))
				}
			}
			if d := cmp.Diff(bare(theirs), bare(ours)); d != "" {
				t.Errorf("-az +ours:\n%s", d)
			}
		})
	}
}

// bare leaves out what is empty; what is about the tool itself: the name of the
// cloud and the address of Graph; and what versions of the API that are newer
// than az 2.45's have.
func bare(v any) any {
	newer := map[string]bool{"environmentName": true, "cloudName": true, "@odata.context": true, "eTag": true, "kubeletDiskType": true, "networkPluginMode": true, "resourceUid": true, "supportPlan": true}
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = bare(v[i])
		}
	case map[string]any:
		for k, e := range v {
			if e == nil || newer[k] {
				delete(v, k)
				continue
			}
			v[k] = bare(e)
		}
	}
	return v
}

// TestCommandLineClouds signs in to the cloud in the two other ways to name one:
// as Microsoft's, which the environment leads here, and by the address of its
// Resource Manager, whose metadata tell the rest.
func TestCommandLineClouds(t *testing.T) {
	admin := cloud.people.Administrator
	for _, name := range []string{"AzureCloud", cloud.status.Endpoints.ARM} {
		t.Run(name, func(t *testing.T) {
			l := newCommandLine(t)
			l.vars["ENTRANCE_DATA_DIR"], l.vars["ENTRANCE_CLOUD"] = "", name
			l.vars["XDG_DATA_HOME"] = l.dir // nothing runs there
			l.vars["UPN"], l.vars["PASSWORD"] = admin.UserPrincipalName, admin.Password
			l.must(`entrance login -u $UPN -p "$PASSWORD" -o none`)
			l.must(`entrance account show --query user.name -o tsv`, admin.UserPrincipalName)
			l.must(`entrance group list --query "[].name" -o tsv`, "sample")
			l.must(`entrance ad signed-in-user show --query userPrincipalName -o tsv`, admin.UserPrincipalName)
			l.must(`entrance logout`)
			l.refused(`entrance group list`, "entrance login")
		})
	}
}

// TestCommandLineLegacy makes a cluster of the integration that AKS has retired,
// with the flags of the second document as they stand there, gives it another
// secret, and upgrades it. Its identity is one that was made before.
func TestCommandLineLegacy(t *testing.T) {
	l := newCommandLine(t)
	l.vars["TENANT"] = string(cloud.status.TenantID)
	l.must(`entrance group create -n linelegacy -l eastus -o none`)
	t.Cleanup(func() { l.must(`entrance group delete -n linelegacy --yes`) })
	l.vars["SERVER"] = l.must(`entrance ad app create --display-name lineServer --identifier-uris https://lineServer.contoso.test --query appId -o tsv`)
	l.must(`entrance ad app update --id $SERVER --set groupMembershipClaims=All`)
	l.must(`entrance ad sp create --id $SERVER -o none`)
	l.vars["SECRET"] = l.must(`entrance ad sp credential reset --name $SERVER --credential-description "AKSPassword" --query password -o tsv --only-show-errors`)
	l.must(`entrance ad app permission add --id $SERVER --api 00000003-0000-0000-c000-000000000000 --api-permissions e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope 06da0dbc-49e2-44d2-8312-53f166ab848a=Scope 7ab1d382-f21e-4acd-a863-ba3e13f7da61=Role`)
	l.must(`entrance ad app permission admin-consent --id $SERVER`)
	l.vars["CLIENT"] = l.must(`entrance ad app create --display-name lineClient --native-app --reply-urls https://lineClient --query appId -o tsv`)
	l.must(`entrance ad sp create --id $CLIENT -o none`)
	l.vars["IDENTITY"] = l.must(`entrance identity create -g linelegacy -n mine --query id -o tsv`)

	l.must(`entrance aks create -g linelegacy -n old --node-count 1 --assign-identity $IDENTITY --no-wait \
		--aad-server-app-id $SERVER --aad-server-app-secret "$SECRET" --aad-client-app-id $CLIENT --aad-tenant-id $TENANT`)
	l.must(`entrance aks wait -g linelegacy -n old --created --interval 1 --timeout 60`)
	l.must(`entrance aks show -g linelegacy -n old --query "[identity.type, aadProfile.serverAppId]" -o tsv`, "UserAssigned\n"+l.vars["SERVER"])
	l.must(`entrance aks get-credentials -g linelegacy -n old --admin && kubectl get nodes`, "Ready")
	l.vars["SECRET"] = l.must(`entrance ad sp credential reset --id $SERVER --append --query password -o tsv --only-show-errors`)
	l.must(`entrance aks update-credentials -g linelegacy -n old --reset-aad --aad-server-app-id $SERVER --aad-server-app-secret "$SECRET" --aad-client-app-id $CLIENT --aad-tenant-id $TENANT`)
	l.must(`entrance aks update -g linelegacy -n old --enable-aad --query "[aadProfile.managed, aadProfile.serverAppId]"`, "true", "null")
	l.must(`kubectl get nodes`, "Ready")
}
