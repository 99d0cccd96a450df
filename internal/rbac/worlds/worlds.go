// Package worlds loads access worlds: data files that describe a tenant, its
// groups, roles, assignments and clusters, and a table of questions with the
// right answers. The same world is asked of the engine directly, over HTTP and
// through the command line, and all must agree.
//
// # The file
//
// Everything is named by a short name that is unique in the world; ids are made
// from the names (World.ID) unless the file gives them. A scope is written
// "root", "mg:NAME", "sub:NAME", "rg:SUBSCRIPTION/GROUP", "cluster:NAME", each
// of the last three with more segments behind it if need be
// ("cluster:prod/namespaces/web").
//
// A question has either ask, a request to a cluster in the manner of kubectl
// ("get pods.metrics.k8s.io/log NAME -n web", "get /metrics"), or action, an operation
// at a scope for ARM. Unknown keys are errors.
package worlds

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

// World is one data file.
type World struct {
	Name   string   `yaml:"name"`
	About  string   `yaml:"about"`
	Covers []string `yaml:"covers"` // rows of the reference tables, such as "verb/get"
	Now    string   `yaml:"now"`    // RFC 3339; noon of 25 November 2026 when empty

	Users             map[string]Principal `yaml:"users"`
	ServicePrincipals map[string]Principal `yaml:"servicePrincipals"`
	Groups            map[string]Principal `yaml:"groups"`
	ManagementGroups  map[string]string    `yaml:"managementGroups"` // name -> parent
	Subscriptions     map[string]string    `yaml:"subscriptions"`    // name -> management group
	Clusters          map[string]Cluster   `yaml:"clusters"`
	Roles             map[string]Role      `yaml:"roles"`
	Assignments       []Assignment         `yaml:"assignments"`
	Denies            []Deny               `yaml:"denies"`
	Questions         []Question           `yaml:"questions"`
}

// Principal is a user, a service principal or a group.
type Principal struct {
	UPN        string              `yaml:"upn"` // of a user; NAME@contoso.example when empty
	Guest      bool                `yaml:"guest"`
	Disabled   bool                `yaml:"disabled"`
	MemberOf   []string            `yaml:"memberOf"`   // groups
	Attributes map[string][]string `yaml:"attributes"` // custom security attributes: set_name
}

// Cluster is a cluster and its switches.
type Cluster struct {
	Subscription             string   `yaml:"subscription"`
	ResourceGroup            string   `yaml:"resourceGroup"`
	Connected                bool     `yaml:"connected"`
	StrictSubresources       bool     `yaml:"strictSubresources"`
	CustomResourceConditions bool     `yaml:"customResourceConditions"`
	ManagedNamespaces        bool     `yaml:"managedNamespaces"`
	ConfigurationNamespaces  bool     `yaml:"configurationNamespaces"`
	Resources                []string `yaml:"resources"` // "deployments.apps", "nodes (cluster)"
}

// Role is a custom role.
type Role struct {
	Actions          []string `yaml:"actions"`
	NotActions       []string `yaml:"notActions"`
	DataActions      []string `yaml:"dataActions"`
	NotDataActions   []string `yaml:"notDataActions"`
	AssignableScopes []string `yaml:"assignableScopes"`
}

// Assignment is a role assignment. Role is the name of a built-in role or of
// one of the world's.
type Assignment struct {
	Name      string `yaml:"name"`
	Principal string `yaml:"principal"`
	Role      string `yaml:"role"`
	Scope     string `yaml:"scope"`
	Condition string `yaml:"condition"`
}

// Deny is a deny assignment.
type Deny struct {
	Name                    string   `yaml:"name"`
	Scope                   string   `yaml:"scope"`
	Principals              []string `yaml:"principals"` // "everyone" stands for all
	Exclude                 []string `yaml:"exclude"`
	Permissions             Role     `yaml:"permissions"`
	DoNotApplyToChildScopes bool     `yaml:"doNotApplyToChildScopes"`
}

