package store

import (
	"context"
	"log/slog"
	"runtime"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/entrance-id/entrance/internal/errs"
)

// zapLogger returns a logger for etcd that writes to log. What etcd calls info
// is debug to us: it tells of every step of its start. etcd ends the process on
// a fatal message, as when the disk refuses the write-ahead log; here only the
// goroutine ends, and fail is called, so that the health endpoints can still
// say why.
func zapLogger(log *slog.Logger, fail func(error)) *zap.Logger {
	return zap.New(&zapCore{log: log.With("component", "etcd")}, zap.WithFatalHook(fatalHook(fail)))
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
	log *slog.Logger
}

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l < zapcore.WarnLevel:
		return slog.LevelDebug
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// Enabled implements zapcore.LevelEnabler.
func (c *zapCore) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), slogLevel(l)) && l > zapcore.DebugLevel
}

// With implements zapcore.Core.
func (c *zapCore) With(fields []zapcore.Field) zapcore.Core {
	return &zapCore{log: c.log.With(slogArgs(fields)...)}
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
	c.log.Log(context.Background(), slogLevel(e.Level), e.Message, slogArgs(fields)...)
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
