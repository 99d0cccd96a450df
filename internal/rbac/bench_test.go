package rbac_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
)

const benchTenant = directory.TenantID("72f988bf-86f1-41af-91ab-2d7cd011db47")

func benchGUID(kind, i int) string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", kind, i) }

func benchCluster(tb testing.TB, i int) rbac.Scope {
	sc, err := rbac.ParseScope("/subscriptions/" + benchGUID(1, i%50) + "/resourceGroups/rg" + fmt.Sprint(i%200) + "/providers/Microsoft.ContainerService/managedClusters/c" + fmt.Sprint(i%1000))
	if err != nil {
		tb.Fatal(err)
	}
	return sc
}

// benchSnapshot has n assignments: two for each user, one for each tenth
// principal's group, at clusters and namespaces, under three levels of
// management groups.
func benchSnapshot(tb testing.TB, n int) *rbac.Snapshot {
	var changes []rbac.Change
	for i := range 3 {
		changes = append(changes, rbac.PutManagementGroup{Tenant: benchTenant, ID: fmt.Sprint("mg", i), Parent: map[bool]string{true: fmt.Sprint("mg", i-1)}[i > 0]})
	}
	for i := range 50 {
		changes = append(changes, rbac.PutSubscription{Tenant: benchTenant, SubscriptionID: benchGUID(1, i), Group: "mg2"})
	}
	roles := []string{"7f6c6a51-bcf8-42ba-9220-52d62157d7db", "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb", "3498e952-d568-435e-9b2c-8d77e338d7f7"}
	for i := range n {
		sc := benchCluster(tb, i)
		if i%2 == 1 {
			sc, _ = sc.Child("namespaces", fmt.Sprint("ns", i%20))
		}
		changes = append(changes, rbac.PutAssignment{RoleAssignment: rbac.RoleAssignment{Tenant: benchTenant, Name: benchGUID(2, i), Scope: sc,
			RoleID: roles[i%len(roles)], PrincipalID: directory.ObjectID(benchGUID(3, i/2))}})
	}
	s, err := rbac.NewSnapshot().Apply(changes...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func benchRequest(tb testing.TB, user, groups int, action string) rbac.Request {
	sc, err := benchCluster(tb, user*2).Child("namespaces", "ns1")
	if err != nil {
		tb.Fatal(err)
	}
	a, err := rbac.ParseAction(action)
	if err != nil {
		tb.Fatal(err)
	}
	r := rbac.Request{Principal: rbac.Principal{Tenant: benchTenant, ID: directory.ObjectID(benchGUID(3, user))}, Scope: sc, Action: a, DataAction: true}
	for i := range groups {
		r.Principal.Groups = append(r.Principal.Groups, directory.ObjectID(benchGUID(4, i)))
	}
	return r
}

// BenchmarkDecide measures one decision as the number of assignments of other
// principals grows. The user asked about changes, so that memory is as cold as
// it would be.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		s := benchSnapshot(b, n)
		var reqs []rbac.Request
		for i := range 1000 {
			reqs = append(reqs, benchRequest(b, (i*7919)%max(1, n/2), 10, "Microsoft.ContainerService/managedClusters/pods/read"))
		}
		b.Run(fmt.Sprintf("allow/assignments=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if d := s.Decide(&reqs[i%len(reqs)]); !d.Allowed() {
					b.Fatal(d.Reason)
				}
			}
		})
		for i := range reqs {
			reqs[i].Action, _ = rbac.ParseAction("Microsoft.Compute/virtualMachines/login/action")
		}
		b.Run(fmt.Sprintf("refuse/assignments=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if d := s.Decide(&reqs[i%len(reqs)]); d.Allowed() {
					b.Fatal("allowed")
				}
			}
		})
	}
}

// BenchmarkDecideGroups measures a decision for a user of many groups.
func BenchmarkDecideGroups(b *testing.B) {
	s := benchSnapshot(b, 100_000)
	for _, groups := range []int{0, 10, 200} {
		r := benchRequest(b, 1, groups, "Microsoft.Compute/virtualMachines/login/action")
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(&r)
			}
		})
	}
}

// BenchmarkDecideManyOwn measures a principal that has ten thousand
// assignments itself.
func BenchmarkDecideManyOwn(b *testing.B) {
	var changes []rbac.Change
	for i := range 10_000 {
		sc, _ := benchCluster(b, i).Child("namespaces", fmt.Sprint("ns", i))
		changes = append(changes, rbac.PutAssignment{RoleAssignment: rbac.RoleAssignment{Tenant: benchTenant, Name: benchGUID(2, i), Scope: sc,
			RoleID: "7f6c6a51-bcf8-42ba-9220-52d62157d7db", PrincipalID: directory.ObjectID(benchGUID(3, 1))}})
	}
	s, err := rbac.NewSnapshot().Apply(changes...)
	if err != nil {
		b.Fatal(err)
	}
	r := benchRequest(b, 1, 0, "Microsoft.ContainerService/managedClusters/pods/read")
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(&r)
	}
}

// BenchmarkApplyOne measures the snapshot after one change.
func BenchmarkApplyOne(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		s := benchSnapshot(b, n)
		a := rbac.RoleAssignment{Tenant: benchTenant, Name: benchGUID(2, 1<<30), Scope: benchCluster(b, 3), RoleID: "7f6c6a51-bcf8-42ba-9220-52d62157d7db", PrincipalID: directory.ObjectID(benchGUID(3, 3))}
		b.Run(fmt.Sprintf("assignments=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Apply(rbac.PutAssignment{RoleAssignment: a}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBuild measures a snapshot from nothing, and the memory it holds.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("assignments=%d", n), func(b *testing.B) {
			var before, after runtime.MemStats
			var s *rbac.Snapshot
			for b.Loop() {
				s = nil
				runtime.GC()
				runtime.ReadMemStats(&before)
				s = benchSnapshot(b, n)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/assignment")
			runtime.KeepAlive(s)
		})
	}
}
