package adminui

import (
	"math"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// backupsPage is what is kept in case of fire.
type backupsPage struct {
	admin.Backups
	Percent int
	Running bool
	Last    *admin.BackupCopy // the newest of these that is proven
	First   bool              // these are the newest
	Pages   pager
}

// backupsShown is how many stand on a page: of each a list of all files of the store is read.
const backupsShown = 20

func (m *room) backups(w http.ResponseWriter, r *http.Request) error {
	n := pageOf(r)
	all, err := m.o.House.BackupPage(r.Context(), (n-1)*backupsShown, backupsShown)
	if err != nil {
		return err
	}
	d := backupsPage{Backups: all, First: n == 1, Pages: pagerOf(r, n, max(1, (all.Total+backupsShown-1)/backupsShown))}
	if x := all.Work; x != nil && x.Ended.IsZero() {
		d.Running = true
		if x.Total > 0 {
			d.Percent = int(min(100, 100*x.Done/x.Total))
		}
	}
	for i := range all.All {
		if !all.All[i].Proven.IsZero() {
			d.Last = &all.All[i]
			break
		}
	}
	return m.show(w, r, page.View{Page: "backups", Title: "Backups", Data: d})
}

func (m *room) startBackup(w http.ResponseWriter, r *http.Request) error {
	if err := m.o.House.StartBackup(r.Context()); err != nil {
		return err
	}
	page.Done(w, r, "/admin/backups", "backup-started")
	return nil
}

func (m *room) checkBackup(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name")
	if err != nil {
		return err
	}
	if err := m.o.House.StartBackupCheck(r.Context(), short(f.Value("name"))); err != nil {
		return err
	}
	page.Done(w, r, "/admin/backups", "backup-checked")
	return nil
}

// certificatesPage is how it stands with certificates.
type certificatesPage struct {
	All []certificateLine
}

type certificateLine struct {
	admin.Certificate
	Days int
	Bad  bool
}

func (m *room) certificates(w http.ResponseWriter, r *http.Request) error {
	all, err := m.o.House.Certificates(r.Context())
	if err != nil {
		return err
	}
	d := certificatesPage{}
	for _, c := range all {
		l := certificateLine{Certificate: c, Days: int(math.Floor(c.Until.Sub(m.o.Now()).Hours() / 24))}
		l.Bad = c.Until.IsZero() || l.Days < 14
		d.All = append(d.All, l)
	}
	return m.show(w, r, page.View{Page: "certificates", Title: "Certificates", Data: d})
}

func (m *room) renewCertificate(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name")
	if err != nil {
		return err
	}
	if err := m.o.House.RenewCertificate(r.Context(), short(f.Value("name"))); err != nil {
		return err
	}
	page.Done(w, r, "/admin/certificates", "certificate-asked")
	return nil
}

// connectionsPage is who is connected now.
type connectionsPage struct {
	Text     string
	Services []choice
	All      []admin.Connection
	Total    int
	Pages    pager
}

func (m *room) connections(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := admin.ConnectionFilter{Service: short(q.Get("service")), Text: short(q.Get("q"))}
	all, err := m.o.House.Connections(r.Context(), f)
	if err != nil {
		return err
	}
	d := connectionsPage{Text: f.Text, Total: len(all), Services: []choice{{"", "all doors", f.Service == ""}}}
	for _, s := range []string{"smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "lmtp", "http", "https"} {
		d.Services = append(d.Services, choice{s, s, f.Service == s})
	}
	n := pageOf(r)
	pages := max(1, (len(all)+perPage-1)/perPage)
	n = min(n, pages)
	d.All, d.Pages = all[(n-1)*perPage:min(len(all), n*perPage)], pagerOf(r, n, pages)
	return m.show(w, r, page.View{Page: "connections", Title: "Who is connected", Data: d})
}

func (m *room) endConnection(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "id")
	if err != nil {
		return err
	}
	if err := m.o.House.EndConnection(r.Context(), short(f.Value("id"))); err != nil {
		return err
	}
	page.Done(w, r, "/admin/connections", "connection-ended")
	return nil
}
