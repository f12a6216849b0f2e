package logx

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
)

// Parts of the house that have a level of their own.
const (
	PartHouse   = "house"   // start, stop, settings, disk, letters, what has no other part
	PartDoors   = "doors"   // connections: limits, PROXY protocol, TLS handshakes
	PartSMTP    = "smtp"    // mail that comes in and is handed in
	PartIMAP    = "imap"    // mail programs
	PartPOP3    = "pop3"    // mail programs
	PartQueue   = "queue"   // what waits, deliveries here and to other hosts
	PartStore   = "store"   // log, tables, compaction, backups
	PartAuth    = "auth"    // logins
	PartJunk    = "junk"    // the judge, what users teach it, helpers
	PartLists   = "lists"   // mailing lists
	PartReports = "reports" // DMARC and TLS reports
	PartCert    = "cert"    // certificates
	PartWeb     = "web"     // pages and the operator's commands
)

// Parts names them all.
func Parts() []string {
	return []string{PartAuth, PartCert, PartDoors, PartHouse, PartIMAP, PartJunk, PartLists, PartPOP3, PartQueue, PartReports, PartSMTP, PartStore, PartWeb}
}

// Levels are the levels of one logger: one for all, and those of parts that have their own. They may be changed at any time.
type Levels struct {
	base slog.Leveler             // of the settings
	own  map[string]*atomic.Int64 // by part, "" for all; unset: the one for all
	tap  tap
}

const unset = math.MinInt64

func newLevels(base slog.Leveler) *Levels {
	if base == nil {
		base = slog.LevelInfo
	}
	l := &Levels{base: base, own: map[string]*atomic.Int64{}}
	for _, name := range append(Parts(), "") {
		l.own[name] = new(atomic.Int64)
		l.own[name].Store(unset)
	}
	return l
}

// LevelsOf returns the levels of a logger of New, or of a part of it; nil of another logger.
func LevelsOf(log *slog.Logger) *Levels {
	if h, ok := log.Handler().(contextHandler); ok {
		return h.levels
	}
	return nil
}

// Part is log for one part of the house; a logger that is not of New is returned as it is.
func Part(log *slog.Logger, name string) *slog.Logger {
	h, ok := log.Handler().(contextHandler)
	if !ok {
		return log
	}
	h.part = name
	return slog.New(h)
}

// Level is what a part ("" is all others) says now, and whether that is its own level.
func (l *Levels) Level(part string) (level slog.Level, own bool) {
	for _, name := range []string{part, ""} {
		if v, ok := l.own[name]; ok {
			if n := v.Load(); n != unset {
				return slog.Level(n), name == part
			}
		}
	}
	return l.base.Level(), false
}

// Set gives a part a level of its own, or all that have none ("").
func (l *Levels) Set(part string, level slog.Level) error {
	v, ok := l.own[part]
	if !ok {
		return unknownPart(part)
	}
	v.Store(int64(level))
	return nil
}

// Unset takes its own level from a part; "" goes back to what the settings say.
func (l *Levels) Unset(part string) error {
	v, ok := l.own[part]
	if !ok {
		return unknownPart(part)
	}
	v.Store(unset)
	return nil
}

// Configure makes the levels those of the settings; what was Set before is forgotten.
func (l *Levels) Configure(parts map[string]slog.Level) {
	for name, v := range l.own {
		if level, ok := parts[name]; ok {
			v.Store(int64(level))
			continue
		}
		v.Store(unset)
	}
}

// ParseLevels reads "part=level" words.
func ParseLevels(words []string) (map[string]slog.Level, error) {
	all := make(map[string]slog.Level, len(words))
	for _, w := range words {
		part, text, ok := strings.Cut(w, "=")
		part = strings.TrimSpace(part)
		if !ok {
			return nil, fmt.Errorf(`%q is no part=level: write it like "smtp=debug"`, w)
		}
		if !slices.Contains(Parts(), part) {
			return nil, unknownPart(part)
		}
		if _, twice := all[part]; twice {
			return nil, fmt.Errorf("%q has two levels", part)
		}
		level, err := ParseLevel(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		all[part] = level
	}
	return all, nil
}

func unknownPart(part string) error {
	return fmt.Errorf("%q is no part of the house; there are %s", part, strings.Join(Parts(), ", "))
}
