package cert

import (
	"context"
	"log/slog"

	"go.uber.org/zap/zapcore"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// bridge takes certmagic's log to ours. Its steps are for who looks for a fault: what matters is told by events, in our own words.
type bridge struct {
	log   *slog.Logger
	attrs []any
}

func (b *bridge) Enabled(zapcore.Level) bool {
	return b.log.Enabled(context.Background(), slog.LevelDebug)
}

func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{log: b.log, attrs: append(b.attrs[:len(b.attrs):len(b.attrs)], plainFields(fields)...)}
}

func (b *bridge) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return c.AddCore(e, b)
	}
	return c
}

func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	b.log.Debug(logx.CertStep, append(append([]any{"step", e.Message}, b.attrs...), plainFields(fields)...)...)
	return nil
}

func (b *bridge) Sync() error { return nil }

func plainFields(fields []zapcore.Field) []any {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	var out []any
	for _, f := range fields {
		if v, ok := m.Fields[f.Key]; ok {
			out = append(out, f.Key, v)
		}
	}
	return out
}
