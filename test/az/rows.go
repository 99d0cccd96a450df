// Package az holds every command of the five documents that the product grew
// from, with its outcome, as data: the suite runs them in order with the real
// az, kubectl and kubelogin, and docs/seeds.md is made from them.
package az

// Outcome is what becomes of a command of a document.
type Outcome string

const (
	Works     Outcome = "works"
	Refused   Outcome = "refused as Azure refuses it today"
	Corrected Outcome = "corrected form"
	Outside   Outcome = "outside: it downloads something"
)

// Row is a command of a document.
type Row struct {
	// Doc is the number of the document, 1 to 5, and Seed the command as it
	// stands there, with line breaks folded.
	Doc  int
	Seed string
	Outcome
	// Run is what the suite runs: a line for bash in which $G, $RG and their like
	// stand for what earlier rows made. Empty: another test runs it, see Test.
	Run string
	// Save names the variable that the output is kept in.
	Save string
	// Want are texts that the output has.
	Want []string
	// Fails is whether the command must end with an error.
	Fails bool
	// Note says why, where the outcome is not Works.
	Note string
	// Test names the test that runs the command, where it is not this suite.
	Test string
}

// fresh fetches the kubeconfig again: what one way to sign in has converted
// lacks what another needs.
const fresh = "az aks get-credentials -g myResourceGroup -n myManagedCluster --overwrite-existing && "

// Titles of the documents.
var Titles = []string{
	"Enable Azure managed identity authentication for Kubernetes clusters with kubelogin",
	"Integrate Microsoft Entra ID with AKS using the Azure CLI (legacy)",
	"AKS-managed Azure Active Directory integration",
	"kubelogin: ways to sign in",
	"Microsoft Entra ID and AKS: authentication, roles, identities",
}

