package pull_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/imap/pull"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// fake is an IMAP server that can be as odd as those that are met.
type fake struct {
	mu       sync.Mutex
	running  sync.WaitGroup // sessions
	caps     string
	spaces   string // answer to NAMESPACE
	delim    string
	folders  []*fakeFolder
	sessions int
	bodies   int // message texts that were sent
	commands []string

	// hook sees each command before it is answered; true: it did that itself, or closed the connection.
	hook func(s *fakeSession, tag, command string) bool
	// body may change what is sent of a message's text; ok false: the item is left out.
	body func(s *fakeSession, m *fakeMessage) (item string, ok bool)
}

type fakeFolder struct {
	name       string
	attributes string
	validity   uint32
	uidNext    uint32
	subscribed bool
	messages   []*fakeMessage
	modSeq     uint64
}

type fakeMessage struct {
	uid    uint32
	flags  string
	date   string
	text   string
	modSeq uint64
	gmail  uint64
	labels string

	dateless bool // its INTERNALDATE is not told
}

// fakeSession is one connection.
type fakeSession struct {
	f      *fake
	conn   net.Conn
	lines  chan string // commands that have come: a network would hold them
	folder *fakeFolder
	sent   int // message texts
}

func newFake(folders ...*fakeFolder) *fake {
	return &fake{caps: "IMAP4rev1 AUTH=PLAIN SASL-IR CONDSTORE NAMESPACE", delim: "/", spaces: `(("" "/")) NIL NIL`, folders: folders}
}

func (f *fake) folder(name string) *fakeFolder {
	for _, x := range f.folders {
		if x.name == name {
			return x
		}
	}
	return nil
}

func newFolder(name string, validity uint32) *fakeFolder {
	return &fakeFolder{name: name, validity: validity, uidNext: 1, modSeq: 1, subscribed: true}
}

// add puts a message into a folder.
func (x *fakeFolder) add(flags, text string) *fakeMessage {
	x.modSeq++
	m := &fakeMessage{uid: x.uidNext, flags: flags, text: text, modSeq: x.modSeq,
		date: time.Unix(1_600_000_000+int64(x.uidNext)*60, 0).UTC().Format("02-Jan-2006 15:04:05 -0700")}
	x.uidNext++
	x.messages = append(x.messages, m)
	return m
}

func (x *fakeFolder) setFlags(i int, flags string) {
	x.modSeq++
	x.messages[i].flags, x.messages[i].modSeq = flags, x.modSeq
}

func (x *fakeFolder) expunge(i int) { x.messages = slices.Delete(x.messages, i, i+1) }

// dial is pull.Options.Dial.
func (f *fake) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	f.begin(there)
	return here, nil
}

// dialTLS is dial for a server with implicit TLS.
func (f *fake) dialTLS(config *tls.Config) (net.Conn, error) {
	here, there := net.Pipe()
	f.begin(tls.Server(there, config))
	return here, nil
}

func (f *fake) begin(conn net.Conn) {
	f.mu.Lock()
	f.sessions++
	f.mu.Unlock()
	s := &fakeSession{f: f, conn: conn}
	f.running.Go(func() {
		defer func() { s.conn.Close() }()
		s.listen()
		s.say("* OK [CAPABILITY %s] ready", f.caps)
		for s.command() {
		}
	})
}

// listen takes commands as they come.
func (s *fakeSession) listen() {
	lines, in := make(chan string, 100), bufio.NewReader(s.conn)
	s.lines = lines
	go func() {
		defer close(lines)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			lines <- line
			if strings.HasSuffix(line, " STARTTLS\r\n") { // what follows is not for this reader
				return
			}
		}
	}()
}

func (s *fakeSession) startTLS(config *tls.Config) {
	s.conn = tls.Server(s.conn, config)
	s.listen()
}

func (s *fakeSession) say(format string, args ...any) { fmt.Fprintf(s.conn, format+"\r\n", args...) }

// command answers one command; false ends the connection.
func (s *fakeSession) command() bool {
	line, ok := <-s.lines
	if !ok {
		return false
	}
	tag, command, _ := strings.Cut(strings.TrimSpace(line), " ")
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.commands = append(s.f.commands, command)
	if s.f.hook != nil && s.f.hook(s, tag, command) {
		return true
	}
	return s.answer(tag, command)
}

