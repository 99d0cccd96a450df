// Package workloadidentity changes pods on admission so that the Azure client
// libraries in them find their way: which identity they are, where to sign in,
// and a service account token to exchange.
//
// The rules are those of Azure's workload identity webhook, to the letter of its
// labels, annotations, variables, texts and names, so that manifests work as
// they are. Mutate has the rules and decides from what it is given; Webhook
// answers the API server; Clients looks service accounts up.
//
// # What it does not decide
//
// A changed pod has no access yet. It holds a token of its own service account,
// which it could have asked for anyway, and the names of an identity and a
// tenant, which are not secret. Whether the identity believes that service
// account is decided when the token is exchanged, by the identity's federated
// credentials: a pod of an account that nobody trusts gets nothing, whatever its
// labels and annotations say.
//
// # What is left alone
//
// Values that a container sets itself stay. A pod that was changed before is not
// changed again. Pods without the label, and pods of the namespaces that the
// control plane and Entrance live in, are admitted as they are, so that neither
// waits for the other.
package workloadidentity
