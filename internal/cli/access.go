package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/server"
)

func newAccess(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "access",
		Short: "Explain who may do what on a cluster, and why",
		Long: `Explain who may do what on a cluster, and why: through which group, role and scope, or
what is missing. The answer comes from the function that decides for the cluster, and
the cluster's own Kubernetes RBAC is part of it.`,
	}
	c.AddCommand(newExplain(e), newWhoCan(e), newWhatCan(e))
	return c
}

// request are the flags that describe a request to a cluster.
type request struct {
	cluster, namespace, name, path string
}

func (r *request) flags(c *cobra.Command) {
	c.Flags().StringVar(&r.cluster, "cluster", "", "name or resource id of the cluster")
	c.Flags().StringVarP(&r.namespace, "namespace", "n", "", "namespace; without it the request is for the whole cluster")
	c.Flags().StringVar(&r.name, "name", "", "name of the object")
	c.Flags().StringVar(&r.path, "path", "", "ask about a path such as /metrics instead of a resource")
}

// query makes the question from a verb and a resource, which is written
// resource[.group][/subresource] as kubectl has it.
func (r *request) query(verb, resource string) (access.Query, error) {
	var q access.Query
	switch {
	case verb == "":
		return q, azure.Usagef("the verb is missing")
	case r.path != "" && resource != "":
		return q, azure.Usagef("ask about a resource or about --path, one of them")
	case r.path != "":
		q.NonResource = &k8s.NonResourceAttributes{Path: r.path, Verb: verb}
		return q, nil
	case resource == "":
		return q, azure.Usagef("the resource is missing")
	}
	main, sub, _ := strings.Cut(resource, "/")
	plural, group, _ := strings.Cut(main, ".")
	q.Resource = &k8s.ResourceAttributes{Verb: verb, Resource: plural, Group: group, Subresource: sub, Namespace: r.namespace, Name: r.name}
	return q, nil
}

// outputFlag adds --output for commands that print a table or JSON.
func outputFlag(c *cobra.Command) *string {
	return c.Flags().StringP("output", "o", "table", "table or json")
}

// printAs prints v as JSON, or as the table that table writes.
func printAs(e *azure.App, output string, v any, table func(w *tabwriter.Writer)) error {
	switch output {
	case "json":
		enc := json.NewEncoder(e.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "table":
		w := tabwriter.NewWriter(e.Out, 0, 0, 2, ' ', 0)
		table(w)
		return w.Flush()
	}
	return azure.Usagef("--output is table or json, not %q", output)
}

func newExplain(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "explain",
		Short: "Say whether somebody may do something, and why",
		Example: `  entrance access explain --user dev@contoso.test --verb get --resource secrets -n prod --cluster sample
  entrance access explain --user dev@contoso.test --verb get --resource pods/log -n prod --cluster sample \
      --with-assignment 'Azure Kubernetes Service RBAC Reader@namespace/prod'`,
		Long: `Say whether somebody may do something on a cluster, and why. The exit code is 0 when it
is allowed and 1 when it is refused.`,
	}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	var r request
	r.flags(c)
	user := c.Flags().String("user", "", "user principal name, object id, or application id of a service principal")
	verb := c.Flags().String("verb", "", "verb of the request: get, list, create, ...")
	resource := c.Flags().String("resource", "", "resource[.group][/subresource]")
	with := c.Flags().StringArray("with-assignment", nil, "imagine a role assignment: ROLE@SCOPE, the scope a resource id, cluster, or namespace/NAME")
	without := c.Flags().StringArray("without-member", nil, "imagine that the subject is not in this group (object id or name)")
	member := c.Flags().StringArray("with-member", nil, "imagine that the subject is in this group (object id or name)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *user == "" || r.cluster == "" {
			return azure.Usagef("--user and --cluster are required")
		}
		q, err := r.query(*verb, *resource)
		if err != nil {
			return err
		}
		q.Who, q.WithAssignment, q.WithoutMember, q.WithMember = *user, *with, *without, *member
		report, err := server.Explain(c.Context(), *dir, server.AccessQuery{Cluster: r.cluster, Query: q})
		if err != nil {
			return err
		}
		if err := printAs(e, *output, report, func(w *tabwriter.Writer) { explained(w, report) }); err != nil {
			return err
		}
		if !report.Allowed {
			return azure.ExitCode(1)
		}
		return nil
	}
	return c
}

