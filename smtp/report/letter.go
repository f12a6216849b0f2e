package report

import (
	"fmt"
	"strings"
	"time"
)

// LetterFacts is what the weekly letter tells.
type LetterFacts struct {
	Host       string
	Begin, End time.Time
	Domains    []LetterDomain
	House      *HouseFacts // nil: the letter is for the postmaster of some domains, not of the house
}

// LetterDomain is what others report of one domain.
type LetterDomain struct {
	DMARC DMARCDigest
	TLS   TLSDigest
}

// HouseFacts is the week of the house. Counts are since Begin, the rest is of now.
type HouseFacts struct {
	Received, Sent, Undelivered int64 // messages in, recipients that other hosts took, recipients given up
	Unproven                    int64 // messages in that their author's domain disowns (DMARC)
	Junk                        int64 // messages in Junk mailboxes; -1: nobody counts
	Logins, LoginsRefused       int64
	TLSFailures                 int64 // connections to other hosts on which TLS lacked something
	QueueEntries, QueueHeld     int64
	QueueOldest                 time.Duration
	DiskFree, DiskSize          uint64 // octets; size 0: nobody knows
	Certificates                []CertificateFacts
	BackupTo                    string    // empty: none are made
	BackupLast                  time.Time // verified; zero: never
	SetAside                    int64     // accepted mail that is in no mailbox
}

// CertificateFacts is one certificate.
type CertificateFacts struct {
	Name string
	End  time.Time
}

// Bounds from which the letter asks to do something.
const (
	certificateLow = 14 * 24 * time.Hour
	backupOld      = 3 * 24 * time.Hour
	queueOld       = 24 * time.Hour
	diskLowPart    = 10 // a tenth
	loginsMany     = 1000
	letterSources  = 8
	letterWidth    = 76
)

// Letter writes the letter, its lines ending with \n. It is short when there is nothing to tell.
func Letter(f LetterFacts) (subject, text string) {
	todo := f.todo()
	w := &letterWriter{}
	w.line("The week from %s to %s at %s.", f.Begin.Format("2 January"), f.End.Format("2 January 2006"), f.Host)
	switch len(todo) {
	case 0:
		subject = "all is well"
		w.line("")
		w.line("Nothing needs your attention.")
	case 1:
		subject = "one thing to look at"
	default:
		subject = fmt.Sprintf("%d things to look at", len(todo))
	}
	if len(todo) > 0 {
		w.title("To do")
		for _, t := range todo {
			w.item("- ", t)
		}
	}
	if f.House != nil {
		f.House.mail(w)
		f.House.machine(w, f.End)
	}
	for _, d := range f.Domains {
		d.write(w)
	}
	w.line("")
	w.line("More of it: `posthouse reports dmarc`, `posthouse reports tls`, `posthouse queue list`.")
	w.line("When this letter comes, and to whom, say the settings reports.letter and reports.letter_to.")
	return fmt.Sprintf("Mail at %s, week to %s: %s", f.Host, f.End.Format("2 January"), subject), w.b.String()
}

// todo is what somebody should do, the most urgent first.
func (f LetterFacts) todo() (all []string) {
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if h := f.House; h != nil {
		if h.SetAside > 0 {
			add("Accepted mail could not be filed and was set aside (%s): `posthouse check store` says more.", number(h.SetAside, "record"))
		}
		for _, c := range h.Certificates {
			switch left := c.End.Sub(f.End); {
			case left <= 0:
				add("The certificate of %s ended on %s: mail programs and other hosts refuse it.", c.Name, c.End.Format("2 January 2006"))
			case left < certificateLow:
				add("The certificate of %s ends on %s, in %s.", c.Name, c.End.Format("2 January 2006"), number(int64(left/(24*time.Hour)), "day"))
			}
		}
		if h.DiskSize > 0 && h.DiskFree < h.DiskSize/diskLowPart {
			add("The disk is nearly full: %s of %s are free. `posthouse account list` shows who holds how much.", size(h.DiskFree), size(h.DiskSize))
		}
		switch {
		case h.BackupTo == "":
			add("No backups are made: set backup.to in the settings to a folder on another disk or machine.")
		case h.BackupLast.IsZero():
			add("No backup to %s could be verified yet: `posthouse backup` makes one and says what is wrong.", h.BackupTo)
		case f.End.Sub(h.BackupLast) > backupOld:
			add("The last verified backup is of %s: `posthouse backup` makes one and says what is wrong.", h.BackupLast.Format("2 January 2006"))
		}
		if h.QueueOldest > queueOld {
			add("Mail has waited in the queue for %s: `posthouse queue list` says why.", age(h.QueueOldest))
		}
	}
	for _, d := range f.Domains {
		all = append(all, d.todo()...)
	}
	return all
}

func (d LetterDomain) todo() (all []string) {
	for _, s := range d.DMARC.Sources {
		if s.Ours && s.Advice != "" {
			all = append(all, d.DMARC.Domain+": "+s.Advice+".")
			break
		}
	}
	if d.DMARC.Reports > 0 {
		for _, a := range d.DMARC.Advice {
			all = append(all, d.DMARC.Domain+": "+a)
		}
	}
	for _, x := range d.TLS.Failures {
		if x.Advice != "" {
			all = append(all, fmt.Sprintf("%s: others failed %s to open TLS to %s (%s): %s.", d.TLS.Domain, times(x.Count), or(x.Host, "its hosts"), x.Type, strings.TrimSuffix(x.Advice, "?")))
			break
		}
	}
	return all
}

