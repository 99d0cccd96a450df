package cluster

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Spec says what a cluster is to be. It is a plain value: whoever owns the
// truth about clusters makes one from it and calls Apply.
type Spec struct {
	// Key names the cluster here: a DNS label, unique, never changed. It is
	// part of file names, of the etcd prefix and of the common name by which
	// the API server proves itself to the webhooks.
	Key string

	// ARMID is the cluster's resource id. The names in kubeconfigs and those
	// of the nodes come from it.
	ARMID    string
	Location string // Azure region

	// Port is the API server's, on 127.0.0.1. 0 means: choose a free one
	// when the cluster is made, and keep it.
	Port int

	// ServerNames are further DNS names or addresses for the API server's
	// certificate, such as the fqdn that ARM shows.
	ServerNames []string

	NodePools []NodePool

	// ServiceAccountIssuer is the issuer of service account tokens, with
	// AKS's trailing slash if it has one. Empty means the API server's own.
	// When it changes, tokens with the former one stay good for a day.
	ServiceAccountIssuer string
	// ServiceAccountJWKSURI is where that issuer's keys can be read, if not
	// at the API server.
	ServiceAccountJWKSURI string
	// SigningKeyGeneration counts rotations of the key that signs service
	// account tokens. When it changes a new key is made; the former one stays
	// good for a day.
	SigningKeyGeneration int

	// CertificateGeneration counts rotations of the cluster's certificates.
	// When it changes a new authority and all its certificates are made;
	// those of the former authority are refused from then on.
	CertificateGeneration int

	// Entra connects the cluster to Entrance's webhooks; nil means a cluster
	// with local accounts only. Whether Azure RBAC is on is not told here:
	// the authorize webhook is always asked, and its server knows.
	Entra *Entra

	// Pods, if not nil, is the workload identity webhook. It needs no Entra:
	// pods sign in elsewhere, whoever may use the cluster.
	Pods *PodWebhook
}

// PodWebhook is how a cluster's API server has pods changed on admission. It
// presents its client certificate to that webhook too.
type PodWebhook struct {
	URL string
	CA  []byte // PEM, the authority of the webhook's server
}

func (p *PodWebhook) validate(key string) error {
	if !httpsURL(p.URL) {
		return errs.New(errs.Invalid, "The webhook address %q of cluster %s is not an https URL.", p.URL, key)
	}
	if len(p.CA) == 0 {
		return errs.New(errs.Invalid, "The authority of the pod webhook of cluster %s is missing.", key)
	}
	return nil
}

// NodePool is a group of simulated nodes.
type NodePool struct {
	Name  string
	Count int
}

// Entra is how a cluster's API server reaches the webhooks that know its
// tenant. The API server presents a client certificate to each of them.
type Entra struct {
	TenantID directory.TenantID // for user kubeconfigs
	// ServerApp and ClientApp go into user kubeconfigs. Empty: AKS's own; a
	// cluster of the legacy integration has others.
	ServerApp, ClientApp directory.AppID

	AuthenticateURL string // TokenReview
	AuthorizeURL    string // SubjectAccessReview, after Node and RBAC, which may go unanswered
	// DenyURL, if not empty, is a SubjectAccessReview webhook that is asked
	// before Node and RBAC about users with an oid, and only ever denies. If
	// it cannot be asked, the API server answers 500 after some tries.
	DenyURL   string
	WebhookCA []byte // PEM, the authority of the webhooks' server

	// AdminGroups are bound to cluster-admin.
	AdminGroups []directory.ObjectID
}

var (
	keyRE  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	poolRE = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)
)

// maxNodes is what the simulator can hold.
const maxNodes = 250

