package main

import "fmt"

// budget bounds a figure's value, or its ratio.
type budget struct {
	ratio bool
	most  bool // the bound is an upper one
	bound float64
}

func atMost(v float64) budget       { return budget{most: true, bound: v} }
func ratioAtMost(v float64) budget  { return budget{ratio: true, most: true, bound: v} }
func ratioAtLeast(v float64) budget { return budget{ratio: true, bound: v} }

// String is the budget as the table shows it.
func (b budget) String() string {
	subject, sign := "", ">="
	if b.ratio {
		subject = "ratio "
	}
	if b.most {
		sign = "<="
	}
	return fmt.Sprintf("%s%s %s", subject, sign, number(b.bound))
}

// met reports whether a figure is within the budget. A ratio that could not be
// formed is not.
func (b budget) met(f figure) bool {
	v := f.Value
	if b.ratio {
		if f.Ratio == nil {
			return false
		}
		v = *f.Ratio
	}
	if b.most {
		return v <= b.bound
	}
	return v >= b.bound
}

// budgets are the promises that figures are held to, by name.
var budgets = map[string]budget{
	"cli/account-show":                          ratioAtMost(0.1), // ten times as fast as az
	"cli/account-list":                          ratioAtMost(0.1),
	"cli/group-list":                            ratioAtMost(0.1),
	"cli/group-show":                            ratioAtMost(0.1),
	"cli/user-list":                             ratioAtMost(0.1),
	"cli/user-show":                             ratioAtMost(0.1),
	"cli/group-filter":                          ratioAtMost(0.1),
	"cli/aks-list":                              ratioAtMost(0.1),
	"cli/identity-list":                         ratioAtMost(0.1),
	"cli/role-definition":                       ratioAtMost(0.1),
	"cli/ten-reads":                             ratioAtMost(0.1),
	"kubelogin/GetTokenWarm/bearer:wall-ms":     atMost(5),
	"kubelogin/GetTokenWarm/bearer:peak-MiB":    atMost(15),
	"kubelogin/GetTokenParallel:token-requests": atMost(1),
	"kubelogin/Convert/users=500:wall-ms":       atMost(50),
	"oauth/client-credentials-rate":             ratioAtLeast(0.6),
	"webhook/token-review-rate":                 ratioAtLeast(0.5),
	"webhook/access-review-rate":                ratioAtLeast(0.6),
	"rbac/Decide/allow/assignments=10":          atMost(2000),
	"rbac/Decide/allow/assignments=1000":        atMost(2000),
	"rbac/Decide/allow/assignments=100000":      atMost(2000),
	"rbac/Decide/refuse/assignments=10":         atMost(2000),
	"rbac/Decide/refuse/assignments=1000":       atMost(2000),
	"rbac/Decide/refuse/assignments=100000":     atMost(2000),
	"rbac/DecideGroups/groups=0":                atMost(2000),
	"rbac/DecideGroups/groups=10":               atMost(2000),
	"rbac/DecideGroups/groups=200":              atMost(2000),
	"rbac/DecideManyOwn":                        atMost(2000),
	"cluster/first":                             atMost(6),
	"cluster/second":                            atMost(4),
	"cluster/admin-group-added-to-allowed":      atMost(2),
	"cluster/admin-group-removed-to-refused":    atMost(2),
	"cluster/role-assigned-to-allowed":          atMost(2),
	"cluster/role-unassigned-to-refused":        atMost(2),
	"revocation/user-disabled-worst":            atMost(2),
	"revocation/password-reset-worst":           atMost(2),
	"revocation/sessions-revoked-worst":         atMost(2),
	"revocation/activation-ended-worst":         atMost(2),
	"revocation/secret-deleted-worst":           atMost(2),
	"scale/server-memory":                       atMost(1024),
}
