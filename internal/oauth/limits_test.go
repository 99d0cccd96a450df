package oauth_test

import (
	"io"

	"github.com/entrance-id/entrance/internal/oauth"
)

var (
	loopLimits  = oauth.Limits{Loop: 5}
	tightLimits = oauth.Limits{Failures: 3}
)

func copyAll(w io.Writer, r io.Reader) (int64, error) { return io.Copy(w, r) }
