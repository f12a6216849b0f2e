package imap

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/store"
)

// benchClient is a client that counts what it is told.
type benchClient struct {
	c  net.Conn
	r  *bufio.Reader
	tb testing.TB
}

func (h *house) benchClient(tb testing.TB) *benchClient {
	c, err := h.dial()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	b := &benchClient{c: c, r: bufio.NewReaderSize(c, 64<<10), tb: tb}
	b.until("* OK")
	b.do("LOGIN alice secret")
	b.do("SELECT INBOX")
	return b
}

// until reads lines up to one that begins with prefix.
func (b *benchClient) until(prefix string) (octets int64) {
	for {
		line, err := b.r.ReadSlice('\n')
		for err == bufio.ErrBufferFull {
			octets += int64(len(line))
			line, err = b.r.ReadSlice('\n')
		}
		if err != nil {
			b.tb.Fatal(err)
		}
		octets += int64(len(line))
		if bytes.HasPrefix(line, []byte(prefix)) {
			return octets
		}
	}
}

func (b *benchClient) do(command string) int64 {
	if _, err := io.WriteString(b.c, "a1 "+command+"\r\n"); err != nil {
		b.tb.Fatal(err)
	}
	return b.until("a1 OK")
}

// fill puts n mails of about size octets into alice's INBOX.
func (h *house) fill(tb testing.TB, n, size int) {
	for i := range n {
		raw := fmt.Sprintf("Date: Mon, 02 Nov 2026 10:00:00 +0100\r\nFrom: Sender %d <s%d@beta.test>\r\nTo: alice@mail.test\r\nSubject: mail number %d\r\nMessage-ID: <%d@beta.test>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", i, i, i, i)
		raw += strings.Repeat("A line of words that somebody wrote to somebody else, nothing more.\r\n", max(size-len(raw), 0)/70+1)
		h.deliver(tb, store.Delivery{Account: 1, Mailbox: "INBOX"}, raw)
	}
}

func benchFetch(b *testing.B, n, size int, command string) {
	h := newHouse(b, Options{})
	h.fill(b, n, size)
	c := h.benchClient(b)
	var octets int64
	b.ReportAllocs()
	for b.Loop() {
		octets = c.do(command)
	}
	b.SetBytes(octets)
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func BenchmarkFetchFlags(b *testing.B)    { benchFetch(b, 20000, 300, "FETCH 1:* FLAGS") }
func BenchmarkFetchUIDFlags(b *testing.B) { benchFetch(b, 20000, 300, "UID FETCH 1:* (UID FLAGS)") }
func BenchmarkFetchEnvelope(b *testing.B) {
	benchFetch(b, 2000, 4000, "FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)")
}
func BenchmarkFetchBody(b *testing.B) { benchFetch(b, 2000, 12000, "FETCH 1:* BODY.PEEK[]") }
func BenchmarkFetchFields(b *testing.B) {
	benchFetch(b, 2000, 4000, "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (From To Subject Date)])")
}
func BenchmarkSearchFlags(b *testing.B) {
	benchFetch(b, 20000, 300, "UID SEARCH UNSEEN SINCE 1-Jan-2020")
}
func BenchmarkSearchSubject(b *testing.B) { benchFetch(b, 2000, 4000, "SEARCH SUBJECT nothing") }
func BenchmarkSearchBody(b *testing.B)    { benchFetch(b, 2000, 12000, "SEARCH BODY nothing-there") }
