package oauth_test

import (
	"os"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/conditionalaccess/worlds"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// issuingPaths are all the ways in which a code or a token is issued over HTTP.
// prepare does what comes before, while no policy says anything.
var issuingPaths = []struct {
	name    string
	step    conditionalaccess.Step
	prepare func(r *rig) func() refusal
}{
	{"password v2", conditionalaccess.StepPassword, func(r *rig) func() refusal { return func() refusal { return r.ropc() } }},
	{"password v1", conditionalaccess.StepPassword, func(r *rig) func() refusal {
		return func() refusal {
			return r.ropc("PATH", r.V1TokenPath(), "scope", "", "resource", "https://management.azure.com/")
		}
	}},
	{"refresh v2", conditionalaccess.StepRefreshToken, func(r *rig) func() refusal { r.annRefresh(); return func() refusal { return r.refreshWith() } }},
	{"refresh v1", conditionalaccess.StepRefreshToken, func(r *rig) func() refusal {
		r.annRefresh()
		return func() refusal { return r.refreshWith("PATH", r.V1TokenPath(), "scope", "", "resource", aksApp) }
	}},
	{"refresh for another resource", conditionalaccess.StepRefreshToken, func(r *rig) func() refusal {
		r.annRefresh()
		return func() refusal { return r.refreshWith("scope", aksApp+"/.default") }
	}},
	{"code", conditionalaccess.StepAuthorizationCode, func(r *rig) func() refusal { code := r.code(); return func() refusal { return r.redeem(code) } }},
	{"code v1", conditionalaccess.StepAuthorizationCode, func(r *rig) func() refusal {
		code := r.code()
		return func() refusal { return r.redeem(code, "PATH", r.V1TokenPath(), "resource", aksApp) }
	}},
	{"device", conditionalaccess.StepDeviceCode, func(r *rig) func() refusal {
		d := r.device().Want(r.Cloud)
		r.Browser().Get("/devicelogin").Submit(map[string]string{"otc": d.Text("user_code")}).SignIn("ann@contoso.example").Submit(map[string]string{"answer": "continue"}).On("done")
		return func() refusal { return r.poll(d) }
	}},
	{"device page", conditionalaccess.StepDeviceSignIn, func(r *rig) func() refusal {
		d := r.device().Want(r.Cloud)
		return func() refusal {
			return fromBrowser(r.Browser().Get("/devicelogin").Submit(map[string]string{"otc": d.Text("user_code")}).SignIn("ann@contoso.example"))
		}
	}},
	{"authorize", conditionalaccess.StepAuthorize, func(r *rig) func() refusal {
		return func() refusal {
			return fromBrowser(r.Browser().Get(authorizeURL(r.Cloud)).SignIn("ann@contoso.example"))
		}
	}},
	{"authorize v1", conditionalaccess.StepAuthorize, func(r *rig) func() refusal {
		return func() refusal {
			return fromBrowser(r.Browser().Get(strings.Replace(authorizeURL(r.Cloud, "resource", aksApp), "/v2.0/", "/", 1)).SignIn("ann@contoso.example"))
		}
	}},
	{"authorize, signed in", conditionalaccess.StepAuthorize, func(r *rig) func() refusal {
		b := r.Browser().Get(authorizeURL(r.Cloud)).SignIn("ann@contoso.example")
		return func() refusal { return fromBrowser(b.Get(authorizeURL(r.Cloud))) }
	}},
	{"prompt=none", conditionalaccess.StepAuthorizeSilent, func(r *rig) func() refusal {
		b := r.Browser().Get(authorizeURL(r.Cloud)).SignIn("ann@contoso.example")
		return func() refusal { return fromBrowser(b.Get(authorizeURL(r.Cloud, "prompt", "none"))) }
	}},
	{"on behalf of", conditionalaccess.StepOnBehalfOf, func(r *rig) func() refusal {
		a := r.orderToken()
		r.Update(func(tx *store.Tx) error {
			sp, _ := state.FindServicePrincipal(tx, r.Tenant.ID, r.api.AppID)
			graph, _ := state.FindServicePrincipal(tx, r.Tenant.ID, directory.Graph)
			return state.Consent(tx, r.Tenant.ID, sp.ID, graph.ID, "", []string{"User.Read"})
		})
		return func() refusal { return r.obo(a) }
	}},
	{"secret", conditionalaccess.StepClientCredentials, func(r *rig) func() refusal { return func() refusal { return r.daemon() } }},
	{"secret v1", conditionalaccess.StepClientCredentials, func(r *rig) func() refusal {
		return func() refusal { return r.daemon("PATH", r.V1TokenPath(), "scope", "", "resource", aksApp) }
	}},
	{"certificate", conditionalaccess.StepClientCredentials, func(r *rig) func() refusal {
		k := newCertified(r.t, r.Cloud)
		return func() refusal { return fromReply(k.send(jwt(r.t, rsaKeys()[0], k.header(), k.claims()))) }
	}},
	{"federated", conditionalaccess.StepFederated, func(r *rig) func() refusal {
		f := newFederated(r.Cloud)
		return func() refusal { return fromReply(f.send(r.t, object{"alg": "RS256", "kid": "k1"}, f.claims())) }
	}},
}

// TestWorldsEverywhere evaluates every policy world through every issuing path:
// what a client is answered is what the world says, whichever way it comes
// (abuse case 25).
func TestWorldsEverywhere(t *testing.T) {
	list, err := worlds.Load(os.DirFS("../../test/worlds/signin"))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 60 {
		t.Fatalf("%d worlds, want at least 60", len(list))
	}
	for _, path := range issuingPaths {
		t.Run(path.name, func(t *testing.T) {
			r := newRig(t)
			asked := 0
			for _, w := range list {
				questions, err := w.Questions()
				if err != nil {
					t.Fatal(err)
				}
				seen := map[string]bool{}
				for _, q := range questions {
					workload := path.step == conditionalaccess.StepClientCredentials || path.step == conditionalaccess.StepFederated
					if seen[q.SignIn.Name] || (q.Facts.Workload != nil) != workload || q.Facts.UserAction != "" {
						continue
					}
					seen[q.SignIn.Name] = true
					r.Policy.Pretend(nil, conditionalaccess.Facts{}, w.Now)
					run := path.prepare(r)
					r.Policy.Facts()
					r.Policy.Pretend(w.Set, q.Facts, w.Now)
					got := run()
					if asked++; r.t.Failed() {
						t.Fatalf("%s, %s", w.File, q.SignIn.Name)
					}
					facts := r.Policy.Facts()
					if len(facts) == 0 {
						t.Fatalf("%s, %s: the policy was not asked", w.File, q.SignIn.Name)
					}
					last := facts[len(facts)-1]
					if last.Step != path.step {
						t.Errorf("%s, %s: asked at step %s", w.File, q.SignIn.Name, last.Step)
					}
					world := q.Facts
					world.Step, world.V1 = last.Step, last.V1
					want := conditionalaccess.Evaluate(w.Set, &world, w.Now)
					switch {
					case want.Decision == conditionalaccess.Granted:
						if got.code != 0 {
							t.Errorf("%s, %s: refused with %d, want in", w.File, q.SignIn.Name, got.code)
						}
					case path.step.Interactive() && want.Decision == conditionalaccess.Required && !want.Interaction.Device:
						// The page asks. What it asks for has tests of its own.
						if got.where != "page" || got.code != 0 {
							t.Errorf("%s, %s: %+v, want a page that asks for more", w.File, q.SignIn.Name, got)
						}
					default:
						if got.code != int(want.Refusal.Code) {
							t.Errorf("%s, %s: %d, want %d (%s)", w.File, q.SignIn.Name, got.code, want.Refusal.Code, strings.Join(want.Reasons, " "))
						}
						if got.where == "token" && (got.oauth != want.Refusal.Error || got.status != want.Refusal.Status) {
							t.Errorf("%s, %s: HTTP %d %s, want %d %s", w.File, q.SignIn.Name, got.status, got.oauth, want.Refusal.Status, want.Refusal.Error)
						}
						if got.where == "token" && want.Refusal.Claims != "" && !strings.Contains(got.text, "capolids") && !strings.Contains(got.text, "acrs") {
							t.Errorf("%s, %s: no claims challenge in %s", w.File, q.SignIn.Name, got.text)
						}
					}
				}
			}
			t.Logf("%d sign-ins", asked)
			if asked < 5 {
				t.Errorf("only %d sign-ins", asked)
			}
		})
	}
}
