package etcd

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/entrance-id/entrance/internal/errs"
)

// zapLogger returns a logger for etcd that writes to log. What etcd calls info
// is debug to us: it tells of every step of its start. etcd ends the process on
// a fatal message, as when the disk refuses the write-ahead log; here only the
// goroutine ends, and fail is called, so that the health endpoints can still
// say why. While quiet is set, warnings are debug too.
func zapLogger(log *slog.Logger, fail func(error)) (_ *zap.Logger, quiet *atomic.Bool) {
	quiet = new(atomic.Bool)
	core := &zapCore{log: log.With("component", "etcd"), quiet: quiet}
	return zap.New(core, zap.WithFatalHook(fatalHook(fail))), quiet
}

type fatalHook func(error)

func (f fatalHook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	var cause error
	for _, fl := range fields {
		if err, ok := fl.Interface.(error); ok {
			cause = err
		}
	}
	f(errs.Wrap(errs.Unavailable, cause, "The embedded etcd has stopped: %s", e.Message))
	runtime.Goexit()
}

// zapCore is a zapcore.Core over slog.
type zapCore struct {
	log   *slog.Logger
	quiet *atomic.Bool
}

func (c *zapCore) level(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.WarnLevel || l == zapcore.WarnLevel && c.quiet.Load():
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// harmless are messages of a server that has just been made: it looks for its
// schema version before its first snapshot, and again a few seconds later.
var harmless = map[string]bool{
	"Failed to detect schema version":  true,
	"failed to update storage version": true,
}

// Enabled implements zapcore.LevelEnabler.
func (c *zapCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), c.level(l)) && l > zapcore.DebugLevel
}

// With implements zapcore.Core.
func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{log: c.log.With(slogArgs(fields)...), quiet: c.quiet}
}

// Check implements zapcore.Core.
func (c *zapCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write implements zapcore.Core.
func (c *zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := c.level(e.Level)
	if harmless[e.Message] {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, e.Message, slogArgs(fields)...)
	return nil
}

// Sync implements zapcore.Core.
func (c *zapCore) Sync() error { return nil }

func slogArgs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	args := make([]any, 0, 2*len(fields))
	for _, f := range fields {
		clear(enc.Fields)
		f.AddTo(enc)
		for k, v := range enc.Fields {
			args = append(args, k, v)
		}
	}
	return args
}
