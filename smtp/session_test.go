package smtp

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// talk sends all of in to a server and returns all it says.
func talk(t testing.TB, s *Server, in string) string {
	t.Helper()
	c := &canned{in: strings.NewReader(in)}
	s.Handle(context.Background(), &serve.Conn{Conn: c, ID: "c1", Service: "smtp", Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
	if !c.closed {
		t.Error("the connection was not closed")
	}
	return c.out.String()
}

// canned is a connection whose input is known before.
type canned struct {
	net.Conn
	in     io.Reader
	out    bytes.Buffer
	writes int
	closed bool
}

func (c *canned) Read(p []byte) (int, error)       { return c.in.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { c.writes++; return c.out.Write(p) }
func (c *canned) Close() error                     { c.closed = true; return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
func (c *canned) SetDeadline(time.Time) error      { return nil }

// TestExactSize: a message of exactly SIZE is taken, by DATA and by BDAT in any chunks; one octet more is not.
func TestExactSize(t *testing.T) {
	const size = 5000
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}, MaxSize: size})
	begin := "EHLO c\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n"
	text := func(n int) string { return strings.Repeat("y", n-2) + "\r\n" }
	for _, tt := range []struct{ in, want string }{
		{"DATA\r\n" + text(size) + ".\r\n", "250 2.0.0 OK"},
		{"DATA\r\n" + text(size+1) + ".\r\n", "552 5.3.4"},
		{"BDAT 5000 LAST\r\n" + text(size), "250 2.0.0 OK"},
		{"BDAT 5001 LAST\r\n" + text(size+1), "552 5.3.4"},
		{"BDAT 4999\r\n" + text(size)[:size-1] + "BDAT 1 LAST\r\n\n", "250 2.0.0 OK"},
		{"BDAT 4999\r\n" + text(size)[:size-1] + "BDAT 2 LAST\r\n\n\n", "552 5.3.4"},
	} {
		out := talk(t, s, begin+tt.in+"NOOP\r\nQUIT\r\n")
		lines := strings.Split(strings.TrimSpace(out), "\r\n")
		if got := lines[len(lines)-3]; !strings.HasPrefix(got, tt.want) || !strings.HasPrefix(lines[len(lines)-2], "250 2.0.0 OK") {
			t.Errorf("%.20q: %q, want %s", tt.in, lines[len(lines)-3:], tt.want)
		}
	}
}

// TestOneWrite: the whole EHLO reply is one write, and so are the replies to a pipelined batch (RFC 2920 section 3.2).
func TestOneWrite(t *testing.T) {
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}})
	c := &canned{in: io.MultiReader(strings.NewReader("EHLO c\r\n"), strings.NewReader("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nNOOP\r\nQUIT\r\n"))}
	s.Handle(t.Context(), &serve.Conn{Conn: c})
	if c.writes != 3 { // greeting, EHLO, the batch
		t.Errorf("%d writes of %q", c.writes, c.out.String())
	}
}

// TestLongLines: a line over the limit is answered and the stream stays in step; AUTH lines may be longer.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", maxAuthLine+1)
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}})
	out := talk(t, s, "NOOP "+long+"\r\nEHLO "+long[:300]+"\r\nNOOP\r\nQUIT\r\n")
	if !strings.Contains(out, "500 5.5.6 Line too long\r\n501 5.5.4 Give your host name\r\n250 2.0.0 OK\r\n221") {
		t.Errorf("%q", out)
	}
	s = NewServer(Options{Hostname: "mx.test", Desk: &notebook{auth: true}, Auth: true})
	out = talk(t, s, "EHLO trusted.test\r\nAUTH PLAIN\r\n"+long+"\r\nAUTH PLAIN "+strings.Repeat("AAAA", 3000)+"\r\nQUIT\r\n")
	if !strings.Contains(out, "334 \r\n500 5.5.6 Line too long\r\n535 5.7.8") {
		t.Errorf("%q", out)
	}
}

// TestGuessingRecipients ends.
func TestGuessingRecipients(t *testing.T) {
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}})
	out := talk(t, s, "EHLO c\r\nMAIL FROM:<a@x.test>\r\n"+strings.Repeat("RCPT TO:<nobody@y.test>\r\n", 150))
	if strings.Count(out, "550 5.1.1") != maxRefusals || !strings.HasSuffix(out, "421 4.7.0 Too many refused recipients, closing\r\n") {
		t.Errorf("%d refused, end %q", strings.Count(out, "550 5.1.1"), out[len(out)-100:])
	}
}

