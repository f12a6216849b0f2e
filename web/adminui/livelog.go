package adminui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// logPage is the log as it is written.
type logPage struct {
	Parts, Levels    []choice
	Account, Address string
	Lines            []string
	Began            bool   // it is kept from now on
	Stream           string // where the lines come from
	Set              []admin.LogPartLevel
	Level            string
	Choices          []string
	Away             string // why there is nothing to see
}

// logFilter is what of the log is wanted.
func logFilter(r *http.Request) admin.LogFilter {
	q := r.URL.Query()
	f := admin.LogFilter{Account: short(q.Get("account")), Address: short(q.Get("address")), Level: short(q.Get("level"))}
	if p := short(q.Get("part")); p != "" {
		f.Parts = []string{p}
	}
	return f
}

func (m *room) liveLog(w http.ResponseWriter, r *http.Request) error {
	f := logFilter(r)
	lines, began, err := m.o.House.RecentLog(r.Context(), f)
	var verb *admin.Error
	if errors.As(err, &verb) && verb.Class == admin.Unavailable {
		return m.show(w, r, page.View{Page: "log", Title: "The log", Data: logPage{Away: sentence(verb.Message)}})
	}
	if err != nil {
		return err
	}
	set, err := m.o.House.LogLevels(r.Context())
	if err != nil {
		return err
	}
	q := url.Values{}
	for key, v := range map[string]string{"account": f.Account, "address": f.Address, "level": f.Level, "part": strings.Join(f.Parts, "")} {
		if v != "" {
			q.Set(key, v)
		}
	}
	d := logPage{Account: f.Account, Address: f.Address, Began: began, Stream: "/admin/log/lines?" + q.Encode(), Set: set.Parts, Level: set.Level, Choices: []string{"debug", "info", "warn", "error"}}
	for _, l := range lines[max(0, len(lines)-200):] {
		d.Lines = append(d.Lines, logLine(l))
	}
	d.Parts = []choice{{"", "all parts", len(f.Parts) == 0}}
	for _, p := range set.Parts {
		d.Parts = append(d.Parts, choice{p.Part, p.Part, len(f.Parts) == 1 && f.Parts[0] == p.Part})
	}
	for _, l := range []choice{{"", "all of them", false}, {"info", "info and worse", false}, {"warn", "warnings and errors", false}, {"error", "errors", false}} {
		l.On = l.Value == f.Level
		d.Levels = append(d.Levels, l)
	}
	return m.show(w, r, page.View{Page: "log", Title: "The log", Data: d})
}

// logLine is a line for people.
func logLine(l logx.Line) string {
	var b strings.Builder
	if l.Lost > 0 {
		fmt.Fprintf(&b, "(%d lines before this one did not fit) ", l.Lost)
	}
	fmt.Fprintf(&b, "%s %-5s %s%s", l.Time.UTC().Format("15:04:05.000"), l.Level, or(l.Part, "", ": "), l.Event)
	for _, a := range l.Attrs {
		v := a.Value
		if v == "" || strings.ContainsFunc(v, func(r rune) bool { return r == ' ' || r == '"' || !strconv.IsPrint(r) }) {
			v = strconv.Quote(v)
		}
		b.WriteString(" " + a.Key + "=" + v)
	}
	return b.String()
}

// or is text with what is behind it; nothing when there is none.
func or(text, before, behind string) string {
	if text == "" {
		return ""
	}
	return before + text + behind
}

func (m *room) setLogLevel(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "part", "level")
	if err != nil {
		return err
	}
	if _, err := m.o.House.SetLogLevel(r.Context(), admin.LogChange{Part: short(f.Value("part")), Level: short(f.Value("level"))}); err != nil {
		return err
	}
	page.Done(w, r, "/admin/log", "log-level")
	return nil
}

func (m *room) logLines(w http.ResponseWriter, r *http.Request) error {
	if m.streams.Add(1) > streamsMost {
		m.streams.Add(-1)
		return &page.Problem{Status: http.StatusServiceUnavailable, Title: "So many pages follow the log already", Text: "Close some of them, and load this one again."}
	}
	defer m.streams.Add(-1)
	f, err := m.o.House.FollowLog(r.Context(), logFilter(r))
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, stop := m.o.House.Watching(r.Context())
	defer stop()
	events(ctx, w, page.VisitOf(r.Context()).Stays, func(ctx context.Context) (string, bool) {
		l, ok := f.Next(ctx)
		return logLine(l), ok
	})
	return nil
}

