package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/user"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// Exit codes of sendmail, as the programs that call it know them (sysexits.h).
const (
	exUsage       = 64
	exDataErr     = 65
	exUnavailable = 69
	exTempFail    = 75
)

// sendmail is what one call of it asks for.
type sendmail struct {
	message    api.Message
	ignoreDots bool // -i: a line with one dot is no end
	mode       byte // m: message, s: SMTP on stdin, p: the queue, i: newaliases
}

func (p *program) sendmailCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "sendmail [-t] [-i] [-f SENDER] [-F NAME] [-bs | -bp] RECIPIENT...",
		Short: "Hand in a message, as the sendmail of other systems; also by that name, as mailq and as newaliases",
		Long: `Reads a message from stdin and hands it to the house, which completes it (Date, Message-ID, From).
While no house runs the message waits in the spool of the data folder.

    -t         take the recipients from To, Cc and Bcc
    -i, -oi    a line that is a single dot does not end the message
    -f SENDER  envelope sender; "" or "<>" for none
    -F NAME    full name of the sender, for a message without From
    -bs        speak SMTP on stdin and stdout
    -bp        list the queue (mailq)
    -bi        nothing: aliases need no rebuilding (newaliases)

Other options of sendmail are taken and mean nothing. --config and --data come first.

Exit codes: 0 taken, 64 wrong usage, 65 not a message, 69 refused for good, 75 try again.`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, argv []string) error {
			argv, err := o.leading(argv)
			if err != nil {
				return &codedError{exUsage, err}
			}
			if len(argv) == 1 && (argv[0] == "--help" || argv[0] == "-h") {
				return cmd.Help()
			}
			return p.sendmail(cmd.Context(), o, argv)
		},
	}
}

// codedError is an error with an exit code of its own.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// leading takes --config and --data off the front; sendmail's own options cannot be parsed by cobra.
func (o *options) leading(argv []string) ([]string, error) {
	for len(argv) > 0 {
		name, value, joined := strings.Cut(argv[0], "=")
		var to *string
		switch name {
		case "--config":
			to = &o.config
		case "--data":
			to = &o.data
		case "--json":
			o.json = true
			argv = argv[1:]
			continue
		default:
			return argv, nil
		}
		argv = argv[1:]
		if !joined {
			if len(argv) == 0 {
				return nil, fmt.Errorf("%s needs a value", name)
			}
			value, argv = argv[0], argv[1:]
		}
		*to = value
	}
	return argv, nil
}

