package ad

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
)

// protect warns of what the output of a credential command is.
const protect = "The output includes credentials that you must protect. Be sure that you do not include these credentials in your code or check the credentials into your source control."

// newCredential makes the commands for the passwords and certificates of
// applications or service principals.
func newCredential(a *azure.App, kind string) *cobra.Command {
	return collection("credential", "Make, list and delete passwords and certificates", newReset(a, kind), newCredentialList(a, kind), newCredentialDelete(a, kind))
}

// find returns the function that finds an object of a kind.
func find(kind string) func(tenant, context.Context, string) (graph.Object, error) {
	if kind == "applications" {
		return tenant.app
	}
	return tenant.sp
}

// lifetime are the flags that say how long a credential is good.
type lifetime struct {
	years int
	end   string
}

func newLifetime(c *cobra.Command) *lifetime {
	l := &lifetime{}
	c.Flags().IntVar(&l.years, "years", 1, "years for which the credential is good")
	c.Flags().StringVar(&l.end, "end-date", "", "day or time at which it ends, in place of --years")
	return l
}

// span returns when the credential begins and ends.
func (l *lifetime) span(now time.Time) (start, end time.Time, err error) {
	start = now.UTC().Truncate(time.Second)
	if l.end == "" {
		return start, start.AddDate(l.years, 0, 0), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly, "2006-01-02T15:04:05"} {
		if end, err = time.Parse(layout, l.end); err == nil {
			if !end.After(start) {
				return start, end, azure.Usagef("--end-date is in the past")
			}
			return start, end.UTC(), nil
		}
	}
	return start, end, azure.Usagef("--end-date is a day such as 2030-01-31 or a time such as 2030-01-31T12:00:00Z, not %q", l.end)
}

func newReset(a *azure.App, kind string) *cobra.Command {
	c := &cobra.Command{
		Use: "reset", Short: "Make a password or register a certificate, in place of those that are there",
		Example: "  entrance ad " + map[bool]string{true: "app", false: "sp"}[kind == "applications"] + " credential reset --id APP --append",
	}
	id := appFlag(c)
	f := c.Flags()
	more := azure.TruthFlag(c, "append", "keep the credentials that are there")
	name := f.String("display-name", "", "name of the credential")
	cert, create := f.String("cert", "", "certificate to register, without its key: PEM, base64 or @file"), f.Bool("create-cert", false, "make a certificate, and keep it with its key in a file of the home directory")
	life := newLifetime(c)
	f.StringVar(id, "name", "", "")
	f.StringVar(name, "credential-description", "", "")
	azure.Hide(c, "name", "credential-description") // as az called them until 2.37
	return run(a, c, "[].{AppId:appId, Tenant:tenant}", func(ctx context.Context, t tenant) (any, error) {
		o, err := find(kind)(t, ctx, *id)
		if err != nil {
			return nil, err
		}
		k := credential{path: one(kind, graph.Text(o, "id")), object: o, append: more.Value != nil && *more.Value, name: *name, life: life}
		out := graph.Object{"appId": o["appId"], "tenant": t.session.Account.TenantID, "password": nil}
		if *cert != "" || *create {
			file, err := k.certificate(ctx, t, *cert, *create)
			if file != "" {
				out["fileWithCertAndPrivateKey"] = file
			}
			if err != nil {
				return nil, err
			}
			return out, nil
		}
		if out["password"], err = k.password(ctx, t); err != nil {
			return nil, err
		}
		t.session.Warnf("%s", protect)
		return out, nil
	})
}

// credential is what is done with the credentials of one object.
type credential struct {
	path   string
	object graph.Object
	append bool
	name   string
	life   *lifetime
}

// password makes a password and returns it. Those that were there go, unless
// they are to stay.
func (k credential) password(ctx context.Context, t tenant) (any, error) {
	start, end, err := k.life.span(time.Now())
	if err != nil {
		return nil, err
	}
	if !k.append {
		for _, old := range list(k.object["passwordCredentials"]) {
			if _, err := t.Post(ctx, k.path+"/removePassword", graph.Object{"keyId": old["keyId"]}); err != nil {
				return nil, err
			}
		}
	}
	body := graph.Object{"startDateTime": start.Format(time.RFC3339), "endDateTime": end.Format(time.RFC3339)}
	if k.name != "" {
		body["displayName"] = k.name
	}
	made, err := t.Post(ctx, k.path+"/addPassword", graph.Object{"passwordCredential": body})
	return made["secretText"], err
}

// certificate registers a certificate, which it makes if asked to, and returns
// the file that holds it then.
func (k credential) certificate(ctx context.Context, t tenant, given string, create bool) (file string, err error) {
	start, end, err := k.life.span(time.Now())
	if err != nil {
		return "", err
	}
	var der string
	if create {
		file, der, err = makeCertificate(start, end)
	} else {
		der, end, err = readCertificate(given)
	}
	if err != nil {
		return file, err
	}
	key := graph.Object{"key": der, "type": "AsymmetricX509Cert", "usage": "Verify", "startDateTime": start.Format(time.RFC3339), "endDateTime": end.UTC().Format(time.RFC3339)}
	if k.name != "" {
		key["displayName"] = k.name
	}
	keys := []graph.Object{key}
	if k.append {
		keys = append(list(k.object["keyCredentials"]), key)
	}
	return file, t.Patch(ctx, k.path, graph.Object{"keyCredentials": keys})
}

// list reads a list of objects out of an answer.
func list(v any) []graph.Object {
	all, _ := v.([]any)
	out := []graph.Object{}
	for _, e := range all {
		if o, ok := e.(graph.Object); ok {
			out = append(out, o)
		}
	}
	return out
}

// property is where Graph keeps the credentials of a kind.
func property(cert bool) string {
	if cert {
		return "keyCredentials"
	}
	return "passwordCredentials"
}

func newCredentialList(a *azure.App, kind string) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List passwords, or certificates with --cert"}
	id := appFlag(c)
	cert := azure.TruthFlag(c, "cert", "certificates instead of passwords")
	return run(a, c, "[].{DisplayName:displayName, KeyId:keyId, EndDateTime:endDateTime}", func(ctx context.Context, t tenant) (any, error) {
		o, err := find(kind)(t, ctx, *id)
		return list(o[property(cert.Value != nil && *cert.Value)]), err
	})
}

func newCredentialDelete(a *azure.App, kind string) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a password, or a certificate with --cert"}
	id := appFlag(c)
	keyID := c.Flags().String("key-id", "", "id of the credential")
	cert := azure.TruthFlag(c, "cert", "a certificate instead of a password")
	azure.Require(c, "key-id")
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		o, err := find(kind)(t, ctx, *id)
		if err != nil {
			return nil, err
		}
		path := one(kind, graph.Text(o, "id"))
		if cert.Value == nil || !*cert.Value {
			_, err := t.Post(ctx, path+"/removePassword", graph.Object{"keyId": *keyID})
			return nil, err
		}
		keys := list(o["keyCredentials"])
		rest := slices.DeleteFunc(slices.Clone(keys), func(k graph.Object) bool { return k["keyId"] == *keyID })
		if len(rest) == len(keys) {
			return nil, azure.Usagef("no certificate has the id %s: see 'entrance ad app credential list --cert'", *keyID)
		}
		return nil, t.Patch(ctx, path, graph.Object{"keyCredentials": rest})
	})
}
