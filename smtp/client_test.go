package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func envelope(t testing.TB, from string, to ...string) mail.Envelope {
	t.Helper()
	var e mail.Envelope
	if from != "" {
		e.From = address(t, from)
	}
	for _, a := range to {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: address(t, a)})
	}
	return e
}

// TestClientAgainstServer sends through both ends of our own: in clear, after STARTTLS, with AUTH, BDAT, LMTP.
func TestClientAgainstServer(t *testing.T) {
	server, client := certificates(t, time.Now)
	tests := []struct {
		name     string
		lmtp     bool
		chunking bool
		tls      bool
	}{{name: "plain"}, {name: "chunking", chunking: true}, {name: "lmtp", lmtp: true}, {name: "tls", tls: true}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desk := &notebook{auth: tt.tls}
			s := NewServer(Options{Hostname: "mx.test", Desk: desk, TLS: server, LMTP: tt.lmtp, Auth: tt.tls, MaxSize: 10000, MaxRecipients: 300})
			k := NewClient(dialTCP(t, t.Context(), s, "smtp"), ClientOptions{Hostname: "client.test", LMTP: tt.lmtp, Chunking: tt.chunking})
			ctx := t.Context()
			if err := k.Hello(ctx); err != nil {
				t.Fatal(err)
			}
			if tt.tls {
				login(t, k, client)
			}
			e := envelope(t, "a@x.test", "b@y.test", "nobody@y.test", "c@y.test")
			e.Return, e.EnvelopeID = mail.ReturnHeaders, "id + =1"
			e.Recipients[0].Notify, e.Recipients[0].OriginalType, e.Recipients[0].Original = mail.NotifySuccess|mail.NotifyDelay, "RFC822", "b+1@y.test"
			text := "Subject: x\r\n\r\n.dot\r\n..\r\n"
			for range 2 {
				out, err := k.Send(ctx, e, strings.NewReader(text), int64(len(text)))
				if err != nil || !out.Sent {
					t.Fatal(out, err)
				}
				for i, want := range []int{250, 550, 250} {
					if r := out.Recipient(i, tt.lmtp); r.Code != want {
						t.Errorf("recipient %d: %v, want %d", i, r, want)
					}
				}
				if out.Final[0].Text() != "OK, queued as 1A2B" || out.Recipients[1].Enhanced != code(5, 1, 1) {
					t.Error(out)
				}
			}
			notes := desk.take()
			for _, want := range []string{
				fmt.Sprintf("MAIL \"a@x.test\" size=%d body= utf8=false ret=HDRS envid=\"id + =1\"", len(text)),
				"RCPT \"b@y.test\" notify=[SUCCESS DELAY] orcpt=RFC822;b+1@y.test",
				fmt.Sprintf("DATA %d %q err=<nil>", len(text), text),
			} {
				if !slices.Contains(notes, want) {
					t.Errorf("no note %s in %q", want, notes)
				}
			}
			refusals(t, k)
			if err := errors.Join(k.Noop(ctx), k.Reset(ctx), k.Quit(ctx)); err != nil {
				t.Error(err)
			}
		})
	}
}

func login(t *testing.T, k *Client, config *tls.Config) {
	t.Helper()
	ctx := t.Context()
	if err := k.StartTLS(ctx, config); err != nil || k.TLS() == nil {
		t.Fatal(err)
	}
	var refused *ReplyError
	if err := k.Auth(ctx, gosasl.NewPlainClient("", "alice", "wrong")); !errors.As(err, &refused) || refused.Reply.Code != 535 {
		t.Fatal(err)
	}
	if err := k.Auth(ctx, gosasl.NewLoginClient("alice", "secret")); err != nil {
		t.Fatal(err)
	}
}

