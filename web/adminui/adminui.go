// Package adminui is the operators' room of the web house: what needs attention, who has mail here, and how the machine does.
//
// New makes the room; routes.go has every page in one table, _tabs.html the navigation. Pages about people (domains, accounts,
// aliases, lists, masks, the audit log) and about the machine (queue, stories, backups, ...) have a file each with its template.
// Every change is one verb of web/admin.
package adminui

import (
	"context"
	"embed"
	"log/slog"
	"maps"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

//go:embed *.html
var pages embed.FS

// Path is where the room is.
const Path = "/admin/"

// Options of a Room.
type Options struct {
	Logger   *slog.Logger
	Now      func() time.Time
	House    *admin.House
	Sessions Sessions
}

// Session is one sign-in at the web pages.
type Session struct {
	Name    string
	Agent   string
	Remote  string
	Created time.Time
	Seen    time.Time
}

// Sessions is where accounts are signed in; the web house knows.
type Sessions struct {
	List func(context.Context, mail.AccountID) ([]Session, error)
	// End signs one out, EndOthers all but one; "" spares none.
	End       func(ctx context.Context, account mail.AccountID, name string) error
	EndOthers func(ctx context.Context, account mail.AccountID, but string) error
}

// room is the pages with what they need.
type room struct {
	o     Options
	log   *slog.Logger
	pages *page.Templates

	streams atomic.Int32 // pages that follow the log
}

// New makes the room.
func New(o Options) page.Room {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	done := peopleDone()
	maps.Copy(done, machineDone())
	m := &room{o: o, log: o.Logger, pages: page.Parse(pages, done)}
	mux := http.NewServeMux()
	for _, table := range []map[string]page.Handler{m.people(), m.machine(), m.webhookRoutes()} {
		for pattern, h := range table {
			mux.Handle(pattern, m.pages.Handle(m.log, h))
		}
	}
	mux.Handle(Path, m.pages.Handle(m.log, func(http.ResponseWriter, *http.Request) error { return page.ErrMissing }))
	return page.Room{Path: Path, Label: "Run the house", For: page.Admins, Handler: mux}
}

func (m *room) show(w http.ResponseWriter, r *http.Request, v page.View) error {
	m.pages.Render(m.log, w, r, v)
	return nil
}
