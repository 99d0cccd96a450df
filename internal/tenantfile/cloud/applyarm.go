package cloud

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/tenantfile"
)

func (w *Writer) resourceGroup(ctx context.Context, i *tenantfile.Item) error {
	path := w.at("/resourcegroups/"+segment(i.Want.Name()), versionResources)
	if !i.Create() {
		return w.call(ctx, ARM, http.MethodPatch, path, set(i, map[string]any{}, "tags"), nil)
	}
	return w.call(ctx, ARM, http.MethodPut, path, set(i, map[string]any{}, "location", "tags"), nil)
}

// location is where a resource is to be: where the file says, and else where
// its resource group is.
func (w *Writer) location(ctx context.Context, e *tenantfile.Entity) (string, error) {
	if l := e.Text("location"); l != "" {
		return l, nil
	}
	var g struct{ Location string }
	err := w.call(ctx, ARM, http.MethodGet, w.at("/resourcegroups/"+segment(e.Ref("resourceGroup").Name), versionResources), nil, &g)
	return g.Location, err
}

func (w *Writer) identity(ctx context.Context, i *tenantfile.Item) error {
	path := w.at(resourcePath(i.Want.Name(), identityType), versionIdentities)
	if !i.Create() {
		return w.call(ctx, ARM, http.MethodPatch, path, set(i, map[string]any{}, "tags"), nil)
	}
	location, err := w.location(ctx, i.Want)
	if err != nil {
		return err
	}
	var d document
	if err := w.call(ctx, ARM, http.MethodPut, path, set(i, map[string]any{"location": location}, "tags"), &d); err != nil {
		return err
	}
	w.know(i.Want, d.text("id"), d.text("properties.principalId"))
	return nil
}

// child returns the object in d under name, which it makes if need be.
func child(d map[string]any, name string) map[string]any {
	m, ok := d[name].(map[string]any)
	if !ok {
		m = map[string]any{}
		d[name] = m
	}
	return m
}

func (w *Writer) cluster(ctx context.Context, i *tenantfile.Item) error {
	name := i.Want.Name()
	path := w.at(resourcePath(name, clusterType), versionClusters)
	// An operation that is under way, of an apply that was broken off, comes
	// first.
	doc, err := w.settled(ctx, path)
	switch {
	case status(err, http.StatusNotFound):
		location, err := w.location(ctx, i.Want)
		if err != nil {
			return err
		}
		doc = document{"location": location, "identity": map[string]any{"type": "SystemAssigned"}}
		child(doc, "properties")["agentPoolProfiles"] = []any{map[string]any{"name": "nodepool1", "count": 1, "vmSize": "Standard_DS2_v2", "mode": "System"}}
		child(doc, "properties")["enableRBAC"] = true
	case err != nil:
		return err
	}
	if err := w.fill(i, doc); err != nil {
		return err
	}
	header, err := w.send(ctx, ARM, http.MethodPut, path, doc, nil)
	if err != nil {
		return err
	}
	done, err := w.settled(ctx, path)
	if err != nil && !status(err, http.StatusNotFound) {
		return err
	}
	if done.text("properties.provisioningState") == "Succeeded" {
		return nil
	}
	// What went wrong is said in the operation.
	var op struct {
		Error struct{ Code, Message string }
	}
	if at := header.Get("Azure-AsyncOperation"); at != "" && w.call(ctx, ARM, http.MethodGet, at, nil, &op) == nil && op.Error.Code != "" {
		return &Failure{http.StatusInternalServerError, op.Error.Code, op.Error.Message}
	}
	return errs.New(errs.Invalid, "The operation on the cluster failed.")
}

// fill writes what a file says of a cluster into its document.
func (w *Writer) fill(i *tenantfile.Item, doc document) error {
	p := child(doc, "properties")
	want := i.Want
	if i.Differs("tags") {
		doc["tags"] = want.Values["tags"]
	}
	if i.Differs("nodeCount") {
		if pools := document(p).list("agentPoolProfiles"); len(pools) > 0 {
			asObject(pools[0])["count"] = want.Values["nodeCount"]
		}
	}
	if i.Differs("identity") {
		id := "/subscriptions/" + w.Subscription + resourcePath(want.Ref("identity").Name, identityType)
		doc["identity"] = map[string]any{"type": "UserAssigned", "userAssignedIdentities": map[string]any{id: map[string]any{}}}
	}
	if i.Differs("disableLocalAccounts") {
		p["disableLocalAccounts"] = want.Bool("disableLocalAccounts", false)
	}
	if i.Differs("oidcIssuer") {
		child(p, "oidcIssuerProfile")["enabled"] = want.Bool("oidcIssuer", false)
	}
	if i.Differs("workloadIdentity") {
		child(child(p, "securityProfile"), "workloadIdentity")["enabled"] = want.Bool("workloadIdentity", false)
		if want.Bool("workloadIdentity", false) {
			child(p, "oidcIssuerProfile")["enabled"] = true
		}
	}
	if !i.Differs("aad") {
		return nil
	}
	aad, given := child(p, "aadProfile"), want.Object("aad")
	aad["managed"] = true
	if given.Has("azureRBAC") {
		aad["enableAzureRBAC"] = given.Bool("azureRBAC", false)
	}
	if given.Has("tenantID") {
		aad["tenantID"] = given.Text("tenantID")
	}
	if given.Has("adminGroupObjectIDs") {
		aad["adminGroupObjectIDs"] = given.Texts("adminGroupObjectIDs")
	}
	if given.Has("adminGroups") {
		// Groups that no file can name stay.
		ids, named := []string{}, map[string]bool{}
		if i.Have != nil {
			for _, r := range i.Have.Object("aad").Refs("adminGroups") {
				named[w.ids[reference(r.Kind, r.Name)]] = true
			}
		}
		for _, id := range document(aad).texts("adminGroupObjectIDs") {
			if !named[id] {
				ids = append(ids, id)
			}
		}
		for _, r := range given.Refs("adminGroups") {
			id := w.ids[reference(r.Kind, r.Name)]
			if id == "" {
				return errs.New(errs.NotFound, "The %s has no id yet.", r)
			}
			ids = append(ids, id)
		}
		aad["adminGroupObjectIDs"] = ids
	}
	return nil
}

