package oauth

import (
	"context"

	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/grant"
)

// Audit is the sign-in log. SignIn is called once for each attempt, before the
// answer is sent, and must not block for long.
type Audit interface {
	SignIn(ctx context.Context, e *SignInEvent)
}

// SignInEvent is one attempt to get a token or a code.
type SignInEvent = grant.Event

type noAudit struct{}

func (noAudit) SignIn(context.Context, *SignInEvent) {}

// audit writes the sign-in log's entry for the grant, once.
func (p *Provider) audit(c *call, g *grant.Grant, err error) {
	if g == nil || g.Logged {
		return
	}
	var refusal *aadsts.Error
	if err != nil {
		if refusal = aadsts.From(err); refusal.Code == 70016 {
			return // a device that waits is no attempt yet
		}
	}
	g.Logged = true
	p.cfg.Audit.SignIn(c.R.Context(), g.Event(c.Call, refusal))
}
