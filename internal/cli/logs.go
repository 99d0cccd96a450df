package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/server"
)

func newLogs(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "logs",
		Short: "Show the sign-in, audit and decision logs",
		Long: `Show the sign-in, audit and decision logs of the running instance, the oldest record
first. --output json prints one record a line as Microsoft Graph has it, which is the export.`,
	}
	c.AddCommand(
		newLog(e, "signins", "Who signed in or was refused, to what, and which policy said so", audit.SignIns, signInLine),
		newLog(e, "audits", "What was changed in the directory and in Resource Manager, by whom", audit.DirectoryAudits, auditLine),
		newLog(e, "decisions", "What the clusters' webhooks refused, and some of what they allowed", audit.Decisions, decisionLine),
	)
	return c
}

func newLog(e *azure.App, name, short string, kind audit.Kind, line func(json.RawMessage) (string, error)) *cobra.Command {
	c := &cobra.Command{Use: name, Short: short}
	dir := e.DataDirFlag(c)
	follow := c.Flags().BoolP("follow", "f", false, "go on with what is written from now on, until interrupted")
	output := c.Flags().StringP("output", "o", "text", "text or json (one record a line)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *output != "text" && *output != "json" {
			return azure.Usagef("--output is text or json, not %q", *output)
		}
		out := bufio.NewWriter(e.Out)
		defer out.Flush()
		return server.ReadLog(c.Context(), *dir, server.LogQuery{Log: kind, Follow: *follow}, func(doc json.RawMessage) error {
			text := string(doc)
			if *output == "text" {
				var err error
				if text, err = line(doc); err != nil {
					return err
				}
			}
			if _, err := fmt.Fprintln(out, text); err != nil {
				return err
			}
			if *follow {
				return out.Flush()
			}
			return nil
		})
	}
	return c
}

// fields joins what is not empty to one line. What clients have chosen, such as
// a typed name, cannot write control characters to the terminal.
func fields(when time.Time, list ...string) string {
	line := []string{when.UTC().Format(time.RFC3339)}
	for _, f := range list {
		if f != "" {
			line = append(line, f)
		}
	}
	return printable(strings.Join(line, "  "))
}

// printable is a text without control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

func signInLine(doc json.RawMessage) (string, error) {
	var r audit.SignIn
	if err := json.Unmarshal(doc, &r); err != nil {
		return "", err
	}
	who, outcome := r.UserPrincipalName, "success"
	if who == "" {
		who = r.ServicePrincipalName
	}
	if r.Status.ErrorCode != 0 {
		outcome = fmt.Sprintf("AADSTS%d %s", r.Status.ErrorCode, r.Status.FailureReason)
	}
	var policies []string
	for _, p := range r.AppliedPolicies {
		if p.Result == "success" || p.Result == "failure" {
			policies = append(policies, fmt.Sprintf("%s: %s (%s)", p.DisplayName, p.Result, strings.Join(p.GrantControls, ", ")))
		}
	}
	var device string
	if r.Device.DeviceID != "" {
		device = "device=" + r.Device.DisplayName
	}
	return fields(r.Created, who, r.AppDisplayName+" -> "+r.ResourceDisplayName, r.IPAddress, device, outcome, strings.Join(policies, "; "), "correlation="+r.CorrelationID), nil
}

func auditLine(doc json.RawMessage) (string, error) {
	var r audit.DirectoryAudit
	if err := json.Unmarshal(doc, &r); err != nil {
		return "", err
	}
	var by string
	switch {
	case r.InitiatedBy.User != nil:
		by = r.InitiatedBy.User.UserPrincipalName
	case r.InitiatedBy.App != nil:
		by = r.InitiatedBy.App.DisplayName
	}
	var targets []string
	for _, t := range r.TargetResources {
		name := t.DisplayName
		if name == "" {
			name = t.ID
		}
		targets = append(targets, name)
	}
	return fields(r.Time, by, r.Activity, strings.Join(targets, ", "), r.Result, r.ResultReason, "correlation="+r.CorrelationID), nil
}

func decisionLine(doc json.RawMessage) (string, error) {
	var r audit.Decision
	if err := json.Unmarshal(doc, &r); err != nil {
		return "", err
	}
	what := r.Path
	if r.Resource != "" {
		what = r.Resource
		if r.APIGroup != "" {
			what += "." + r.APIGroup
		}
		if r.Subresource != "" {
			what += "/" + r.Subresource
		}
		if r.Name != "" {
			what += " " + r.Name
		}
		if r.Namespace != "" {
			what += " in " + r.Namespace
		}
	}
	return fields(r.Time, string(r.Verdict), r.Surface, r.UserName, strings.TrimSpace(r.Verb+" "+what), r.Cluster, r.Reason), nil
}
