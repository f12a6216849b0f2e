// Package logx is how the house speaks: slog with one vocabulary of events
// (vocabulary.go), attributes that travel with a context, levels for each part
// (levels.go), live readers (follow.go), and a limiter for events that a
// hostile client could repeat without end.
//
// A message is always a constant of the vocabulary; what varies is an
// attribute. Passwords, tokens and message bodies are never attributes.
package logx

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
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
	h := &slog.HandlerOptions{Level: slog.Level(math.MinInt)} // contextHandler decides
	own := contextHandler{levels: newLevels(o.Level)}
	if o.Plain {
		h.ReplaceAttr = withoutTime
	}
	if o.Format == "json" {
		own.next = slog.NewJSONHandler(w, h)
	} else {
		own.next = slog.NewTextHandler(w, h)
	}
	return slog.New(own)
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

// Carried is what the context's events carry under key; empty: nothing.
func Carried(ctx context.Context, key string) string {
	attrs, _ := ctx.Value(attrsKey{}).([]slog.Attr)
	for _, a := range slices.Backward(attrs) {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

// contextHandler adds the context's attributes to each record, knows the level of its part, and shows what it writes to those who follow.
type contextHandler struct {
	next   slog.Handler
	levels *Levels
	part   string
	bound  []slog.Attr // what next has been given by WithAttrs, for followers
}

func (h contextHandler) Enabled(_ context.Context, l slog.Level) bool {
	level, _ := h.levels.Level(h.part)
	return l >= level
}

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	if attrs, ok := ctx.Value(attrsKey{}).([]slog.Attr); ok {
		r = r.Clone()
		r.AddAttrs(attrs...)
	}
	if h.levels.tap.count.Load() > 0 {
		h.levels.tap.offer(h.part, h.bound, r)
	}
	return h.next.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.next, h.bound = h.next.WithAttrs(attrs), slices.Concat(h.bound, attrs)
	return h
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	h.next = h.next.WithGroup(name)
	return h
}