func (s *fakeSession) answer(tag, command string) bool {
	word, rest, _ := strings.Cut(command, " ")
	switch word {
	case "AUTHENTICATE", "LOGIN", "NOOP", "ENABLE", "ID":
	case "CAPABILITY":
		s.say("* CAPABILITY %s", s.f.caps)
	case "LOGOUT":
		s.say("* BYE bye")
		s.say("%s OK", tag)
		return false
	case "NAMESPACE":
		s.say("* NAMESPACE %s", s.f.spaces)
	case "LIST", "LSUB":
		for _, x := range s.f.folders {
			if word == "LIST" || x.subscribed {
				s.say(`* %s (%s) "%s" %s`, word, x.attributes, s.f.delim, strconv.Quote(x.name))
			}
		}
	case "STATUS":
		name, _ := strconv.Unquote(rest[:strings.LastIndex(rest, " (")])
		s.say("* STATUS %q (MESSAGES %d)", name, len(s.f.folder(name).messages))
	case "EXAMINE":
		name, _ := strconv.Unquote(strings.TrimSuffix(rest, " (CONDSTORE)"))
		if s.folder = s.f.folder(name); s.folder == nil {
			s.say("%s NO no such folder", tag)
			return true
		}
		s.say("* %d EXISTS", len(s.folder.messages))
		s.say("* OK [UIDVALIDITY %d] ok", s.folder.validity)
		s.say("* OK [UIDNEXT %d] ok", s.folder.uidNext)
		if strings.Contains(s.f.caps, "CONDSTORE") {
			s.say("* OK [HIGHESTMODSEQ %d] ok", s.folder.modSeq)
		}
	case "FETCH":
		s.fetch(rest, func(m *fakeMessage, i int) uint32 { return uint32(i + 1) })
	case "UID":
		s.fetch(strings.TrimPrefix(rest, "FETCH "), func(m *fakeMessage, _ int) uint32 { return m.uid })
	default:
		s.say("%s BAD unknown", tag)
		return true
	}
	s.say("%s OK done", tag)
	return true
}

// fetch answers "set (items) [(CHANGEDSINCE n)]".
func (s *fakeSession) fetch(rest string, number func(*fakeMessage, int) uint32) {
	set, items, _ := strings.Cut(rest, " ")
	since := uint64(0)
	if _, after, ok := strings.Cut(items, "CHANGEDSINCE "); ok {
		since, _ = strconv.ParseUint(strings.TrimSuffix(after, ")"), 10, 64)
	}
	for i, m := range slices.Clone(s.folder.messages) {
		if !inSet(set, number(m, i)) || m.modSeq <= since && since > 0 {
			continue
		}
		out := []string{fmt.Sprintf("UID %d", m.uid)}
		for _, it := range []struct{ name, value string }{
			{"FLAGS", "(" + m.flags + ")"}, {"INTERNALDATE", strconv.Quote(m.date)}, {"RFC822.SIZE", strconv.Itoa(len(m.text))},
			{"X-GM-MSGID", strconv.FormatUint(m.gmail, 10)}, {"X-GM-LABELS", "(" + m.labels + ")"},
		} {
			if strings.Contains(items, it.name) && (it.name != "INTERNALDATE" || !m.dateless) {
				out = append(out, it.name+" "+it.value)
			}
		}
		if strings.Contains(items, "BODY.PEEK[HEADER.FIELDS") {
			head, _, _ := strings.Cut(m.text, "\r\n\r\n")
			id := ""
			for line := range strings.SplitSeq(head, "\r\n") {
				if strings.HasPrefix(line, "Message-ID:") {
					id = line + "\r\n"
				}
			}
			id += "\r\n"
			out = append(out, fmt.Sprintf("BODY[HEADER.FIELDS (\"MESSAGE-ID\")] {%d}\r\n%s", len(id), id))
		}
		if strings.Contains(items, "BODY.PEEK[]") {
			item, ok := fmt.Sprintf("BODY[] {%d}\r\n%s", len(m.text), m.text), true
			if s.f.body != nil {
				item, ok = s.f.body(s, m)
			}
			if ok {
				out = append(out, item)
				s.f.bodies++
				s.sent++
			}
		}
		s.say("* %d FETCH (%s)", i+1, strings.Join(out, " "))
	}
}

