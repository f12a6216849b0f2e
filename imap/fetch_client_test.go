package imap

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
)

// libraryClient is go-imap's client with alice's INBOX selected.
func (h *house) libraryClient(t *testing.T) *imapclient.Client {
	t.Helper()
	nc, err := h.dial()
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(nc, nil)
	t.Cleanup(func() { c.Close() })
	if err := c.Login("alice", "secret").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestClientReadsOddMail lets another program's client read what we say of odd mail, and compares it with what we know.
func TestClientReadsOddMail(t *testing.T) {
	files, _ := filepath.Glob("../internal/message/testdata/*.eml")
	if len(files) == 0 {
		t.Fatal("no mail")
	}
	h := newHouse(t, Options{})
	var mails [][]byte
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		mails = append(mails, raw)
		h.deliver(t, store.Delivery{Account: 1, Mailbox: "INBOX"}, string(raw))
	}
	c := h.libraryClient(t)
	whole := &goimap.FetchItemBodySection{Peek: true}
	options := &goimap.FetchOptions{Envelope: true, BodyStructure: &goimap.FetchItemBodyStructure{Extended: true}, BodySection: []*goimap.FetchItemBodySection{whole}}
	all := goimap.UIDSet{}
	all.AddRange(1, 0)
	got, err := c.Fetch(all, options).Collect()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(mails) {
		t.Fatalf("%d of %d messages", len(got), len(mails))
	}
	for i, m := range got {
		raw, name := mails[i], filepath.Base(files[i])
		sum, err := message.Scan(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if body := m.FindBodySection(whole); !bytes.Equal(body, bytes.ReplaceAll(raw, []byte{0}, []byte{0x80})) {
			t.Errorf("%s: other octets", name)
		}
		compareStructure(t, name, sum.Root, m.BodyStructure)
		if e := m.Envelope; e == nil || e.MessageID != strings.Trim(sum.Root.Envelope.MessageID, "<>") {
			t.Errorf("%s: envelope %+v", name, e)
		}
	}
}

// compareStructure walks the tree that the client understood beside ours.
func compareStructure(t *testing.T, name string, p *message.Part, got goimap.BodyStructure) {
	t.Helper()
	switch bs := got.(type) {
	case *goimap.BodyStructureMultiPart:
		if !p.IsMultipart() || !strings.EqualFold(bs.Subtype, p.Subtype) || len(bs.Children) != max(len(p.Parts), 1) {
			t.Errorf("%s: %s/%s with %d parts became %s with %d", name, p.Type, p.Subtype, len(p.Parts), bs.Subtype, len(bs.Children))
			return
		}
		for i, c := range p.Parts {
			compareStructure(t, name, c, bs.Children[i])
		}
	case *goimap.BodyStructureSinglePart:
		if !strings.EqualFold(bs.Type+"/"+bs.Subtype, p.Type+"/"+p.Subtype) || int64(bs.Size) != p.Size() || !strings.EqualFold(bs.Encoding, p.Encoding) {
			t.Errorf("%s: %+v of %+v", name, bs, p)
		}
		if bs.MessageRFC822 != nil && len(p.Parts) == 1 {
			compareStructure(t, name, p.Parts[0], bs.MessageRFC822.BodyStructure)
		}
	default:
		t.Errorf("%s: no structure", name)
	}
}

// TestLargeMessageStreams reads a large message in bounded memory, and in pieces as some clients do.
func TestLargeMessageStreams(t *testing.T) {
	h := newHouse(t, Options{})
	const size = 24 << 20
	raw := "Subject: large\r\nContent-Type: text/plain\r\n\r\n" + strings.Repeat(strings.Repeat("0123456789", 7)+"\r\n", size/72)
	h.deliver(t, store.Delivery{Account: 1, Mailbox: "INBOX"}, raw)
	c := h.benchClient(t)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if n := c.do("FETCH 1 BODY.PEEK[]"); n < int64(len(raw)) {
		t.Errorf("%d octets of %d", n, len(raw))
	}
	if n := c.do("FETCH 1 BINARY.PEEK[1]"); n < size {
		t.Errorf("%d octets of %d", n, size)
	}
	if n := c.do("SEARCH BODY 9012x"); n > 200 {
		t.Errorf("%d octets for an empty result", n)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("%d KB allocated to read a message of %d KB three times", grown>>10, len(raw)>>10)
	}
	if n := c.do("FETCH 1 BODY.PEEK[]<24000000.1000>"); n < 1000 || n > 1200 {
		t.Errorf("%d octets of a piece of 1000", n)
	}
}
