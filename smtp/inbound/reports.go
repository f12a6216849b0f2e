package inbound

import (
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// Reports is how the desk serves those who make and read reports on mail. A nil function: nobody does.
type Reports struct {
	// Carried tells by its header whether a message may carry a report.
	Carried func(header []byte) bool
	// Seen hears of each message whose author's domain publishes a policy. It is called in the SMTP session and returns at once.
	Seen func(Sighting)
	// Taken hears of a message that may carry a report, comes from a proven sender, and is in the log. It returns at once.
	Taken func(TakenReport)
}

// Sighting is a message as its author's domain hears of it (RFC 7489 section 7.2).
type Sighting struct {
	Report      *mailauth.Report
	To          mail.Domain // of the first recipient
	Disposition string      // what was done for the policy's sake: mailauth.PolicyNone, PolicyQuarantine, PolicyReject
	Override    string      // why that is not what the policy asks (RFC 7489 appendix C); empty: it is
	Comment     string
}

// TakenReport is a message that was delivered here and may carry a report.
type TakenReport struct {
	ID     string
	At     blob.LSN
	Sender string // domain that is proven to have sent it
	To     []mail.Address
}

// Reasons for not doing what a policy asks (RFC 7489 appendix C, PolicyOverrideType).
const (
	overrideSampled = "sampled_out"
	overrideTrusted = "trusted_forwarder"
	overrideLocal   = "local_policy"
)

// lookForReport notes whether the message may carry a report.
func (s *session) lookForReport(header []byte) {
	s.carriesReport = s.d.o.Reports.Carried != nil && s.d.o.Reports.Carried(header)
}

// tellReports tells those who make reports, and those who read them. A proven report is not reported on: two hosts would otherwise write
// to each other for ever about their reports.
func (s *session) tellReports(r *mailauth.Report) {
	s.Taken = nil
	if sender := proven(r); s.carriesReport && sender != "" {
		if taken := s.d.o.Reports.Taken; taken != nil {
			s.Taken = func(id string, at blob.LSN) {
				t := TakenReport{ID: id, At: at, Sender: sender}
				for _, to := range s.To {
					t.To = append(t.To, to.Address)
				}
				taken(t)
			}
		}
		return
	}
	seen := s.d.o.Reports.Seen
	if seen == nil || r.DMARC.Record == nil || r.DMARC.Result == mailauth.TempError || r.DMARC.Result == mailauth.PermError {
		return
	}
	g := s.sighting(r)
	if len(s.To) > 0 {
		g.To = s.To[0].Address.Domain
	}
	seen(g)
}

// sighting says what obey does, in the words of reports.
func (s *session) sighting(r *mailauth.Report) Sighting {
	d := r.DMARC
	g := Sighting{Report: r, Disposition: mailauth.PolicyNone}
	switch s.action(r) {
	case actionRefuse:
		g.Disposition = mailauth.PolicyReject
	case actionJunk:
		g.Disposition = mailauth.PolicyQuarantine
	}
	switch {
	case d.Result != mailauth.Fail || g.Disposition == d.Policy:
	case d.Disposition != d.Policy:
		g.Override, g.Comment = overrideSampled, "the record asks for less (pct, t)"
	case s.d.o.Checks.Vouched(*r):
		g.Override, g.Comment = overrideTrusted, "arc=pass"
	default:
		g.Override = overrideLocal
	}
	return g
}

// proven is the domain that has sent a message; empty: nobody knows. Without a policy of the author's domain its own signature proves it.
func proven(r *mailauth.Report) string {
	switch r.DMARC.Result {
	case mailauth.Pass:
		return r.DMARC.Domain
	case mailauth.None:
		for _, k := range r.DKIM {
			if k.Result == mailauth.Pass && k.Domain == r.DMARC.Domain {
				return k.Domain
			}
		}
	}
	return ""
}