// plainBody is what a server without quirks sends.
func plainBody(m *fakeMessage) string {
	return fmt.Sprintf("BODY[] {%d}\r\n%s", len(m.text), m.text)
}

func inSet(set string, n uint32) bool {
	for part := range strings.SplitSeq(set, ",") {
		from, to, ok := strings.Cut(part, ":")
		a, _ := strconv.ParseUint(from, 10, 32)
		b := a
		if ok {
			b, _ = strconv.ParseUint(to, 10, 32)
		}
		if n >= uint32(a) && n <= uint32(b) {
			return true
		}
	}
	return false
}

// move is a house that mail is brought into.
type move struct {
	*storetest.House
	t *testing.T
	f *fake
	o pull.Options
}

func newMove(t *testing.T, f *fake) *move {
	h := storetest.Start(t, storetest.Options{})
	storetest.Account(t, h.Store, h.DB, 1)
	return &move{House: h, t: t, f: f, o: pull.Options{
		Account: mail.AccountID(1), Address: "old.test:143", Security: pull.Clear, User: "u", Password: "p", Dial: f.dial, Timeout: time.Minute,
	}}
}

// run brings what is new and must succeed.
func (m *move) run() pull.Report {
	m.t.Helper()
	r, err := m.try(m.t.Context())
	if err != nil {
		m.t.Fatalf("pull: %v\n%+v", err, r)
	}
	return r
}

func (m *move) try(ctx context.Context) (pull.Report, error) {
	o := m.o
	o.Store = m.Store
	r, err := pull.Run(ctx, o)
	m.f.running.Wait() // what the test changes from here on, nobody reads
	return r, err
}

// same wants a mailbox to be what a folder is: texts, dates and flags, in this order.
func (m *move) same(x *fakeFolder, mailbox string) {
	m.t.Helper()
	rows := storetest.Rows(m.t, m.Store, 1, mailbox)
	if len(rows) != len(x.messages) {
		m.t.Errorf("%s has %d messages, want %d", mailbox, len(rows), len(x.messages))
		return
	}
	for i, r := range rows {
		want := x.messages[i]
		if got := storetest.Text(m.t, m.Store, r); got != want.text {
			m.t.Errorf("%s, message %d: %q, want %q", mailbox, i, got, want.text)
		}
		if got := r.Received.UTC().Format("02-Jan-2006 15:04:05 -0700"); got != want.date {
			m.t.Errorf("%s, message %d: date %s, want %s", mailbox, i, got, want.date)
		}
		if got := m.flags(mailbox, r); got != want.flags {
			m.t.Errorf("%s, message %d: flags %q, want %q", mailbox, i, got, want.flags)
		}
	}
}

// flags writes flags as the fake does.
func (m *move) flags(mailbox string, r store.Message) string {
	m.t.Helper()
	names := []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, "$Forwarded", "$Junk", "$NotJunk"}
	own, err := m.Store.Keywords(m.t.Context(), m.box(mailbox).ID)
	if err != nil {
		m.t.Fatal(err)
	}
	var out []string
	for i, n := range append(names, own...) {
		if r.Flags&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return strings.Join(out, " ")
}

func (m *move) box(name string) store.Mailbox {
	m.t.Helper()
	b, err := m.Store.Mailbox(m.t.Context(), 1, name)
	if err != nil {
		m.t.Fatalf("mailbox %s: %v", name, err)
	}
	return b
}

// report of one folder.
func of(t *testing.T, r pull.Report, from string) pull.Folder {
	t.Helper()
	for _, f := range r.Folders {
		if f.From == from {
			return f
		}
	}
	t.Fatalf("no folder %q in %+v", from, r)
	return pull.Folder{}
}

func text(n int) string {
	return fmt.Sprintf("Message-ID: <%d@old.test>\r\nSubject: message %d\r\n\r\nThe text of message %d.\r\n", n, n, n)
}

var errCut = errors.New("cut")
