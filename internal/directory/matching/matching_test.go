package matching

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/errs"
)

const (
	gitHub    = "https://token.actions.githubusercontent.com"
	terraform = "https://app.terraform.io"
)

func raw(value string) json.RawMessage {
	b, err := json.Marshal(map[string]any{"value": value, "languageVersion": 1})
	if err != nil {
		panic(err)
	}
	return b
}

// TestDocumentedExamples are all expressions of Microsoft's two pages on flexible
// federated identity credentials (September 2026), with claims that meet them and
// claims that do not.
func TestDocumentedExamples(t *testing.T) {
	type claims = map[string]string
	for _, tc := range []struct {
		issuer, value string
		yes, no       []claims
	}{
		{gitHub, "claims['sub'] matches 'repo:contoso/contoso-repo:ref:refs/heads/*' and claims['repository_id'] eq '456789'",
			[]claims{{"sub": "repo:contoso/contoso-repo:ref:refs/heads/main", "repository_id": "456789"}, {"sub": "repo:contoso/contoso-repo:ref:refs/heads/a/b", "repository_id": "456789"}},
			[]claims{
				{"sub": "repo:contoso/contoso-repo:ref:refs/tags/v1", "repository_id": "456789"},
				{"sub": "repo:Contoso/contoso-repo:ref:refs/heads/main", "repository_id": "456789"},
				{"sub": "xrepo:contoso/contoso-repo:ref:refs/heads/main", "repository_id": "456789"},
				{"sub": "repo:contoso/contoso-repo:ref:refs/heads/main", "repository_id": "4567890"}, // another repository of the same name
				{"sub": "repo:contoso/contoso-repo:ref:refs/heads/main"},
				{},
			}},
		{gitHub, "claims['sub'] matches 'repo:contoso/contoso-repo-*:ref:refs/heads/????' and claims['repository_owner_id'] eq '123456'",
			[]claims{{"sub": "repo:contoso/contoso-repo-x:ref:refs/heads/main", "repository_owner_id": "123456"}, {"sub": "repo:contoso/contoso-repo-:ref:refs/heads/größ", "repository_owner_id": "123456"}},
			[]claims{{"sub": "repo:contoso/contoso-repo-x:ref:refs/heads/mains", "repository_owner_id": "123456"}, {"sub": "repo:contoso/contoso-repo-x:ref:refs/heads/dev", "repository_owner_id": "123456"}}},
		{gitHub, "claims['sub'] eq 'repo:contoso/contoso-repo:ref:refs/heads/main' and claims['repository_id'] eq '456789' and claims['job_workflow_ref'] matches 'foo-org/bar-repo/.github/workflows/*@refs/heads/main'",
			[]claims{{"sub": "repo:contoso/contoso-repo:ref:refs/heads/main", "repository_id": "456789", "job_workflow_ref": "foo-org/bar-repo/.github/workflows/oidc.yml@refs/heads/main"}},
			[]claims{{"sub": "repo:contoso/contoso-repo:ref:refs/heads/main", "repository_id": "456789", "job_workflow_ref": "foo-org/bar-repo/.github/workflows/oidc.yml@refs/heads/main2"},
				{"sub": "repo:contoso/contoso-repo:ref:refs/heads/main", "repository_id": "456789"}}},
		{gitHub, "claims['sub'] matches 'repo:contoso/contoso-repo:ref:refs/heads/*' and claims['repository_id'] eq '456789' and claims['repository_owner_id'] eq '123456' and claims['job_workflow_ref'] matches 'contoso/contoso-prod/.github/workflows/*.yml@refs/heads/main'",
			[]claims{{"sub": "repo:contoso/contoso-repo:ref:refs/heads/x", "repository_id": "456789", "repository_owner_id": "123456", "job_workflow_ref": "contoso/contoso-prod/.github/workflows/a.yml@refs/heads/main"}},
			[]claims{{"sub": "repo:contoso/contoso-repo:ref:refs/heads/x", "repository_id": "456789", "repository_owner_id": "9", "job_workflow_ref": "contoso/contoso-prod/.github/workflows/a.yml@refs/heads/main"}}},
		{"https://gitlab.example.com", "claims['sub'] matches 'project_path:contoso/contoso-project:ref_type:branch:ref:main' and claims['project_id'] eq '57382910'",
			[]claims{{"sub": "project_path:contoso/contoso-project:ref_type:branch:ref:main", "project_id": "57382910"}},
			[]claims{{"sub": "project_path:contoso/contoso-project:ref_type:branch:ref:main", "project_id": "1"}}},
		{terraform, "claims['sub'] matches 'organization:contoso:project:contoso-proj:workspace:wrk-1:run_phase:*'",
			[]claims{{"sub": "organization:contoso:project:contoso-proj:workspace:wrk-1:run_phase:plan"}, {"sub": "organization:contoso:project:contoso-proj:workspace:wrk-1:run_phase:"}},
			[]claims{{"sub": "organization:contoso:project:contoso-proj:workspace:wrk-2:run_phase:plan"}}},
	} {
		e, err := Parse(tc.issuer, raw(tc.value))
		if err != nil {
			t.Errorf("%s: %v", tc.value, err)
			continue
		}
		look := func(c claims) func(string) (string, bool) {
			return func(name string) (string, bool) { v, ok := c[name]; return v, ok }
		}
		for _, c := range tc.yes {
			if failed, ok := e.Match(look(c)); !ok {
				t.Errorf("%s: %v is refused for %s", tc.value, c, failed)
			}
		}
		for _, c := range tc.no {
			if failed, ok := e.Match(look(c)); ok || failed == "" {
				t.Errorf("%s: %v is accepted", tc.value, c)
			}
		}
	}
}