// TestGuessingSenders ends too: each refusal is a line in the log, and a client that never logs in hears nothing else.
func TestGuessingSenders(t *testing.T) {
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}})
	out := talk(t, s, "EHLO c\r\n"+strings.Repeat("MAIL FROM:<two@x.test>\r\n", 150))
	if n := strings.Count(out, "550 5.0.0 and another"); n != maxRefusals || !strings.HasSuffix(out, "421 4.7.0 Too many refused senders, closing\r\n") {
		t.Errorf("%d refused, end %q", n, out[len(out)-100:])
	}
}

// TestChunkIsAnsweredAtOnce: the reply to a chunk does not wait for the octets of the next one, whose BDAT line is here already
// (RFC 2920 section 3.2: when the input is empty, replies are sent).
func TestChunkIsAnsweredAtOnce(t *testing.T) {
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}})
	c := dial(t, t.Context(), s, "smtp")
	k := wire.New(c, wire.Options{ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second})
	say := func(text string) { k.WriteString(text); k.Flush() }
	hear := func(want string) {
		t.Helper()
		for {
			line, err := k.ReadLine(1000)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.HasPrefix(line, []byte(want)) {
				return
			}
		}
	}
	hear("220 ")
	say("EHLO c\r\n")
	hear("250 ")
	say("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nBDAT 3\r\n")
	hear("250 2.1.5")
	say("a\r\nBDAT 3 LAST\r\n")
	hear("250 2.0.0 3 octets")
	say("b\r\n")
	hear("250 2.0.0 OK")
}

func TestMailsOfOneConnection(t *testing.T) {
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}, MaxMails: 3})
	out := talk(t, s, "EHLO c\r\n"+strings.Repeat("MAIL FROM:<a@x.test>\r\nRSET\r\n", 5))
	if strings.Count(out, "250 2.1.0") != 3 || !strings.HasSuffix(out, "421 4.7.0 Too many messages in one connection, open another\r\n") {
		t.Errorf("%q", out)
	}
}

func TestJunk(t *testing.T) {
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}})
	out := talk(t, s, strings.Repeat("NOOP\r\nHELP\r\n", maxJunk))
	if strings.Count(out, "250 2.0.0 OK") != maxJunk/2 || !strings.HasSuffix(out, "421 4.7.0 Too many commands without a message, closing\r\n") {
		t.Errorf("end %q", out[len(out)-100:])
	}
}

// perRecipient is a desk that says something else to each recipient.
type perRecipient struct{ *notebook }

func (d perRecipient) NewSession(ctx context.Context, p Peer) (gosmtp.Session, error) {
	s, err := d.notebook.NewSession(ctx, p)
	if err != nil {
		return nil, err
	}
	return &lmtpPage{s.(*page)}, nil
}

type lmtpPage struct{ *page }

func (s *lmtpPage) LMTPData(r io.Reader, status gosmtp.StatusCollector) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	status.SetStatus("b@y.test", nil)
	status.SetStatus("b@y.test", Refuse(452, code(4, 2, 2), "full"))
	status.SetStatus("stranger@y.test", nil)
	return Refuse(451, code(4, 3, 0), "the others later")
}

// TestStatusOfEachRecipient: LMTP answers for each recipient in order, one named twice too (RFC 2033 section 4.2).
func TestStatusOfEachRecipient(t *testing.T) {
	s := NewServer(Options{Hostname: "mx.test", Desk: perRecipient{&notebook{}}, LMTP: true})
	open := "LHLO c\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\nRCPT TO:<b@y.test>\r\n"
	for _, in := range []string{"DATA\r\nhi\r\n.\r\n", "BDAT 2\r\nhiBDAT 2 LAST\r\n\r\n"} {
		out := talk(t, s, open+in+"QUIT\r\n")
		if !strings.Contains(out, "250 2.0.0 OK, queued as 1A2B\r\n451 4.3.0 the others later\r\n452 4.2.2 full\r\n221") {
			t.Errorf("%q", out)
		}
	}
	if out := talk(t, s, open+"DATA\r\nh\ri\r\n.\r\nQUIT\r\n"); strings.Count(out, "550 5.6.0") != 3 {
		t.Errorf("%q", out)
	}
}

