package scan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gomilter "github.com/emersion/go-milter"
)

// filter is a milter of the library; it notes what it sees and does what the test says.
type filter struct {
	gomilter.NoOpMilter
	seen   []string
	rcpt   func(to string) gomilter.Response
	header gomilter.Response
	end    func(m *gomilter.Modifier) (gomilter.Response, error)
}

func (f *filter) note(format string, args ...any) {
	f.seen = append(f.seen, fmt.Sprintf(format, args...))
}

func (f *filter) Connect(host, family string, port uint16, addr net.IP, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("connect %s %s %d %s j=%s", host, family, port, addr, m.Macros["j"])
	return gomilter.RespContinue, nil
}

func (f *filter) Helo(name string, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("helo %s", name)
	return gomilter.RespContinue, nil
}

func (f *filter) MailFrom(from string, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("from %s i=%s", from, m.Macros["i"])
	return gomilter.RespContinue, nil
}

func (f *filter) RcptTo(to string, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("rcpt %s", to)
	if f.rcpt != nil {
		return f.rcpt(to), nil
	}
	return gomilter.RespContinue, nil
}

func (f *filter) Header(name, value string, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("%s=%q", name, value)
	if f.header != nil {
		return f.header, nil
	}
	return gomilter.RespContinue, nil
}

func (f *filter) Headers(h textproto.MIMEHeader, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("end of header")
	return gomilter.RespContinue, nil
}

func (f *filter) BodyChunk(chunk []byte, m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("body %d", len(chunk))
	return gomilter.RespContinue, nil
}

func (f *filter) Body(m *gomilter.Modifier) (gomilter.Response, error) {
	f.note("end")
	if f.end != nil {
		return f.end(m)
	}
	return gomilter.RespAccept, nil
}

// serveFilter runs a filter on a socket file.
func serveFilter(t *testing.T, f *filter, actions gomilter.OptAction) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &gomilter.Server{NewMilter: func() gomilter.Milter { return f }, Actions: actions}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { l.Close(); <-done })
	return "unix:" + path
}

const changesHeader = gomilter.OptAddHeader | gomilter.OptChangeHeader | gomilter.OptQuarantine

// TestMilter: the whole conversation with a milter of another hand.
func TestMilter(t *testing.T) {
	f := &filter{end: func(m *gomilter.Modifier) (gomilter.Response, error) {
		m.AddHeader("X-Last", "z")
		m.InsertHeader(0, "X-First", "a\r\n b")
		m.ChangeHeader(1, "X-Old", "")
		m.ChangeHeader(1, "Subject", "changed")
		return gomilter.RespAccept, nil
	}}
	r := newRig(t, Helper{Kind: Milter, Address: serveFilter(t, f, changesHeader)})
	m := testMessage()
	m.Body, m.Size = bytes.NewReader(make([]byte, 100_000)), 100_000
	v := r.Scan(t.Context(), Inbound, m)
	want := []string{"connect mx.away.test tcp4 4711 192.0.2.7 j=mx.alpha.test", "helo mx.away.test", "from zoe@away.test i=Q1", "rcpt alice@alpha.test", "rcpt bob@alpha.test",
		`From="zoe@away.test"`, `Subject="hello\n there"`, `X-Old="1"`, "end of header", "body 65535", "body 34465", "end"}
	if !slices.Equal(f.seen, want) {
		t.Errorf("it saw %q", f.seen)
	}
	if v.Action != Pass || string(v.Header) != "X-First: a\r\n b\r\nFrom: zoe@away.test\r\nSubject: changed\r\nX-Last: z\r\n" || v.Told[0] != "milter: passed, changed 4 fields of the header" {
		t.Errorf("verdict %+v %q", v, v.Header)
	}
}

