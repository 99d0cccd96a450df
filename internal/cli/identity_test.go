package cli_test

import "testing"

func TestIdentity(t *testing.T) {
	s := newShell(t)
	id := s.word("id", "identity", "create", "-g", "sample", "-n", "app", "--tags", "a=b")
	s.want("centralus", "location", "identity", "show", "--ids", id) // the group's region
	s.want("b", "tags.a", "identity", "show", "-g", "sample", "-n", "app")
	s.want("app", "[].name", "identity", "list", "-g", "sample")
	s.want("sample", "[?name=='app'].resourceGroup", "identity", "list")
	s.want(s.word("clientId", "identity", "show", "--ids", id), "appId", "ad", "sp", "show", "--id", s.word("principalId", "identity", "show", "--ids", id))

	fed := []string{"identity", "federated-credential"}
	named := []string{"--name", "fed", "--identity-name", "app", "--resource-group", "sample"}
	put := func(use, subject string) []string {
		return append(append(append([]string{}, fed...), use, "--issuer", "https://issuer.example", "--subject", subject), named...)
	}
	s.want("api://AzureADTokenExchange", "audiences[0]", put("create", "system:serviceaccount:default:app")...)
	s.want("other", "audiences[0]", append(put("update", "system:serviceaccount:default:other"), "--audiences", "other")...)
	s.want("system:serviceaccount:default:other", "subject", append(append(append([]string{}, fed...), "show"), named...)...)
	s.want("fed", "[].name", append(fed, "list", "--identity-name", "app", "-g", "sample")...)
	s.fails(2, "--yes", append(append(append([]string{}, fed...), "delete"), named...)...)
	s.ok(append(append(append([]string{}, fed...), "delete", "--yes"), named...)...)
	s.want("0", "length(@)", append(fed, "list", "--identity-name", "app", "-g", "sample")...)

	s.ok("identity", "delete", "--ids", id)
	s.fails(3, "(ResourceNotFound)", "identity", "show", "--ids", id)
	s.fails(2, "resource id", "identity", "show", "--ids", "/subscriptions/x/resourceGroups/y")
	s.fails(2, "required", "identity", "show", "-n", "app")
	s.fails(3, "(ResourceGroupNotFound)", "identity", "create", "-g", "nope", "-n", "app")
}
