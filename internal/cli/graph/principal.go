package graph

import (
	"context"
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
)

// Principal is somebody whom a role can be assigned to.
type Principal struct {
	ID string
	// Type is User, Group or ServicePrincipal, as Resource Manager has it.
	Type string
	// Name is what a person knows it by.
	Name string
}

// principalTypes are the kinds of objects that roles are assigned to.
var principalTypes = map[string]string{
	"#microsoft.graph.user": "User", "#microsoft.graph.group": "Group", "#microsoft.graph.servicePrincipal": "ServicePrincipal",
}

func principal(o Object) Principal {
	p := Principal{ID: Text(o, "id"), Type: principalTypes[Text(o, "@odata.type")], Name: Text(o, "displayName")}
	if upn := Text(o, "userPrincipalName"); upn != "" {
		p.Name = upn
	} else if names, ok := o["servicePrincipalNames"].([]any); ok && len(names) > 0 {
		p.Name, _ = names[0].(string)
	}
	return p
}

// batch is how many objects Graph reads by id at once.
const batch = 1000

// Principals reads objects by their ids. Those that are gone are not among them.
func (c *Client) Principals(ctx context.Context, ids []string) (map[string]Principal, error) {
	found := map[string]Principal{}
	for len(ids) > 0 {
		n := min(len(ids), batch)
		answer, err := c.Post(ctx, "/directoryObjects/getByIds", Object{"ids": ids[:n], "types": []string{"user", "group", "servicePrincipal", "directoryObjectPartnerReference"}})
		if err != nil {
			return nil, err
		}
		list, _ := answer["value"].([]any)
		for _, v := range list {
			if o, ok := v.(Object); ok {
				p := principal(o)
				found[strings.ToLower(p.ID)] = p
			}
		}
		ids = ids[n:]
	}
	return found, nil
}

// Assignee finds whom a person means: a user principal name, a service
// principal's name, or an object id.
func (c *Client) Assignee(ctx context.Context, name string) (Principal, error) {
	if strings.Contains(name, "@") {
		o, err := c.One(ctx, "/users", Filter("userPrincipalName eq %s", name), "user", name)
		return Principal{ID: Text(o, "id"), Type: "User", Name: Text(o, "userPrincipalName")}, err
	}
	list, err := c.List(ctx, "/servicePrincipals", Filter("servicePrincipalNames/any(c:c eq %s)", name))
	if err != nil {
		return Principal{}, err
	}
	if len(list) == 1 {
		p := principal(list[0])
		p.Type = "ServicePrincipal"
		return p, nil
	}
	if IsGUID(name) {
		found, err := c.Principals(ctx, []string{name})
		if err != nil {
			return Principal{}, err
		}
		if p, ok := found[strings.ToLower(name)]; ok {
			return p, nil
		}
	}
	return Principal{}, errs.New(errs.NotFound, "Cannot find user or service principal in graph database for '%s'. If the assignee is an appId, make sure that it has a service principal: entrance ad sp create --id %s", name, name)
}
