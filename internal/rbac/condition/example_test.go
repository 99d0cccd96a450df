package condition_test

import (
	"fmt"

	"github.com/entrance-id/entrance/internal/rbac/condition"
)

func Example() {
	const group = "Microsoft.ContainerService/managedClusters/customResources:group"
	c, err := condition.Parse("@Resource[" + group + "] StringLike '*.example.com'")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, g := range []string{"stable.example.com", "stable.example.org"} {
		fmt.Println(g, c.Eval(&condition.Context{Resource: condition.Attributes{{Name: group, Values: []string{g}}}}))
	}
	_, err = condition.Parse("@Resource[" + group + "] StringMatches 'x'")
	fmt.Println(err)
	// Output:
	// stable.example.com true
	// stable.example.org false
	// The condition is not valid at line 1, column 77: "StringMatches" is not an operator that conditions support
}
