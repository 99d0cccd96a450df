package cloud

import (
	"fmt"
	"strings"

	"github.com/entrance-id/entrance/internal/tenantfile"
)

func (r *reader) resourceGroups() error {
	docs, err := list[document](r.ctx, r.Client, ARM, r.at("/resourcegroups", versionResources))
	if err != nil {
		return err
	}
	for _, d := range docs {
		e := tenantfile.New(tenantfile.ResourceGroups, d.values("name", "location"))
		e.ID, e.Values["tags"] = d.text("id"), tags(d)
		if d.text("managedBy") != "" {
			e.Unmanaged = "another resource manages it"
		}
		r.add(e, "")
	}
	return nil
}

// tags reads the tags of a resource.
func tags(d document) map[string]string {
	out := map[string]string{}
	for k, v := range d.object("tags") {
		out[k] = fmt.Sprint(v)
	}
	return out
}

// own cuts the subscription off an id. false for what lies elsewhere.
func (r *reader) own(id string) (string, bool) {
	prefix := "/subscriptions/" + r.Subscription
	if len(id) < len(prefix) || !strings.EqualFold(id[:len(prefix)], prefix) {
		return "", false
	}
	return id[len(prefix):], true
}

func (r *reader) resources() error {
	docs, err := list[document](r.ctx, r.Client, ARM, r.at("/resources", versionResources))
	if err != nil {
		return err
	}
	for _, d := range docs {
		if path, ok := r.own(d.text("id")); ok {
			r.world.Resources = append(r.world.Resources, path)
		}
	}
	return nil
}

// place splits the id of a resource in a resource group: its group, its type in
// lower case, its name, and what stands behind. false for any other id.
func (r *reader) place(id string) (group, typ, name, rest string, ok bool) {
	path, ok := r.own(id)
	p := strings.Split(path, "/")
	if !ok || len(p) < 7 || !strings.EqualFold(p[1], "resourceGroups") || !strings.EqualFold(p[3], "providers") {
		return "", "", "", "", false
	}
	return p[2], strings.ToLower(p[4] + "/" + p[5]), p[6], strings.Join(p[7:], "/"), true
}

// clusterNames notes the issuers of clusters, by which federated credentials
// are told to be a cluster's.
func (r *reader) clusterNames() error {
	docs, err := r.clusterDocuments()
	if err != nil {
		return err
	}
	for _, d := range docs {
		group, _, name, _, ok := r.place(d.text("id"))
		if issuer := d.text("properties.oidcIssuerProfile.issuerURL"); ok && issuer != "" {
			r.world.Issuers[r.groupName(group)+"/"+name] = issuer
		}
	}
	return nil
}

func (r *reader) clusterDocuments() ([]document, error) {
	return list[document](r.ctx, r.Client, ARM, r.at("/providers/"+clusterType, versionClusters))
}

// groupName writes the name of a resource group as the group itself does.
func (r *reader) groupName(name string) string {
	if g := r.seen[tenantfile.ResourceGroups+"/"+strings.ToLower(name)]; g != nil {
		return g.Name()
	}
	return name
}

// resource makes the object of a resource in a resource group.
func (r *reader) resource(section string, d document) (*tenantfile.Entity, bool) {
	group, _, name, _, ok := r.place(d.text("id"))
	if !ok {
		return nil, false
	}
	e := tenantfile.New(section, d.values("location"))
	e.ID, e.Document = d.text("id"), d
	e.Values["name"] = name
	e.Values["resourceGroup"] = tenantfile.Ref{Kind: "resourceGroup", Name: r.groupName(group)}
	e.Values["tags"] = tags(d)
	return e, true
}

func (r *reader) identities() error {
	docs, err := list[document](r.ctx, r.Client, ARM, r.at("/providers/"+identityType, versionIdentities))
	if err != nil {
		return err
	}
	for _, d := range docs {
		e, ok := r.resource(tenantfile.Identities, d)
		if !ok {
			continue
		}
		r.add(e, d.text("properties.principalId"))
		creds, err := list[document](r.ctx, r.Client, ARM, r.at(resourcePath(e.Name(), identityType)+"/federatedIdentityCredentials", versionIdentities))
		if err != nil {
			return err
		}
		flat := make([]document, 0, len(creds))
		for _, c := range creds {
			p := c.object("properties")
			flat = append(flat, document{"name": c["name"], "issuer": p["issuer"], "subject": p["subject"], "audiences": p["audiences"]})
		}
		r.credentials(e, flat)
	}
	return nil
}

