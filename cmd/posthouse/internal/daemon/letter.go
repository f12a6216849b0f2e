package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/report"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
)

const (
	tabLetter   kv.Table = "W" // "letter" -> letterState as JSON
	letterKey            = "letter"
	letterHour           = 7 // of the day, local time
	letterEvery          = 10 * time.Minute
	week                 = 7 * 24 * time.Hour
	letterWait           = 30 * time.Second // for all that it asks for
)

// letterState is what a restart must not forget.
type letterState struct {
	Sent   time.Time          `json:"sent"`   // the last letter, or when the house was first started
	Counts map[string]float64 `json:"counts"` // since then
}

// letterCounts are the counters that the letter adds up, by name and the label that matters.
func letterCounts() []string {
	return []string{
		"store_deliveries_total", "queue_results_total result=done", "queue_results_total result=never", "smtp_checks_total method=dmarc result=fail",
		"logins_total result=ok", "logins_total", "remote_tls_failures_total", "junk_verdicts_total class=junk", "junk_verdicts_total class=refuse",
	}
}

// writeLetters counts what happens and sends the letter when it is due, until ctx ends. While the house is down no letter is lost: it is sent
// at the next start.
func (d *Daemon) writeLetters(ctx context.Context) {
	seen := map[string]float64{}
	tick := time.NewTicker(cmp.Or(d.o.ReportsEvery, letterEvery))
	defer tick.Stop()
	for {
		if err := d.letterStep(ctx, seen); err != nil && ctx.Err() == nil {
			d.log.WarnContext(ctx, logx.LetterFailed, "error", err)
		}
		select {
		case <-ctx.Done():
			if _, err := d.tally(ctx, seen); err != nil {
				d.log.Warn(logx.LetterFailed, "error", err)
			}
			return
		case <-tick.C:
		}
	}
}

func (d *Daemon) letterStep(ctx context.Context, seen map[string]float64) error {
	state, err := d.tally(ctx, seen)
	if err != nil {
		return err
	}
	now, c := d.o.Now(), d.settings.Load().Reports
	if !letterDue(c.Letter, state.Sent, now) {
		return nil
	}
	_, err = d.sendLetters(ctx, state)
	if err != nil && !errors.Is(err, auth.ErrNoAddress) && !errors.Is(err, auth.ErrNotLocal) { // nobody is there to read it: next week, perhaps
		return err
	}
	return d.changeLetter(ctx, func(s *letterState) { *s = letterState{Sent: now} })
}

// letterDue tells whether the day of a letter has come since the last one. One from the future was sent under a clock that ran ahead: tally
// forgets it.
func letterDue(day string, sent, now time.Time) bool {
	i := slices.Index(config.LetterDays(), day)
	if i < 0 {
		return false
	}
	now = now.Local()
	y, m, dom := now.Date()
	due := time.Date(y, m, dom-(int(now.Weekday())-i+7)%7, letterHour, 0, 0, 0, time.Local)
	if due.After(now) {
		due = time.Date(y, m, dom-7, letterHour, 0, 0, 0, time.Local)
	}
	return sent.Before(due)
}

// tally adds what happened since the last time to what is kept.
func (d *Daemon) tally(ctx context.Context, seen map[string]float64) (state letterState, err error) {
	all, err := gather(d.metrics)
	if err != nil {
		return state, err
	}
	more, total := map[string]float64{}, map[string]float64{}
	for _, name := range letterCounts() {
		total[name] = all.sum(name)
		more[name] = total[name] - seen[name]
	}
	now := d.o.Now()
	var changed letterState
	err = d.changeLetter(ctx, func(s *letterState) {
		if s.Sent.IsZero() || s.Sent.After(now.Add(time.Hour)) {
			s.Sent = now
		}
		if s.Counts == nil {
			s.Counts = map[string]float64{}
		}
		for name, n := range more {
			s.Counts[name] += n
		}
		changed = letterState{s.Sent, maps.Clone(s.Counts)}
	})
	if err != nil {
		return state, err
	}
	maps.Copy(seen, total)
	return changed, nil
}

// changeLetter runs to its end when the house stops: a change that nobody waited for would be made all the same, and then made again.
func (d *Daemon) changeLetter(ctx context.Context, fn func(*letterState)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), letterWait)
	defer cancel()
	return d.keepers.side.Update(ctx, func(tx *kv.Tx) error {
		var s letterState
		if v := tx.Get(tabLetter, []byte(letterKey)); v != nil && json.Unmarshal(v, &s) != nil {
			s = letterState{}
		}
		fn(&s)
		text, err := json.Marshal(s)
		if err == nil {
			tx.Put(tabLetter, []byte(letterKey), text)
		}
		return err
	})
}