// Question is a question with its right answer.
type Question struct {
	Who string `yaml:"who"` // a user or service principal
	// As replaces the user name that the review carries, OID the principal whose
	// object id it carries ("none" for none).
	As  string `yaml:"as"`
	OID string `yaml:"oid"`

	On  string `yaml:"on"`  // a cluster, for Ask
	Ask string `yaml:"ask"` // "get pods -n web"

	At      string              `yaml:"at"` // a scope, for Action
	Action  string              `yaml:"action"`
	Data    bool                `yaml:"data"`
	Request map[string][]string `yaml:"request"` // attributes of a role assignment to be written
	Target  map[string][]string `yaml:"target"`  // attributes of the resource

	Want    string   `yaml:"want"`    // allow, deny, none (no opinion) or error
	By      string   `yaml:"by"`      // the assignment that allows
	Because string   `yaml:"because"` // of a denial: "deny NAME", "condition NAME"
	Actions []string `yaml:"actions"` // what Ask maps to, without the prefix
	Reason  string   `yaml:"reason"`  // the exact text, where it is not the usual one
}

// String tells the question in one line.
func (q *Question) String() string {
	if q.Ask != "" {
		return fmt.Sprintf("%s%s%s: %s on %s", q.Who, q.As, q.OID, q.Ask, q.On)
	}
	return fmt.Sprintf("%s: %s at %s", q.Who, q.Action, q.At)
}

// Load reads all worlds of a file system (*.yaml at its top), sorted by name of
// the file.
func Load(fsys fs.FS) ([]*World, error) {
	files, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var out []*World
	for _, name := range files {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		w, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if w.Name+".yaml" != name {
			return nil, fmt.Errorf("%s: the world is named %q", name, w.Name)
		}
		out = append(out, w)
	}
	return out, nil
}

// Parse reads one world and checks that its names refer to something.
func Parse(text []byte) (*World, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	w := new(World)
	if err := dec.Decode(w); err != nil {
		return nil, err
	}
	if len(w.Questions) == 0 {
		return nil, fmt.Errorf("the world asks nothing")
	}
	if _, err := w.Snapshot(); err != nil {
		return nil, err
	}
	for i := range w.Questions {
		q := &w.Questions[i]
		if _, err := w.check(q); err != nil {
			return nil, fmt.Errorf("question %d (%s): %w", i+1, q, err)
		}
	}
	return w, nil
}

func (w *World) check(q *Question) (any, error) {
	if !slices.Contains([]string{"allow", "deny", "none", "error"}, q.Want) {
		return nil, fmt.Errorf("want is %q", q.Want)
	}
	if q.Want == "allow" && q.By == "" && q.Reason == "" {
		return nil, fmt.Errorf("an answer of allow names the assignment, or the reason")
	}
	if (q.Ask == "") == (q.Action == "") {
		return nil, fmt.Errorf("a question has either ask or action")
	}
	if q.Ask != "" {
		if _, ok := w.Clusters[q.On]; !ok {
			return nil, fmt.Errorf("there is no cluster %q", q.On)
		}
		return w.Review(q)
	}
	return w.Request(q)
}