// TestInternalErrorIsLogged: the client sees a class, the log the cause.
func TestInternalErrorIsLogged(t *testing.T) {
	var log bytes.Buffer
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	out := talk(t, s, "EHLO c\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<broken@y.test>\r\nQUIT\r\n")
	if !strings.Contains(out, "451 4.3.0 Internal error") || strings.Contains(out, "table") || !strings.Contains(log.String(), "no such table") {
		t.Errorf("%q, log %q", out, log.String())
	}
}

// FuzzSession feeds any octets as a client. Whatever they are: no panic, every reply well-formed with an
// enhanced code of its class, no message that the desk took without a 250 for it.
func FuzzSession(f *testing.F) {
	hello := "EHLO c\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n"
	for _, s := range []string{
		"", "QUIT\r\n", "EHLO c\r\nNOOP\r\nRSET\r\nHELP\r\nVRFY a\r\nEXPN b\r\n", hello + "DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n",
		hello + "DATA\r\nline\r\r\n.\r\nNOOP\r\n", hello + "DATA\r\nhi\n.\nMAIL FROM:<e@x>\r\n.\r\n", hello + "BDAT 3\r\nabcBDAT 2 LAST\r\nde",
		hello + "BDAT 3\r\nabcRSET\r\nBDAT 5\r\nabc", hello + "BDAT 99999999999999999999 LAST\r\n", hello + "BDAT 2000 LAST\r\nx",
		"EHLO trusted.test\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nAUTH LOGIN\r\n", "EHLO trusted.test\r\nAUTH LOGIN\r\nYWxpY2U=\r\nc2VjcmV0\r\n",
		"LHLO c\r\nMAIL FROM:<> SIZE=1 RET=FULL\r\nRCPT TO:<Postmaster> NOTIFY=NEVER ORCPT=rfc822;a\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x00\xff",
		"EHLO c\r\nMAIL FROM:<@a,@b:c@d.test> SMTPUTF8 BODY=8BITMIME AUTH=<>\r\nRCPT TO:<\"a@b\"@y.test>\r\nRCPT TO:<early@y.test>\r\nDATA\r\n.\r\n",
	} {
		f.Add([]byte(s), false, false)
		f.Add([]byte(s), true, true)
	}
	f.Fuzz(func(t *testing.T, in []byte, auth, lmtp bool) {
		if len(in) > 1<<15 || bytes.Contains(bytes.ToLower(in), []byte("panic@")) {
			return
		}
		desk := &notebook{auth: auth}
		s := NewServer(Options{Hostname: "mx.test", Desk: desk, Auth: auth, FixLF: auth, LMTP: lmtp, MaxSize: 1000, MaxRecipients: 3})
		out := talk(t, s, string(in))
		taken := 0
		for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			var r Reply
			if _, err := r.add([]byte(line)); err != nil || len(line) > 510 {
				t.Fatalf("reply %q: %v", line, err)
			}
			if r.Class() > 3 && r.Enhanced[0] != r.Class() {
				t.Fatalf("reply %q has no enhanced code", line)
			}
			if strings.HasPrefix(line, "250 2.0.0 OK, queued") {
				taken++
			}
		}
		whole := 0
		for _, n := range desk.take() {
			if strings.HasPrefix(n, "DATA") && strings.HasSuffix(n, "err=<nil>") {
				whole++
			}
		}
		if taken < whole || (!lmtp && taken > whole+strings.Count(strings.ToLower(string(in)), "careless")) {
			t.Fatalf("%d messages given, %d acknowledged: %q", whole, taken, out)
		}
	})
}

// FuzzHead: however a message is cut into writes, the header that is handed over and the body that follows are the message.
func FuzzHead(f *testing.F) {
	for _, s := range []string{"", "\r\n", "A: b\r\n\r\nbody", "A: b\r\n c\r\nnot a field\r\n", "From x\r\nA: b\r\n\r\n", " leading\r\n\r\n", "A: b", "A:\n\nx"} {
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, in string, size int) {
		if len(in) > 1<<14 || size < 1 {
			return
		}
		split := func(size int) (header, body string) {
			var h Head
			var b bytes.Buffer
			begun := 0
			h.Reset(&b, func(p []byte) error { begun++; header = string(p); return nil })
			for p := []byte(in); len(p) > 0; p = p[min(size, len(p)):] {
				if _, err := h.Write(p[:min(size, len(p))]); err != nil {
					t.Fatal(err)
				}
			}
			if err := h.Close(); err != nil || begun != 1 {
				t.Fatal(begun, err)
			}
			return header, b.String()
		}
		header, body := split(len(in) + 1)
		if h, b := split(size); h != header || b != body {
			t.Fatalf("%q: %q %q, in pieces %q %q", in, header, body, h, b)
		}
		if whole := strings.TrimSuffix(header, "\r\n") + body; len(whole) > len(in) {
			t.Fatalf("%q grew to %q", in, whole)
		}
	})
}

