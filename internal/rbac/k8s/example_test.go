package k8s_test

import (
	"fmt"

	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

func ExampleCluster_Checks() {
	scope, _ := rbac.ParseScope("/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/prod")
	c := &k8s.Cluster{Scope: scope}
	checks, err := c.Checks(&k8s.Review{Resource: &k8s.ResourceAttributes{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "web", Name: "shop"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(checks[0].Action)
	fmt.Println(checks[0].Scope)
	// Output:
	// Microsoft.ContainerService/managedClusters/apps/deployments/write
	// /subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/prod/namespaces/web
}
