package check

import (
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
)

// maxLines bounds an answer of a door.
const maxLines = 100

// doorTalk speaks the little of IMAP, POP3 and SMTP that comes before a password.
type doorTalk struct {
	text     *textproto.Conn
	protocol string
}

func newDoorTalk(c net.Conn, protocol string) *doorTalk {
	return &doorTalk{textproto.NewConn(bounded{c, io.LimitReader(c, maxTalk)}), protocol}
}

// line reads one that begins with want.
func (s *doorTalk) line(want string) (string, error) {
	text, err := s.text.ReadLine()
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(text, want) {
		return "", fmt.Errorf("it answers %q", text)
	}
	return text, nil
}

func (s *doorTalk) greeting() error {
	switch s.protocol {
	case "IMAP":
		_, err := s.line("* OK")
		return err
	case "POP3":
		_, err := s.line("+OK")
		return err
	}
	_, _, err := s.text.ReadResponse(220)
	return err
}

// startTLS asks for it (RFC 3501 section 6.2.1, RFC 2595, RFC 3207).
func (s *doorTalk) startTLS(name string) error {
	switch s.protocol {
	case "IMAP":
		_, err := s.imap("STARTTLS")
		return err
	case "POP3":
		if err := s.text.PrintfLine("STLS"); err != nil {
			return err
		}
		_, err := s.line("+OK")
		return err
	}
	if _, err := s.smtp(250, "EHLO "+name); err != nil {
		return err
	}
	_, err := s.smtp(220, "STARTTLS")
	return err
}

// imap gives a command and returns the untagged answers.
func (s *doorTalk) imap(command string) (untagged []string, err error) {
	if err := s.text.PrintfLine("a %s", command); err != nil {
		return nil, err
	}
	for range maxLines {
		text, err := s.text.ReadLine()
		switch {
		case err != nil:
			return nil, err
		case strings.HasPrefix(text, "a OK"):
			return untagged, nil
		case strings.HasPrefix(text, "* "):
			untagged = append(untagged, text)
		default:
			return nil, fmt.Errorf("it answers %q", text)
		}
	}
	return nil, fmt.Errorf("its answer has no end")
}

func (s *doorTalk) smtp(expect int, command string) (string, error) {
	if err := s.text.PrintfLine("%s", command); err != nil {
		return "", err
	}
	_, text, err := s.text.ReadResponse(expect)
	return text, err
}

// mechanisms are the ways to sign in that are offered now.
func (s *doorTalk) mechanisms(name string) (all []string, err error) {
	switch s.protocol {
	case "IMAP":
		lines, err := s.imap("CAPABILITY")
		for _, line := range lines {
			for word := range strings.FieldsSeq(line) {
				if m, ok := cutFold(word, "AUTH="); ok {
					all = append(all, m)
				}
			}
		}
		return all, err
	case "POP3":
		if err := s.text.PrintfLine("CAPA"); err != nil {
			return nil, err
		}
		if _, err := s.line("+OK"); err != nil {
			return nil, err
		}
		lines, err := s.text.ReadDotLines()
		for _, line := range lines {
			if rest, ok := cutFold(line, "SASL "); ok {
				all = append(all, strings.Fields(rest)...)
			} else if strings.EqualFold(line, "USER") {
				all = append(all, line)
			}
		}
		return all, err
	}
	text, err := s.smtp(250, "EHLO "+name)
	for line := range strings.SplitSeq(text, "\n") {
		if rest, ok := cutFold(line, "AUTH "); ok {
			all = append(all, strings.Fields(rest)...)
		}
	}
	return slices.Compact(all), err
}

// bye ends it politely, so that the house's log has no broken connections.
func (s *doorTalk) bye() error {
	if s.protocol == "IMAP" {
		_, err := s.imap("LOGOUT")
		return err
	}
	return s.text.PrintfLine("QUIT")
}
