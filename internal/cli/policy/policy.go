// Package policy has the command policy: Conditional Access.
package policy

import (
	"context"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// New is `entrance policy`.
func New(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "List Conditional Access policies, and see what they would say",
	}
	c.AddCommand(newList(a), newWhatIf(a))
	return c
}

const policies = "/identity/conditionalAccess/policies"

func newList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the Conditional Access policies of the tenant"}
	a.Run(c, "[].{Name:displayName, State:state, Controls:join(', ', grantControls.builtInControls || `[]`), Id:id}", func(ctx context.Context, s *azure.Session) (any, error) {
		return graph.New(s).List(ctx, policies, nil)
	})
	return c
}

// Answer is what would happen to a sign-in.
type Answer struct {
	Decision string   `json:"decision"` // granted, required or blocked
	Reasons  []string `json:"reasons"`
	Policies []Policy `json:"policies"`
}

// Policy is what one policy says to it.
type Policy struct {
	ID      string `json:"id"`
	Name    string `json:"displayName"`
	State   string `json:"state"`
	Applies bool   `json:"policyApplies"`
	// Why is the condition that keeps the policy from applying, or notSet.
	Why      string   `json:"analysisReasons"`
	Result   string   `json:"result"`
	Controls []string `json:"grantControls"`
	// Decision is that about the whole sign-in, so that a table has it.
	Decision string `json:"decision"`
	Trace    any    `json:"conditionsTrace,omitempty"`
}

const answerTable output.Table = "[0].policies[].{Policy:displayName, State:state, Applies:policyApplies, Reason:analysisReasons, Controls:join(', ', grantControls), Result:result, SignIn:decision}"

// signIn is the sign-in that the flags describe.
type signIn struct {
	user, client, app, appType, platform, address, country, device, action string
	deviceCode                                                             bool
}

func newWhatIf(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "what-if",
		Short: "See which policies would apply to a sign-in, and why",
		Long: `See which policies would apply to a sign-in that is only described, and why or why not. The
answer comes from the function that decides at real sign-ins; nothing is issued.`,
		Example: `  entrance policy what-if --user ann@contoso.test --device-code -o table
  entrance policy what-if --user ann@contoso.test --device ann-laptop --ip-address 203.0.113.7
  entrance policy what-if --service-principal APP-ID`,
	}
	var q signIn
	f := c.Flags()
	f.StringVar(&q.user, "user", "", "user principal name or object id of the person")
	f.StringVar(&q.client, "service-principal", "", "in place of --user: application id, name or object id of a service principal")
	f.StringVar(&q.app, "app", string(directory.AKSServer), "application that is signed in to, by id or name (default: AKS clusters)")
	f.StringVar(&q.action, "user-action", "", "in place of --app: a user action, such as urn:user:registersecurityinfo")
	f.StringVar(&q.appType, "client-app-type", string(conditionalaccess.MobileAndDesktop), "browser, mobileAppsAndDesktopClients, exchangeActiveSync or other")
	f.BoolVar(&q.deviceCode, "device-code", false, "the sign-in is with device code")
	f.StringVar(&q.device, "device", "", "name or object id of the device whose key is proven")
	f.StringVar(&q.platform, "device-platform", "", "android, iOS, windows, macOS or linux, as the client claims it")
	f.StringVar(&q.address, "ip-address", "", "address that it comes from")
	f.StringVar(&q.country, "country", "", "country that it comes from, in two letters")
	a.Run(c, answerTable, func(ctx context.Context, s *azure.Session) (any, error) {
		if (q.user == "") == (q.client == "") {
			return nil, azure.Usagef("name one of --user and --service-principal")
		}
		return q.ask(ctx, graph.New(s))
	})
	return c
}

