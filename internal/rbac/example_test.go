package rbac_test

import (
	"fmt"

	"github.com/entrance-id/entrance/internal/rbac"
)

func Example() {
	const tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	const ann = "a0000000-0000-4000-8000-000000000001"
	cluster, _ := rbac.ParseScope("/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/prod")
	web, _ := cluster.Child("namespaces", "web")
	reader, _ := rbac.BuiltInRole("Azure Kubernetes Service RBAC Reader")

	snapshot, err := rbac.NewSnapshot().Apply(rbac.PutAssignment{RoleAssignment: rbac.RoleAssignment{
		Tenant: tenant, Name: "d0000000-0000-4000-8000-000000000001", Scope: web, RoleID: reader.ID, PrincipalID: ann, PrincipalType: rbac.User,
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"pods/read", "secrets/read"} {
		action, _ := rbac.ParseAction("Microsoft.ContainerService/managedClusters/" + name)
		d := snapshot.Decide(&rbac.Request{Principal: rbac.Principal{Tenant: tenant, ID: ann}, Scope: web, Action: action, DataAction: true})
		fmt.Println(name, d.Verdict, "-", d.Reason)
	}
	// Output:
	// pods/read allowed - granted by a role assignment
	// secrets/read refused - no role assignment grants it
}
