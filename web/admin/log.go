package admin

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// LogLevels is what is written to the log now.
type LogLevels struct {
	Level string         `json:"level"` // of all parts that have none of their own
	Parts []LogPartLevel `json:"parts"`
}

// LogPartLevel is the level of one part of the house.
type LogPartLevel struct {
	Part  string `json:"part"`
	Level string `json:"level"`
	Own   bool   `json:"own,omitempty"`
}

// LogChange sets the level of a part ("": of all that have none of their own) until the house is restarted or the setting
// changes; "default" is what the settings say.
type LogChange struct {
	Part  string `json:"part,omitempty"`
	Level string `json:"level"`
}

// LogFilter says which lines are wanted; what is empty is not looked at.
type LogFilter struct {
	Parts   []string `json:"parts,omitempty"`
	Account string   `json:"account,omitempty"` // an address or login name: lines of its sessions and of its mail
	Address string   `json:"address,omitempty"` // of a client: lines of its connections
	Level   string   `json:"level,omitempty"`   // and above
}

// SetLog names the levels of the log that the house writes; before any verb is used.
func (h *House) SetLog(levels *logx.Levels) { h.levels = levels }

func (h *House) noLog() error {
	if h.levels == nil {
		return &Error{Class: Unavailable, Message: "no house runs here whose log could be read or changed"}
	}
	return nil
}

// LogLevels tells the levels.
func (h *House) LogLevels(context.Context) (LogLevels, error) {
	if err := h.noLog(); err != nil {
		return LogLevels{}, err
	}
	level, _ := h.levels.Level("")
	out := LogLevels{Level: levelName(level)}
	for _, part := range logx.Parts() {
		level, own := h.levels.Level(part)
		out.Parts = append(out.Parts, LogPartLevel{Part: part, Level: levelName(level), Own: own})
	}
	return out, nil
}

func levelName(l slog.Level) string { return strings.ToLower(l.String()) }

// SetLogLevel changes one.
func (h *House) SetLogLevel(ctx context.Context, c LogChange) (LogLevels, error) {
	if err := h.noLog(); err != nil {
		return LogLevels{}, err
	}
	err := h.changeLevel(c)
	if err != nil {
		return LogLevels{}, &Error{Invalid, err.Error(), err}
	}
	h.done(ctx, "log level", strings.TrimSpace(c.Part+" "+c.Level))
	if err := h.noted(ctx, "log level", c.Part, c.Level); err != nil {
		return LogLevels{}, translate("log", err)
	}
	return h.LogLevels(ctx)
}

func (h *House) changeLevel(c LogChange) error {
	if c.Level == "default" {
		return h.levels.Unset(c.Part)
	}
	level, err := logx.ParseLevel(c.Level)
	if err != nil {
		return err
	}
	return h.levels.Set(c.Part, level)
}

// FollowLog begins to read the log live; the caller closes it.
func (h *House) FollowLog(ctx context.Context, f LogFilter) (*logx.Follower, error) {
	w, err := h.logFilter(ctx, f)
	if err != nil {
		return nil, err
	}
	return h.levels.Follow(w.wants), nil
}

// logFilter is what f means.
func (h *House) logFilter(ctx context.Context, f LogFilter) (*wanted, error) {
	if err := h.noLog(); err != nil {
		return nil, err
	}
	w := &wanted{parts: f.Parts, sessions: map[string]struct{}{}, least: slog.LevelDebug}
	if f.Level != "" {
		var err error
		if w.least, err = logx.ParseLevel(f.Level); err != nil {
			return nil, &Error{Invalid, err.Error(), err}
		}
	}
	for _, p := range f.Parts {
		if !slices.Contains(logx.Parts(), p) {
			return nil, invalid(p + " is no part of the house; there are " + strings.Join(logx.Parts(), ", "))
		}
	}
	if f.Account != "" {
		a, err := h.Account(ctx, f.Account)
		if err != nil {
			return nil, err
		}
		w.person, w.account, w.names = true, slog.Uint64Value(uint64(a.ID)).String(), append(a.Addresses, a.Login)
	}
	if f.Address != "" {
		ip, err := netip.ParseAddr(f.Address)
		if err != nil {
			return nil, invalid(f.Address + " is no address of a client: write it like 192.0.2.7 or 2001:db8::7")
		}
		w.client = ip.Unmap().String()
	}
	return w, nil
}

// wanted remembers the connections that one line has shown to be of the account or the client: later lines of a session name neither.
type wanted struct {
	parts    []string
	least    slog.Level
	person   bool
	account  string   // its number
	names    []string // its addresses and login name
	client   string
	sessions map[string]struct{}
}

// maxSessions bounds what is remembered.
const maxSessions = 4096

func (w *wanted) wants(l logx.Line) bool {
	if w.person || w.client != "" {
		conn := ""
		ours := (!w.person || slices.ContainsFunc(l.Attrs, w.named)) && (w.client == "" || slices.ContainsFunc(l.Attrs, w.from))
		for _, a := range l.Attrs {
			if a.Key == "conn" {
				conn = a.Value
			}
		}
		if _, known := w.sessions[conn]; !ours && !known {
			return false
		}
		if ours && conn != "" {
			if len(w.sessions) >= maxSessions {
				clear(w.sessions)
			}
			w.sessions[conn] = struct{}{}
		}
	}
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // one that nobody knows is INFO
	return level >= w.least && (len(w.parts) == 0 || slices.Contains(w.parts, l.Part))
}

// named reports an attribute that names the account.
func (w *wanted) named(a logx.Attr) bool {
	if a.Key == "account" && a.Value == w.account {
		return true
	}
	for _, word := range strings.FieldsFunc(a.Value, func(r rune) bool { return strings.ContainsRune(" <>,[]", r) }) {
		if slices.ContainsFunc(w.names, func(name string) bool { return name != "" && strings.EqualFold(name, word) }) {
			return true
		}
	}
	return false
}

// from reports an attribute that names the client.
func (w *wanted) from(a logx.Attr) bool {
	if a.Key != "remote" {
		return false
	}
	if ap, err := netip.ParseAddrPort(a.Value); err == nil {
		return ap.Addr().Unmap().String() == w.client
	}
	return a.Value == w.client
}
