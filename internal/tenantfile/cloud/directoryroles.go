package cloud

import (
	"context"
	"net/http"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/tenantfile"
)

const directoryRoles = "/roleManagement/directory/"

// directoryRoles reads the roles of the directory and who has them. Not
// everybody may: where no file asks for them, that is only noted.
func (r *reader) directoryRoles(f *tenantfile.File) func() error {
	return func() error {
		if f != nil && len(f.Entities(tenantfile.DirectoryRoles)) == 0 {
			return nil
		}
		err := r.readDirectoryRoles()
		if f == nil && errs.Is(err, errs.Forbidden) {
			r.note("the roles of the directory: whoever exports may not read them")
			return nil
		}
		return err
	}
}

func (r *reader) readDirectoryRoles() error {
	names, err := r.directoryRoleNames(r.ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		r.world.DirectoryRoles = append(r.world.DirectoryRoles, name)
	}
	// Assignments that end by themselves are nobody's to keep in a file.
	ending := map[string]bool{}
	instances, err := list[document](r.ctx, r.Client, Graph, directoryRoles+"roleAssignmentScheduleInstances")
	if err != nil {
		return err
	}
	for _, d := range instances {
		if d.text("endDateTime") != "" || d.text("assignmentType") == "Activated" {
			ending[d.text("principalId")+"/"+d.text("roleDefinitionId")] = true
		}
	}
	docs, err := list[document](r.ctx, r.Client, Graph, directoryRoles+"roleAssignments?$top=999")
	if err != nil {
		return err
	}
	for _, d := range docs {
		role := names[d.text("roleDefinitionId")]
		principal, ok := r.names[d.text("principalId")]
		switch {
		case ending[d.text("principalId")+"/"+d.text("roleDefinitionId")]:
			r.note("role %s of the directory, of %s: it ends by itself", role, d.text("principalId"))
		case !ok || role == "" || d.text("directoryScopeId") != "/" || principal.Kind == "identity":
			r.note("role %s of the directory, of %s at %s: a file cannot name them", role, d.text("principalId"), d.text("directoryScopeId"))
		default:
			e := tenantfile.New(tenantfile.DirectoryRoles, map[string]any{"principal": principal, "role": tenantfile.Ref{Kind: "directoryRole", Name: role}})
			e.ID = d.text("id")
			r.world.Add(e)
		}
	}
	return nil
}

// directoryRoleNames returns the names of the roles of the directory by id.
func (c *Client) directoryRoleNames(ctx context.Context) (map[string]string, error) {
	docs, err := list[document](ctx, c, Graph, directoryRoles+"roleDefinitions")
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, d := range docs {
		names[d.text("id")] = d.text("displayName")
	}
	return names, nil
}

func (w *Writer) directoryRole(ctx context.Context, i *tenantfile.Item) error {
	names, err := w.directoryRoleNames(ctx)
	if err != nil {
		return err
	}
	who := i.Want.Ref("principal")
	for id, name := range names {
		if name == i.Want.Ref("role").Name {
			return w.call(ctx, Graph, http.MethodPost, directoryRoles+"roleAssignments", map[string]string{
				"principalId": w.principals[reference(who.Kind, who.Name)], "roleDefinitionId": id, "directoryScopeId": "/",
			}, nil)
		}
	}
	return errs.New(errs.NotFound, "The directory has no role %q.", i.Want.Ref("role").Name)
}
