package inbound

import (
	"crypto/tls"
	"slices"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/scan"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store/story"
)

// waiting is a message that other programs look at before it goes into the store: they see it whole, and may change its header.
type waiting struct {
	id            string
	trace, header []byte
	body          smtp.Spool
}

// waiting is for messages that somebody looks at; nil: nobody does. What another program hands over (LMTP) was looked at there.
func (s *session) waiting() *waiting {
	if s.peer.LMTP || !s.d.o.Scan.Wanted(scan.Inbound) {
		return nil
	}
	s.body.body.Reset(s.d.o.Temp)
	return &s.body
}

// forget gives the memory of a message back; a session waits long for the next.
func (w *waiting) forget() {
	w.trace, w.header = nil, nil
	w.body.Close()
}

// scan shows the message to the helpers, does what they ask for, and writes it into the store as they have left it.
func (s *session) scan(in *intake, r *mailauth.Report) error {
	w := in.scan
	if w == nil {
		return nil
	}
	v := s.d.o.Scan.Scan(s.ctx, scan.Inbound, s.shown(w, r))
	for _, line := range v.Told {
		s.Learned(story.Event{At: s.d.o.Now(), Step: story.Checked, Text: line})
	}
	in.unsure = v.Doubtful
	for _, g := range v.Signals {
		in.signals = append(in.signals, spam.Signal{Name: g.Name, Score: g.Score, Text: g.Text})
	}
	if v.Action == scan.Refuse && v.Opinion && s.forPostmaster() {
		v.Action = scan.Junk
	}
	switch v.Action {
	case scan.Later, scan.Refuse:
		s.d.o.Logger.InfoContext(s.ctx, logx.ScanRefused, "connection", s.peer.ID, "helper", v.By, "from", s.Envelope.From.String(), "action", v.Action.String(), "code", v.Code, "text", v.Text)
		return smtp.Refuse(v.Code, gosmtp.EnhancedCode(v.Enhanced), v.Text)
	case scan.Junk:
		in.aside = true
		s.FileAll(local.Filing{Junk: true})
	}
	if err := s.write(in, w.trace, v.Header, v.Added); err != nil {
		return err
	}
	return w.body.CopyTo(kept{in})
}

// kept is an intake behind its checks.
type kept struct{ *intake }

func (k kept) Write(p []byte) (int, error) { return k.keep(p) }

// shown is the message as helpers see it.
func (s *session) shown(w *waiting, r *mailauth.Report) *scan.Message {
	m := &scan.Message{ID: w.id, Remote: s.peer.Remote, Hello: s.peer.Hello, From: s.Envelope.From, Header: w.header, Body: &w.body, Size: w.body.Size()}
	if r.IPRev.Result == mailauth.Pass {
		m.Name = r.IPRev.Name
	}
	m.TLS, m.Cipher = secured(s.peer.TLS)
	m.To = make([]mail.Address, 0, len(s.To))
	for i := range s.To {
		m.To = append(m.To, s.To[i].Address)
	}
	return m
}

// secured names TLS as other programs do.
func secured(state *tls.ConnectionState) (version, cipher string) {
	if state == nil {
		return "", ""
	}
	return strings.Replace(tls.VersionName(state.Version), " ", "v", 1), tls.CipherSuiteName(state.CipherSuite)
}

// theirs reports a field that a helper has added, and that says nothing in our name.
func theirs(f message.Field, helpers []string) bool {
	return slices.Contains(helpers, string(f.Raw)) && !f.Is("X-Spam-Status") && !f.Is("X-Spam-Flag")
}