// Bounds of a stream: a proxy closes what is silent, and who does not read is given up.
const (
	eventSilence = 20 * time.Second
	eventWait    = 30 * time.Second
	eventsMost   = time.Hour // then the browser asks again
	streamsMost  = 40        // at the same time, of all operators
)

// events writes what next gives as Server-Sent Events, until there is no more, the reader has gone, or he may not read it any more: that is
// looked at each eventSilence.
func events(ctx context.Context, w http.ResponseWriter, stays func(context.Context) bool, next func(context.Context) (string, bool)) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep it back
	ctx, stop := context.WithTimeout(ctx, eventsMost)
	defer stop()
	write := func(text string) bool {
		_ = out.SetWriteDeadline(time.Now().Add(eventWait)) // a writer without deadlines is a test's
		_, err := w.Write([]byte(text))
		return err == nil && out.Flush() == nil
	}
	if !write(": it begins\n\n") {
		return
	}
	looked := time.Now()
	for {
		quiet, cancel := context.WithTimeout(ctx, eventSilence)
		line, ok := next(quiet)
		silent := quiet.Err() != nil && ctx.Err() == nil
		cancel()
		if time.Since(looked) >= eventSilence {
			if !stays(ctx) {
				write("event: end\ndata: \n\n")
				return
			}
			looked = time.Now()
		}
		switch {
		case ok:
			line = strings.NewReplacer("\n", " ", "\r", " ").Replace(line)
			if !write("data: " + line + "\n\n") {
				return
			}
		case silent:
			if !write(": still there\n\n") {
				return
			}
		default:
			if ctx.Err() == nil {
				write("event: end\ndata: \n\n")
			}
			return
		}
	}
}

// tracesPage is what connections say.
type tracesPage struct {
	All  []admin.KeptTrace
	Form *page.Form
	For  []choice
}

func (m *room) traces(w http.ResponseWriter, r *http.Request) error { return m.showTraces(w, r, nil) }

func (m *room) showTraces(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	all, err := m.o.House.KeptTraces(r.Context())
	if err != nil {
		return err
	}
	d := tracesPage{All: all, For: []choice{{"5m", "5 minutes", true}, {"30m", "half an hour", false}, {"2h", "2 hours", false}, {"24h", "a day", false}}}
	for i := range d.For {
		if v := f.Value("for"); v != "" {
			d.For[i].On = d.For[i].Value == v
		}
	}
	return m.show(w, r, page.View{Page: "traces", Title: "What mail programs say", Status: statusOf(f), Form: f, Data: d})
}

func (m *room) startTrace(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "account", "address", "for", "bodies")
	if err != nil {
		return err
	}
	in := admin.DialogueFilter{Account: f.Value("account"), Address: f.Value("address"), Bodies: f.Is("bodies")}
	if in.For, err = time.ParseDuration(f.Value("for")); err != nil {
		f.Reject("for", "Choose one of these.")
	}
	if in.Account == "" && in.Address == "" {
		f.Reject("account", "Say whose connections, or from which address.")
	}
	if !f.Ok() {
		return m.showTraces(w, r, f)
	}
	k, err := m.o.House.KeepTrace(r.Context(), in)
	field := "account"
	if in.Address != "" {
		field = "address"
	}
	if err := refused(f, field, err); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showTraces(w, r, f)
	}
	http.Redirect(w, r, at("/admin/traces/one", "id", k.ID), http.StatusSeeOther)
	return nil
}

// tracePage is one of them.
type tracePage struct {
	admin.KeptTrace
	Text []string
}

func (m *room) trace(w http.ResponseWriter, r *http.Request) error {
	k, err := m.o.House.KeptTrace(r.Context(), short(r.URL.Query().Get("id")))
	if err != nil {
		return err
	}
	d := tracePage{KeptTrace: k}
	for _, l := range k.Lines[max(0, len(k.Lines)-1000):] {
		d.Text = append(d.Text, spokenLine(l))
	}
	return m.show(w, r, page.View{Page: "trace", Title: "What was said", Data: d})
}

func spokenLine(l dialogue.Line) string {
	who := "S:"
	if l.Client {
		who = "C:"
	}
	lost := ""
	if l.Lost > 0 {
		lost = fmt.Sprintf("(%d lines did not fit) ", l.Lost)
	}
	return fmt.Sprintf("%s %s %s %s %s%s", l.Time.UTC().Format("15:04:05"), l.Service, l.Conn, who, lost, l.Text)
}

func (m *room) endTrace(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "id")
	if err != nil {
		return err
	}
	if err := m.o.House.EndTrace(r.Context(), short(f.Value("id"))); err != nil {
		return err
	}
	page.Done(w, r, "/admin/traces", "trace-ended")
	return nil
}
