package multicall_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/kube/multicall"
)

func TestDispatch(t *testing.T) {
	all := []multicall.Component{{Name: "etcd", Server: true}, {Name: "kubectl"}}
	for _, tc := range []struct {
		name string
		argv []string
		want []string // nil: refused
	}{
		{"sub-command", []string{"/x/entrance-kube", "etcd", "--name", "a"}, []string{"etcd", "--name", "a"}},
		{"link", []string{"/usr/bin/kubectl", "get", "pods"}, []string{"kubectl", "get", "pods"}},
		{"link wins over argument", []string{"kubectl", "etcd"}, []string{"kubectl", "etcd"}},
		{"nothing named", []string{"entrance-kube"}, nil},
		{"no arguments at all", nil, nil},
		{"unknown", []string{"entrance-kube", "kubelet"}, nil},
		{"prefix is not enough", []string{"entrance-kube", "etc"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, args, err := multicall.Dispatch("entrance-kube", all, tc.argv)
			if tc.want == nil {
				if err == nil || !strings.Contains(err.Error(), "usage: entrance-kube etcd|kubectl") {
					t.Fatalf("err = %v, want the usage", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, args); diff != "" {
				t.Error(diff)
			}
			if c.Name != tc.want[0] {
				t.Errorf("component %q, want %q", c.Name, tc.want[0])
			}
		})
	}
}

func TestDispatchKeepsItsInput(t *testing.T) {
	argv := make([]string, 2, 8)
	argv[0], argv[1] = "/bin/kubectl", "version"
	if _, _, err := multicall.Dispatch("x", []multicall.Component{{Name: "kubectl"}}, argv); err != nil {
		t.Fatal(err)
	}
	if argv[0] != "/bin/kubectl" {
		t.Errorf("argv[0] became %q", argv[0])
	}
}
