package cluster

import "context"

// KeepUp does for one cluster what the housekeeping does now and then.
var KeepUp = func(ctx context.Context, c *Cluster) error { return c.keepUp(ctx) }
