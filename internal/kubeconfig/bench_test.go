package kubeconfig

import (
	"fmt"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/login"
)

// manyUsers is a kubeconfig as `az aks get-credentials` leaves it after n
// clusters.
func manyUsers(n int) []byte {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nclusters:\n")
	ca := strings.Repeat("QUJD", 475)
	for i := range n {
		fmt.Fprintf(&b, "- cluster:\n    certificate-authority-data: %s\n    server: https://c%d.hcp.westeurope.azmk8s.io:443\n  name: c%d\n", ca, i, i)
	}
	b.WriteString("contexts:\n")
	for i := range n {
		fmt.Fprintf(&b, "- context:\n    cluster: c%d\n    user: u%d\n  name: c%d\n", i, i, i)
	}
	b.WriteString("current-context: c0\nkind: Config\npreferences: {}\nusers:\n")
	for i := range n {
		fmt.Fprintf(&b, `- name: u%d
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      args:
      - get-token
      - --environment
      - AzurePublicCloud
      - --server-id
      - 6dae42f8-4368-4678-94ff-3960e28e3630
      - --client-id
      - 80faf920-1908-4b52-b5ef-a8e7bedfc67a
      - --tenant-id
      - 11111111-2222-3333-4444-555555555555
      - --login
      - devicecode
      command: kubelogin
      env: null
      installHint: |

        kubelogin is not installed which is required to connect to AAD enabled cluster.

        To learn more, please go to https://aka.ms/aks/kubelogin
      provideClusterInfo: false
`, i)
	}
	return []byte(b.String())
}

// BenchmarkPlan is the conversion without the process around it.
func BenchmarkPlan(b *testing.B) {
	o := login.NewOptions()
	o.Login = login.AzureCLI
	conv := Conversion{Options: o, Typed: func(string) bool { return false }}
	for _, n := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
			data := manyUsers(n)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				f, err := ParseUsers("config", data)
				if err != nil {
					b.Fatal(err)
				}
				ch, err := conv.Plan([]*File{f}, "")
				if err != nil || len(ch) != 1 || len(ch[0].Users) != n {
					b.Fatalf("changes: %v, %v", ch, err)
				}
			}
		})
	}
}