func (q *signIn) ask(ctx context.Context, g *graph.Client) (*Answer, error) {
	body, err := q.body(ctx, g)
	if err != nil {
		return nil, err
	}
	answer, err := g.Post(ctx, "/identity/conditionalAccess/evaluate", body)
	if err != nil {
		return nil, err
	}
	out := &Answer{Decision: graph.Text(answer, "decision"), Reasons: texts(answer["reasons"]), Policies: []Policy{}}
	list, _ := answer["value"].([]any)
	for _, v := range list {
		o, _ := v.(graph.Object)
		p := Policy{ID: graph.Text(o, "id"), Name: graph.Text(o, "displayName"), State: graph.Text(o, "state"), Why: graph.Text(o, "analysisReasons"),
			Result: graph.Text(o, "result"), Decision: out.Decision, Controls: []string{}, Trace: o["conditionsTrace"]}
		p.Applies, _ = o["policyApplies"].(bool)
		if controls, ok := o["grantControls"].(graph.Object); ok {
			p.Controls = append(p.Controls, texts(controls["builtInControls"])...)
			if strength, ok := controls["authenticationStrength"].(graph.Object); ok {
				p.Controls = append(p.Controls, "authenticationStrength "+graph.Text(strength, "displayName"))
			}
		}
		out.Policies = append(out.Policies, p)
	}
	return out, nil
}

func texts(v any) []string {
	list := []string{}
	all, _ := v.([]any)
	for _, x := range all {
		if s, ok := x.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// body describes the sign-in as Graph wants it.
func (q *signIn) body(ctx context.Context, g *graph.Client) (graph.Object, error) {
	identity := graph.Object{"@odata.type": "#microsoft.graph.userSignIn"}
	if q.user != "" {
		u, err := g.Get(ctx, "/users/"+url.PathEscape(q.user)+"?$select=id")
		if err != nil {
			return nil, err
		}
		identity["userId"] = graph.Text(u, "id")
	} else {
		p, err := g.Assignee(ctx, q.client)
		if err != nil {
			return nil, err
		}
		identity["@odata.type"], identity["servicePrincipalId"] = "#microsoft.graph.servicePrincipalSignIn", p.ID
	}
	subject := graph.Object{"@odata.type": "#microsoft.graph.userActionContext", "userAction": q.action}
	if q.action == "" {
		app := q.app
		if !graph.IsGUID(app) {
			found, err := g.One(ctx, "/servicePrincipals", graph.Filter("displayName eq %s", app), "application", app)
			if err != nil {
				return nil, err
			}
			app = graph.Text(found, "appId")
		}
		subject = graph.Object{"@odata.type": "#microsoft.graph.applicationContext", "includeApplications": []string{app}}
	}
	conditions := graph.Object{"clientAppType": q.appType}
	for name, value := range map[string]string{"devicePlatform": q.platform, "ipAddress": q.address, "country": q.country} {
		if value != "" {
			conditions[name] = value
		}
	}
	if q.deviceCode {
		conditions["authenticationFlow"] = graph.Object{"transferMethod": string(conditionalaccess.DeviceCodeFlow)}
	}
	if q.device != "" {
		d, err := device(ctx, g, q.device)
		if err != nil {
			return nil, err
		}
		conditions["deviceInfo"] = d
	}
	return graph.Object{"signInIdentity": identity, "signInContext": subject, "signInConditions": conditions}, nil
}

// device describes a device of the directory. One that is disabled proves
// nothing at a sign-in.
func device(ctx context.Context, g *graph.Client, name string) (graph.Object, error) {
	var d graph.Object
	var err error
	if graph.IsGUID(name) {
		d, err = g.Get(ctx, "/devices/"+name)
	} else {
		d, err = g.One(ctx, "/devices", graph.Filter("displayName eq %s", name), "device", name)
	}
	if err != nil {
		return nil, err
	}
	if enabled, ok := d["accountEnabled"].(bool); ok && !enabled {
		return nil, errs.New(errs.Invalid, "The device '%s' is disabled: every sign-in from it is refused.", name)
	}
	info := graph.Object{}
	for _, p := range []string{"deviceId", "isCompliant", "trustType", "displayName", "deviceOwnership", "enrollmentProfileName", "manufacturer", "mdmAppId", "model", "operatingSystem", "operatingSystemVersion", "physicalIds", "profileType", "systemLabels"} {
		if v, ok := d[p]; ok && v != nil {
			info[p] = v
		}
	}
	// Graph has one spelling for devices and another for policies.
	if t := graph.Text(info, "trustType"); strings.EqualFold(t, string(conditionalaccess.TrustAzureAD)) {
		info["trustType"] = string(conditionalaccess.TrustAzureAD)
	} else if strings.EqualFold(t, string(conditionalaccess.TrustServerAD)) {
		info["trustType"] = string(conditionalaccess.TrustServerAD)
	}
	return info, nil
}
