// Package workload holds the examples of the documentation of Azure Workload
// Identity, with what becomes of each, as data: the suite runs them in order with
// the real az and kubectl, and the table in docs/workload-identity.md is made from
// them.
package workload

// Outcome is what becomes of an example.
type Outcome string

const (
	Works     Outcome = "works"
	Refused   Outcome = "refused, as documented"
	Corrected Outcome = "works in corrected form"
	Outside   Outcome = "outside"
)

// Example is an example of the documentation, at its revision of June 2026.
type Example struct {
	// Page is the page's name below docs/book/src, Text what the example shows.
	Page, Text string
	Outcome
	// Run is what the suite runs: lines for bash, as the page has them. The names
	// in it are those that the pages export. Empty: another test shows it, see Test.
	Run string
	// Save names the variable that the output is kept in.
	Save string
	// Want are texts that the output has.
	Want []string
	// Fails is whether the command must end with an error.
	Fails bool
	// Note says why, where the outcome is not Works.
	Note string
	// Test names the test that shows it, where it is not this suite.
	Test string
}

const (
	quickStart = "quick-start"
	credential = "topics/federated-identity-credential"
	labels     = "topics/service-account-labels-and-annotations"
	managed    = "installation/managed-clusters"
	trouble    = "troubleshooting"
	known      = "known-issues"
	faq        = "faq"
	rotation   = "topics/self-managed-clusters/service-account-key-rotation"
	discovery  = "installation/self-managed-clusters/oidc-issuer/discovery-document"
	jwks       = "installation/self-managed-clusters/oidc-issuer/jwks"
)

// exchange presents a service account's token as the client $1, and prints the
// claim appid of what comes back, or the error.
const exchange = `exchange() { curl -s "$AUTHORITY/$AZURE_TENANT_ID/oauth2/v2.0/token" -d grant_type=client_credentials -d client_id=$1 -d scope=https://management.azure.com/.default ` +
	`-d client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer -d client_assertion=$2 | ` +
	`python3 -c 'import base64,json,sys; a=json.load(sys.stdin); print(a.get("error_description") or json.loads(base64.urlsafe_b64decode(a["access_token"].split(".")[1]+"=="))["appid"])'; }; `

