package tenantfile

import (
	"slices"
	"strings"
)

// World is what a cloud holds, as far as a file can describe it.
type World struct {
	File
	TenantID string
	// Domain is the tenant's default domain: that of users without one.
	Domain string
	// SubscriptionID and SubscriptionName are those of the one subscription
	// that the file is about.
	SubscriptionID, SubscriptionName string
	// Roles are the names of all role definitions, built-in ones included.
	Roles []string
	// DirectoryRoles are the names of the roles of the directory.
	DirectoryRoles []string
	// ManagementGroups are their names.
	ManagementGroups []string
	// Resources are the paths of all resources below the subscription, such as
	// /resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv.
	Resources []string
	// Issuers are the issuers of the clusters, by the cluster's group/name.
	Issuers map[string]string
	// Ambiguous are references that more than one object answers to.
	Ambiguous []Ref
	// Notes say what an export of the world leaves out, and why.
	Notes []string
}

// names finds what a reference means, among the objects of a world and of a
// file that is to be applied to it.
type names struct {
	world *World
	known map[string]map[string]string // kind, folded name, name as it is written
	short map[string]map[string][]string
	bare  map[string]bool // applications without a service principal, folded
	mute  map[string]bool // clusters without an issuer, folded
	// roleGroups are the groups that can be given roles of the directory, folded.
	roleGroups map[string]bool
}

func newNames(w *World, f *File) *names {
	n := &names{
		world: w, known: map[string]map[string]string{}, short: map[string]map[string][]string{}, bare: map[string]bool{}, mute: map[string]bool{}, roleGroups: map[string]bool{},
	}
	for _, from := range []*File{&w.File, f} {
		for _, k := range kinds {
			for _, e := range from.Entities(k.Section) {
				if k.Section == RoleAssignments || k.Section == DirectoryRoles {
					continue
				}
				name := e.Name()
				switch {
				case k.Section == Apps && e.Has("servicePrincipal"):
					n.bare[e.key()] = !e.Bool("servicePrincipal", true)
				case k.Section == Groups && e.Has("isAssignableToRole"):
					n.roleGroups[e.key()] = e.Bool("isAssignableToRole", false)
				case k.Section == Clusters && e.Has("oidcIssuer"):
					n.mute[e.key()] = !e.Bool("oidcIssuer", true)
				}
				if k.Section == Users {
					name = n.fullName(name)
				}
				n.know(k.Name, name)
				if k.Section == Identities || k.Section == Clusters {
					if n.short[k.Name] == nil {
						n.short[k.Name] = map[string][]string{}
					}
					s := strings.ToLower(e.Text("name"))
					full := n.known[k.Name][strings.ToLower(name)]
					if !slices.Contains(n.short[k.Name][s], full) {
						n.short[k.Name][s] = append(n.short[k.Name][s], full)
					}
				}
			}
		}
	}
	for kind, list := range map[string][]string{"role": w.Roles, "directoryRole": w.DirectoryRoles, "managementGroup": w.ManagementGroups, "resource": w.Resources} {
		for _, name := range list {
			n.know(kind, name)
		}
	}
	for _, name := range []string{w.SubscriptionID, w.SubscriptionName} {
		if n.known["subscription"] == nil {
			n.known["subscription"] = map[string]string{}
		}
		n.known["subscription"][strings.ToLower(name)] = w.SubscriptionName
	}
	return n
}

// know keeps the first spelling of a name: the cloud's, if it has one.
func (n *names) know(kind, name string) {
	if n.known[kind] == nil {
		n.known[kind] = map[string]string{}
	}
	if _, ok := n.known[kind][strings.ToLower(name)]; !ok {
		n.known[kind][strings.ToLower(name)] = name
	}
}

// fullName gives a user name the default domain if it has none.
func (n *names) fullName(name string) string {
	if !strings.Contains(name, "@") && n.world.Domain != "" {
		return name + "@" + n.world.Domain
	}
	return name
}

// resolve writes a reference in the one way that tells objects apart, or says
// what is wrong with it.
func (n *names) resolve(r Ref) (Ref, string) {
	name := r.Name
	switch r.Kind {
	case "user":
		name = n.fullName(name)
	case "resource":
		name = "/" + strings.Trim(name, "/")
	case "cluster", "identity":
		if !strings.Contains(name, "/") {
			switch list := n.short[r.Kind][strings.ToLower(name)]; len(list) {
			case 0:
			case 1:
				name = list[0]
			default:
				return r, "there is more than one " + r.Kind + " " + name + ": write " + strings.Join(list, " or ")
			}
		}
	}
	for _, a := range n.world.Ambiguous {
		if a.Kind == r.Kind && strings.EqualFold(a.Name, name) {
			return r, "more than one " + r.Kind + " of the cloud is called " + name + ": give them different names first"
		}
	}
	full, ok := n.known[r.Kind][strings.ToLower(name)]
	if !ok {
		where := "neither in the file nor in the cloud"
		if r.Kind == "directoryRole" || r.Kind == "managementGroup" || r.Kind == "subscription" || r.Kind == "resource" {
			where = "not in the cloud"
		}
		if r.Kind == "role" {
			where = "neither in the file nor among the roles of the cloud"
		}
		return r, "there is no " + kindWords(r.Kind) + " " + quoted(name) + ": it is " + where
	}
	r.Name = full
	if r.Kind == "app" && n.bare[strings.ToLower(full)] {
		return r, "the app " + full + " has no service principal: set servicePrincipal: true"
	}
	return r, ""
}

func quoted(s string) string { return `"` + s + `"` }

// kindWords writes the name of a kind as people do.
func kindWords(kind string) string {
	switch kind {
	case "resourceGroup":
		return "resource group"
	case "managementGroup":
		return "management group"
	case "roleAssignment", "directoryRoleAssignment":
		return "role assignment"
	case "directoryRole":
		return "role of the directory"
	}
	return kind
}