// TestMilterAnswers: what each answer means for a message.
func TestMilterAnswers(t *testing.T) {
	say := func(r gomilter.Response) func(*gomilter.Modifier) (gomilter.Response, error) {
		return func(*gomilter.Modifier) (gomilter.Response, error) { return r, nil }
	}
	own := func(text string) func(*gomilter.Modifier) (gomilter.Response, error) {
		return say(gomilter.NewResponseStr('y', text))
	}
	for _, c := range []struct {
		name   string
		filter filter
		want   Action
		reply  string
		told   string
	}{
		{name: "accept", filter: filter{end: say(gomilter.RespAccept)}, told: "passed"},
		{name: "continue", filter: filter{end: say(gomilter.RespContinue)}, told: "passed"},
		{name: "accept early", filter: filter{header: gomilter.RespAccept}, told: "passed"},
		{name: "reject", filter: filter{end: say(gomilter.RespReject)}, want: Refuse, reply: "550 [5 7 1] The message was refused by a check of its content"},
		{name: "reject early", filter: filter{header: gomilter.RespReject}, want: Refuse, reply: "550 [5 7 1] The message was refused by a check of its content"},
		{name: "nothing is dropped", filter: filter{end: say(gomilter.RespDiscard)}, want: Refuse, reply: "550 [5 7 1] The message was refused by a check of its content"},
		{name: "later", filter: filter{end: say(gomilter.RespTempFail)}, want: Later, reply: "451 [4 7 1] A check of the message cannot be made now, try again later"},
		{name: "words of its own", filter: filter{end: own("554 5.7.9 virus %% found")}, want: Refuse, reply: "554 [5 7 9] virus % found"},
		{name: "several lines", filter: filter{end: own("554-5.7.9 virus\r\n554 5.7.9 found")}, want: Refuse, reply: "554 [5 7 9] virus found"},
		{name: "a reply that would end a session", filter: filter{end: own("421 4.3.2 away")}, want: Later, reply: "451 [4 3 2] away"},
		{name: "a code that does not fit", filter: filter{end: own("550 4.3.2 away")}, want: Refuse, reply: "550 [5 7 1] 4.3.2 away"},
		{name: "no reply", filter: filter{end: own("250 ok then")}, told: "no answer: milter: its reply is none: \"250 ok then\"; taken without it"},
		{name: "quarantine", filter: filter{end: func(m *gomilter.Modifier) (gomilter.Response, error) {
			m.Quarantine("a virus")
			return gomilter.RespAccept, nil
		}}, want: Junk, told: "sets it aside: a virus"},
		{name: "one recipient", filter: filter{rcpt: func(to string) gomilter.Response {
			if strings.HasPrefix(to, "bob") {
				return gomilter.RespReject
			}
			return gomilter.RespContinue
		}}, told: "passed, would not have taken 1 of 2 recipients"},
		{name: "every recipient", filter: filter{rcpt: func(string) gomilter.Response { return gomilter.RespReject }}, want: Refuse, reply: "550 [5 7 1] The message was refused by a check of its content"},
		{name: "another body", filter: filter{end: func(m *gomilter.Modifier) (gomilter.Response, error) {
			m.ReplaceBody([]byte("other"))
			return gomilter.RespAccept, nil
		}}, told: "no answer: milter: it answers 'b' to 'E'; taken without it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Helper{Kind: Milter, Address: serveFilter(t, &c.filter, changesHeader)})
			v := r.Scan(t.Context(), Inbound, testMessage())
			if v.Action != c.want || len(v.Told) != 1 || c.told != "" && v.Told[0] != "milter: "+c.told {
				t.Errorf("verdict %+v", v)
			}
			if reply := fmt.Sprintf("%d %v %s", v.Code, v.Enhanced, v.Text); c.reply != "" && reply != c.reply {
				t.Errorf("reply %q", reply)
			}
		})
	}
	r := newRig(t, Helper{Kind: Milter, Address: serveFilter(t, &filter{}, gomilter.OptAddRcpt), Failure: FailLater})
	if v := r.Scan(t.Context(), Inbound, testMessage()); v.Action != Later || !strings.Contains(v.Told[0], "more than a header") {
		t.Errorf("a milter that adds recipients: %+v", v)
	}
}