// refusals are told apart, and the connection goes on behind each.
func refusals(t *testing.T, k *Client) {
	t.Helper()
	ctx := t.Context()
	e := envelope(t, "a@x.test", "nobody@y.test", "nobody2@y.test")
	e.Recipients[1].Address.Local = "nobody"
	if out, err := k.Send(ctx, e, strings.NewReader("x"), 1); err != nil || out.Sent || out.Recipient(0, false).Code != 550 || out.Recipient(1, false).Code != 550 {
		t.Error(out, err)
	}
	if out, err := k.Send(ctx, envelope(t, "two@x.test", "b@y.test"), strings.NewReader("x"), 1); err != nil || out.Recipient(0, false).String() != "550 5.0.0 one line and another ???" {
		t.Error(out, err)
	}
	if _, err := k.Send(ctx, e, strings.NewReader("x"), 20000); err != ErrTooLarge {
		t.Error(err)
	}
	var many []string
	for i := range 301 {
		many = append(many, fmt.Sprintf("r%d@y.test", i))
	}
	out, err := k.Send(ctx, envelope(t, "", many...), strings.NewReader("x\r\n"), 3)
	if err != nil || out.Recipient(299, false).Class() != 2 || out.Recipients[300].Code != 452 {
		t.Error(out.Recipients[300], err)
	}
}

// against runs a scripted server: for each line "C: prefix" it waits for a line, everything else it says.
func against(t *testing.T, script string, o ClientOptions, fn func(k *Client)) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ours.Close()
		r := bufio.NewReader(ours)
		for line := range strings.SplitSeq(strings.TrimSuffix(script, "\n"), "\n") {
			want, ok := strings.CutPrefix(line, "C: ")
			if !ok {
				if _, err := io.WriteString(ours, line+"\r\n"); err != nil {
					return
				}
				continue
			}
			got, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if !strings.HasPrefix(got, want) {
				t.Errorf("client said %q, want %q", got, want)
				return
			}
		}
	}()
	k := NewClient(theirs, o)
	fn(k)
	k.Close()
	<-done
}

func TestClientReplies(t *testing.T) {
	o := ClientOptions{Hostname: "c"}
	hello := func(want string) func(*Client) {
		return func(k *Client) {
			err := k.Hello(t.Context())
			if got := fmt.Sprint(err); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
	against(t, "220 mx\nC: EHLO c\n502 what?\nC: HELO c\n250 mx", o, hello("<nil>"))
	against(t, "554 5.7.1 no", o, hello("smtp: greeting: 554 5.7.1 no"))
	against(t, "220 mx\nC: EHLO c\n421 4.7.0 later", o, hello("smtp: EHLO: 421 4.7.0 later"))
	against(t, "SSH-2.0-x", o, hello(`smtp: not an SMTP reply: "SSH-2.0-x"`))
	against(t, "220", o, func(k *Client) {
		if err := k.Hello(t.Context()); err == nil {
			t.Error("greeted by half a server")
		}
		if k.Greeting().Code != 220 {
			t.Error(k.Greeting())
		}
	})
	against(t, strings.Repeat("220-on and on\n", 300), o, hello("smtp: not an SMTP reply: more than 200 lines"))
	against(t, strings.Repeat("554-"+strings.Repeat("x", 4000)+"\n", 150)+"554 no", o, func(k *Client) {
		k.Hello(t.Context())
		if n := len(k.Greeting().Text()); n > maxReply || k.Greeting().Code != 554 {
			t.Errorf("%d octets kept of a long reply", n)
		}
	})
	against(t, "220 "+strings.Repeat("x", 5000), o, hello("smtp: not an SMTP reply: a line of more than 4096 octets"))
	against(t, "220 mx\nC: EHLO c\n250-mx\n250-SIZE 12345\n250-LIMITS RCPTMAX=7 MAILMAX=x\n250-auth plain LOGIN\n250 STARTTLS", o, func(k *Client) {
		if err := k.Hello(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, ok := k.Extension("STARTTLS"); !ok || k.MaxSize() != 12345 || k.Limit("RCPTMAX") != 7 || k.Limit("MAILMAX") != 0 || !slices.Equal(k.Mechanisms(), []string{"PLAIN", "LOGIN"}) {
			t.Error(k.HelloReply())
		}
	})
}

func TestClientLosses(t *testing.T) {
	o := ClientOptions{Hostname: "c"}
	begin := "220 mx\nC: EHLO c\n250-mx\n250 PIPELINING\n"
	e := envelope(t, "a@x.test", "b@y.test", "c@y.test")
	send := func(script string, check func(out Outcome, err error)) {
		t.Helper()
		against(t, begin+script, o, func(k *Client) {
			if err := k.Hello(t.Context()); err != nil {
				t.Fatal(err)
			}
			check(k.Send(t.Context(), e, strings.NewReader("x\r\n"), 3))
		})
	}
	envelope := "C: MAIL FROM:<a@x.test>\nC: RCPT TO:<b@y.test>\nC: RCPT TO:<c@y.test>\n"
	send(envelope+"250 ok\n250 ok\n452 4.5.3 many\nC: DATA\n354 go\nC: x\nC: .", func(out Outcome, err error) {
		if err == nil || !out.Sent || len(out.Final) != 0 || out.Recipient(0, false).Class() != 0 || out.Recipient(1, false).Code != 452 {
			t.Error("lost behind the final dot:", out, err)
		}
	})
	send(envelope+"250 ok\n250 ok\n250 ok\nC: DATA\n354 go", func(out Outcome, err error) {
		if err == nil || out.Sent {
			t.Error("lost before the final dot:", out, err)
		}
	})
	send(envelope+"250 ok\n550 no\n550 no\nC: RSET\n502 what?", func(out Outcome, err error) {
		if !errors.Is(err, ErrReply) || out.Recipient(0, false).Code != 550 || out.Recipient(1, false).Code != 550 {
			t.Error("a transaction that the server keeps open:", out, err)
		}
	})
	send(envelope+"421 4.3.2 bye", func(out Outcome, err error) {
		if err == nil || out.Recipient(0, false).Code != 421 {
			t.Error("lost behind a 421:", out, err)
		}
	})
	send(envelope+"250 ok\n250 ok\n250 ok\nC: DATA\n451 4.3.0 later\nC: RSET\n250 ok", func(out Outcome, err error) {
		if err != nil || out.Sent || out.Recipient(1, false).Code != 451 {
			t.Error("DATA refused:", out, err)
		}
	})
}

func TestClientTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		against(t, "220-slow\nC: never", ClientOptions{Hostname: "c"}, func(k *Client) {
			begin := time.Now()
			if err := k.Hello(t.Context()); !errors.Is(err, wire.ErrTimeout) || time.Since(begin) != 5*time.Minute {
				t.Error(err, time.Since(begin))
			}
		})
		against(t, "220-slow\nC: never", ClientOptions{Hostname: "c"}, func(k *Client) {
			why := errors.New("enough")
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
			defer cancel()
			if err := k.Hello(ctx); err != why {
				t.Error(err)
			}
		})
	})
}

