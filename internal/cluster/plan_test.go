package cluster

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

func testPlan(t *testing.T, change func(*Spec)) *plan {
	t.Helper()
	s := Spec{
		Key: "k", ARMID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c", Location: "westeurope",
		NodePools: []NodePool{{"system", 3}, {"user", 2}},
		Entra: &Entra{
			TenantID:        "11111111-1111-1111-1111-111111111111",
			AuthenticateURL: "https://localhost:8444/clusters/k/authenticate",
			AuthorizeURL:    "https://localhost:8444/clusters/k/authorize",
			WebhookCA:       []byte("PEM"),
		},
	}
	if change != nil {
		change(&s)
	}
	if err := s.validate(); err != nil {
		t.Fatal(err)
	}
	st := &state{Port: 21000, Issuer: "https://issuer.example/a/", SigningKeys: []signingKey{{0, "old.key", time.Unix(1, 0)}, {1, "new.key", time.Time{}}},
		PastIssuers: []pastIssuer{{"https://issuer.example/before/", time.Unix(1, 0)}}}
	p, err := makePlan(&s, st, certs{dir: "/d/pki/0"}, layout{"/d"}, etcdAccess{url: "https://127.0.0.1:2379"})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type authorizer struct {
	Type, Name string
	Webhook    struct {
		AuthorizedTTL, UnauthorizedTTL, SubjectAccessReviewVersion, FailurePolicy string
		ConnectionInfo                                                            struct{ KubeConfigFile string }
		MatchConditions                                                           []struct{ Expression string }
	}
}

func authorizers(t *testing.T, p *plan) []authorizer {
	t.Helper()
	var cfg struct{ Authorizers []authorizer }
	if err := yaml.Unmarshal(p.files[authorizationFile], &cfg); err != nil {
		t.Fatal(err)
	}
	return cfg.Authorizers
}

func TestAuthorizationOrder(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{"no Entra", func(s *Spec) { s.Entra = nil }, "Node RBAC"},
		{"Entra", nil, "Node RBAC Webhook/NoOpinion/authorize.kubeconfig"},
		{"denying", func(s *Spec) { s.Entra.DenyURL = "https://localhost/deny" },
			"Webhook/Deny/deny.kubeconfig Node RBAC Webhook/NoOpinion/authorize.kubeconfig"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := testPlan(t, tc.change)
			var got []string
			for _, a := range authorizers(t, p) {
				if a.Type != "Webhook" {
					got = append(got, a.Type)
					continue
				}
				got = append(got, a.Type+"/"+a.Webhook.FailurePolicy+"/"+strings.TrimPrefix(a.Webhook.ConnectionInfo.KubeConfigFile, "/d/conf/"))
				for _, ttl := range []string{a.Webhook.AuthorizedTTL, a.Webhook.UnauthorizedTTL} {
					if d, err := time.ParseDuration(ttl); err != nil || d <= 0 || d > time.Second {
						t.Errorf("%s caches for %s", a.Name, ttl)
					}
				}
				if a.Webhook.SubjectAccessReviewVersion != "v1" {
					t.Errorf("%s speaks %s", a.Name, a.Webhook.SubjectAccessReviewVersion)
				}
				if len(a.Webhook.MatchConditions) != 1 || a.Webhook.MatchConditions[0].Expression != hasOID {
					t.Errorf("%s is asked about %v", a.Name, a.Webhook.MatchConditions)
				}
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("order %q, want %q", s, tc.want)
			}
		})
	}
}

