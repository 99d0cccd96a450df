// Does the work of the documents with Microsoft's clients for Node, unmodified.
// The Go test starts it, is told after each step, looks at the cluster, and
// answers with a line.
import { createInterface } from "node:readline";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { DefaultAzureCredential } from "@azure/identity";
import { ContainerServiceClient } from "@azure/arm-containerservice";
import { AuthorizationManagementClient } from "@azure/arm-authorization";
import { BatchRequestContent, BatchResponseContent, Client, PageIterator } from "@microsoft/microsoft-graph-client";
import { TokenCredentialAuthenticationProvider } from "@microsoft/microsoft-graph-client/authProviders/azureTokenCredentials/index.js";

const s = JSON.parse(process.env.ENTRANCE_SUITE);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const step = async (name, more) => {
  process.stdout.write(JSON.stringify({ step: name, ...more }) + "\n");
  const answer = await lines.next();
  if (answer.done) process.exit(1); // the test has seen enough
};
const collect = async (pages) => {
  const list = [];
  for await (const item of pages) list.push(item);
  return list;
};
const refused = (statusCode, code) => (e) => {
  assert.equal(e.statusCode, statusCode);
  assert.equal(e.code, code);
  return true;
};

// From AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, and through the
// proxy of HTTPS_PROXY, with everything else built in.
const credential = new DefaultAzureCredential();
const clusters = new ContainerServiceClient(credential, s.subscription).managedClusters;
const authorization = new AuthorizationManagementClient(credential, s.subscription);
// This client sends with Node's own fetch, which knows no proxy: it is told the
// address instead.
const graph = Client.initWithMiddleware({
  authProvider: new TokenCredentialAuthenticationProvider(credential, { scopes: ["https://graph.microsoft.com/.default"] }),
  baseUrl: s.graph, customHosts: new Set([new URL(s.graph).hostname]),
});

// --- Microsoft Graph

const group = async (name) => graph.api("/groups").post({ displayName: name, mailNickname: name, mailEnabled: false, securityEnabled: true });
const admins = await group("node-admins");
const ref = (id) => ({ "@odata.id": `https://graph.microsoft.com/v1.0/directoryObjects/${id}` });
await graph.api(`/groups/${admins.id}/members/$ref`).post(ref(s.ada));
const outer = await group("node-outer");
await graph.api(`/groups/${outer.id}/members/$ref`).post(ref(admins.id));
const names = (r) => r.value.map((o) => o.displayName).sort();
assert.deepEqual(names(await graph.api(`/users/${s.ada}/memberOf`).get()).filter((n) => n.startsWith("node-")), ["node-admins"]);
assert.deepEqual(names(await graph.api(`/users/${s.ada}/transitiveMemberOf/microsoft.graph.group`).get()).filter((n) => n.startsWith("node-")), ["node-admins", "node-outer"]);
assert.ok((await graph.api(`/users/${s.ada}/getMemberObjects`).post({ securityEnabledOnly: true })).value.includes(outer.id));
assert.deepEqual((await graph.api(`/users/${s.ada}/checkMemberGroups`).post({ groupIds: [outer.id, randomUUID()] })).value, [outer.id]);

// Twelve users by $batch, and read again page by page.
const body = (i) => ({
  accountEnabled: true, displayName: `Node ${String(i).padStart(2, "0")}`, mailNickname: `node${i}`, userPrincipalName: `node${i}@${s.domain}`,
  passwordProfile: { password: `Node-${randomUUID()}`, forceChangePasswordNextSignIn: false },
});
const batch = new BatchRequestContent([...Array(12).keys()].map((i) => ({
  id: String(i),
  // The client sends the path alone; Node's Request wants a host too.
  request: new Request("https://graph.microsoft.com/users", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body(i)) }),
})));
const answers = new BatchResponseContent(await graph.api("/$batch").post(await batch.getContent()));
for (let i = 0; i < 12; i++) assert.equal(answers.getResponseById(String(i)).status, 201);
const seen = [];
const first = await graph.api("/users").filter("startswith(displayName,'Node ')").top(5).orderby("displayName").header("ConsistencyLevel", "eventual").count(true).get();
assert.equal(first["@odata.count"], 12);
await new PageIterator(graph, first, (u) => { seen.push(u.displayName); return true; }, { headers: { ConsistencyLevel: "eventual" } }).iterate();
assert.deepEqual(seen, [...Array(12).keys()].map((i) => body(i).displayName));
const found = await graph.api("/users").search('"displayName:Node 07"').header("ConsistencyLevel", "eventual").select("id,displayName").get();
assert.deepEqual(names(found), ["Node 07"]);
const seventh = found.value[0].id;
await graph.api(`/users/${seventh}`).delete();
await assert.rejects(graph.api(`/users/${seventh}`).get(), refused(404, "Request_ResourceNotFound"));
assert.ok((await graph.api("/directory/deletedItems/microsoft.graph.user").get()).value.some((u) => u.id === seventh));
await graph.api(`/directory/deletedItems/${seventh}/restore`).post({});
assert.equal((await graph.api(`/users/${seventh}`).version("beta").get()).displayName, "Node 07");