func TestHeadLimit(t *testing.T) {
	var h Head
	h.Reset(io.Discard, func([]byte) error { return nil })
	if _, err := io.Copy(&h, strings.NewReader("A: "+strings.Repeat("x", MaxHeader))); err == nil || !strings.Contains(err.Error(), "552") {
		t.Error(err)
	}
}

// FuzzLines: however text is cut, the line check gives the same as a plain reading of the rule.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"", "a\r\nb\r\n", "a\nb", "a\rb", "\r", "\r\n", "\n", "\r\r\n", "a\r\n\n\r\n\r"} {
		f.Add(s, 1, true)
		f.Add(s, 2, false)
	}
	f.Fuzz(func(t *testing.T, in string, size int, fix bool) {
		if len(in) > 1<<15 || size < 1 {
			return
		}
		rest := strings.ReplaceAll(in, "\r\n", "")
		want, fault := in, error(nil)
		if fix {
			want = strings.ReplaceAll(strings.ReplaceAll(in, "\r\n", "\n"), "\n", "\r\n")
		}
		if strings.Contains(rest, "\r") || strings.Contains(in, "\r\r") {
			fault = wire.ErrBareCR
		} else if !fix && strings.Contains(rest, "\n") {
			fault = wire.ErrBareLF
		}
		got, err := io.ReadAll(&lines{src: pieces{strings.NewReader(in), size}, fix: fix})
		if (fault == nil) != (err == nil) || (fault == nil && string(got) != want) {
			t.Fatalf("%q (%t): %q %v, want %q %v", in, fix, got, err, want, fault)
		}
		var b bytes.Buffer
		if _, err2 := (&lines{src: pieces{strings.NewReader(in), size + 1}, fix: fix}).WriteTo(&b); err2 != err || (err == nil && b.String() != want) {
			t.Fatalf("%q (%t) by WriteTo: %q %v, want %q %v", in, fix, b.String(), err2, want, err)
		}
	})
}

// pieces reads at most n octets at once.
type pieces struct {
	r io.Reader
	n int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

func TestFixLines(t *testing.T) {
	got, err := io.ReadAll(FixLines(strings.NewReader("a\nb\r\nc")))
	if err != nil || string(got) != "a\r\nb\r\nc" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := io.ReadAll(FixLines(strings.NewReader("a\rb"))); err != wire.ErrBareCR {
		t.Error(err)
	}
}

// TestShutdownInHalfALine: a client that stopped inside of a command hears 421 like one that says nothing, and holds nobody up.
func TestShutdownInHalfALine(t *testing.T) {
	ctx, shutdown := context.WithCancelCause(t.Context())
	s := NewServer(Options{Hostname: "mx.test", Desk: &notebook{}})
	c := dialTCP(t, ctx, s, "smtp")
	k := wire.New(c, wire.Options{ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second})
	if line, err := k.ReadLine(1000); err != nil || !bytes.HasPrefix(line, []byte("220 ")) {
		t.Fatal(string(line), err)
	}
	k.WriteString("NOOP\r\nNOO")
	k.Flush()
	if line, err := k.ReadLine(1000); err != nil || !bytes.HasPrefix(line, []byte("250 ")) {
		t.Fatal(string(line), err)
	}
	shutdown(serve.ErrShutdown)
	if line, err := k.ReadLine(1000); err != nil || !bytes.HasPrefix(line, []byte("421 4.3.2")) {
		t.Error(string(line), err)
	}
}

func TestWithoutMboxLine(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "From: a\r\n": "From: a\r\n", "From a\r\nTo: b\r\n": "To: b\r\n", ">From a\r\nTo: b\r\n": "To: b\r\n",
		"From a": "", "From a\r\n  forged\r\n\tagain\r\nTo: b\r\n": "To: b\r\n",
	} {
		if got := string(WithoutMboxLine([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