// Letter shows the letter of the house as it would be now; with send it goes to those who get it each week, and the one that is due comes all
// the same.
func (d *Daemon) Letter(ctx context.Context, send bool) (admin.Letter, error) {
	var state letterState
	err := d.keepers.side.View(ctx, func(tx *kv.Tx) error {
		if v := tx.Get(tabLetter, []byte(letterKey)); v != nil {
			return json.Unmarshal(v, &state)
		}
		return nil
	})
	if err != nil {
		return admin.Letter{}, &admin.Error{Class: admin.Internal, Message: "what the letter tells cannot be read: " + err.Error()}
	}
	if send {
		to, err := d.sendLetters(ctx, state)
		if err != nil {
			return admin.Letter{}, &admin.Error{Class: admin.Internal, Message: "the letter could not be sent: " + err.Error()}
		}
		l, err := d.houseLetter(ctx, state)
		l.To = to
		return l, err
	}
	return d.houseLetter(ctx, state)
}

// houseLetter is the letter to the postmaster of the house: all domains, and the house itself.
func (d *Daemon) houseLetter(ctx context.Context, state letterState) (admin.Letter, error) {
	domains, err := d.letterDomains(ctx)
	if err != nil {
		return admin.Letter{}, err
	}
	f, err := d.houseFacts(ctx, state)
	if err != nil {
		return admin.Letter{}, err
	}
	f.Domains = domains
	subject, text := report.Letter(f)
	return admin.Letter{Subject: subject, Text: text}, nil
}

// sendLetters sends that of the house, and to each postmaster of a domain who is somebody else what concerns his domain.
func (d *Daemon) sendLetters(ctx context.Context, state letterState) (to []string, err error) {
	l, err := d.houseLetter(ctx, state)
	if err != nil {
		return nil, err
	}
	domains, err := d.letterDomains(ctx)
	if err != nil { // before anything has gone: what fails comes again
		return nil, err
	}
	c := d.settings.Load()
	head := cmp.Or(c.Reports.LetterTo.Address, mail.Address{Local: "postmaster"})
	if err := d.sendLetter(ctx, head, l); err != nil {
		return nil, err
	}
	to = append(to, head.String())
	known := map[string]bool{d.readers(ctx, mail.Address{Local: "postmaster"}): true, d.readers(ctx, head): true, "": true}
	for i := range domains {
		a := mail.Address{Local: "postmaster", Domain: mail.Domain(domains[i].DMARC.Domain)}
		who := d.readers(ctx, a)
		if known[who] {
			continue
		}
		f := report.LetterFacts{Host: d.o.Config.Hostname, Begin: d.letterBegin(), End: d.o.Now(), Domains: domains[i : i+1]}
		subject, text := report.Letter(f)
		if err := d.sendLetter(ctx, a, admin.Letter{Subject: subject, Text: text}); err != nil {
			continue // it is in the log; the house's own has gone, and must not come again for this
		}
		to = append(to, a.String())
	}
	return to, nil
}

// sendLetter brings a letter into a mailbox here, or signed to one elsewhere.
func (d *Daemon) sendLetter(ctx context.Context, to mail.Address, l admin.Letter) error {
	n := notice{to: to, subject: l.Subject, text: l.Text}
	if to.Domain != "" {
		ours, err := d.keepers.directory.IsLocal(ctx, to.Domain)
		if err != nil {
			return err
		}
		if !ours {
			return d.mailNotice(ctx, n)
		}
	}
	return d.sendNotice(ctx, n, nil)
}

// mailNotice sends a notice to somebody elsewhere, from an address that signs.
func (d *Daemon) mailNotice(ctx context.Context, n notice) error {
	from, err := d.reportSender(ctx)
	if err != nil {
		return err
	}
	n.from = from
	text, err := d.writeNotice(n)
	if err != nil {
		return err
	}
	err = d.submitReport(ctx, from, []mail.Address{n.to}, text)
	d.countNotice(err)
	if err != nil {
		d.log.ErrorContext(ctx, logx.NoticeError, "to", n.to.String(), "subject", n.subject, "error", err)
		return err
	}
	d.log.InfoContext(ctx, logx.NoticeSent, "to", n.to.String(), "subject", n.subject)
	return nil
}

