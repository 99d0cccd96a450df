package aks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/kubeconfig"
)

func newCredentials(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "get-credentials", Short: "Put a cluster into the kubeconfig",
		Long: `Put a cluster, its user and a context into the kubeconfig, and make the context the
current one. The first file of KUBECONFIG is written, or ~/.kube/config; what else is in it
stays. The file is written for its owner alone.`,
		Example: "  entrance aks get-credentials -g sample -n sample\n  entrance aks get-credentials -g sample -n sample --admin --file ./admin",
	}
	n := nameFlags(a, c)
	f := c.Flags()
	file := f.StringP("file", "f", "", "file to write; - prints the kubeconfig as it comes (default: the first of KUBECONFIG, or ~/.kube/config)")
	admin := f.BoolP("admin", "a", false, "the cluster's local administrator instead of a user who signs in")
	format := f.String("format", "", "exec, or azure for kubectl before 1.26")
	name := f.String("context", "", "name of the context (default: the cluster's)")
	overwrite := f.Bool("overwrite-existing", false, "replace what has the same names in the file")
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		raw, err := fetch(ctx, s, n, *admin, *format)
		if err != nil {
			return nil, err
		}
		if *file == "-" {
			_, err := a.Out.Write(raw)
			return nil, err
		}
		path, err := target(*file)
		if err != nil {
			return nil, err
		}
		current, err := merge(path, raw, *name, *overwrite, func(m string) { s.Warnf("%s", m) })
		if err != nil {
			return nil, err
		}
		_, err = fmt.Fprintf(a.Out, "Merged %q as current context in %s\n", current, path)
		return nil, err
	})
	return c
}

// fetch asks Resource Manager for a kubeconfig.
func fetch(ctx context.Context, s *azure.Session, n named, admin bool, format string) ([]byte, error) {
	client, err := clusters(s)
	if err != nil {
		return nil, err
	}
	var list []*armcontainerservice.CredentialResult
	if admin {
		r, err := client.ListClusterAdminCredentials(ctx, *n.group, *n.name, nil)
		if err != nil {
			return nil, err
		}
		list = r.Kubeconfigs
	} else {
		o := &armcontainerservice.ManagedClustersClientListClusterUserCredentialsOptions{}
		if format != "" {
			f := armcontainerservice.Format(format)
			o.Format = &f
		}
		r, err := client.ListClusterUserCredentials(ctx, *n.group, *n.name, o)
		if err != nil {
			return nil, err
		}
		list = r.Kubeconfigs
	}
	if len(list) == 0 {
		return nil, errs.New(errs.NotFound, "No Kubernetes credentials found.")
	}
	return list[0].Value, nil
}

// target is the file to write.
func target(file string) (string, error) {
	if file != "" {
		return file, nil
	}
	if list := filepath.SplitList(os.Getenv("KUBECONFIG")); len(list) > 0 && list[0] != "" {
		return list[0], nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".kube", "config"), nil
}

// merge puts what a kubeconfig holds into a file and returns the name of its
// context, which is the current one then. As in az, the context of a local
// administrator gets the end -admin, so that it and the users' live side by
// side.
func merge(path string, raw []byte, name string, overwrite bool, warn func(string)) (string, error) {
	more, err := clientcmd.Load(raw)
	if err != nil {
		return "", errs.Wrap(errs.Internal, err, "The answer is not a kubeconfig")
	}
	rename(more, name)
	unlock, err := kubeconfig.Lock(path, warn)
	if err != nil {
		return "", err
	}
	defer unlock()
	all := api.NewConfig()
	switch there, err := os.ReadFile(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", errs.Wrap(errs.Invalid, err, "The kubeconfig cannot be read")
	default:
		if all, err = clientcmd.Load(there); err != nil {
			return "", errs.Wrap(errs.Invalid, err, "%s is not a kubeconfig. Write to another file with --file", path)
		}
	}
	clash := ""
	add(all.Clusters, more.Clusters, &clash)
	add(all.AuthInfos, more.AuthInfos, &clash)
	add(all.Contexts, more.Contexts, &clash)
	if clash != "" && !overwrite {
		return "", errs.New(errs.Exists, "A different object named %s already exists in %s. Replace it with --overwrite-existing, or write to another file with --file.", clash, path)
	}
	all.CurrentContext = more.CurrentContext
	out, err := clientcmd.Write(*all)
	if err != nil {
		return "", err
	}
	return more.CurrentContext, kubeconfig.Write(path, out)
}

// add puts entries beside those that are there, and notes the name of one that is
// there with another content.
func add[T any](to, from map[string]*T, clash *string) {
	for name, v := range from {
		if old, ok := to[name]; ok && !reflect.DeepEqual(old, v) {
			*clash = name
		}
		to[name] = v
	}
}

// rename gives the context its name.
func rename(config *api.Config, name string) {
	old := config.CurrentContext
	context, ok := config.Contexts[old]
	if !ok {
		return
	}
	if name == "" {
		name = old
	}
	if strings.HasPrefix(context.AuthInfo, "clusterAdmin") {
		name += "-admin"
	}
	delete(config.Contexts, old)
	config.Contexts[name] = context
	config.CurrentContext = name
}