// explained writes a report for a person.
func explained(w *tabwriter.Writer, r *access.Report) {
	verdict := "REFUSED"
	if r.Allowed {
		verdict = "ALLOWED"
	}
	fmt.Fprintf(w, "%s\tby %s: %s\n", verdict, r.By, r.Reason)
	fmt.Fprintf(w, "subject\t%s (%s)\n", r.Subject.UserName, r.Subject.ID)
	for _, g := range r.Subject.Groups {
		fmt.Fprintf(w, "group\t%s (%s), through %s\n", g.Name, g.ID, strings.Join(g.Path, " > "))
	}
	for _, b := range r.Kubernetes {
		where := "cluster-wide"
		if b.Namespace != "" {
			where = "in namespace " + b.Namespace
		}
		fmt.Fprintf(w, "Kubernetes RBAC\t%s binds %s to %s %s\n", b.Binding, b.Subject, b.Role, where)
	}
	switch {
	case r.Unread:
		fmt.Fprintf(w, "Kubernetes RBAC\tcannot be read from here: a binding of the cluster may allow it\n")
	case len(r.Kubernetes) == 0:
		fmt.Fprintf(w, "Kubernetes RBAC\tno binding allows it\n")
	}
	fmt.Fprintf(w, "Azure RBAC\t%s\n", r.AzureRBAC)
	for _, check := range r.Checks {
		fmt.Fprintf(w, "  action\t%s\n  at\t%s: %s\n", check.Action, check.Scope, check.Reason)
		for _, s := range check.Steps {
			line := fmt.Sprintf("%s at %s for %s: %s", s.Role, s.Scope, s.Principal, s.Outcome)
			if s.Condition != "" {
				line += ", condition " + s.Condition
			}
			if !s.Until.IsZero() {
				line += ", until " + stamp(s.Until)
			}
			fmt.Fprintf(w, "  assignment\t%s\n", line)
		}
		for _, d := range check.Denies {
			fmt.Fprintf(w, "  denied by\t%s\n", d)
		}
	}
	for _, s := range r.Suggestions {
		fmt.Fprintf(w, "would allow it\t%s\n", s)
	}
	for _, p := range r.Windows {
		switch {
		case p.State == access.WindowActive:
			fmt.Fprintf(w, "active until\t%s: %s\n", stamp(p.Until), p.Privilege)
		case p.Until.IsZero():
			fmt.Fprintf(w, "eligible\t%s would allow it: %s\n", p.Privilege, p.Activate)
		default:
			fmt.Fprintf(w, "eligible\t%s would allow it, until %s: %s\n", p.Privilege, stamp(p.Until), p.Activate)
		}
	}
	for _, p := range r.Policies {
		line := fmt.Sprintf("%s: policy %q, %s", p.SignIn, p.Policy, p.Result)
		if len(p.Controls) > 0 {
			line += " (" + strings.Join(p.Controls, ", ") + ")"
		}
		if p.Advice != "" {
			line += ": " + p.Advice
		}
		fmt.Fprintf(w, "sign-in\t%s\n", line)
	}
}

// stamp is a moment for a person.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func newWhoCan(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:     "who-can VERB [RESOURCE]",
		Short:   "List everybody who may do something: by the cluster's own RBAC, an admin group or Azure RBAC",
		Example: `  entrance access who-can delete secrets -n prod --cluster sample`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return azure.Usagef("who-can takes a verb and a resource")
			}
			return nil
		},
	}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	var r request
	r.flags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if r.cluster == "" {
			return azure.Usagef("--cluster is required")
		}
		q, err := r.query(args[0], strings.Join(args[1:], ""))
		if err != nil {
			return err
		}
		list, err := server.WhoCan(c.Context(), *dir, server.AccessQuery{Cluster: r.cluster, Query: q})
		if err != nil {
			return err
		}
		return printAs(e, *output, list, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "NAME\tOBJECT ID\tWHY")
			for _, h := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\n", h.UserName, h.ID, h.Reason)
			}
		})
	}
	return c
}

func newWhatCan(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "what-can USER",
		Short: "List the role assignments that somebody holds, through groups too",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return azure.Usagef("what-can takes one user or service principal")
			}
			return nil
		},
	}
	dir, output := e.DataDirFlag(c), outputFlag(c)
	cluster := c.Flags().String("cluster", "", "only what touches this cluster, and the bindings of its own RBAC")
	c.RunE = func(c *cobra.Command, args []string) error {
		list, err := server.WhatCan(c.Context(), *dir, server.AccessQuery{Cluster: *cluster, Query: access.Query{Who: args[0]}})
		if err != nil {
			return err
		}
		return printAs(e, *output, list, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "ROLE\tSCOPE\tVIA")
			for _, h := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\n", h.Role, h.Scope, h.Via)
			}
		})
	}
	return c
}