const app = await graph.api("/applications").post({ displayName: "node app" });
const principal = await graph.api("/servicePrincipals").post({ appId: app.appId });
const secret = await graph.api(`/applications/${app.id}/addPassword`).post({ passwordCredential: { displayName: "suite" } });
assert.ok(secret.secretText.length > 20);
assert.equal((await graph.api(`/applications/${app.id}`).get()).passwordCredentials[0].secretText, null);
await graph.api(`/applications/${app.id}/federatedIdentityCredentials`).post({ name: "pod", issuer: "https://issuer.example/", subject: "system:serviceaccount:default:app", audiences: ["api://AzureADTokenExchange"] });
assert.equal((await graph.api(`/applications/${app.id}/federatedIdentityCredentials`).get()).value.length, 1);

// --- Azure Resource Manager

const group0 = "sample", name = "node";
const cluster = {
  location: "centralus", identity: { type: "SystemAssigned" }, dnsPrefix: "node", enableRbac: true,
  agentPoolProfiles: [{ name: "nodepool1", mode: "System", count: 1, vmSize: "Standard_D2s_v3" }],
  aadProfile: { managed: true, enableAzureRbac: true, adminGroupObjectIDs: [admins.id] },
};
const made = await clusters.beginCreateOrUpdateAndWait(group0, name, cluster);
assert.equal(made.provisioningState, "Succeeded");
assert.equal(made.aadProfile.tenantID, s.tenant);
const kubeconfig = async (r) => Buffer.from((await r).kubeconfigs[0].value).toString();
const old = await kubeconfig(clusters.listClusterAdminCredentials(group0, name));
await step("created", { kubeconfig: await kubeconfig(clusters.listClusterUserCredentials(group0, name)), admin: old, secret: secret.secretText, clientId: app.appId });
assert.ok((await kubeconfig(clusters.listClusterUserCredentials(group0, name, { format: "azure" }))).includes("auth-provider"));
assert.deepEqual((await collect(clusters.list())).map((c) => c.name), [name]);
assert.deepEqual((await collect(clusters.listByResourceGroup(group0))).map((c) => c.name), [name]);

// A role for the application, on a namespace; and taken away again.
const namespace = `${made.id}/namespaces/default`;
const [reader] = await collect(authorization.roleDefinitions.list(made.id, { filter: "roleName eq 'Azure Kubernetes Service RBAC Reader'" }));
const assignment = { roleDefinitionId: reader.id, principalId: principal.id, principalType: "ServicePrincipal" };
const given = await authorization.roleAssignments.create(namespace, randomUUID(), assignment);
await step("assigned");
await assert.rejects(authorization.roleAssignments.create(namespace, randomUUID(), assignment), refused(409, "RoleAssignmentExists"));
assert.deepEqual((await collect(authorization.roleAssignments.listForScope(namespace, { filter: `principalId eq '${principal.id}'` }))).map((a) => a.id), [given.id]);
await authorization.roleAssignments.deleteById(given.id);
await step("unassigned");

// Azure RBAC off, another admin group, no local accounts, new certificates.
const current = await clusters.get(group0, name);
current.aadProfile = { ...current.aadProfile, enableAzureRbac: false, adminGroupObjectIDs: [outer.id] };
current.disableLocalAccounts = true;
const changed = await clusters.beginCreateOrUpdateAndWait(group0, name, current);
assert.deepEqual(changed.aadProfile.adminGroupObjectIDs, [outer.id]);
await assert.rejects(clusters.listClusterAdminCredentials(group0, name), refused(400, "BadRequest"));
await clusters.beginRotateClusterCertificatesAndWait(group0, name);
assert.deepEqual((await clusters.beginUpdateTagsAndWait(group0, name, { tags: { suite: "node" } })).tags, { suite: "node" });
await step("changed", { kubeconfig: await kubeconfig(clusters.listClusterUserCredentials(group0, name)) });

const gone = await clusters.beginDelete(group0, name);
assert.equal((await clusters.get(group0, name)).provisioningState, "Deleting");
await gone.pollUntilDone();
await assert.rejects(clusters.get(group0, name), refused(404, "ResourceNotFound"));
await step("deleted");
process.exit(0);