func (s *Spec) validate() error {
	if !keyRE.MatchString(s.Key) {
		return errs.New(errs.Invalid, "The cluster key %q is not a DNS label.", s.Key)
	}
	if _, err := parseARMID(s.ARMID); err != nil {
		return err
	}
	if s.Location == "" {
		return errs.New(errs.Invalid, "The location of cluster %s is empty.", s.Key)
	}
	if s.Port < 0 || s.Port > 65535 {
		return errs.New(errs.Invalid, "Port %d does not exist.", s.Port)
	}
	for _, n := range s.ServerNames {
		if _, err := netip.ParseAddr(n); err != nil && (n == "" || strings.ContainsAny(n, " /:@\n")) {
			return errs.New(errs.Invalid, "The server name %q is neither a DNS name nor an address.", n)
		}
	}
	total, seen := 0, map[string]bool{}
	for _, p := range s.NodePools {
		if !poolRE.MatchString(p.Name) || seen[p.Name] || p.Count < 0 {
			return errs.New(errs.Invalid, "The node pool %q is not valid: a name of 1 to 12 lower-case letters and digits, a letter first, unique in the cluster, and a count of at least 0.", p.Name)
		}
		seen[p.Name] = true
		total += p.Count
	}
	if total > maxNodes {
		return errs.New(errs.Invalid, "Cluster %s asks for %d nodes; at most %d can be simulated.", s.Key, total, maxNodes)
	}
	for _, u := range []string{s.ServiceAccountIssuer, s.ServiceAccountJWKSURI} {
		if u != "" && !httpsURL(u) {
			return errs.New(errs.Invalid, "%q is not an https URL.", u)
		}
	}
	if s.CertificateGeneration < 0 || s.SigningKeyGeneration < 0 {
		return errs.New(errs.Invalid, "A generation of cluster %s is negative.", s.Key)
	}
	if s.Pods != nil {
		if err := s.Pods.validate(s.Key); err != nil {
			return err
		}
	}
	if s.Entra == nil {
		return nil
	}
	return s.Entra.validate(s.Key)
}

// webhooks reports whether the API server asks any of Entrance's webhooks, for
// which it needs a client certificate.
func (s *Spec) webhooks() bool { return s.Entra != nil || s.Pods != nil }

func (e *Entra) validate(key string) error {
	if id, ok := directory.ParseGUID(string(e.TenantID)); !ok || id != string(e.TenantID) {
		return errs.New(errs.Invalid, "The tenant id %q of cluster %s is not a GUID in lower case.", e.TenantID, key)
	}
	for _, u := range []struct {
		url      string
		optional bool
	}{{e.AuthenticateURL, false}, {e.AuthorizeURL, false}, {e.DenyURL, true}} {
		if u.url == "" && u.optional {
			continue
		}
		if !httpsURL(u.url) {
			return errs.New(errs.Invalid, "The webhook address %q of cluster %s is not an https URL.", u.url, key)
		}
	}
	if len(e.WebhookCA) == 0 {
		return errs.New(errs.Invalid, "The authority of the webhooks of cluster %s is missing.", key)
	}
	for _, g := range e.AdminGroups {
		if id, ok := directory.ParseGUID(string(g)); !ok || id != string(g) {
			return errs.New(errs.Invalid, "The admin group %q of cluster %s is not a GUID in lower case.", g, key)
		}
	}
	return nil
}

func httpsURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.Fragment == ""
}

// armID is a parsed id of a managed cluster.
type armID struct{ subscription, group, name string }

var armNameRE = regexp.MustCompile(`^[-_.()A-Za-z0-9]{1,90}$`)

func parseARMID(id string) (armID, error) {
	p := strings.Split(id, "/")
	if len(p) != 9 || p[0] != "" || !strings.EqualFold(p[1], "subscriptions") || !strings.EqualFold(p[3], "resourceGroups") ||
		!strings.EqualFold(p[5], "providers") || !strings.EqualFold(p[6], "Microsoft.ContainerService") || !strings.EqualFold(p[7], "managedClusters") {
		return armID{}, errs.New(errs.Invalid, "%q is not the id of a managed cluster.", id)
	}
	for _, i := range []int{2, 4, 8} {
		if !armNameRE.MatchString(p[i]) {
			return armID{}, errs.New(errs.Invalid, "%q is not the id of a managed cluster: %q is not a name.", id, p[i])
		}
	}
	return armID{p[2], p[4], p[8]}, nil
}

// clone returns a copy that shares nothing with s.
func (s Spec) clone() Spec {
	s.ServerNames = slices.Clone(s.ServerNames)
	s.NodePools = slices.Clone(s.NodePools)
	if s.Entra != nil {
		e := *s.Entra
		e.WebhookCA = slices.Clone(e.WebhookCA)
		e.AdminGroups = slices.Clone(e.AdminGroups)
		s.Entra = &e
	}
	if s.Pods != nil {
		p := *s.Pods
		p.CA = slices.Clone(p.CA)
		s.Pods = &p
	}
	return s
}
