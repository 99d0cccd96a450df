package az

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/test/tools"
)

// TestCustomCloud: in a custom cloud, with no proxy at all, the real az makes a
// cluster and fetches its credentials, and kubectl uses it through both
// kubelogin's own sign-in and az's.
func TestCustomCloud(t *testing.T) {
	tools.Need(t, "az")
	bin := tools.Bin(t)
	work := t.TempDir()
	data, entrance := filepath.Join(work, "data"), filepath.Join(bin, "entrance")
	status, people := up(t, entrance, data, "--port-base", "24520")
	s := &shell{t: t, vars: map[string]string{"DATA": data, "ME": people.Administrator.UserPrincipalName, "PASSWORD": people.Administrator.Password}}
	s.env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + work, "AZURE_CONFIG_DIR=" + filepath.Join(work, "azure"), "LANG=C.UTF-8",
		"KUBECONFIG=" + filepath.Join(work, "kubeconfig"), "KUBELOGIN_CACHE_KEY=file", "KUBECACHEDIR=" + filepath.Join(work, "kubelogin"),
		"AAD_USER_PRINCIPAL_NAME=" + people.Administrator.UserPrincipalName, "AAD_USER_PRINCIPAL_PASSWORD=" + people.Administrator.Password,
	}
	// Each line is a shell of its own, set up as a person's would be.
	const point = `eval "$(entrance env --custom-cloud --data-dir $DATA)"; `
	for _, step := range []struct{ run, want string }{
		{`az cloud register -n Entrance --cloud-config @"$ENTRANCE_CLOUD_CONFIG" && az cloud set -n Entrance && az cloud show --query endpoints.activeDirectory -o tsv`, status.Endpoints.Login + "/adfs"},
		{`az login -u $ME -p $PASSWORD --query '[].name' -o tsv`, "Sample subscription"},
		{`az group create -n custom -l centralus --query properties.provisioningState -o tsv`, "Succeeded"},
		{`az ad group create --display-name custom-admins --mail-nickname custom-admins --query displayName -o tsv`, "custom-admins"},
		{`az ad group member add -g custom-admins --member-id $(az ad signed-in-user show --query id -o tsv) && az ad group member list -g custom-admins --query '[].userPrincipalName' -o tsv`, people.Administrator.UserPrincipalName},
		{`az aks create -g custom -n one --enable-aad --aad-admin-group-object-ids $(az ad group show -g custom-admins --query id -o tsv) --node-count 1 --no-ssh-key --query provisioningState -o tsv`, "Succeeded"},
		{`az aks list --query '[].name' -o tsv`, "one"},
		{`az aks get-credentials -g custom -n one && kubelogin convert-kubeconfig -l azurecli && kubectl get nodes -o name`, "node/"},
		{`az aks get-credentials -g custom -n one --overwrite-existing && kubelogin convert-kubeconfig -l ropc && kubectl auth whoami`, people.Administrator.UserPrincipalName},
		{`az group delete -n custom -y && az aks list -o json`, "[]"},
	} {
		out, err := s.run(point + step.run)
		if err != nil || !strings.Contains(out, step.want) {
			t.Fatalf("%s: %v, want %q\n%s", step.run, err, step.want, out)
		}
	}
}