// TestTogether: each helper sees what those before it have changed, and nobody is asked after a refusal.
func TestTogether(t *testing.T) {
	first := &filter{end: func(m *gomilter.Modifier) (gomilter.Response, error) {
		m.InsertHeader(0, "X-First", "1")
		return gomilter.RespAccept, nil
	}}
	second, third := &filter{end: func(*gomilter.Modifier) (gomilter.Response, error) { return gomilter.RespReject, nil }}, &filter{}
	p, err := New(Options{Helpers: []Helper{
		{Name: "one", Kind: Milter, Address: serveFilter(t, first, changesHeader)},
		{Name: "two", Kind: Milter, Address: serveFilter(t, second, 0)},
		{Name: "three", Kind: Milter, Address: serveFilter(t, third, 0)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	v := p.Scan(t.Context(), Inbound, testMessage())
	if v.Action != Refuse || v.By != "two" || !slices.Contains(second.seen, `X-First="1"`) || len(third.seen) > 0 {
		t.Errorf("%+v; the second saw %q, the third %q", v, second.seen, third.seen)
	}
}

// packet is one of the protocol.
func packet(code byte, data string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1))) + string(code) + data
}

// agreed is the answer to the first packet.
func agreed(version, actions, protocol uint32) string {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, version), actions), protocol)
	return packet('O', string(b))
}

// brokenMilters are programs that are no milters.
func brokenMilters() map[string]func(net.Conn) {
	say := func(first string, more ...string) func(net.Conn) {
		return func(c net.Conn) {
			go io.Copy(io.Discard, c)
			io.WriteString(c, first)
			for _, text := range more {
				for {
					if _, err := io.WriteString(c, text); err != nil {
						return
					}
				}
			}
			time.Sleep(time.Hour)
		}
	}
	const mute = skipConnect | skipHello | skipMail | skipRecipient | skipBody | skipFields | skipHeaderEnd | skipData
	begin := agreed(6, actions, mute)
	return map[string]func(net.Conn){
		"deaf":                deaf,
		"hangs up":            func(c net.Conn) { c.Read(make([]byte, 10)) },
		"never reads":         func(net.Conn) { time.Sleep(time.Hour) },
		"speaks HTTP":         say("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"an empty packet":     say("\x00\x00\x00\x00O"),
		"a short beginning":   say(packet('O', "\x00")),
		"another version":     say(agreed(7, 0, 0)),
		"an old version":      say(agreed(1, 0, 0)),
		"changes the body":    say(agreed(6, 2, 0)),
		"wants what is not":   say(agreed(6, 0, 1<<25)),
		"an unknown answer":   say(agreed(6, 0, 0), packet('Z', "")),
		"skips an envelope":   say(agreed(6, 0, 0) + packet('s', "")),
		"patience":            say(begin, strings.Repeat(packet('p', ""), 1000)),
		"an octet at a time":  say(agreed(6, 0, 0), "\x00"),
		"edits without end":   say(begin, strings.Repeat(packet('h', "X\x00v\x00"), 1000)),
		"reasons without end": say(begin, strings.Repeat(packet('q', "why\x00"), 1000)),
		"an edit without end": say(begin + packet('h', "X\x00v")),
		"no number":           say(begin + packet('m', "\x00\x00")),
		"no name":             say(begin + packet('h', "X Y\x00v\x00")),
		"a short reply":       say(begin + packet('y', "55")),
		"a huge packet":       say(begin, "\x00\x01\x00\x01h"+strings.Repeat("x", 1<<16)),
	}
}

// FuzzMilter: whatever a milter says, it breaks neither us nor the message.
func FuzzMilter(f *testing.F) {
	begin := agreed(6, actions, skipConnect|skipHello|skipMail|skipRecipient|skipBody|skipFields|skipHeaderEnd|skipData|leadingSpace)
	f.Add([]byte(begin + packet('h', "X\x00 v\n w\x00") + packet('i', "\x00\x00\x00\x01Y\x00v\x00") + packet('m', "\x00\x00\x00\x01Subject\x00\x00") + packet('q', "why\x00") + packet('a', "")))
	f.Add([]byte(agreed(2, 0, 0) + strings.Repeat(packet('c', ""), 9) + packet('y', "451 4.7.1 later\x00")))
	f.Add([]byte(agreed(6, 0, 0) + packet('p', "") + packet('4', "")))
	f.Fuzz(func(t *testing.T, said []byte) {
		m := &milter{o: &Helper{Dial: behind(func(c net.Conn) {
			go io.Copy(io.Discard, c)
			c.Write(said)
		})}}
		a, err := m.scan(t.Context(), testMessage())
		if err == nil {
			checkAnswer(t, a)
		}
	})
}