// Examples are all of them, in the order in which they are run.
var Examples = []Example{
	{Page: managed, Text: "az aks update with --enable-oidc-issuer", Outcome: Works, Run: `az aks update --resource-group sample --name plain --enable-oidc-issuer --query oidcIssuerProfile.enabled`, Want: []string{"true"}},
	{Page: managed, Text: "az aks update with --enable-workload-identity", Outcome: Corrected, Run: `az rest --method patch --url "https://management.azure.com/subscriptions/$SUBSCRIPTION/resourceGroups/sample/providers/Microsoft.ContainerService/managedClusters/plain?api-version=2025-03-01" --body '{"tags":{"kept":"1"}}' -o none; ! az aks update --resource-group sample --name plain --enable-workload-identity`,
		Want: []string{"unrecognized arguments: --enable-workload-identity"}, Note: "az 2.45 does not know the option; the SDK's way is in TestWorkloadIdentity/switched_on_by_the_SDK", Test: "TestWorkloadIdentity"},
	{Page: managed, Text: "az aks show, the OIDC issuer URL", Outcome: Works, Run: `az aks show --resource-group sample --name first --query "oidcIssuerProfile.issuerUrl" -otsv`, Save: "SERVICE_ACCOUNT_ISSUER", Want: []string{"$AUTHORITY/oidc/$AZURE_TENANT_ID/"}},
	{Page: managed, Text: "jump pod: create its service account", Outcome: Works, Run: `export NAMESPACE="default" SERVICE_ACCOUNT_NAME="jump-pod-sa"; kubectl create serviceaccount ${SERVICE_ACCOUNT_NAME} -n ${NAMESPACE}`, Want: []string{"serviceaccount/jump-pod-sa created"}},
	{Page: managed, Text: "jump pod with a projected token", Outcome: Works, Run: `export NAMESPACE="default" SERVICE_ACCOUNT_NAME="jump-pod-sa"
cat <<EOF | kubectl apply -f -
apiVersion: v1
kind: Pod
metadata:
  name: jump
  namespace: ${NAMESPACE}
spec:
  containers:
  - image: smallstep/step-cli
    name: step-cli
    command:
    - /bin/sh
    - -c
    - cat /var/run/secrets/tokens/test-token | step crypto jwt inspect --insecure
    volumeMounts:
    - mountPath: /var/run/secrets/tokens
      name: test-token
  serviceAccountName: ${SERVICE_ACCOUNT_NAME}
  volumes:
  - name: test-token
    projected:
      sources:
      - serviceAccountToken:
          path: test-token
          expirationSeconds: 3600
          audience: test
EOF`, Want: []string{"pod/jump created"}},
	{Page: managed, Text: "jump pod: read the issuer from its token", Outcome: Corrected, Run: `kubectl create token jump-pod-sa --audience test | cut -d. -f2 | python3 -c 'import base64,json,sys; print(json.loads(base64.urlsafe_b64decode(sys.stdin.read()+"=="))["iss"])'`, Want: []string{"$SERVICE_ACCOUNT_ISSUER"},
		Note: "pods of a local cluster run no programs: kubectl asks for the token that the pod would have"},
	{Page: "installation/mutating-admission-webhook", Text: "AZURE_TENANT_ID from az account show", Outcome: Works, Run: `az account show -s $SUBSCRIPTION --query tenantId -otsv`, Want: []string{"$AZURE_TENANT_ID"}},
	{Page: "installation/mutating-admission-webhook", Text: "helm install, or kubectl apply of a manifest", Outcome: Outside, Note: "Entrance is the webhook; the cluster's own life cycle registers it"},
	{Page: "installation/azwi", Text: "install azwi", Outcome: Outside, Note: "it downloads a command; each step that pages show with it is shown with az or kubectl too"},

	{Page: quickStart, Text: "az group create", Outcome: Works, Run: `az group create --name "${RESOURCE_GROUP}" --location "${LOCATION}"`, Want: []string{`"provisioningState": "Succeeded"`}},
	{Page: quickStart, Text: "az keyvault create, secret set, set-policy, show", Outcome: Outside, Note: "Key Vault's data is no part of Entrance"},
	{Page: quickStart, Text: "az ad sp create-for-rbac", Outcome: Works, Run: `az ad sp create-for-rbac --name "${APPLICATION_NAME}"`, Want: []string{`"appId"`, `"password"`}},
	{Page: quickStart, Text: "az identity create", Outcome: Works, Run: `az identity create --name "${USER_ASSIGNED_IDENTITY_NAME}" --resource-group "${RESOURCE_GROUP}"`, Want: []string{`"clientId"`, `"principalId"`}},
	{Page: quickStart, Text: "client id of the application", Outcome: Works, Run: `az ad sp list --display-name "${APPLICATION_NAME}" --query '[0].appId' -otsv`, Save: "APPLICATION_CLIENT_ID"},
	{Page: quickStart, Text: "client id of the identity", Outcome: Works, Run: `az identity show --name "${USER_ASSIGNED_IDENTITY_NAME}" --resource-group "${RESOURCE_GROUP}" --query 'clientId' -otsv`, Save: "USER_ASSIGNED_IDENTITY_CLIENT_ID"},
	{Page: quickStart, Text: "object id of the identity", Outcome: Works, Run: `az identity show --name "${USER_ASSIGNED_IDENTITY_NAME}" --resource-group "${RESOURCE_GROUP}" --query 'principalId' -otsv`, Save: "USER_ASSIGNED_IDENTITY_OBJECT_ID"},
	{Page: quickStart, Text: "the service account, annotated", Outcome: Works, Run: `cat <<EOF | kubectl apply -f -
apiVersion: v1
kind: ServiceAccount
metadata:
  annotations:
    azure.workload.identity/client-id: ${USER_ASSIGNED_IDENTITY_CLIENT_ID}
  name: ${SERVICE_ACCOUNT_NAME}
  namespace: ${SERVICE_ACCOUNT_NAMESPACE}
EOF`, Want: []string{"serviceaccount/workload-identity-sa created"}},
	{Page: quickStart, Text: "kubectl annotate with tenant-id", Outcome: Works, Run: `kubectl annotate sa ${SERVICE_ACCOUNT_NAME} -n ${SERVICE_ACCOUNT_NAMESPACE} azure.workload.identity/tenant-id="$AZURE_TENANT_ID" --overwrite`, Want: []string{"annotated"}},
	{Page: quickStart, Text: "object id of the application", Outcome: Works, Run: `az ad app show --id ${APPLICATION_CLIENT_ID} --query id -otsv`, Save: "APPLICATION_OBJECT_ID"},
	{Page: quickStart, Text: "az ad app federated-credential create", Outcome: Works, Run: `cat <<EOF > params.json
{
  "name": "kubernetes-federated-credential",
  "issuer": "${SERVICE_ACCOUNT_ISSUER}",
  "subject": "system:serviceaccount:${SERVICE_ACCOUNT_NAMESPACE}:${SERVICE_ACCOUNT_NAME}",
  "description": "Kubernetes service account federated credential",
  "audiences": [
    "api://AzureADTokenExchange"
  ]
}
EOF

az ad app federated-credential create --id ${APPLICATION_OBJECT_ID} --parameters @params.json`, Want: []string{`"name": "kubernetes-federated-credential"`, "$SERVICE_ACCOUNT_ISSUER"}},
	{Page: quickStart, Text: "az identity federated-credential create", Outcome: Works, Run: `az identity federated-credential create \
  --name "kubernetes-federated-credential" \
  --identity-name "${USER_ASSIGNED_IDENTITY_NAME}" \
  --resource-group "${RESOURCE_GROUP}" \
  --issuer "${SERVICE_ACCOUNT_ISSUER}" \
  --subject "system:serviceaccount:${SERVICE_ACCOUNT_NAMESPACE}:${SERVICE_ACCOUNT_NAME}"`, Want: []string{"api://AzureADTokenExchange", "$SERVICE_ACCOUNT_ISSUER"}},
	{Page: quickStart, Text: "the pod", Outcome: Works, Run: `export KEYVAULT_URL=https://vault.example/ KEYVAULT_SECRET_NAME=my-secret
cat <<EOF | kubectl apply -f -
apiVersion: v1
kind: Pod
metadata:
  name: quick-start
  namespace: ${SERVICE_ACCOUNT_NAMESPACE}
  labels:
    azure.workload.identity/use: "true"
spec:
  serviceAccountName: ${SERVICE_ACCOUNT_NAME}
  containers:
    - image: ghcr.io/azure/azure-workload-identity/msal-go
      name: oidc
      env:
      - name: KEYVAULT_URL
        value: ${KEYVAULT_URL}
      - name: SECRET_NAME
        value: ${KEYVAULT_SECRET_NAME}
  nodeSelector:
    kubernetes.io/os: linux
EOF`, Want: []string{"pod/quick-start created"}},
	{Page: quickStart, Text: "kubectl describe pod: what is injected", Outcome: Works, Run: `kubectl describe pod quick-start | tr -s ' '`, Want: []string{
		"azure.workload.identity/use=true", "KEYVAULT_URL: https://vault.example/", "AZURE_AUTHORITY_HOST: $AUTHORITY/", "AZURE_CLIENT_ID: $USER_ASSIGNED_IDENTITY_CLIENT_ID", "AZURE_TENANT_ID: $AZURE_TENANT_ID",
		"AZURE_FEDERATED_TOKEN_FILE: /var/run/secrets/azure/tokens/azure-identity-token", "/var/run/secrets/azure/tokens from azure-identity-token (ro)", "TokenExpirationSeconds: 3600",
	}},
	{Page: quickStart, Text: "kubectl logs: the pod has signed in", Outcome: Corrected, Run: exchange + `exchange $USER_ASSIGNED_IDENTITY_CLIENT_ID $(kubectl create token ${SERVICE_ACCOUNT_NAME} --audience api://AzureADTokenExchange)`, Want: []string{"$USER_ASSIGNED_IDENTITY_CLIENT_ID"},
		Note: "pods of a local cluster run no programs: kubectl asks for the pod's token, curl exchanges it; unmodified clients do in TestWorkloadIdentity"},

	{Page: faq, Text: "several identities with one service account", Outcome: Works, Run: exchange + `t=$(kubectl create token ${SERVICE_ACCOUNT_NAME} --audience api://AzureADTokenExchange); for id in $USER_ASSIGNED_IDENTITY_CLIENT_ID $APPLICATION_CLIENT_ID; do exchange $id $t; done`,
		Want: []string{"$USER_ASSIGNED_IDENTITY_CLIENT_ID\n$APPLICATION_CLIENT_ID"}},
	{Page: faq, Text: "several service accounts with one identity", Outcome: Works, Run: exchange + `kubectl create serviceaccount second -o name && az identity federated-credential create --name second --identity-name "${USER_ASSIGNED_IDENTITY_NAME}" --resource-group "${RESOURCE_GROUP}" --issuer "${SERVICE_ACCOUNT_ISSUER}" --subject system:serviceaccount:default:second -o none && exchange $USER_ASSIGNED_IDENTITY_CLIENT_ID $(kubectl create token second --audience api://AzureADTokenExchange)`,
		Want: []string{"\n$USER_ASSIGNED_IDENTITY_CLIENT_ID"}},
	{Page: faq, Text: "permissions to write a credential of an application or an identity", Outcome: Works, Test: "`internal/graph TestEscalation`, `internal/arm TestIdentities`"},

	{Page: credential, Text: "application: the credential, from a file", Outcome: Works, Run: `export APPLICATION_OBJECT_ID="$(az ad app list --display-name "${APPLICATION_NAME}" --query '[0].id' -otsv)"
cat <<EOF > params.json
{
  "name": "kubernetes-federated-identity",
  "issuer": "${SERVICE_ACCOUNT_ISSUER}",
  "subject": "system:serviceaccount:${SERVICE_ACCOUNT_NAMESPACE}:another",
  "description": "Kubernetes service account federated identity",
  "audiences": [
    "api://AzureADTokenExchange"
  ]
}
EOF

az ad app federated-credential create --id $APPLICATION_OBJECT_ID --parameters params.json --query id -o tsv`, Save: "FIC_ID"},
	{Page: credential, Text: "application: list", Outcome: Works, Run: `az ad app federated-credential list --id "${APPLICATION_OBJECT_ID}"`, Want: []string{"$FIC_ID", "kubernetes-federated-identity", "kubernetes-federated-credential"}},
	{Page: credential, Text: "application: delete", Outcome: Works, Run: `az ad app federated-credential delete --federated-credential-id $FIC_ID --id $APPLICATION_OBJECT_ID && az ad app federated-credential list --id "${APPLICATION_OBJECT_ID}" --query 'length(@)'`, Want: []string{"1"}},
	{Page: credential, Text: "identity: delete", Outcome: Corrected, Run: `az identity federated-credential delete \
  --identity-name "${USER_ASSIGNED_IDENTITY_NAME}" \
  --name "second" \
  --resource-group "${RESOURCE_GROUP}" --yes && az identity federated-credential list --identity-name "${USER_ASSIGNED_IDENTITY_NAME}" --resource-group "${RESOURCE_GROUP}" --query 'length(@)'`, Want: []string{"1"}, Note: "az asks whether it is meant; --yes says so"},
	{Page: credential, Text: "20 credentials at most", Outcome: Refused, Test: "`internal/graph TestFederatedCredentialRules`, `internal/arm TestIdentities`"},

	{Page: labels, Text: "label azure.workload.identity/use, on the pod", Outcome: Works, Test: "`internal/workloadidentity TestLeftAlone`, `TestMutation`"},
	{Page: labels, Text: "annotation service-account-token-expiration, on pod and service account", Outcome: Works, Test: "`internal/workloadidentity TestRules`, `TestRefusals`"},
	{Page: labels, Text: "annotation skip-containers", Outcome: Works, Test: "`internal/workloadidentity TestRules`"},
	{Page: labels, Text: "annotations inject-proxy-sidecar, proxy-sidecar-port", Outcome: Works, Test: "`internal/workloadidentity TestProxy`"},
	{Page: labels, Text: "annotations client-id, tenant-id, on the service account", Outcome: Works, Test: "`internal/workloadidentity TestRules`"},
	{Page: "topics/metrics", Text: "azwi_mutation_request_bucket", Outcome: Works, Run: `curl -s $HEALTH/metrics | grep '^azwi_mutation_request_bucket{namespace="default",le="0.001"}'`, Want: []string{"azwi_mutation_request_bucket"}},

	{Page: trouble, Text: "kubectl logs of the webhook", Outcome: Outside, Note: "the webhook is no pod: its log is that of `entrance up` or `entrance serve`"},
	{Page: trouble, Text: "AADSTS70021: the final slash is missing", Outcome: Refused, Run: exchange + `az identity federated-credential update --name kubernetes-federated-credential --identity-name "${USER_ASSIGNED_IDENTITY_NAME}" --resource-group "${RESOURCE_GROUP}" --issuer "${SERVICE_ACCOUNT_ISSUER%/}" --subject "system:serviceaccount:${SERVICE_ACCOUNT_NAMESPACE}:${SERVICE_ACCOUNT_NAME}" -o none
t=$(kubectl create token ${SERVICE_ACCOUNT_NAME} --audience api://AzureADTokenExchange); exchange $USER_ASSIGNED_IDENTITY_CLIENT_ID $t; entrance identity try --data-dir $DATA --cluster first --service-account ${SERVICE_ACCOUNT_NAME}
az identity federated-credential update --name kubernetes-federated-credential --identity-name "${USER_ASSIGNED_IDENTITY_NAME}" --resource-group "${RESOURCE_GROUP}" --issuer "${SERVICE_ACCOUNT_ISSUER}" --subject "system:serviceaccount:${SERVICE_ACCOUNT_NAMESPACE}:${SERVICE_ACCOUNT_NAME}" -o none; exchange $USER_ASSIGNED_IDENTITY_CLIENT_ID $t`,
		Want: []string{"AADSTS700211: No matching federated identity record found for presented assertion issuer '$SERVICE_ACCOUNT_ISSUER'", "the final slash is missing", "\n$USER_ASSIGNED_IDENTITY_CLIENT_ID"}, Note: "with Entra's present code, which says that it is the issuer"},
	{Page: trouble, Text: "AADSTS90061: the issuer cannot be reached", Outcome: Refused, Test: "`internal/oauth TestOutsideIssuer`"},
	{Page: trouble, Text: "curl of the issuer's documents", Outcome: Works, Run: `curl -s ${SERVICE_ACCOUNT_ISSUER}/.well-known/openid-configuration; curl -s ${SERVICE_ACCOUNT_ISSUER}/openid/v1/jwks`, Want: []string{`"issuer":"$SERVICE_ACCOUNT_ISSUER"`, `"kty":"RSA"`}},
	{Page: trouble, Text: "kubectl get pod: its label", Outcome: Works, Run: `kubectl get pod quick-start -n default -o jsonpath='{.metadata.labels.azure\.workload\.identity/use}'`, Want: []string{"true"}},

	{Page: known, Text: "az rest: a credential by Graph beta", Outcome: Works, Run: `cat <<EOF > body.json
{"name": "by-rest", "issuer": "${SERVICE_ACCOUNT_ISSUER}", "subject": "system:serviceaccount:default:rest", "audiences": ["api://AzureADTokenExchange"]}
EOF
az rest --method POST --uri "https://graph.microsoft.com/beta/applications/${APPLICATION_OBJECT_ID}/federatedIdentityCredentials" --body @body.json --query name`, Want: []string{"by-rest"}},
	{Page: known, Text: "AADSTS50005: a platform that a policy blocks", Outcome: Refused, Test: "`internal/oauth TestPolicyEverywhere`, test/worlds/signin"},
	{Page: known, Text: "az account get-access-token for Microsoft Graph", Outcome: Works, Run: `az account get-access-token --resource-type=ms-graph --query tokenType`, Want: []string{"Bearer"}},
	{Page: known, Text: "Application.ReadWrite.All for a service principal", Outcome: Corrected, Run: `PRINCIPAL="$(az ad sp show --id ${APPLICATION_CLIENT_ID} --query id -otsv)"
GRAPH_RESOURCE_ID="$(az ad sp list --display-name "Microsoft Graph" --query '[0].id' -otsv)"
APPLICATION_READWRITE_ALL_ID="$(az ad sp list --display-name "Microsoft Graph" --query "[0].appRoles[?value=='Application.ReadWrite.All' && contains(allowedMemberTypes, 'Application')].id" --output tsv)"

URI="https://graph.microsoft.com/v1.0/servicePrincipals/${PRINCIPAL}/appRoleAssignments"
BODY="{'principalId':'${PRINCIPAL}','resourceId':'${GRAPH_RESOURCE_ID}','appRoleId':'${APPLICATION_READWRITE_ALL_ID}'}"
az rest --method post --uri "${URI}" --body "${BODY}" --headers "Content-Type=application/json"`, Want: []string{"1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"}, Note: "the page takes the application's object id for the service principal's"},
	{Page: known, Text: "pods of kube-system are left alone", Outcome: Works, Run: `kubectl run system -n kube-system --image=x --labels=azure.workload.identity/use=true && kubectl get pod system -n kube-system -o jsonpath='{.spec.containers[0].env}|end'`, Want: []string{"created\n|end"}},
	{Page: known, Text: "no proxy sidecar with hostNetwork", Outcome: Refused, Run: `kubectl run proxied --image=x --labels=azure.workload.identity/use=true --annotations=azure.workload.identity/inject-proxy-sidecar=true --overrides='{"spec":{"hostNetwork":true}}'`, Fails: true, Want: []string{"hostNetwork is set to true, cannot inject proxy sidecar"}},
	{Page: known, Text: "fsGroup for the token file's mode", Outcome: Works, Test: "`internal/workloadidentity TestMutation`", Note: "only Kubernetes 1.18 needs it; the pod's securityContext is left as it is"},

	{Page: discovery, Text: "members of the discovery document", Outcome: Works, Run: `curl -s "${SERVICE_ACCOUNT_ISSUER}.well-known/openid-configuration"`, Want: []string{
		`"issuer":"$SERVICE_ACCOUNT_ISSUER"`, `"jwks_uri":"${SERVICE_ACCOUNT_ISSUER}openid/v1/jwks"`, `"response_types_supported":["id_token"]`, `"subject_types_supported":["public"]`, `"id_token_signing_alg_values_supported":["RS256"]`}},
	{Page: discovery, Text: "az storage: upload the document", Outcome: Outside, Note: "Entrance serves the documents itself; for an own storage account see selfHostedIssuerUrl"},
	{Page: jwks, Text: "members of the key document", Outcome: Works, Run: `curl -s "${SERVICE_ACCOUNT_ISSUER}openid/v1/jwks"`, Want: []string{`"use":"sig"`, `"kty":"RSA"`, `"kid":"`, `"alg":"RS256"`, `"n":"`, `"e":"AQAB"`}},
	{Page: jwks, Text: "azwi jwks", Outcome: Outside, Note: "the keys are read from the API server"},
	{Page: rotation, Text: "az aks oidc-issuer rotate-signing-keys, for AKS", Outcome: Works, Run: exchange + `old=$(kubectl create token ${SERVICE_ACCOUNT_NAME} --audience api://AzureADTokenExchange)
az aks oidc-issuer rotate-signing-keys -g sample -n first -y -o none
for i in $(seq 60); do new=$(kubectl create token ${SERVICE_ACCOUNT_NAME} --audience api://AzureADTokenExchange) && break; sleep 0.5; done
kid() { echo $1 | cut -d. -f1 | python3 -c 'import base64,json,sys; print(json.loads(base64.urlsafe_b64decode(sys.stdin.read().strip()+"=="))["kid"])'; }
test $(kid $old) != $(kid $new) && curl -s "${SERVICE_ACCOUNT_ISSUER}openid/v1/jwks" > keys.json && grep -q -e $(kid $old) keys.json && grep -q -e $(kid $new) keys.json && exchange $USER_ASSIGNED_IDENTITY_CLIENT_ID $old && exchange $USER_ASSIGNED_IDENTITY_CLIENT_ID $new`,
		Want: []string{"$USER_ASSIGNED_IDENTITY_CLIENT_ID\n$USER_ASSIGNED_IDENTITY_CLIENT_ID"}},
	{Page: rotation, Text: "a self-managed API server gets a second key", Outcome: Works, Test: "`test/workload TestConnectedWorkloadIdentity`"},
	{Page: rotation, Text: "dummy pod with a dummy identity", Outcome: Works, Run: `cat << EOF | kubectl apply -f -
apiVersion: v1
kind: ServiceAccount
metadata:
  annotations:
    azure.workload.identity/client-id: dummy
  name: dummy-sa
---
apiVersion: v1
kind: Pod
metadata:
  name: dummy-pod
  labels:
    azure.workload.identity/use: "true"
spec:
  serviceAccountName: dummy-sa
  containers:
    - name: busybox
      image: busybox
      command:
        - sleep
        - "3600"
EOF
kubectl get pod dummy-pod -o jsonpath='{.spec.containers[0].env[?(@.name=="AZURE_CLIENT_ID")].value}'`, Want: []string{"pod/dummy-pod created\ndummy"}},
	{Page: "topics/self-managed-clusters/examples/kind", Text: "kind with an own issuer", Outcome: Works, Test: "`internal/cluster TestConnectionPods`", Note: "`entrance cluster connect --for kind` prints the configuration"},
	{Page: "topics/language-specific-examples/azure-identity-sdk", Text: "WorkloadIdentityCredential", Outcome: Works, Test: "`test/workload TestWorkloadIdentity`, `test/clients TestAzidentityApplications`, `TestNode`"},
	{Page: "topics/language-specific-examples/msal", Text: "MSAL with a federated token", Outcome: Works, Test: "`test/clients TestNode`, `TestAz`"},
	{Page: "examples/migration", Text: "pod with the proxy put in by hand", Outcome: Works, Run: `cat <<EOF | kubectl apply -f -
apiVersion: v1
kind: Pod
metadata:
  name: httpbin-pod
  labels:
    app: httpbin
spec:
  serviceAccountName: workload-identity-sa
  initContainers:
  - name: init-networking
    image: mcr.microsoft.com/oss/azure/workload-identity/proxy-init:v1.6.0
    securityContext:
      capabilities:
        add:
        - NET_ADMIN
        drop:
        - ALL
      privileged: true
      runAsUser: 0
    env:
    - name: PROXY_PORT
      value: "8000"
  containers:
  - name: nginx
    image: nginx:alpine
    ports:
    - containerPort: 80
  - name: proxy
    image: mcr.microsoft.com/oss/azure/workload-identity/proxy:v1.6.0
    ports:
    - containerPort: 8000
EOF`, Want: []string{"pod/httpbin-pod created"}},
	{Page: quickStart, Text: "clean-up", Outcome: Works, Run: `kubectl delete pod quick-start
kubectl delete sa "${SERVICE_ACCOUNT_NAME}" --namespace "${SERVICE_ACCOUNT_NAMESPACE}"
az group delete --name "${RESOURCE_GROUP}" --yes
az ad sp delete --id "${APPLICATION_CLIENT_ID}" && az group exists --name "${RESOURCE_GROUP}"`, Want: []string{`pod "quick-start" deleted`, `serviceaccount "workload-identity-sa" deleted`, "false"}},
}
