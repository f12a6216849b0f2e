package submission

import (
	"crypto/tls"
	"io"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/scan"
	"github.com/posthouse-mail/posthouse/store/story"
)

// straight is for messages that go into the store while they come: they stay here, and nobody looks at them whole.
func (s *session) straight() bool { return s.stays() && !s.d.o.Scan.Wanted(scan.Submission) }

// stays tells that all recipients are known and have mailboxes here.
func (s *session) stays() bool { return !s.rcptFrom && !s.leaves() }

// scan shows the spooled message to the programs that look at what our users send (a stolen password, a machine with a virus). Only
// their verdict counts: the message is the user's, and the house signs it as it is. There is no Junk to put it into.
func (s *session) scan() error {
	if !s.d.o.Scan.Wanted(scan.Submission) {
		return nil
	}
	head := make([]byte, s.message.head)
	if n, err := s.spool.ReadAt(head, 0); n < len(head) {
		return err
	}
	body := io.NewSectionReader(&s.spool, int64(len(head)), s.spool.Size()-int64(len(head)))
	m := &scan.Message{ID: s.message.id, Remote: s.peer.Remote, Hello: s.peer.Hello, From: s.Envelope.From, Header: head[:len(head)-2], Body: body, Size: body.Size()}
	if s.who.authed {
		m.Account = s.who.main.String()
	}
	if t := s.peer.TLS; t != nil {
		m.TLS, m.Cipher = strings.Replace(tls.VersionName(t.Version), " ", "v", 1), tls.CipherSuiteName(t.CipherSuite)
	}
	m.To = make([]mail.Address, 0, len(s.To))
	for i := range s.To {
		m.To = append(m.To, s.To[i].Address)
	}
	v := s.d.o.Scan.Scan(s.ctx, scan.Submission, m)
	for _, line := range v.Told {
		s.Learned(story.Event{At: s.d.o.Now(), Step: story.Checked, Text: line})
	}
	if v.Action == scan.Pass {
		return nil
	}
	if v.Action == scan.Junk {
		v.Code, v.Enhanced, v.Text = 550, [3]int{5, 7, 1}, "The message was held back by a check of its content"
	}
	s.d.o.Logger.InfoContext(s.ctx, logx.ScanRefused, "id", s.message.id, "helper", v.By, "from", s.Envelope.From.String(), "action", v.Action.String(), "code", v.Code, "text", v.Text)
	return smtp.Refuse(v.Code, gosmtp.EnhancedCode(v.Enhanced), v.Text)
}