func TestApiserverArgs(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Spec)
		has    []string
		hasNot []string
	}{
		"always": {func(s *Spec) { s.Entra = nil }, []string{
			"--authorization-config=/d/conf/authorization.yaml",
			"--authentication-config=/d/conf/authentication.yaml",
			"--bind-address=127.0.0.1",
			"--etcd-prefix=/clusters/k",
			"--service-account-signing-key-file=/d/keys/new.key",
			"--service-account-key-file=/d/keys/old.key",
			"--service-account-key-file=/d/keys/new.key",
			"--service-account-issuer=https://issuer.example/a/",
			"--service-account-issuer=https://issuer.example/before/",
			"--service-account-max-token-expiration=24h0m0s",
		}, []string{"--authentication-token-webhook-", "--authorization-mode", "--anonymous-auth", "--admission-control-config-file"}},
		"Entra": {nil, []string{
			"--authentication-token-webhook-config-file=/d/conf/authenticate.kubeconfig",
			"--authentication-token-webhook-version=v1",
			"--authentication-token-webhook-cache-ttl=0s",
		}, nil},
		"mutation": {func(s *Spec) { s.Pods = &PodWebhook{URL: "https://localhost:8444/m", CA: []byte("ca")} }, []string{
			"--admission-control-config-file=/d/conf/admission.yaml",
		}, nil},
		"keys elsewhere": {func(s *Spec) { s.ServiceAccountJWKSURI = "https://x.example/jwks" }, []string{
			"--service-account-jwks-uri=https://x.example/jwks",
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPlan(t, tc.change)
			args := p.components[0].args
			for _, a := range tc.has {
				if !slices.Contains(args, a) {
					t.Errorf("%s is missing", a)
				}
			}
			for _, a := range tc.hasNot {
				if slices.ContainsFunc(args, func(s string) bool { return strings.HasPrefix(s, a) }) {
					t.Errorf("%s is there", a)
				}
			}
			// The first issuer signs.
			first := slices.IndexFunc(args, func(s string) bool { return strings.HasPrefix(s, "--service-account-issuer=") })
			if args[first] != "--service-account-issuer=https://issuer.example/a/" {
				t.Errorf("%s comes first", args[first])
			}
		})
	}
}

// TestFingerprints holds which processes a change restarts.
func TestFingerprints(t *testing.T) {
	base := testPlan(t, nil)
	for name, tc := range map[string]struct {
		change func(*Spec)
		want   []string
	}{
		"nothing": {nil, nil},
		"admin groups": {func(s *Spec) {
			s.Entra.AdminGroups = append(s.Entra.AdminGroups, "22222222-2222-2222-2222-222222222222")
		}, nil},
		"webhook":   {func(s *Spec) { s.Entra.AuthorizeURL += "2" }, []string{apiserver}},
		"authority": {func(s *Spec) { s.Entra.WebhookCA = []byte("PEM2") }, []string{apiserver}},
		"deny":      {func(s *Spec) { s.Entra.DenyURL = "https://localhost/d" }, []string{apiserver}},
		"no Entra":  {func(s *Spec) { s.Entra = nil }, []string{apiserver}},
		"pool":      {func(s *Spec) { s.NodePools[0].Count = 4 }, []string{nodesChild}},
	} {
		t.Run(name, func(t *testing.T) {
			p := testPlan(t, tc.change)
			var got []string
			for i, c := range p.components {
				if p.fingerprint(c) != base.fingerprint(base.components[i]) {
					got = append(got, c.name)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("restarts %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAdmissionUser(t *testing.T) {
	for url, want := range map[string]string{
		"https://localhost:8444/clusters/k/mutate-pods": "localhost:8444",
		"https://hooks.example/m":                       "hooks.example:443",
	} {
		p := testPlan(t, func(s *Spec) { s.Pods = &PodWebhook{URL: url, CA: []byte("ca")} })
		var cfg struct{ Users []struct{ Name string } }
		if err := yaml.Unmarshal(p.files[admissionFile], &cfg); err != nil {
			t.Fatal(err)
		}
		// The API server looks its certificate up by this name.
		if len(cfg.Users) != 1 || cfg.Users[0].Name != want {
			t.Errorf("%s: users %v, want %s", url, cfg.Users, want)
		}
	}
}