// ID returns the GUID of something in the world: kind is "tenant", "user",
// "servicePrincipal", "group", "subscription", "role", "assignment" or "deny".
func (w *World) ID(kind, name string) string {
	h := sha256.Sum256([]byte("access world\x00" + w.Name + "\x00" + kind + "\x00" + name))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // RFC 9562, version 8: made by a rule of one's own
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// Tenant returns the id of the world's tenant.
func (w *World) Tenant() directory.TenantID { return directory.TenantID(w.ID("tenant", "")) }

// Time returns when the questions are asked.
func (w *World) Time() time.Time {
	if t, err := time.Parse(time.RFC3339, w.Now); err == nil {
		return t
	}
	return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
}

// find returns the object id and type of a principal.
func (w *World) find(name string) (directory.ObjectID, rbac.PrincipalType, Principal, error) {
	if p, ok := w.Users[name]; ok {
		return directory.ObjectID(w.ID("user", name)), rbac.User, p, nil
	}
	if p, ok := w.ServicePrincipals[name]; ok {
		return directory.ObjectID(w.ID("servicePrincipal", name)), rbac.ServicePrincipal, p, nil
	}
	if p, ok := w.Groups[name]; ok {
		return directory.ObjectID(w.ID("group", name)), rbac.Group, p, nil
	}
	return "", "", Principal{}, fmt.Errorf("there is no principal %q", name)
}

// ObjectID returns the object id of a user, service principal or group.
func (w *World) ObjectID(name string) (directory.ObjectID, error) {
	id, _, _, err := w.find(name)
	return id, err
}

// UserName returns the name that a cluster knows a principal by.
func (w *World) UserName(name string) string {
	id, typ, p, _ := w.find(name)
	switch {
	case typ != rbac.User || p.Guest:
		return string(id)
	case p.UPN != "":
		return p.UPN
	}
	return name + "@contoso.example"
}

// parents returns the groups that an object id belongs to directly.
func (w *World) parents(id directory.ObjectID) []directory.ObjectID {
	for _, set := range []map[string]Principal{w.Users, w.ServicePrincipals, w.Groups} {
		for name, p := range set {
			if got, _ := w.ObjectID(name); got == id {
				var out []directory.ObjectID
				for _, g := range p.MemberOf {
					gid, _, _, _ := w.find(g)
					out = append(out, gid)
				}
				return out
			}
		}
	}
	return nil
}

// Principal returns a principal as a decision needs it.
func (w *World) Principal(name string) (rbac.Principal, error) {
	id, _, p, err := w.find(name)
	if err != nil {
		return rbac.Principal{}, err
	}
	out := rbac.Principal{Tenant: w.Tenant(), ID: id, Groups: rbac.Closure(id, w.parents)}
	for attr, values := range p.Attributes {
		out.Attributes = append(out.Attributes, condition.Attribute{Name: "Microsoft.Directory/CustomSecurityAttributes/Id:" + attr, Values: values})
	}
	return out, nil
}

// Identity implements k8s.Directory.
func (w *World) Identity(tenant directory.TenantID, id directory.ObjectID) (k8s.Identity, bool) {
	if tenant != w.Tenant() {
		return k8s.Identity{}, false
	}
	for _, set := range []map[string]Principal{w.Users, w.ServicePrincipals} {
		for name, p := range set {
			if got, _ := w.ObjectID(name); got != id {
				continue
			}
			principal, err := w.Principal(name)
			out := k8s.Identity{Principal: principal}
			if n := w.UserName(name); n != string(id) {
				out.UserName = n
			}
			if p.Disabled {
				out.Blocked = "The user is disabled."
			}
			return out, err == nil
		}
	}
	return k8s.Identity{}, false
}

// Scope parses a scope as the file writes it.
func (w *World) Scope(text string) (rbac.Scope, error) {
	kind, rest, _ := strings.Cut(text, ":")
	name, more, _ := strings.Cut(rest, "/")
	if more != "" {
		more = "/" + more
	}
	switch kind {
	case "root":
		return rbac.Root(), nil
	case "mg":
		return rbac.ManagementGroup(rest)
	case "sub":
		if _, ok := w.Subscriptions[name]; !ok {
			return rbac.Scope{}, fmt.Errorf("there is no subscription %q", name)
		}
		return rbac.ParseScope("/subscriptions/" + w.ID("subscription", name) + more)
	case "rg":
		if _, ok := w.Subscriptions[name]; !ok {
			return rbac.Scope{}, fmt.Errorf("there is no subscription %q", name)
		}
		return rbac.ParseScope("/subscriptions/" + w.ID("subscription", name) + "/resourceGroups" + more)
	case "cluster":
		c, ok := w.Clusters[name]
		if !ok {
			return rbac.Scope{}, fmt.Errorf("there is no cluster %q", name)
		}
		prefix := k8s.ManagedClusters
		if c.Connected {
			prefix = k8s.ConnectedClusters
		}
		return rbac.ParseScope("/subscriptions/" + w.ID("subscription", c.Subscription) + "/resourceGroups/" + c.ResourceGroup + "/providers/" + prefix + "/" + name + more)
	}
	return rbac.Scope{}, fmt.Errorf("the scope %q is of no known form", text)
}
