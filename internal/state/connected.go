package state

import (
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/store"
)

// ConnectedTenant is a Microsoft Entra tenant that Entrance does not host and
// that may be the one tenant of clusters. Its tokens say who somebody is and in
// which groups; there is no directory here to ask.
type ConnectedTenant struct {
	ID   directory.TenantID `json:"id"`
	Name string             `json:"displayName,omitempty"`
	// Authority is where the tenant signs in, without a final slash.
	Authority string `json:"authority"`
	// V1 is the base of the issuer name of v1.0 tokens, with a final slash.
	V1 string `json:"v1Issuer"`
	// Graph is the address of the tenant's Microsoft Graph, without a final
	// slash.
	Graph string `json:"graph,omitempty"`
	// ClientID and ClientSecret are an application of that tenant which may read
	// group memberships (GroupMember.Read.All, as itself or on behalf of people). Without it nobody with too many
	// groups for a token gets in.
	ClientID     directory.AppID `json:"clientId,omitempty"`
	ClientSecret string          `json:"clientSecret,omitempty"`
	// OnBehalfOf asks Graph on behalf of the person instead of as the application:
	// their token must then be for that application.
	OnBehalfOf bool      `json:"onBehalfOf,omitempty"`
	Connected  time.Time `json:"connected"`
}

// ConnectedUser is somebody of a connected tenant who has shown a valid token:
// the user name under which the clusters know them. It binds the name in an
// access review to the object id beside it.
type ConnectedUser struct {
	Tenant directory.TenantID `json:"tenantId"`
	ID     directory.ObjectID `json:"id"`
	Name   string             `json:"name"`
	// Issued is when the token was issued that said so: an older one changes
	// nothing.
	Issued time.Time `json:"issued"`
}

// ClusterIssuer is an OpenID Connect issuer whose tokens one cluster accepts
// beside those of its tenant. What it says never becomes an object id, and
// every name and group that it gives carries a prefix.
type ClusterIssuer struct {
	Cluster   string   `json:"cluster"` // its key
	Issuer    string   `json:"issuer"`
	Audiences []string `json:"audiences"`
	// UsernameClaim and GroupsClaim are the claims that are read. Empty: sub,
	// and no groups.
	UsernameClaim string `json:"usernameClaim,omitempty"`
	GroupsClaim   string `json:"groupsClaim,omitempty"`
	// UsernamePrefix and GroupsPrefix stand before them; both begin with
	// aks:jwt: and are longer than that.
	UsernamePrefix string `json:"usernamePrefix"`
	GroupsPrefix   string `json:"groupsPrefix,omitempty"`
}

var (
	// ConnectedTenants, sealed, by id.
	ConnectedTenants = store.NewTable("connected-tenants", store.Options[ConnectedTenant]{
		Key:    func(t *ConnectedTenant) string { return string(t.ID) },
		Sealed: true,
	})

	// ConnectedUsers, by tenant and object id.
	ConnectedUsers = store.NewTable("connected-users", store.Options[ConnectedUser]{
		Key: func(u *ConnectedUser) string { return Key(u.Tenant, u.ID) },
	})

	// ClusterIssuers, by cluster and issuer: "cluster".
	ClusterIssuers = store.NewTable("cluster-issuers", store.Options[ClusterIssuer]{
		Key: func(i *ClusterIssuer) string { return ClusterIssuerKey(i.Cluster, i.Issuer) },
		Indexes: []store.Index[ClusterIssuer]{
			{Name: "cluster", Values: func(i *ClusterIssuer) []string { return one(i.Cluster) }},
		},
	})
)

// ClusterIssuerKey returns the key of a cluster's trust in an issuer.
func ClusterIssuerKey(cluster, issuer string) string { return join(cluster, issuer) }