func TestRefusedExpressions(t *testing.T) {
	const id = " and claims['repository_id'] eq '1'"
	for name, tc := range map[string]struct{ issuer, raw, text string }{
		"another issuer":         {"https://issuer.example", string(raw("claims['sub'] eq 'x'")), "none of them"},
		"GitHub, final slash":    {gitHub + "/", string(raw("claims['sub'] eq 'x'" + id)), "none of them"},
		"GitLab, deeper":         {"https://gitlab.a.b.com", string(raw("claims['sub'] eq 'x'")), "none of them"},
		"GitLab, disguised":      {"https://gitlab.evil.example#.com", string(raw("claims['sub'] eq 'x'")), "none of them"},
		"GitLab, path":           {"https://gitlab.evil/x.com", string(raw("claims['sub'] eq 'x'")), "none of them"},
		"no language":            {terraform, `{"value":"claims['sub'] eq 'x'"}`, "languageVersion"},
		"language 2":             {terraform, `{"value":"claims['sub'] eq 'x'","languageVersion":2}`, "languageVersion"},
		"no value":               {terraform, `{"languageVersion":1}`, "value"},
		"not an object":          {terraform, `"claims['sub'] eq 'x'"`, "value"},
		"empty":                  {terraform, string(raw("")), "character 1"},
		"no subject":             {gitHub, string(raw("claims['repository_id'] eq '1'")), "must match the claim sub"},
		"GitHub, names alone":    {gitHub, string(raw("claims['sub'] matches 'repo:a/*'")), "repository_id"},
		"GitHub, wild id":        {gitHub, string(raw("claims['sub'] matches 'repo:a/*' and claims['repository_id'] matches '*'")), "eq alone"},
		"GitLab, path alone":     {"https://gitlab.com", string(raw("claims['sub'] matches 'project_path:a/*'")), "project_id"},
		"GitLab, anything":       {"https://gitlab.com", string(raw("claims['sub'] matches '*'")), "project_id"},
		"GitLab, part of a path": {"https://gitlab.com", string(raw("claims['sub'] matches 'project_p*'")), "project_id"},
		"unknown claim":          {gitHub, string(raw("claims['sub'] eq 'x' and claims['actor'] eq 'me'" + id)), `"actor"`},
		"other case":             {gitHub, string(raw("claims['Sub'] eq 'x'" + id)), `"Sub"`},
		"or":                     {gitHub, string(raw("claims['sub'] eq 'x' or claims['repository_id'] eq '1'")), `" and "`},
		"two spaces":             {terraform, string(raw("claims['sub']  eq 'x'")), "operator"},
		"unknown operator":       {terraform, string(raw("claims['sub'] contains 'x'")), `"contains"`},
		"double quotes":          {terraform, string(raw(`claims["sub"] eq "x"`)), "claim look-up"},
		"no end":                 {terraform, string(raw("claims['sub'] eq 'x")), "single quote"},
		"escaped end":            {terraform, string(raw("claims['sub'] eq 'x''")), "single quote"},
		"nothing compared":       {terraform, string(raw("claims['sub'] eq ''")), "empty"},
		"something behind":       {terraform, string(raw("claims['sub'] eq 'x' ")), `" and "`},
		"many":                   {terraform, string(raw(strings.Repeat("claims['sub'] eq 'x' and ", 8) + "claims['sub'] eq 'x'")), "more than 8"},
		"long":                   {terraform, string(raw("claims['sub'] eq '" + strings.Repeat("x", 2048) + "'")), "longer"},
	} {
		if _, err := Parse(tc.issuer, json.RawMessage(tc.raw)); !errs.Is(err, errs.Invalid) || !strings.Contains(errs.Message(err), tc.text) {
			t.Errorf("%s: %v, want a refusal with %q", name, err, tc.text)
		}
	}
}

func TestQuotes(t *testing.T) {
	e, err := Parse(terraform, raw("claims['sub'] eq 'it''s' and claims['sub'] matches '*''?'"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := e.Match(func(string) (string, bool) { return "it's", true }); !ok {
		t.Error("a doubled quote does not stand for one")
	}
}

// FuzzMatch holds the matcher to a regular expression that says the same.
func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"*", ""}, {"a*b?c", "axxbyc"}, {"**?", "é"}, {"a*a*a*b", strings.Repeat("a", 30)}, {"[a].*", "[a].x"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, v string) {
		if len(pattern) > 64 || len(v) > 256 || strings.ToValidUTF8(pattern, "") != pattern || strings.ToValidUTF8(v, "") != v {
			t.Skip()
		}
		re := regexp.MustCompile("(?s)^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern)) + "$")
		if got, want := match(pattern, v), re.MatchString(v); got != want {
			t.Errorf("match(%q, %q) = %v", pattern, v, got)
		}
	})
}

// FuzzParse: what is read never panics, and demands a subject.
func FuzzParse(f *testing.F) {
	f.Add("claims['sub'] matches 'a*' and claims['repository_id'] eq '1'")
	f.Add("claims['sub'] eq ''''")
	f.Fuzz(func(t *testing.T, value string) {
		for _, issuer := range []string{gitHub, "https://gitlab.com", terraform} {
			e, err := Parse(issuer, raw(value))
			if err != nil {
				continue
			}
			if _, ok := e.Match(func(name string) (string, bool) { return "x", name != "sub" }); ok {
				t.Errorf("%q is met without a subject", value)
			}
		}
	})
}