// mail is what came and went.
func (h *HouseFacts) mail(w *letterWriter) {
	w.title("Mail")
	w.row("received", "%s", number(h.Received, "message"))
	if h.Unproven > 0 {
		w.row("", "%d of them disowned by the domain that they claim to be from", h.Unproven)
	}
	if h.Junk >= 0 {
		w.row("junk", "%s", number(h.Junk, "message"))
	}
	w.row("sent", "to %s at other hosts", number(h.Sent, "recipient"))
	if h.Undelivered > 0 {
		w.row("", "%s could not be reached; their senders know", number(h.Undelivered, "recipient"))
	}
	if h.TLSFailures > 0 {
		w.row("TLS", "failed on %s to other hosts; `posthouse trace` says why", number(h.TLSFailures, "connection"))
	}
	w.row("logins", "%d, and %d refused", h.Logins, h.LoginsRefused)
	if h.LoginsRefused > loginsMany && h.LoginsRefused > h.Logins {
		w.row("", "somebody guesses passwords; he is slowed down by itself")
	}
}

// machine is how the house stands.
func (h *HouseFacts) machine(w *letterWriter, now time.Time) {
	w.title("House")
	switch {
	case h.QueueEntries == 0:
		w.row("queue", "empty")
	default:
		held := ""
		if h.QueueHeld > 0 {
			held = fmt.Sprintf(", %d held by you", h.QueueHeld)
		}
		w.row("queue", "%d waiting%s, the oldest for %s", h.QueueEntries, held, age(h.QueueOldest))
	}
	if h.DiskSize > 0 {
		w.row("disk", "%s of %s free", size(h.DiskFree), size(h.DiskSize))
	}
	for _, c := range h.Certificates {
		if !c.End.After(now) {
			w.row("certificate", "%s: ended", c.Name)
			continue
		}
		w.row("certificate", "%s: %s left", c.Name, number(int64(c.End.Sub(now)/(24*time.Hour)), "day"))
	}
	switch {
	case h.BackupTo == "":
		w.row("backup", "none")
	case h.BackupLast.IsZero():
		w.row("backup", "none verified")
	default:
		w.row("backup", "verified, %s old", age(now.Sub(h.BackupLast)))
	}
}

// write tells who sends as the domain.
func (d LetterDomain) write(w *letterWriter) {
	m := d.DMARC
	w.title("Who sends as " + m.Domain)
	if m.Reports == 0 {
		w.line("No receiver has reported. The record _dmarc.%s asks for reports;", m.Domain)
		w.line("`posthouse domain records %s` prints it.", m.Domain)
	} else {
		w.line("%s reported %s: %d proven, %d not (%d of them refused or", number(int64(len(m.Reporters)), "receiver"), number(m.Messages, "message"), m.Passed, m.Failed, m.Refused)
		w.line("put into Junk). The policy is p=%s.", or(m.Policy, "none"))
		w.line("")
	}
	for _, s := range m.Sources[:min(len(m.Sources), letterSources)] {
		name := s.Address
		if s.Name != "" {
			name += " " + s.Name
		}
		if s.Ours {
			name += " (this host)"
		}
		state := "all proven"
		switch {
		case s.Failed == s.Count:
			state = "not proven"
		case s.Failed > 0:
			state = fmt.Sprintf("%d not proven", s.Failed)
		}
		w.line("  %s: %s, %s", name, number(s.Count, "message"), state)
		if s.Advice != "" {
			w.item("      ", s.Advice+".")
		}
	}
	if more := len(m.Sources) - letterSources; more > 0 {
		w.line("  and %s", number(int64(more), "more source"))
	}
	if t := d.TLS; t.Reports > 0 {
		w.line("")
		w.line("TLS of mail to %s: %s went well, %d failed.", t.Domain, number(t.Good, "connection"), t.Bad)
	}
}

// letterWriter lays the text out.
type letterWriter struct{ b strings.Builder }

func (w *letterWriter) line(format string, args ...any) { fmt.Fprintf(&w.b, format+"\n", args...) }

func (w *letterWriter) title(t string) {
	w.line("")
	w.line("%s", t)
	w.line("%s", strings.Repeat("-", len(t)))
}

func (w *letterWriter) row(name, format string, args ...any) {
	w.line("  %-12s %s", name, fmt.Sprintf(format, args...))
}

// item is a paragraph behind a mark, with its lines under each other.
func (w *letterWriter) item(mark, text string) {
	line, empty := mark, true
	for _, word := range strings.Fields(text) {
		if !empty && len(line)+1+len(word) > letterWidth {
			w.line("%s", line)
			line, empty = strings.Repeat(" ", len(mark)), true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	w.line("%s", line)
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// age is a time for people.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return number(int64(d/(24*time.Hour)), "day")
	case d >= 2*time.Hour:
		return number(int64(d/time.Hour), "hour")
	}
	return number(int64(d/time.Minute), "minute")
}

// size is octets for people.
func size(n uint64) string {
	v, units := float64(n), []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	for v >= 1024 && len(units) > 1 {
		v, units = v/1024, units[1:]
	}
	if v >= 100 || units[0] == "B" {
		return fmt.Sprintf("%.0f %s", v, units[0])
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}
