package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
)

// patience bounds every connection, so that no run can hang.
const patience = time.Minute

// sender sends mail until its connection breaks.
type sender struct {
	mail   *ledger
	prefix string
	rng    *rand.Rand
	heavy  bool // 40 KB that do not shrink, so that the log begins new segments
	c      net.Conn
	r      *bufio.Reader
}

func (s *sender) open(addr string) bool {
	var err error
	if s.c, err = net.Dial("tcp", addr); err != nil {
		return false
	}
	s.c.SetDeadline(time.Now().Add(patience))
	s.r = bufio.NewReader(s.c)
	return s.reply() == "220" && s.say("EHLO crash.test\r\n") == "250"
}

// deliver is another host that has mail for the house.
func (s *sender) deliver(addr string) {
	if !s.open(addr) {
		return
	}
	defer s.c.Close()
	to := receivers()
	for i := 0; ; i++ {
		id, rcpt := fmt.Sprintf("%s-%d", s.prefix, i), to[s.rng.IntN(len(to))]
		if s.say("MAIL FROM:<sender@crash.test>\r\n") != "250" || s.say("RCPT TO:<"+rcpt+">\r\n") != "250" {
			return
		}
		if s.rng.IntN(2) == 0 {
			s.mail.try(id, rcpt, false)
			text := s.message(id)
			if !s.finish(id, s.say(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))) {
				return
			}
			continue
		}
		if s.say("DATA\r\n") != "354" {
			return
		}
		s.mail.try(id, rcpt, false)
		if !s.finish(id, s.say(s.message(id)+".\r\n")) {
			return
		}
	}
}

// submit is a user who writes to another domain of the house and to a host that is down, in one transaction.
func (s *sender) submit(addr string) {
	if !s.open(addr) {
		return
	}
	defer s.c.Close()
	me := account(12)
	if s.say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+me+"\x00"+house.Password))+"\r\n") != "235" {
		return
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d", s.prefix, i)
		if s.say("MAIL FROM:<"+me+">\r\n") != "250" || s.say("RCPT TO:<"+friend+">\r\n") != "250" ||
			s.say("RCPT TO:<"+id+"@"+down+">\r\n") != "250" || s.say("DATA\r\n") != "354" {
			return
		}
		s.mail.try(id, friend, true)
		if !s.finish(id, s.say("From: <"+me+">\r\nTo: <"+friend+">\r\n"+s.message(id)+".\r\n")) {
			return
		}
	}
}

// message is mostly small, sometimes so large that its body gets a segment of its own.
func (s *sender) message(id string) string {
	switch {
	case s.heavy:
		b := make([]byte, 30<<10)
		for i := range b {
			b[i] = byte(s.rng.Uint32())
		}
		text := base64.StdEncoding.EncodeToString(b)
		return message(id, 0) + strings.Join(slices.Collect(lines(text)), "\r\n") + "\r\n"
	case s.rng.IntN(40) == 0:
		return message(id, 6000)
	}
	return message(id, 1+s.rng.IntN(100))
}

// lines cuts text into pieces of 76 octets.
func lines(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(text) > 0 {
			n := min(76, len(text))
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

func message(id string, lines int) string {
	return "Message-ID: <" + id + "@crash.test>\r\nSubject: x\r\n\r\n" + strings.Repeat("a line of the body that is worth compressing\r\n", lines)
}

// finish notes the answer and says whether to go on.
func (s *sender) finish(id, code string) bool {
	switch code {
	case "250":
		s.mail.answered(id, taken)
	case "":
		return false
	default:
		s.mail.answered(id, refused)
	}
	return true
}

// say sends and returns the code of the answer, "" when there is none.
func (s *sender) say(text string) string {
	if _, err := io.WriteString(s.c, text); err != nil {
		return ""
	}
	return s.reply()
}

func (s *sender) reply() string {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil || len(line) < 4 {
			return ""
		}
		if line[3] == ' ' {
			return line[:3]
		}
	}
}