func (r *reader) clusters() error {
	docs, err := r.clusterDocuments()
	if err != nil {
		return err
	}
	for _, d := range docs {
		e, ok := r.resource(tenantfile.Clusters, d)
		if !ok {
			continue
		}
		p := d.object("properties")
		e.Values["disableLocalAccounts"] = p["disableLocalAccounts"] == true
		e.Values["oidcIssuer"] = p.get("oidcIssuerProfile.enabled") == true
		e.Values["workloadIdentity"] = p.get("securityProfile.workloadIdentity.enabled") == true
		if pools := p.list("agentPoolProfiles"); len(pools) > 0 {
			if n, ok := asObject(pools[0])["count"].(float64); ok {
				e.Values["nodeCount"] = int(n)
			}
			if len(pools) > 1 {
				r.note("the agent pools of the cluster %s but the first", e.Name())
			}
		}
		for id := range d.object("identity.userAssignedIdentities") {
			if group, typ, name, _, ok := r.place(id); ok && typ == strings.ToLower(identityType) {
				e.Values["identity"] = tenantfile.Ref{Kind: "identity", Name: r.groupName(group) + "/" + name}
			}
		}
		if aad := p.object("aadProfile"); aad != nil {
			r.aad(e, aad)
		}
		if p.text("servicePrincipalProfile.clientId") != "msi" && d.text("identity.type") == "" {
			e.Unmanaged = "it acts as a service principal, whose secret no file holds"
		}
		if e.Unmanaged != "" {
			r.note("the cluster %s: %s", e.Name(), e.Unmanaged)
		}
		r.add(e, "")
	}
	return nil
}

func (r *reader) aad(e *tenantfile.Entity, d document) {
	if d["managed"] != true {
		e.Unmanaged = "it has the legacy integration, whose secret no file holds"
		return
	}
	aad := &tenantfile.Entity{Values: map[string]any{"azureRBAC": d["enableAzureRBAC"] == true}}
	e.Values["aad"] = aad
	ids := d.texts("adminGroupObjectIDs")
	if tenant := d.text("tenantID"); tenant != "" && !strings.EqualFold(tenant, r.world.TenantID) {
		aad.Values["tenantID"], aad.Values["adminGroupObjectIDs"] = tenant, ids
		return
	}
	groups := []tenantfile.Ref{}
	for _, id := range ids {
		if ref, ok := r.names[id]; ok && ref.Kind == "group" {
			groups = append(groups, ref)
		} else {
			r.note("admin group %s of the cluster %s: it is not a group that has a name of its own", id, e.Name())
		}
	}
	aad.Values["adminGroups"] = groups
}

// scope writes a scope as a reference.
func (r *reader) scope(id string) (tenantfile.Ref, bool) {
	if name, ok := strings.CutPrefix(strings.ToLower(id), "/providers/microsoft.management/managementgroups/"); ok {
		for _, g := range r.world.ManagementGroups {
			if strings.EqualFold(g, name) {
				return tenantfile.Ref{Kind: "managementGroup", Name: g}, true
			}
		}
		return tenantfile.Ref{}, false
	}
	path, ok := r.own(id)
	switch {
	case !ok:
		return tenantfile.Ref{}, false
	case path == "":
		return tenantfile.Ref{Kind: "subscription", Name: r.world.SubscriptionName}, true
	}
	if p := strings.Split(path, "/"); len(p) == 3 && strings.EqualFold(p[1], "resourceGroups") {
		return r.known(tenantfile.ResourceGroups, tenantfile.Ref{Kind: "resourceGroup", Name: p[2]})
	}
	group, typ, name, rest, ok := r.place(id)
	if !ok {
		return tenantfile.Ref{}, false
	}
	full := r.groupName(group) + "/" + name
	switch {
	case typ == strings.ToLower(identityType) && rest == "":
		return r.known(tenantfile.Identities, tenantfile.Ref{Kind: "identity", Name: full})
	case typ == strings.ToLower(clusterType):
		ref := tenantfile.Ref{Kind: "cluster", Name: full}
		if rest != "" {
			if !strings.HasPrefix(strings.ToLower(rest), "namespaces/") || strings.Count(rest, "/") != 1 {
				return ref, false
			}
			ref.Namespace = rest[len("namespaces/"):]
		}
		return r.known(tenantfile.Clusters, ref)
	}
	for _, known := range r.world.Resources {
		if strings.EqualFold(known, path) {
			return tenantfile.Ref{Kind: "resource", Name: known}, true
		}
	}
	return tenantfile.Ref{}, false
}

