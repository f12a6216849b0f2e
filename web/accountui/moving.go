package accountui

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// moving is the pages about mail that comes from another server, and that is taken along.
func (m *room) moving() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/import":          m.imports,
		"POST /account/import":         m.startImport,
		"GET /account/import/progress": m.progress,
		"POST /account/import/stop":    m.stopImport,
		"GET /account/export":          m.export,
		"GET /account/export/mail.zip": m.exportZip,
	}
}

// imports is the form, and what was begun before.
type imports struct {
	All      []running
	Protocol []choice
	Security []choice
}

// running is an import in words.
type running struct {
	admin.PullStatus
	Percent int
	Words   string // of its state
	Hints   []string
}

func (m *room) imports(w http.ResponseWriter, r *http.Request) error { return m.showImports(w, r, nil) }

func (m *room) showImports(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	all, err := m.o.House.OwnPulls(r.Context(), user(r))
	if err != nil {
		return err
	}
	p := imports{
		Protocol: []choice{{"imap", "IMAP: all folders", f.Value("protocol") != "pop3"}, {"pop3", "POP3: the inbox alone", f.Value("protocol") == "pop3"}},
		Security: []choice{{"tls", "TLS (SSL)", f.Value("security") != "starttls"}, {"starttls", "STARTTLS", f.Value("security") == "starttls"}},
	}
	for _, s := range all {
		p.All = append(p.All, inWords(s))
	}
	return m.answer(w, r, page.View{Page: "import", Title: "Import from another server", Form: f, Data: p})
}

func inWords(s admin.PullStatus) running {
	x := running{PullStatus: s, Words: map[string]string{
		admin.PullRunning: "goes on", admin.PullDone: "done", admin.PullStopped: "stopped", admin.PullFailed: "failed",
	}[s.State]}
	if s.Progress.Messages > 0 {
		x.Percent = min(100, s.Progress.Done*100/s.Progress.Messages)
	}
	switch {
	case s.IMAP != nil:
		x.Hints = s.IMAP.Warnings
	case s.POP3 != nil:
		x.Hints = s.POP3.Warnings
	}
	return x
}

func (m *room) startImport(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "protocol", "host", "port", "security", "user", "password", "delete")
	if err != nil {
		return err
	}
	in := admin.OwnPull{
		Protocol: f.Value("protocol"), Host: f.Value("host"), StartTLS: f.Value("security") == "starttls", User: f.Value("user"), Password: f.Secret("password"), Delete: f.Is("delete"),
	}
	if text := f.Value("port"); text != "" {
		if in.Port, err = strconv.Atoi(text); err != nil || in.Port < 1 || in.Port > 65535 {
			f.Reject("port", "A port is a number, such as 993.")
		}
	}
	for _, x := range []struct{ field, say string }{{"host", "Which server?"}, {"user", "Who are you there?"}, {"password", "Your password there is needed."}} {
		if f.Secret(x.field) == "" {
			f.Reject(x.field, x.say)
		}
	}
	if f.Ok() {
		s, err := m.o.House.StartOwnPull(r.Context(), user(r), in)
		if err == nil {
			http.Redirect(w, r, "/account/import/progress?id="+s.ID, http.StatusSeeOther)
			return nil
		}
		if err := f.Refused("host", err); err != nil {
			return err
		}
	}
	return m.showImports(w, r, f)
}

// ownImport is the import of the account that a request names.
func (m *room) ownImport(r *http.Request, id string) (admin.PullStatus, error) {
	all, err := m.o.House.OwnPulls(r.Context(), user(r))
	if err != nil {
		return admin.PullStatus{}, err
	}
	for _, s := range all {
		if s.ID == id {
			return s, nil
		}
	}
	return admin.PullStatus{}, &page.Problem{Status: http.StatusNotFound, Title: "There is no such import", Text: "It ended before this server was restarted, or it is not yours. What it has brought is in your mailboxes."}
}

// progress shows one; the browser asks for it again while it goes on, without a script.
func (m *room) progress(w http.ResponseWriter, r *http.Request) error {
	s, err := m.ownImport(r, r.URL.Query().Get("id"))
	if err != nil {
		return err
	}
	if s.State == admin.PullRunning {
		w.Header().Set("Refresh", "3")
	}
	return m.show(w, r, page.View{Page: "import-progress", Title: "Import", Data: inWords(s)})
}

func (m *room) stopImport(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "id")
	if err != nil {
		return err
	}
	if _, err := m.ownImport(r, f.Value("id")); err != nil {
		return err
	}
	if err := m.o.House.StopOwnPull(r.Context(), user(r), f.Value("id")); err != nil {
		return err
	}
	page.Done(w, r, "/account/import", "import-stopped")
	return nil
}

func (m *room) export(w http.ResponseWriter, r *http.Request) error {
	s, err := m.o.House.Space(r.Context(), user(r))
	if err != nil {
		return err
	}
	return m.show(w, r, page.View{Page: "export", Title: "Take your mail along", Data: s})
}

// exportZip writes the file while it is made.
func (m *room) exportZip(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	to := page.NewDownload(w, "application/zip")
	to.Name = "mail-" + plainName(user(r)) + "-" + time.Now().UTC().Format(time.DateOnly) + ".zip"
	to.Wait, to.Stands = page.PartWait, func() bool { return page.VisitOf(r.Context()).Stays(r.Context()) }
	err := m.o.House.ExportZip(r.Context(), user(r), admin.ZipExport{Mailbox: q.Get("mailbox"), Form: q.Get("form")}, to)
	return to.End(err, func() {
		m.log.WarnContext(r.Context(), logx.WebPageFailed, "path", r.URL.Path, "method", r.Method, "error", err)
	})
}

// plainName is an address as a part of a file's name.
func plainName(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' {
			return c
		}
		return '-'
	}, strings.ToLower(strings.Replace(s, "@", "-at-", 1)))
}