// settled reads a cluster once no operation on it is under way.
func (w *Writer) settled(ctx context.Context, path string) (document, error) {
	for {
		var d document
		if err := w.call(ctx, ARM, http.MethodGet, path, nil, &d); err != nil {
			return nil, err
		}
		switch d.text("properties.provisioningState") {
		case "Succeeded", "Failed", "Canceled":
			return d, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(max(w.Poll, 50*time.Millisecond)):
		}
	}
}

// scope returns the id of a scope.
func (w *Writer) scope(r tenantfile.Ref) string {
	base := "/subscriptions/" + w.Subscription
	switch r.Kind {
	case "managementGroup":
		return "/providers/Microsoft.Management/managementGroups/" + r.Name
	case "resourceGroup":
		return base + "/resourceGroups/" + r.Name
	case "resource":
		return base + r.Name
	case "identity", "cluster":
		typ := identityType
		if r.Kind == "cluster" {
			typ = clusterType
		}
		group, name, _ := strings.Cut(r.Name, "/")
		id := base + "/resourceGroups/" + group + "/providers/" + typ + "/" + name
		if r.Namespace != "" {
			id += "/namespaces/" + r.Namespace
		}
		return id
	}
	return base
}

// address writes the id of a scope as a path.
func address(scope string) string {
	parts := strings.Split(scope, "/")
	for i := range parts {
		parts[i] = segment(parts[i])
	}
	return strings.Join(parts, "/")
}

func (w *Writer) role(ctx context.Context, i *tenantfile.Item) error {
	id := directory.NewGUID()
	merged := map[string]any{}
	if !i.Create() {
		id = i.Have.ID
		for k, v := range i.Have.Values {
			merged[k] = v
		}
	}
	for k, v := range i.Want.Values {
		merged[k] = v
	}
	permission := map[string]any{}
	for _, name := range []string{"actions", "notActions", "dataActions", "notDataActions"} {
		permission[name] = []string{}
		if v, ok := merged[name]; ok {
			permission[name] = v
		}
	}
	at := []string{}
	if refs, ok := merged["assignableScopes"].([]tenantfile.Ref); ok {
		for _, r := range refs {
			at = append(at, w.scope(r))
		}
	}
	description, _ := merged["description"].(string)
	return w.call(ctx, ARM, http.MethodPut, w.at("/providers/Microsoft.Authorization/roleDefinitions/"+id, versionRoles), map[string]any{"properties": map[string]any{
		"roleName": i.Want.Name(), "description": description, "permissions": []any{permission}, "assignableScopes": at, "type": "CustomRole",
	}}, nil)
}

// roleID finds a role by name.
func (w *Writer) roleID(ctx context.Context, name string) (string, error) {
	if len(w.roles) == 0 || w.roles[strings.ToLower(name)] == "" {
		docs, err := list[document](ctx, w.Client, ARM, w.at("/providers/Microsoft.Authorization/roleDefinitions", versionRoles))
		if err != nil {
			return "", err
		}
		for _, d := range docs {
			w.roles[strings.ToLower(d.text("properties.roleName"))] = d.text("id")
		}
	}
	id := w.roles[strings.ToLower(name)]
	if id == "" {
		return "", errs.New(errs.NotFound, "The role %q cannot be assigned in the subscription.", name)
	}
	return id, nil
}

func (w *Writer) assignment(ctx context.Context, i *tenantfile.Item) error {
	role, err := w.roleID(ctx, i.Want.Ref("role").Name)
	if err != nil {
		return err
	}
	who := i.Want.Ref("principal")
	principal := w.principals[reference(who.Kind, who.Name)]
	if principal == "" {
		return errs.New(errs.NotFound, "The %s has no id yet.", who)
	}
	id := directory.NewGUID()
	properties := map[string]any{"roleDefinitionId": role, "principalId": principal}
	if !i.Create() {
		id = i.Have.ID
		for _, name := range []string{"condition", "conditionVersion", "description"} {
			if v := document(i.Have.Document).text("properties." + name); v != "" {
				properties[name] = v
			}
		}
	}
	if i.Want.Has("condition") {
		properties["condition"], properties["conditionVersion"] = i.Want.Text("condition"), "2.0"
	}
	if i.Want.Has("description") {
		properties["description"] = i.Want.Text("description")
	}
	path := address(w.scope(i.Want.Ref("scope"))) + "/providers/Microsoft.Authorization/roleAssignments/" + id + "?api-version=" + versionRoles
	err = w.call(ctx, ARM, http.MethodPut, path, map[string]any{"properties": properties}, nil)
	if coded(err, "RoleAssignmentExists") {
		return nil // somebody else made the same one in the meantime
	}
	return err
}
