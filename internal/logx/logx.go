// Package logx is how the house speaks: slog with one vocabulary of events
// (vocabulary.go), attributes that travel with a context, and a limiter for
// events that a hostile client could repeat without end.
//
// A message is always a constant of the vocabulary; what varies is an
// attribute. Passwords, tokens and message bodies are never attributes.
package logx

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Options of a logger.
type Options struct {
	Format string       // "text" or "json"; text when empty
	Level  slog.Leveler // info when nil; a *slog.LevelVar can change it while the house runs
	Plain  bool         // no time: the journal that reads the output adds its own
}

// New returns a logger that writes one line per event to w.
func New(w io.Writer, o Options) *slog.Logger {
	h := &slog.HandlerOptions{Level: o.Level}
	if o.Plain {
		h.ReplaceAttr = withoutTime
	}
	if o.Format == "json" {
		return slog.New(contextHandler{slog.NewJSONHandler(w, h)})
	}
	return slog.New(contextHandler{slog.NewTextHandler(w, h)})
}

func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// ParseLevel reads debug, info, warn or error.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("%q is no log level: write debug, info, warn or error", s)
}

// attrsKey is the key of the attributes in a context.
type attrsKey struct{}

// With returns a context whose events carry attrs, after those it carries already.
func With(ctx context.Context, attrs ...slog.Attr) context.Context {
	before, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	all := make([]slog.Attr, 0, len(before)+len(attrs))
	return context.WithValue(ctx, attrsKey{}, append(append(all, before...), attrs...))
}

// contextHandler adds the context's attributes to each record.
type contextHandler struct{ next slog.Handler }

func (h contextHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.next.Enabled(ctx, l)
}

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	if attrs, ok := ctx.Value(attrsKey{}).([]slog.Attr); ok {
		r = r.Clone()
		r.AddAttrs(attrs...)
	}
	return h.next.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.next.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.next.WithGroup(name)}
}
