package oauth_test

import "github.com/entrance-id/entrance/internal/oauth"

var (
	loopLimits  = oauth.Limits{Loop: 5}
	tightLimits = oauth.Limits{Failures: 3}
)
