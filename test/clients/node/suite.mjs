// Signs in with Microsoft's libraries for Node, unmodified. The Go test starts
// it with one flow and its settings, plays the person in front of the browser
// when it is asked to, and looks at the token that comes out.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import * as msal from "@azure/msal-node";
import * as identity from "@azure/identity";

const require = createRequire(import.meta.url);
const s = JSON.parse(process.env.ENTRANCE_SUITE);
const say = (o) => process.stdout.write(JSON.stringify(o) + "\n");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ask = async (o) => { say(o); return JSON.parse((await lines.next()).value); };

// The authority is not one that the library knows: it is told so.
const auth = (more) => ({ authority: s.authority, knownAuthorities: [new URL(s.authority).host], ...more });
const options = { authorityHost: s.host, disableInstanceDiscovery: true };
const daemon = { clientId: s.daemon.clientId };
const scopes = [s.scope];

const flows = {
  "msal-node secret": async () => {
    const c = new msal.ConfidentialClientApplication({ auth: auth({ ...daemon, clientSecret: s.daemon.secret }) });
    return (await c.acquireTokenByClientCredential({ scopes })).accessToken;
  },
  "msal-node certificate": async () => {
    const c = new msal.ConfidentialClientApplication({ auth: auth({ ...daemon, clientCertificate: { thumbprintSha256: s.daemon.thumbprint, privateKey: s.daemon.key } }) });
    return (await c.acquireTokenByClientCredential({ scopes })).accessToken;
  },
  "msal-node assertion": async () => {
    const c = new msal.ConfidentialClientApplication({ auth: auth({ ...daemon, clientAssertion: s.daemon.federated }) });
    return (await c.acquireTokenByClientCredential({ scopes })).accessToken;
  },
  "msal-node device code": async () => {
    const c = new msal.PublicClientApplication({ auth: auth({ clientId: s.public }) });
    const r = await c.acquireTokenByDeviceCode({ scopes, deviceCodeCallback: (d) => say({ code: d.userCode, message: d.message }) });
    // And again from the cache's refresh token, for another resource.
    const again = await c.acquireTokenSilent({ account: r.account, scopes: [s.other], forceRefresh: true });
    if (!again.accessToken) throw new Error("no token by refresh");
    return r.accessToken;
  },
  "msal-node claims challenge": async () => {
    const c = new msal.PublicClientApplication({ auth: auth({ clientId: s.public }) });
    const deviceCodeCallback = (d) => say({ code: d.userCode, message: d.message });
    const { account } = await c.acquireTokenByDeviceCode({ scopes: [s.other], deviceCodeCallback });
    await ask({ signedIn: true });
    try {
      await c.acquireTokenSilent({ account, scopes, forceRefresh: true });
    } catch (e) {
      if (!(e instanceof msal.InteractionRequiredAuthError) || !e.claims) throw e;
      return (await c.acquireTokenByDeviceCode({ scopes, claims: e.claims, deviceCodeCallback })).accessToken;
    }
    throw new Error("the policy was not asked");
  },
  "msal-node authorization code": async () => {
    const c = new msal.PublicClientApplication({ auth: auth({ clientId: s.public }) });
    const { verifier, challenge } = await new msal.CryptoProvider().generatePkceCodes();
    const redirectUri = "http://localhost:4711";
    const url = await c.getAuthCodeUrl({ scopes, redirectUri, codeChallenge: challenge, codeChallengeMethod: "S256", prompt: "select_account" });
    const { code, client_info } = await ask({ url });
    const r = await c.acquireTokenByCode({ scopes, redirectUri, code, codeVerifier: verifier, clientInfo: client_info });
    if (r.account.username !== s.username) throw new Error("signed in as " + r.account.username);
    return r.accessToken;
  },
  "@azure/identity secret": async () =>
    (await new identity.ClientSecretCredential(s.tenant, s.daemon.clientId, s.daemon.secret, options).getToken(s.scope)).token,
  "@azure/identity certificate": async () =>
    (await new identity.ClientCertificateCredential(s.tenant, s.daemon.clientId, { certificate: s.daemon.pem }, options).getToken(s.scope)).token,
  "@azure/identity assertion": async () =>
    (await new identity.ClientAssertionCredential(s.tenant, s.daemon.clientId, async () => s.daemon.federated, options).getToken(s.scope)).token,
  "@azure/identity device code": async () =>
    (await new identity.DeviceCodeCredential({ ...options, tenantId: s.tenant, clientId: s.public, userPromptCallback: (d) => say({ code: d.userCode, message: d.message }) }).getToken(s.scope)).token,
  "@azure/identity password": async () =>
    (await new identity.UsernamePasswordCredential(s.tenant, s.public, s.username, s.password, options).getToken(s.scope)).token,
};

try {
  if (process.argv[2] === "versions") {
    say({ versions: { "@azure/msal-node": require("@azure/msal-node/package.json").version, "@azure/identity": require("@azure/identity/package.json").version } });
  } else {
    say({ token: await flows[process.argv[2]]() });
  }
  process.exit(0);
} catch (e) {
  say({ error: String(e && e.stack || e) });
  process.exit(1);
}