// readers names those whom an address leads to; empty: nobody.
func (d *Daemon) readers(ctx context.Context, a mail.Address) string {
	route, err := d.keepers.directory.Resolve(ctx, a)
	if errors.Is(err, auth.ErrNotLocal) {
		return a.Key()
	}
	if err != nil {
		return ""
	}
	var all []string
	for _, x := range route.Local {
		all = append(all, fmt.Sprint(x.Account))
	}
	for _, x := range route.Remote {
		all = append(all, x.Key())
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (d *Daemon) letterBegin() time.Time { return d.o.Now().Add(-week) }

// letterDomains is what others report of each domain.
func (d *Daemon) letterDomains(ctx context.Context) (out []report.LetterDomain, err error) {
	all, err := d.domains(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range all {
		ask := admin.ReportsRequest{Domain: string(x.Name), Days: int(week / (24 * time.Hour))}
		dmarc, err := d.house.DMARCReports(ctx, ask)
		if err != nil {
			return nil, err
		}
		tls, err := d.house.TLSReports(ctx, ask)
		if err != nil {
			return nil, err
		}
		out = append(out, report.LetterDomain{DMARC: dmarc[0], TLS: tls[0]})
	}
	return out, nil
}

// houseFacts is how the house stands.
func (d *Daemon) houseFacts(_ context.Context, state letterState) (report.LetterFacts, error) {
	all, err := gather(d.metrics)
	if err != nil {
		return report.LetterFacts{}, err
	}
	count := func(name string) int64 { return int64(state.Counts[name]) }
	logins := count("logins_total result=ok")
	h := &report.HouseFacts{
		Received: count("store_deliveries_total"), Sent: count("queue_results_total result=done"), Undelivered: count("queue_results_total result=never"),
		Unproven: count("smtp_checks_total method=dmarc result=fail"), Junk: filedAsJunk(state.Counts),
		Logins: logins, LoginsRefused: count("logins_total") - logins, TLSFailures: count("remote_tls_failures_total"),
		QueueEntries: int64(all.sum("queue_entries")), QueueHeld: int64(all.sum("queue_entries_held")),
		QueueOldest: time.Duration(all.sum("queue_oldest_seconds") * float64(time.Second)), SetAside: int64(all.sum("store_set_aside_records")),
		BackupTo: d.settings.Load().Backup.To,
	}
	if !d.settings.Load().Junk.Enabled {
		h.Junk = -1
	}
	if disk, err := d.guard.look(); err == nil {
		h.DiskFree, h.DiskSize = uint64(max(disk.Free, 0)), uint64(max(disk.Size, 0))
	}
	if at := all.sum("backup_verified_timestamp_seconds"); at > 0 {
		h.BackupLast = time.Unix(int64(at), 0)
	}
	if d.certs != nil {
		for _, s := range d.certs.Status() {
			h.Certificates = append(h.Certificates, report.CertificateFacts{Name: strings.Join(s.Names[:min(len(s.Names), 1)], ""), End: s.Until})
		}
	}
	return report.LetterFacts{Host: d.o.Config.Hostname, Begin: maxTime(state.Sent, d.letterBegin()), End: d.o.Now(), House: h}, nil
}

// filedAsJunk counts copies in Junk: also those of what would have been refused, had nobody else taken it.
func filedAsJunk(counts map[string]float64) int64 {
	return int64(counts["junk_verdicts_total class=junk"] + counts["junk_verdicts_total class=refuse"])
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// samples are all metrics at one moment, by name, each with its labels.
type samples map[string][]sample

type sample struct {
	labels map[string]string
	value  float64
}

func gather(set *metrics.Set) (samples, error) {
	families, err := set.Registry().Gather()
	if err != nil {
		return nil, err
	}
	out := samples{}
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), metrics.Prefix)
		for _, m := range f.GetMetric() {
			s := sample{labels: map[string]string{}, value: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, l := range m.GetLabel() {
				s.labels[l.GetName()] = l.GetValue()
			}
			out[name] = append(out[name], s)
		}
	}
	return out, nil
}

// sum adds up a metric: its name, then the labels that it must have as name=value.
func (s samples) sum(what string) (total float64) {
	words := strings.Fields(what)
	for _, x := range s[words[0]] {
		fits := true
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			fits = fits && x.labels[name] == value
		}
		if fits {
			total += x.value
		}
	}
	return total
}