// parseSendmail reads the options; recipients may stand between them.
func parseSendmail(argv []string) (s sendmail, err error) {
	s.mode = 'm'
	for i := 0; i < len(argv); i++ {
		a := argv[i]
		if a == "--" {
			s.message.Recipients = append(s.message.Recipients, argv[i+1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			s.message.Recipients = append(s.message.Recipients, a)
			continue
		}
		letter, value := a[1], a[2:]
		needed := letter == 'f' || letter == 'r' || letter == 'F' || strings.IndexByte("BhLNORVX", letter) >= 0
		if needed && value == "" {
			if i++; i == len(argv) {
				return s, fmt.Errorf("-%c needs a value", letter)
			}
			value = argv[i]
		}
		if err := s.option(letter, value); err != nil {
			return s, err
		}
	}
	return s, nil
}

// option takes one of them.
func (s *sendmail) option(letter byte, value string) error {
	switch letter {
	case 't':
		s.message.FromHeader = true
		s.ignoreDots = s.ignoreDots || strings.Contains(value, "i") // -ti
	case 'i':
		s.ignoreDots = true
		s.message.FromHeader = s.message.FromHeader || strings.Contains(value, "t") // -it
	case 'f', 'r':
		s.message.From = strings.Trim(value, "<>")
		if s.message.From == "" {
			s.message.From = "<>"
		}
	case 'F':
		s.message.Name = value
	case 'o':
		s.ignoreDots = s.ignoreDots || value == "i"
	case 'b':
		if len(value) != 1 || !strings.Contains("mspi", value) {
			return fmt.Errorf("-b%s: only -bm, -bs, -bp and -bi are known", value)
		}
		s.mode = value[0]
	case 'B', 'h', 'L', 'N', 'O', 'R', 'V', 'X', 'v', 'e', 'm', 'n', 'G', 'U', 'q', 'A', 'd', 'p':
		// taken and without meaning here
	default:
		return fmt.Errorf("-%c is no option that we know", letter)
	}
	return nil
}

// sendmail does what the options say.
func (p *program) sendmail(ctx context.Context, o *options, argv []string) error {
	s, err := parseSendmail(argv)
	if err != nil {
		return &codedError{exUsage, err}
	}
	if s.mode == 'i' {
		return p.say("nothing to do: aliases are changed with posthouse alias, and count at once")
	}
	c, err := o.settings()
	if errors.Is(err, fs.ErrPermission) && o.config == "" {
		c, err = packagedHouse(), nil
	}
	if err != nil {
		return &codedError{exTempFail, err}
	}
	if u, err := user.Current(); err == nil {
		s.message.User = u.Username
	}
	switch s.mode {
	case 'p':
		return p.mailq(ctx, o)
	case 's':
		return p.smtpOnStdin(ctx, c, s.message)
	}
	if len(s.message.Recipients) == 0 && !s.message.FromHeader {
		return &codedError{exUsage, errors.New("no recipients: name some, or say -t")}
	}
	var body io.Reader = p.stdin
	if !s.ignoreDots {
		body = &untilDot{r: bufio.NewReader(p.stdin)}
	}
	_, err = p.handIn(ctx, c, s.message, &crlf{r: bufio.NewReader(body)})
	return err
}

// packagedHouse is what sendmail needs of a packaged house whose settings its caller may not read: cron jobs of users hand in mail
// at the socket that the settings name as an example, or not at all.
func packagedHouse() *config.Config {
	c := config.Default()
	c.Data = "/var/lib/posthouse"
	c.Submission.Socket = "/run/posthouse/sendmail.sock"
	return c
}

// handIn gives the message to the house, or to the spool while none runs.
func (p *program) handIn(ctx context.Context, c *config.Config, m api.Message, body io.Reader) (receipt string, err error) {
	client, err := api.Dial(ctx, c.Data)
	if errors.Is(err, fs.ErrPermission) && c.Submission.Socket != "" {
		client, err = api.DialMailbox(ctx, c.Submission.Socket)
	}
	if errors.Is(err, api.ErrNotRunning) {
		if err := mayOpen(c.Data, true); err != nil {
			return "", &codedError{exTempFail, err}
		}
		if _, err := api.Spool(c.Data, m, body); err != nil {
			return "", &codedError{exTempFail, err}
		}
		return "spooled", nil
	}
	if err != nil {
		return "", &codedError{exTempFail, err}
	}
	receipt, err = client.Submit(ctx, m, body)
	var refused *admin.Error
	switch {
	case err == nil:
		return receipt, nil
	case !errors.As(err, &refused), refused.Class == admin.Unavailable, refused.Class == admin.Internal:
		return "", &codedError{exTempFail, err}
	case refused.Class == admin.Invalid:
		return "", &codedError{exDataErr, err}
	}
	return "", &codedError{exUnavailable, err}
}

// untilDot ends at a line that is a single dot.
type untilDot struct {
	r    *bufio.Reader
	rest []byte
	tail bool // the line goes on: what was given ended inside of it
	done bool
}

func (u *untilDot) Read(b []byte) (int, error) {
	for len(u.rest) == 0 {
		if u.done {
			return 0, io.EOF
		}
		line, err := u.r.ReadSlice('\n')
		whole := !u.tail && !errors.Is(err, bufio.ErrBufferFull)
		if whole && bytes.Equal(bytes.TrimRight(line, "\r\n"), []byte(".")) {
			u.done = true
			return 0, io.EOF
		}
		u.tail = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !u.tail {
			u.done = true
			if !errors.Is(err, io.EOF) {
				return 0, err
			}
		}
		u.rest = line
	}
	n := copy(b, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

// crlf gives every line the end that mail has: programs of this machine end theirs with LF.
type crlf struct {
	r    *bufio.Reader
	last byte
	lf   bool // an LF is owed
}

func (c *crlf) Read(b []byte) (int, error) {
	for n := range b {
		if c.lf {
			b[n], c.last, c.lf = '\n', '\n', false
			continue
		}
		if n > 0 && c.r.Buffered() == 0 {
			return n, nil // who speaks SMTP to us waits for an answer now
		}
		x, err := c.r.ReadByte()
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if x == '\n' && c.last != '\r' {
			x, c.lf = '\r', true
		}
		b[n], c.last = x, x
	}
	return len(b), nil
}