// known finds an object that a file can name, and writes its name as it does.
func (r *reader) known(section string, ref tenantfile.Ref) (tenantfile.Ref, bool) {
	e := r.seen[section+"/"+strings.ToLower(ref.Name)]
	if e == nil {
		return ref, false
	}
	ref.Name = e.Name()
	return ref, e.Unmanaged == ""
}

func (r *reader) roles() error {
	docs, err := list[document](r.ctx, r.Client, ARM, r.at("/providers/Microsoft.Authorization/roleDefinitions", versionRoles))
	if err != nil {
		return err
	}
	for _, d := range docs {
		p := d.object("properties")
		name := p.text("roleName")
		if p.text("type") != "CustomRole" {
			r.world.Roles = append(r.world.Roles, name)
			r.names["role/"+d.text("name")] = tenantfile.Ref{Kind: "role", Name: name}
			continue
		}
		e := tenantfile.New(tenantfile.RoleDefinitions, p.values("description"))
		e.ID, e.Values["name"] = d.text("name"), name
		permissions := p.list("permissions")
		if len(permissions) != 1 || document(asObject(permissions[0])).text("condition") != "" {
			e.Unmanaged = "it has more than one set of permissions, or a condition"
		} else {
			for _, field := range []string{"actions", "notActions", "dataActions", "notDataActions"} {
				e.Values[field] = document(asObject(permissions[0])).texts(field)
			}
		}
		at := []tenantfile.Ref{}
		for _, s := range p.texts("assignableScopes") {
			ref, ok := r.scope(s)
			if !ok {
				e.Unmanaged = "it is assignable at " + s + ", which a file cannot name"
				continue
			}
			at = append(at, ref)
		}
		e.Values["assignableScopes"] = at
		if e.Unmanaged != "" {
			r.note("the role %s: %s", name, e.Unmanaged)
		}
		r.add(e, "")
		r.names["role/"+e.ID] = tenantfile.Ref{Kind: "role", Name: name}
	}
	return nil
}

// triple tells role assignments apart.
func triple(d document) string {
	role := d.text("roleDefinitionId")
	return strings.ToLower(d.text("principalId") + "|" + role[strings.LastIndexByte(role, '/')+1:] + "|" + d.text("scope"))
}

// assignments reads role assignments. Those that end by themselves are nobody's
// to keep in a file.
func (r *reader) assignments() error {
	ending := map[string]bool{}
	schedules, err := list[document](r.ctx, r.Client, ARM, r.at("/providers/Microsoft.Authorization/roleAssignmentScheduleInstances", versionSchedules))
	if err != nil {
		return err
	}
	for _, d := range schedules {
		if p := d.object("properties"); p.text("endDateTime") != "" || p.text("assignmentType") == "Activated" {
			ending[triple(p)] = true
		}
	}
	docs, err := list[document](r.ctx, r.Client, ARM, r.at("/providers/Microsoft.Authorization/roleAssignments", versionRoles))
	if err != nil {
		return err
	}
	for _, d := range docs {
		p := d.object("properties")
		definition := p.text("roleDefinitionId")
		role, hasRole := r.names["role/"+definition[strings.LastIndexByte(definition, '/')+1:]]
		what := fmt.Sprintf("role assignment of %s at %s", role.Name, p.text("scope"))
		if ending[triple(p)] {
			r.note("%s: it ends by itself", what)
			continue
		}
		principal, hasPrincipal := r.names[p.text("principalId")]
		scope, hasScope := r.scope(p.text("scope"))
		if !hasRole || !hasPrincipal || !hasScope {
			r.note("%s to %s: a file cannot name them", what, p.text("principalId"))
			continue
		}
		e := tenantfile.New(tenantfile.RoleAssignments, p.values("condition", "description"))
		e.ID, e.Document = d.text("name"), d
		e.Values["principal"], e.Values["role"], e.Values["scope"] = principal, role, scope
		r.world.Add(e)
	}
	return nil
}