func TestXtext(t *testing.T) {
	for _, tt := range []struct{ in, out string }{{"a+2Bb", "a+b"}, {"+20x", " x"}, {"plain", "plain"}} {
		if got, err := decodeXtext(tt.in); err != nil || got != tt.out {
			t.Errorf("%q: %q %v", tt.in, got, err)
		}
	}
	for _, bad := range []string{"+", "+2", "+2b", "a=b", "+0A", "\x01", "+FF", "é"} {
		if got, err := decodeXtext(bad); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
	for _, bad := range []string{`\x{0A}`, `\x{110000}`, `\x{41`, `a\b`, "a b", `\x{D800}`, "\xff"} {
		if got, err := decodeUTF8Address(bad); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
}

// FuzzXtext: what is encoded comes back, and nothing that is decoded can break a line.
func FuzzXtext(f *testing.F) {
	f.Add("a+b=c d")
	f.Add("é\\x{41}")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := decodeXtext(encodeXtext(s)); err == nil && got != s {
			t.Errorf("%q became %q", s, got)
		}
		for _, utf8 := range []bool{false, true} {
			coded := encodeOriginal(mail.Recipient{OriginalType: "UTF-8", Original: s}, utf8)
			if got, err := decodeUTF8Address(coded); err == nil && strings.ToValidUTF8(s, "") == s && got != s {
				t.Errorf("%q became %q by %q", s, got, coded)
			}
		}
		for _, decode := range []func(string) (string, error){decodeXtext, decodeUTF8Address} {
			if got, err := decode(s); err == nil && strings.ContainsAny(got, "\r\n\x00") {
				t.Errorf("%q became %q", s, got)
			}
		}
	})
}