// Rows are all commands, in the order in which they are run.
var Rows = []Row{
	// The third document comes first: the others use the group and the cluster
	// that it makes.
	{Doc: 3, Seed: "sudo az aks install-cli", Outcome: Outside, Note: "it downloads kubectl and kubelogin; `make build` makes both"},
	{Doc: 3, Seed: "kubectl version --client", Outcome: Works, Run: "kubectl version --client", Want: []string{"v1.36.3"}},
	{Doc: 3, Seed: "kubelogin --version", Outcome: Works, Run: "kubelogin --version", Want: []string{"git hash:", "Go version:", "Build time:", "Platform:"}},
	{Doc: 3, Seed: "az ad group list --filter \"displayname eq '<group-name>'\" -o table", Outcome: Works, Run: "az ad group list --filter \"displayname eq 'aks-admins'\" -o table", Want: []string{"aks-admins"}},
	{Doc: 3, Seed: "az ad group create --display-name myAKSAdminGroup --mail-nickname myAKSAdminGroup", Outcome: Works, Run: "az ad group create --display-name myAKSAdminGroup --mail-nickname myAKSAdminGroup --query id -o tsv", Save: "G"},
	{Doc: 3, Seed: "az group create --name myResourceGroup --location centralus", Outcome: Works, Run: "az group create --name myResourceGroup --location centralus", Want: []string{`"provisioningState": "Succeeded"`}},
	{Doc: 3, Seed: "az aks create -g myResourceGroup -n myManagedCluster --enable-aad --aad-admin-group-object-ids <id> [--aad-tenant-id <id>]", Outcome: Works,
		Run: "az aks create -g myResourceGroup -n myManagedCluster --enable-aad --aad-admin-group-object-ids $G --aad-tenant-id $TENANT --generate-ssh-keys --node-count 1", Want: []string{`"managed": true`, "Succeeded"}},
	{Doc: 3, Seed: "az aks get-credentials --resource-group myResourceGroup --name myManagedCluster", Outcome: Works, Run: "az aks get-credentials --resource-group myResourceGroup --name myManagedCluster --overwrite-existing", Want: []string{`Merged "myManagedCluster" as current context`}},
	{Doc: 3, Seed: "kubectl get nodes", Outcome: Works, Run: "az ad group member add --group $G --member-id $ME && kubelogin convert-kubeconfig -l azurecli && kubectl get nodes", Want: []string{"Ready", "aks-nodepool1-"},
		Note: "the prompt for a device code is answered in the browser test"},
	{Doc: 3, Seed: "az aks get-credentials --resource-group myResourceGroup --name myManagedCluster --admin", Outcome: Works, Run: "az aks get-credentials --resource-group myResourceGroup --name myManagedCluster --admin -f $WORK/admin && kubectl --kubeconfig $WORK/admin get nodes", Want: []string{`Merged "myManagedCluster-admin" as current context`, "Ready"}},
	{Doc: 3, Seed: "az aks update -g MyResourceGroup -n MyManagedCluster --enable-aad --aad-admin-group-object-ids <id-1> [--aad-tenant-id <id>]", Outcome: Works,
		Run: "az aks create -g myResourceGroup -n plain --node-count 1 -o none && az aks update -g MyResourceGroup -n plain --enable-aad --aad-admin-group-object-ids $G --query aadProfile.managed", Want: []string{"true"}},
	{Doc: 3, Seed: "az aks update -g myResourceGroup -n myManagedCluster --enable-aad --aad-admin-group-object-ids <id> [--aad-tenant-id <id>]", Outcome: Refused, Fails: true,
		Run: "az aks update -g myResourceGroup -n myManagedCluster --enable-aad --aad-admin-group-object-ids $G", Want: []string{`Cannot specify "--enable-aad" if managed AAD is already enabled`}, Note: "az itself refuses it on a cluster that has the integration; the upgrade of a legacy cluster is the second document's"},
	{Doc: 3, Seed: "az aks create -g <resource-group> -n <cluster-name> --enable-aad --aad-admin-group-object-ids <aad-group-id> --disable-local-accounts", Outcome: Works,
		Run: "az aks create -g myResourceGroup -n nolocal --enable-aad --aad-admin-group-object-ids $G --disable-local-accounts --node-count 1 --query disableLocalAccounts", Want: []string{"true"}},
	{Doc: 3, Seed: "az aks get-credentials --resource-group <resource-group> --name <cluster-name> --admin", Outcome: Refused, Fails: true, Run: "az aks get-credentials --resource-group myResourceGroup --name nolocal --admin -f -", Want: []string{"Getting static credential is not allowed because this cluster is set to disable local accounts"}, Note: "local accounts are disabled: the document shows this refusal"},
	{Doc: 3, Seed: "az aks update -g <resource-group> -n <cluster-name> --enable-aad --aad-admin-group-object-ids <aad-group-id> --disable-local-accounts", Outcome: Corrected,
		Run: "az aks update -g myResourceGroup -n plain --disable-local-accounts --query disableLocalAccounts", Want: []string{"true"}, Note: "without --enable-aad, which az refuses on a cluster that has the integration"},
	{Doc: 3, Seed: "az aks update -g <resource-group> -n <cluster-name> --enable-aad --aad-admin-group-object-ids <aad-group-id> --enable-local", Outcome: Corrected,
		Run: "az aks update -g myResourceGroup -n nolocal --enable-local --query disableLocalAccounts", Want: []string{"false"}, Note: "without --enable-aad, as above; --enable-local is a prefix of --enable-local-accounts, which az completes"},
	{Doc: 3, Seed: "az aks get-credentials --resource-group <resource-group> --name <cluster-name> --admin", Outcome: Works, Run: "az aks get-credentials --resource-group myResourceGroup --name nolocal --admin -f $WORK/again && kubectl --kubeconfig $WORK/again get nodes && az aks delete -g myResourceGroup -n nolocal -y", Want: []string{`Merged "nolocal-admin"`, "Ready"}},
	{Doc: 3, Seed: "az aks create -g myResourceGroup -n myManagedCluster --enable-aad --aad-admin-group-object-ids <object-id> --aad-tenant-id <tenant-id>", Outcome: Works, Run: "az aks create -g myResourceGroup -n myManagedCluster --enable-aad --aad-admin-group-object-ids $G --aad-tenant-id $TENANT --node-count 1 --query aadProfile.tenantId -o tsv", Want: []string{"$TENANT"},
		Note: "on the cluster that is there: az creates and updates with the same call"},
	{Doc: 3, Seed: "az role assignment create --role \"Azure Kubernetes Service RBAC Reader\" --assignee <AAD-ENTITY-ID> --scope $AKS_ID/namespaces/<namespace-name>", Outcome: Works,
		Run: "az aks update -g myResourceGroup -n myManagedCluster --enable-azure-rbac -o none && az role assignment create --role \"Azure Kubernetes Service RBAC Reader\" --assignee $G --scope $(az aks show -g myResourceGroup -n myManagedCluster --query id -o tsv)/namespaces/default --query principalType -o tsv", Want: []string{"Group"}},

	// The first document.
	{Doc: 1, Seed: "sudo snap install kubelogin", Outcome: Outside, Note: "it downloads another kubelogin; `make build` makes ours"},
	{Doc: 1, Seed: "az ad group list --display-name cont", Outcome: Works, Run: "az ad group list --display-name my --query '[].displayName' -o tsv", Want: []string{"myAKSAdminGroup"}},
	{Doc: 1, Seed: "az aks show --resource-group $RESOURCE_GROUP --name $CLUSTER", Outcome: Works, Run: "RESOURCE_GROUP=myResourceGroup CLUSTER=myManagedCluster; az aks show --resource-group $RESOURCE_GROUP --name $CLUSTER", Want: []string{"aadProfile", "enableRbac", "hcp.centralus.azmk8s.io", "MC_myResourceGroup_myManagedCluster_centralus"}},
	{Doc: 1, Seed: "az aks update --resource-group MyResourceGroup --name myManagedCluster --enable-aad --aad-admin-group-object-ids <id-1>,<id-2> [--aad-tenant-id <id>]", Outcome: Works,
		Run: "az aks create -g myResourceGroup -n second --node-count 1 -o none && az aks update --resource-group MyResourceGroup --name second --enable-aad --aad-admin-group-object-ids $G,$ADMINS --query 'length(aadProfile.adminGroupObjectIDs)' && az aks delete -g myResourceGroup -n second -y", Want: []string{"2"}},
	{Doc: 1, Seed: "az aks update --resource-group myResourceGroup --name myManagedCluster --enable-aad --aad-admin-group-object-ids <id> [--aad-tenant-id <id>]", Outcome: Works, Test: "`TestSeeds/045_doc_2`"},
	{Doc: 1, Seed: "az aks get-credentials --resource-group <AKS resource group name> --name <AKS cluster name>", Outcome: Works, Run: "az aks get-credentials --resource-group myResourceGroup --name myManagedCluster --overwrite-existing", Want: []string{"Merged"}},

	// The second document, the legacy integration.
	{Doc: 2, Seed: `serverApplicationId=$(az ad app create --display-name "${aksname}Server" --identifier-uris "https://${aksname}Server" --query appId -o tsv)`, Outcome: Corrected,
		Run: `! az ad app create --display-name "${aksname}Server" --identifier-uris "https://${aksname}Server" 2>$WORK/err && grep -q "verified domain" $WORK/err && az ad app create --display-name "${aksname}Server" --identifier-uris "https://${aksname}Server.contoso.test" --query appId -o tsv`, Save: "serverApplicationId", Note: "Graph refuses identifier URIs outside the tenant's verified domains today; the corrected one is inside"},
	{Doc: 2, Seed: "az ad app update --id $serverApplicationId --set groupMembershipClaims=All", Outcome: Works, Run: "az ad app update --id $serverApplicationId --set groupMembershipClaims=All && az ad app show --id $serverApplicationId --query groupMembershipClaims -o tsv", Want: []string{"All"}},
	{Doc: 2, Seed: "az ad sp create --id $serverApplicationId", Outcome: Works, Run: "az ad sp create --id $serverApplicationId --query appId -o tsv", Want: []string{"$serverApplicationId"}},
	{Doc: 2, Seed: `serverApplicationSecret=$(az ad sp credential reset --name $serverApplicationId --credential-description "AKSPassword" --query password -o tsv)`, Outcome: Corrected,
		Run: `az ad sp credential reset --id $serverApplicationId --display-name "AKSPassword" --query password -o tsv 2>/dev/null`, Save: "serverApplicationSecret", Note: "az has replaced --name and --credential-description by --id and --display-name"},
	{Doc: 2, Seed: "az ad app permission add --id $serverApplicationId --api 00000003-0000-0000-c000-000000000000 --api-permissions e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope 06da0dbc-49e2-44d2-8312-53f166ab848a=Scope 7ab1d382-f21e-4acd-a863-ba3e13f7da61=Role", Outcome: Works,
		Run: "az ad app permission add --id $serverApplicationId --api 00000003-0000-0000-c000-000000000000 --api-permissions e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope 06da0dbc-49e2-44d2-8312-53f166ab848a=Scope 7ab1d382-f21e-4acd-a863-ba3e13f7da61=Role && az ad app permission list --id $serverApplicationId", Want: []string{"7ab1d382-f21e-4acd-a863-ba3e13f7da61"}},
	{Doc: 2, Seed: "az ad app permission grant --id $serverApplicationId --api 00000003-0000-0000-c000-000000000000", Outcome: Corrected,
		Run: "az ad app permission grant --id $serverApplicationId --api 00000003-0000-0000-c000-000000000000 --scope \"User.Read Directory.Read.All\" --query consentType -o tsv", Want: []string{"AllPrincipals"}, Note: "az wants --scope today"},
	{Doc: 2, Seed: "az ad app permission admin-consent --id $serverApplicationId", Outcome: Works, Run: "az ad app permission admin-consent --id $serverApplicationId"},
	{Doc: 2, Seed: `clientApplicationId=$(az ad app create --display-name "${aksname}Client" --native-app --reply-urls "https://${aksname}Client" --query appId -o tsv)`, Outcome: Corrected,
		Run: `az ad app create --display-name "${aksname}Client" --is-fallback-public-client true --public-client-redirect-uris "https://${aksname}Client" --query appId -o tsv`, Save: "clientApplicationId", Note: "az has replaced --native-app and --reply-urls"},
	{Doc: 2, Seed: "az ad sp create --id $clientApplicationId", Outcome: Works, Run: "az ad sp create --id $clientApplicationId --query appId -o tsv", Want: []string{"$clientApplicationId"}},
	{Doc: 2, Seed: `oAuthPermissionId=$(az ad app show --id $serverApplicationId --query "oauth2Permissions[0].id" -o tsv)`, Outcome: Corrected,
		Run: `az ad app update --id $serverApplicationId --set api="{\"oauth2PermissionScopes\":[{\"id\":\"4f3c5b4e-9a1b-4a53-8d26-2b1d6d0a7c11\",\"value\":\"user_impersonation\",\"type\":\"User\",\"isEnabled\":true,\"adminConsentDisplayName\":\"Access\",\"adminConsentDescription\":\"Access the server\"}]}" && az ad app show --id $serverApplicationId --query "api.oauth2PermissionScopes[0].id" -o tsv`, Save: "oAuthPermissionId", Note: "Graph makes no scope by itself, and its name is api.oauth2PermissionScopes"},
	{Doc: 2, Seed: "az ad app permission add --id $clientApplicationId --api $serverApplicationId --api-permissions ${oAuthPermissionId}=Scope", Outcome: Works, Run: "az ad app permission add --id $clientApplicationId --api $serverApplicationId --api-permissions ${oAuthPermissionId}=Scope && az ad app permission list --id $clientApplicationId", Want: []string{"$oAuthPermissionId"}},
	{Doc: 2, Seed: "az ad app permission grant --id $clientApplicationId --api $serverApplicationId", Outcome: Corrected, Run: "az ad app permission grant --id $clientApplicationId --api $serverApplicationId --scope user_impersonation --query scope -o tsv", Want: []string{"user_impersonation"}, Note: "az wants --scope today"},
	{Doc: 2, Seed: "az group create --name myResourceGroup --location EastUS", Outcome: Corrected, Run: "az group create --name myLegacyGroup --location EastUS", Want: []string{"eastus"}, Note: "another name: the third document's group of that name is in another region"},
	{Doc: 2, Seed: "tenantId=$(az account show --query tenantId -o tsv)", Outcome: Works, Run: "az account show --query tenantId -o tsv", Save: "tenantId", Want: []string{"$TENANT"}},
	{Doc: 2, Seed: "az aks create --resource-group myResourceGroup --name $aksname --node-count 1 --generate-ssh-keys --aad-server-app-id $serverApplicationId --aad-server-app-secret $serverApplicationSecret --aad-client-app-id $clientApplicationId --aad-tenant-id $tenantId", Outcome: Works,
		Run: "az aks create --resource-group myLegacyGroup --name $aksname --node-count 1 --generate-ssh-keys --aad-server-app-id $serverApplicationId --aad-server-app-secret $serverApplicationSecret --aad-client-app-id $clientApplicationId --aad-tenant-id $tenantId --query aadProfile.serverAppId -o tsv", Want: []string{"$serverApplicationId"},
		Note: "with `entrance up --legacy-integration`; Azure makes no such clusters any more"},
	{Doc: 2, Seed: "az aks get-credentials --resource-group myResourceGroup --name $aksname --admin", Outcome: Works, Run: "az aks get-credentials --resource-group myLegacyGroup --name $aksname --admin -f $WORK/legacyadmin", Want: []string{"-admin"}},
	{Doc: 2, Seed: "az ad signed-in-user show --query userPrincipalName -o tsv", Outcome: Works, Run: "az ad signed-in-user show --query userPrincipalName -o tsv", Save: "UPN", Want: []string{"admin@"}},
	{Doc: 2, Seed: "kubectl apply -f basic-azure-ad-binding.yaml", Outcome: Works,
		Run: `printf 'apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata:\n  name: contoso-cluster-admins\nroleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: ClusterRole\n  name: cluster-admin\nsubjects:\n- apiGroup: rbac.authorization.k8s.io\n  kind: User\n  name: %s\n' $UPN > $WORK/basic-azure-ad-binding.yaml && kubectl --kubeconfig $WORK/legacyadmin apply -f $WORK/basic-azure-ad-binding.yaml`, Want: []string{"contoso-cluster-admins created"}},
	{Doc: 2, Seed: "az aks get-credentials --resource-group myResourceGroup --name $aksname --overwrite-existing", Outcome: Works, Run: "az aks get-credentials --resource-group myLegacyGroup --name $aksname --overwrite-existing -f $WORK/legacy && cat $WORK/legacy", Want: []string{"$serverApplicationId", "$clientApplicationId"}},
	{Doc: 2, Seed: "kubectl get pods --all-namespaces", Outcome: Works, Run: "kubelogin convert-kubeconfig -l ropc --username $UPN --password $PASSWORD --kubeconfig $WORK/legacy && kubectl --kubeconfig $WORK/legacy get pods --all-namespaces", Want: []string{"No resources found"},
		Note: "signed in by password here; a new cluster of Entrance runs no add-on pods"},
	{Doc: 2, Seed: "az aks update -g <RGName> -n <ClusterName> --enable-aad (the upgrade)", Outcome: Works, Run: "az aks update -g myLegacyGroup -n $aksname --enable-aad --aad-admin-group-object-ids $G --query aadProfile.managed && az aks delete -g myLegacyGroup -n $aksname -y", Want: []string{"true"}},
	{Doc: 2, Seed: `az aks show -g <RGName> -n <ClusterName> --query "aadProfile"`, Outcome: Works, Run: `az aks show -g myResourceGroup -n myManagedCluster --query "aadProfile"`, Want: []string{`"managed": true`, `"serverAppSecret": null`}},

	// The fourth document: kubelogin's ways to sign in.
	{Doc: 4, Seed: "kubelogin convert-kubeconfig; kubectl get nodes", Outcome: Works, Test: "`test/e2e TestBrowser/device_code`"},
	{Doc: 4, Seed: "kubelogin remove-tokens", Outcome: Works, Run: "kubelogin remove-tokens"},
	{Doc: 4, Seed: "az login; kubelogin convert-kubeconfig -l azurecli; kubectl get nodes", Outcome: Works, Run: fresh + "kubelogin convert-kubeconfig -l azurecli && kubectl get nodes", Want: []string{"Ready"}},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l interactive; kubectl get nodes", Outcome: Works, Test: "`test/e2e TestBrowser/interactive`"},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l spn; AAD_SERVICE_PRINCIPAL_CLIENT_ID, AAD_SERVICE_PRINCIPAL_CLIENT_SECRET; kubectl get nodes", Outcome: Works,
		Run: fresh + "az ad group member add --group $G --member-id $SP_OBJECT; kubelogin convert-kubeconfig -l spn && AAD_SERVICE_PRINCIPAL_CLIENT_ID=$SP AAD_SERVICE_PRINCIPAL_CLIENT_SECRET=$SP_SECRET kubectl get nodes", Want: []string{"Ready"}},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l spn; AZURE_CLIENT_ID, AZURE_CLIENT_SECRET; kubectl get nodes", Outcome: Works, Run: "AZURE_CLIENT_ID=$SP AZURE_CLIENT_SECRET=$SP_SECRET kubectl get nodes", Want: []string{"Ready"}},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l spn --client-id <spn client id> --client-secret <spn client secret>; kubectl get nodes", Outcome: Works, Run: fresh + "kubelogin convert-kubeconfig -l spn --client-id $SP --client-secret $SP_SECRET && kubectl get nodes", Want: []string{"Ready"}},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l spn; AAD_SERVICE_PRINCIPAL_CLIENT_ID, AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE, AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE_PASSWORD; kubectl get nodes", Outcome: Works,
		Run: fresh + `openssl req -x509 -newkey rsa:2048 -nodes -keyout $WORK/k.pem -out $WORK/c.pem -days 2 -subj /CN=spn 2>/dev/null && openssl pkcs12 -export -inkey $WORK/k.pem -in $WORK/c.pem -out $WORK/cert.pfx -passout pass:pfx && az ad sp credential reset --id $SP --append --cert @$WORK/c.pem -o none && kubelogin convert-kubeconfig -l spn && AAD_SERVICE_PRINCIPAL_CLIENT_ID=$SP AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE=$WORK/cert.pfx AAD_SERVICE_PRINCIPAL_CLIENT_CERTIFICATE_PASSWORD=pfx kubectl get nodes`, Want: []string{"Ready"}},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l spn; AZURE_CLIENT_ID, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_CLIENT_CERTIFICATE_PASSWORD; kubectl get nodes", Outcome: Works, Run: "AZURE_CLIENT_ID=$SP AZURE_CLIENT_CERTIFICATE_PATH=$WORK/cert.pfx AZURE_CLIENT_CERTIFICATE_PASSWORD=pfx kubectl get nodes", Want: []string{"Ready"}},
	{Doc: 4, Seed: `kubelogin convert-kubeconfig -l spn --pop-enabled --pop-claims "u=/ARM/ID/OF/CLUSTER"; kubectl get nodes`, Outcome: Works,
		Run: fresh + `id=$(az aks show -g myResourceGroup -n myManagedCluster --query id -o tsv); az rest --method patch --url "https://management.azure.com$id?api-version=2025-03-01" --body '{"tags":{"entrance:proof-of-possession":"true"}}' -o none; kubelogin convert-kubeconfig -l spn --pop-enabled --pop-claims "u=$id" && AAD_SERVICE_PRINCIPAL_CLIENT_ID=$SP AAD_SERVICE_PRINCIPAL_CLIENT_SECRET=$SP_SECRET kubectl get nodes; az rest --method patch --url "https://management.azure.com$id?api-version=2025-03-01" --body '{"tags":{}}' -o none; az aks get-credentials -g myResourceGroup -n myManagedCluster --overwrite-existing`, Want: []string{"Ready"}, Note: "the cluster demands it by the tag entrance:proof-of-possession"},
	{Doc: 4, Seed: `kubelogin convert-kubeconfig -l interactive --pop-enabled --pop-claims "u=/ARM/ID/OF/CLUSTER"; kubectl get nodes`, Outcome: Works, Test: "`cmd/kubelogin TestScripts/pop`", Note: "the plugin's side; the cluster's side is the row above"},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l msi; kubectl get nodes", Outcome: Works, Run: fresh + "kubelogin convert-kubeconfig -l msi && kubectl auth whoami", Want: []string{"Username"}},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l msi --client-id <msi-client-id>; kubectl get nodes", Outcome: Works, Test: "`test/workload TestWorkloadIdentity`"},
	{Doc: 4, Seed: "kubelogin convert-kubeconfig -l workloadidentity; kubectl get nodes", Outcome: Works, Test: "`test/workload TestWorkloadIdentity`"},

	// The fifth document.
	{Doc: 5, Seed: "az group create --name MyResourceGroup --location eastus", Outcome: Corrected, Run: "az group create --name MyOtherGroup --location eastus --query location -o tsv", Want: []string{"eastus"}, Note: "another name: names of groups do not differ by case, and the third document's is in another region"},
	{Doc: 5, Seed: "az aks create --resource-group MyResourceGroup --name MyAKSCluster --enable-aad --enable-azure-rbac --aad-admin-group-object-ids <Admin_Group_Object_ID> --generate-ssh-keys", Outcome: Works,
		Run: "az aks create --resource-group MyOtherGroup --name MyAKSCluster --enable-aad --enable-azure-rbac --aad-admin-group-object-ids $ADMINS --generate-ssh-keys --node-count 1 --query aadProfile.enableAzureRbac", Want: []string{"true"}},
	{Doc: 5, Seed: "az aks update --resource-group MyResourceGroup --name MyAKSCluster --enable-aad", Outcome: Refused, Fails: true, Run: "az aks update --resource-group MyOtherGroup --name MyAKSCluster --enable-aad", Want: []string{`Cannot specify "--enable-aad" if managed AAD is already enabled`}, Note: "az refuses it on this cluster; on one without the integration it works, see the third document"},
	{Doc: 5, Seed: `az aks show --resource-group MyResourceGroup --name MyAKSCluster --query "aadProfile.managed"`, Outcome: Works, Run: `az aks show --resource-group MyOtherGroup --name MyAKSCluster --query "aadProfile.managed"`, Want: []string{"true"}},
	{Doc: 5, Seed: `az role assignment create --assignee <User_ID> --role "Azure Kubernetes Service Cluster User" --scope <cluster>`, Outcome: Corrected,
		Run: `id=$(az aks show -g MyOtherGroup -n MyAKSCluster --query id -o tsv); ! az role assignment create --assignee $DEV --role "Azure Kubernetes Service Cluster User" --scope $id 2>$WORK/err && grep -q "doesn't exist" $WORK/err && az role assignment create --assignee $DEV --role "Azure Kubernetes Service Cluster User Role" --scope $id --query principalId -o tsv`, Want: []string{"$DEV"}, Note: "the role's name ends in Role; az refuses the other"},
	{Doc: 5, Seed: "kubectl apply -f role-binding.yaml", Outcome: Works,
		Run: `az aks get-credentials -g MyOtherGroup -n MyAKSCluster --admin -f $WORK/five -o none 2>/dev/null; kubectl --kubeconfig $WORK/five create namespace dev-namespace && printf 'apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  name: developer-view\n  namespace: dev-namespace\nsubjects:\n- kind: Group\n  name: "%s"\n  apiGroup: rbac.authorization.k8s.io\nroleRef:\n  kind: Role\n  name: view\n  apiGroup: rbac.authorization.k8s.io\n' $DEVELOPERS > $WORK/role-binding.yaml && kubectl --kubeconfig $WORK/five apply -f $WORK/role-binding.yaml`, Want: []string{"developer-view created"}},
	{Doc: 5, Seed: "az aks create --resource-group <resource-group-name> --name <cluster-name> --enable-aad --enable-azure-rbac --generate-ssh-keys", Outcome: Works, Run: "az aks create --resource-group MyOtherGroup --name rbac2 --enable-aad --enable-azure-rbac --generate-ssh-keys --node-count 1 --query aadProfile.enableAzureRbac && az aks delete -g MyOtherGroup -n rbac2 -y", Want: []string{"true"}},
	{Doc: 5, Seed: "az aks update --resource-group <resource-group-name> --name <cluster-name> --enable-azure-rbac", Outcome: Works, Run: "az aks update --resource-group myResourceGroup --name plain --enable-azure-rbac --query aadProfile.enableAzureRbac && az aks delete -g myResourceGroup -n plain -y", Want: []string{"true"}},
	{Doc: 5, Seed: `az role assignment create --assignee <user-object-id> --role "Azure Kubernetes Service RBAC Reader" --scope <cluster>/namespaces/<namespace-name>`, Outcome: Works,
		Run: `az role assignment create --assignee $DEV --role "Azure Kubernetes Service RBAC Reader" --scope $(az aks show -g MyOtherGroup -n MyAKSCluster --query id -o tsv)/namespaces/dev-namespace -o none && az aks get-credentials -g MyOtherGroup -n MyAKSCluster -f $WORK/dev -o none 2>/dev/null; kubelogin convert-kubeconfig -l ropc --username $DEV_UPN --password $DEV_PASSWORD --kubeconfig $WORK/dev && kubectl --kubeconfig $WORK/dev get pods -n dev-namespace && ! kubectl --kubeconfig $WORK/dev get pods -n default`, Want: []string{"No resources found in dev-namespace", "User does not have access to the resource in Azure. Update role assignment to allow access."}},
	{Doc: 5, Seed: `az role assignment create --assignee <user-object-id> --role "Azure Kubernetes Service RBAC Writer Role" --scope <cluster>`, Outcome: Corrected,
		Run: `id=$(az aks show -g MyOtherGroup -n MyAKSCluster --query id -o tsv); ! az role assignment create --assignee $DEV --role "Azure Kubernetes Service RBAC Writer Role" --scope $id 2>$WORK/err && grep -q "doesn't exist" $WORK/err && az role assignment create --assignee $DEV --role "Azure Kubernetes Service RBAC Writer" --scope $id -o none && sleep 2 && kubectl --kubeconfig $WORK/dev create configmap made -n default`, Want: []string{"made created"}, Note: "the role is called Azure Kubernetes Service RBAC Writer; az refuses the other name"},
	{Doc: 5, Seed: "kubectl apply -f pod-reader-role.yaml", Outcome: Works, Run: `printf 'apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  namespace: dev-namespace\n  name: pod-reader\nrules:\n- apiGroups: [""]\n  resources: ["pods"]\n  verbs: ["get", "list", "watch"]\n' > $WORK/r.yaml && kubectl --kubeconfig $WORK/five apply -f $WORK/r.yaml`, Want: []string{"pod-reader created"}},
	{Doc: 5, Seed: "kubectl apply -f pod-reader-binding.yaml", Outcome: Works, Run: `printf 'apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  name: read-pods\n  namespace: dev-namespace\nsubjects:\n- kind: User\n  name: %s\n  apiGroup: rbac.authorization.k8s.io\nroleRef:\n  kind: Role\n  name: pod-reader\n  apiGroup: rbac.authorization.k8s.io\n' $DEV_UPN > $WORK/b.yaml && kubectl --kubeconfig $WORK/five apply -f $WORK/b.yaml`, Want: []string{"read-pods created"}},
	{Doc: 5, Seed: "az aks create --resource-group <resource-group> --name <cluster-name> --enable-aad --aad-admin-group-object-ids <aad-group-id> --disable-local-accounts --generate-ssh-keys", Outcome: Works, Test: "`TestSeeds/012_doc_3`"},
	{Doc: 5, Seed: "az aks update --resource-group <resource-group> --name <cluster-name> --disable-local-accounts", Outcome: Works, Run: "az aks update --resource-group MyOtherGroup --name MyAKSCluster --disable-local-accounts --query disableLocalAccounts && ! az aks get-credentials -g MyOtherGroup -n MyAKSCluster --admin -f - && kubectl --kubeconfig $WORK/five get nodes && az aks rotate-certs -g MyOtherGroup -n MyAKSCluster -y && ! kubectl --kubeconfig $WORK/five get nodes", Want: []string{"true", "Getting static credential is not allowed", "Ready"},
		Note: "with the rotation that the document recommends: the old certificate works until then and not after"},
	{Doc: 5, Seed: "az aks update --resource-group <resource-group> --name <cluster-name> --enable-local-accounts", Outcome: Works, Run: "az aks update --resource-group MyOtherGroup --name MyAKSCluster --enable-local-accounts --query disableLocalAccounts", Want: []string{"false"}},
	{Doc: 5, Seed: "az aks get-credentials --resource-group <resource-group> --name <cluster-name> --admin", Outcome: Works, Run: "az aks get-credentials --resource-group MyOtherGroup --name MyAKSCluster --admin -f $WORK/five --overwrite-existing && kubectl --kubeconfig $WORK/five get nodes", Want: []string{"Ready"}},
	{Doc: 5, Seed: "az aks create --resource-group <resource-group-name> --name <aks-cluster-name> --generate-ssh-keys", Outcome: Works, Run: "az aks create --resource-group MyOtherGroup --name simple --generate-ssh-keys --node-count 1 --query identity.type -o tsv && az aks delete -g MyOtherGroup -n simple -y", Want: []string{"SystemAssigned"}},
	{Doc: 5, Seed: "az identity create --resource-group <resource-group-name> --name <identity-name>", Outcome: Works, Run: "az identity create --resource-group MyOtherGroup --name myIdentity --query id -o tsv", Save: "IDENTITY", Want: []string{"userAssignedIdentities/myIdentity"}},
	{Doc: 5, Seed: "az aks create --resource-group <resource-group-name> --name <aks-cluster-name> --assign-identity <identity-resource-id> --generate-ssh-keys", Outcome: Works, Run: "az aks create --resource-group MyOtherGroup --name withid --assign-identity $IDENTITY --generate-ssh-keys --node-count 1 --query identity.type -o tsv && az aks delete -g MyOtherGroup -n withid -y", Want: []string{"UserAssigned"}},
	{Doc: 5, Seed: "az role assignment create --assignee <identity-client-id> --role Reader --scope <key vault>", Outcome: Works,
		Run: `v=/subscriptions/$SUB/resourceGroups/MyOtherGroup/providers/Microsoft.KeyVault/vaults/myVault; az rest --method put --url "https://management.azure.com$v?api-version=2023-07-01" --body '{"location":"eastus","properties":{"sku":{"family":"A","name":"standard"}}}' -o none && az role assignment create --assignee $(az identity show --ids $IDENTITY --query clientId -o tsv) --role Reader --scope $v --query scope -o tsv`, Want: []string{"vaults/myVault"}, Note: "the vault is kept as a document"},
	{Doc: 5, Seed: "az aks update --resource-group <resource-group-name> --name <aks-cluster-name> --enable-oidc-issuer", Outcome: Works, Run: "az aks update --resource-group MyOtherGroup --name MyAKSCluster --enable-oidc-issuer --query oidcIssuerProfile.issuerUrl -o tsv", Save: "ISSUER", Want: []string{"https://"}},
	{Doc: 5, Seed: "az identity federated-credential create --name <federated-credential-name> --identity-name <identity-name> --resource-group <resource-group-name> --issuer <oidc-issuer-url> --subject <kubernetes-service-account-subject>", Outcome: Works, Run: "az identity federated-credential create --name fed --identity-name myIdentity --resource-group MyOtherGroup --issuer $ISSUER --subject system:serviceaccount:default:app --query subject -o tsv", Want: []string{"system:serviceaccount:default:app"}},
	{Doc: 5, Seed: "az --version", Outcome: Works, Run: "az --version 2>/dev/null | head -1", Want: []string{"azure-cli"}},
	{Doc: 5, Seed: "az ad group create --display-name <group-name> --mail-nickname <group-nickname>", Outcome: Works, Run: "az ad group create --display-name readers --mail-nickname readers --query id -o tsv", Save: "READERS"},
	{Doc: 5, Seed: "az aks create --resource-group MyResourceGroup --name MyAKSCluster --enable-aad --aad-admin-group-object-ids <aad-group-object-id> --generate-ssh-keys", Outcome: Works, Test: "`TestSeeds/006_doc_3`"},
	{Doc: 5, Seed: "kubectl create namespace mynamespace", Outcome: Works, Run: "kubectl --kubeconfig $WORK/five create namespace mynamespace", Want: []string{"mynamespace created"}},
	{Doc: 5, Seed: "kubectl apply -f role.yaml", Outcome: Works, Run: `sed 's/dev-namespace/mynamespace/' $WORK/r.yaml > $WORK/role.yaml && kubectl --kubeconfig $WORK/five apply -f $WORK/role.yaml`, Want: []string{"pod-reader created"}},
	{Doc: 5, Seed: "kubectl apply -f rolebinding.yaml", Outcome: Corrected, Run: `printf 'apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata:\n  name: read-pods\n  namespace: mynamespace\nsubjects:\n- kind: Group\n  name: %s\n  apiGroup: rbac.authorization.k8s.io\nroleRef:\n  kind: Role\n  name: pod-reader\n  apiGroup: rbac.authorization.k8s.io\n' $READERS > $WORK/rolebinding.yaml && kubectl --kubeconfig $WORK/five apply -f $WORK/rolebinding.yaml`, Want: []string{"read-pods created"}, Note: "the group's object id, not its name, and the API group of subjects"},
	{Doc: 5, Seed: "az aks get-credentials --resource-group MyResourceGroup --name MyAKSCluster", Outcome: Works, Run: "az aks get-credentials --resource-group MyOtherGroup --name MyAKSCluster -f $WORK/noa", Want: []string{"Merged"}},
	{Doc: 5, Seed: "kubectl get pods -n mynamespace", Outcome: Works, Run: "az ad group member add --group $READERS --member-id $NOA && kubelogin convert-kubeconfig -l ropc --username $NOA_UPN --password $NOA_PASSWORD --kubeconfig $WORK/noa && kubectl --kubeconfig $WORK/noa get pods -n mynamespace && ! kubectl --kubeconfig $WORK/noa get pods -n default", Want: []string{"No resources found in mynamespace", "Forbidden"}},
}
