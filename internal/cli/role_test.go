package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRoleAssignment(t *testing.T) {
	s := newShell(t)
	ann := s.cloud.AddUser(t, "ann")
	crew := s.cloud.AddGroup(t, "crew", ann.ID)
	app := s.cloud.AddApp(t, "robot")
	sub := "/subscriptions/" + s.cloud.SubscriptionID
	group := sub + "/resourceGroups/sample"
	create := []string{"role", "assignment", "create"}
	id := s.word("id", append(create, "--assignee", ann.UserPrincipalName, "--role", "Reader", "--scope", group)...)
	s.want(id, "id", append(create, "--assignee", ann.ID, "--role", "Reader", "-g", "sample")...) // there already
	s.want("Group", "principalType", append(create, "--assignee", crew.ID, "--role", "Azure Kubernetes Service RBAC Reader", "--scope", group)...)
	s.want("ServicePrincipal", "principalType", append(create, "--assignee", app.ClientID, "--role", "acdd72a7-3385-48ef-bd42-f606fba81ae7", "--scope", sub)...)
	s.want("User", "principalType", append(create, "--assignee-object-id", ann.ID, "--assignee-principal-type", "User", "--role", "Contributor", "-g", "sample", "--description", "on call")...)
	s.want("2.0", "conditionVersion", append(create, "--assignee-object-id", ann.ID, "--role", "Azure Kubernetes Service RBAC Writer", "-g", "sample", "--condition", "@Resource[Microsoft.ContainerService/managedClusters/customResources:kind] StringEquals 'x'")...)

	list := []string{"role", "assignment", "list"}
	s.want("Contributor", "[?description=='on call'].roleDefinitionName", append(list, "-g", "sample")...)
	s.want(ann.UserPrincipalName, "[?roleDefinitionName=='Reader'].principalName", append(list, "--scope", group)...)
	s.want("3", "length(@)", append(list, "--all", "--assignee", ann.ID)...)
	s.want("4", "length(@)", append(list, "--all", "--assignee", ann.ID, "--include-groups")...)
	s.want("crew", "[?principalType=='Group'].principalName", append(list, "--all", "--assignee", ann.ID, "--include-groups")...)
	s.want("1", "length(@)", append(list, "--assignee", app.ClientID)...)
	s.want("0", "length(@)", append(list, "--assignee", ann.ID)...) // not at the subscription itself
	s.want(app.ClientID, "[?roleDefinitionName=='Reader'].principalName | [?@ != '"+ann.UserPrincipalName+"'] | [0]", append(list, "-g", "sample", "--include-inherited")...)
	if got := s.ok(append(list, "-g", "sample", "--role", "Reader", "-o", "table")...); !strings.HasPrefix(got, "Principal") || !strings.Contains(got, ann.UserPrincipalName+"  Reader  "+group) {
		t.Error(got)
	}

	s.fails(3, "Role 'Raeder' doesn't exist", append(create, "--assignee", ann.ID, "--role", "Raeder", "--scope", group)...)
	s.fails(3, "Cannot find user", append(create, "--assignee", "11111111-2222-3333-4444-555555555555", "--role", "Reader", "--scope", group)...)
	s.fails(2, "--scope", append(create, "--assignee", ann.ID, "--role", "Reader")...)
	s.fails(2, "slash", append(create, "--assignee", ann.ID, "--role", "Reader", "--scope", "sample")...)
	s.fails(2, "one of --assignee", append(create, "--role", "Reader", "-g", "sample")...)
	s.fails(2, "exclude", append(create, "--assignee", ann.ID, "--role", "Reader", "-g", "sample", "--scope", group)...)
	s.fails(2, "--all goes", append(list, "--all", "-g", "sample")...)

	del := []string{"role", "assignment", "delete"}
	s.fails(2, "--yes", del...)
	s.ok(append(del, "--ids", id)...)
	s.fails(3, "No matched assignments", append(del, "--assignee", ann.ID, "--role", "Reader", "-g", "sample")...)
	s.ok(append(del, "--assignee", ann.ID, "-g", "sample")...)
	s.want("0", "length(@)", append(list, "--all", "--assignee", ann.ID)...)
}

func TestRoleDefinition(t *testing.T) {
	s := newShell(t)
	sub := "/subscriptions/" + s.cloud.SubscriptionID
	s.want("Azure Kubernetes Service RBAC Reader", "[].roleName", "role", "definition", "list", "--name", "Azure Kubernetes Service RBAC Reader")
	s.want("Reader", "[].roleName", "role", "definition", "list", "-n", "acdd72a7-3385-48ef-bd42-f606fba81ae7")
	s.want("BuiltInRole Microsoft.Authorization/roleDefinitions", "join(' ', [roleType, type])", "role", "definition", "show", "--name", "Reader")
	id := s.word("id", "role", "definition", "show", "--name", "Reader")
	s.want("Reader", "roleName", "role", "definition", "show", "--id", id)
	s.want("0", "length(@)", "role", "definition", "list", "--custom-role-only")

	text := `{"Name": "Pod peeker", "Description": "d", "Actions": [], "DataActions": ["Microsoft.ContainerService/managedClusters/pods/read"], "NotDataActions": [], "AssignableScopes": ["` + sub + `"]}`
	s.want("CustomRole", "roleType", "role", "definition", "create", "--role-definition", text)
	s.want("Pod peeker", "[].roleName", "role", "definition", "list", "--custom-role-only")
	s.want("Microsoft.ContainerService/managedClusters/pods/read", "[0].permissions[0].dataActions[0]", "role", "definition", "list", "-n", "Pod peeker")
	// What az and we print can be given back.
	shown := s.ok("role", "definition", "show", "-n", "Pod peeker")
	file := filepath.Join(t.TempDir(), "role.json")
	if err := os.WriteFile(file, []byte(strings.Replace(shown, `"description": "d"`, `"description": "e"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want("e", "description", "role", "definition", "update", "--role-definition", "@"+file)
	s.want("Microsoft.ContainerService/managedClusters/pods/read", "permissions[0].dataActions[0]", "role", "definition", "show", "-n", "Pod peeker")
	s.fails(1, "neither JSON nor a file", "role", "definition", "create", "--role-definition", "@/nowhere")
	s.fails(2, "is not a role", "role", "definition", "create", "--role-definition", "{")
	s.fails(2, "AssignableScopes", "role", "definition", "create", "--role-definition", "{}")
	s.ok("role", "definition", "delete", "--name", "Pod peeker")
	s.fails(3, "No role is called", "role", "definition", "delete", "--name", "Pod peeker")
	s.fails(3, "'Pod peeker'", "role", "definition", "show", "--name", "Pod peeker")
}
