package imap

import (
	"bytes"
	"encoding/hex"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store"
)

// damage inverts octets of the file below dir that holds marker, or of the largest file, and returns how to undo it.
func damage(t *testing.T, dir, marker string) (undo func()) {
	t.Helper()
	var file string
	var at, largest int64
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".seg" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		raw = bytes.TrimRight(raw, "\x00") // a segment is made larger than its contents
		switch i := bytes.Index(raw, []byte(marker)); {
		case marker != "" && i >= 0:
			file, at = path, int64(i)
		case marker == "" && int64(len(raw)) > largest:
			largest = int64(len(raw))
			file, at = path, largest*3/4
		}
		return nil
	})
	if err != nil || file == "" {
		t.Fatal("nothing to damage: ", err)
	}
	flip := func() {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 16)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0xff
		}
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	return flip
}

// TestDamagedMessage: what cannot be read is refused without harm to the others; in the middle of a literal the
// connection ends, and nothing is made up.
func TestDamagedMessage(t *testing.T) {
	dir := t.TempDir()
	h := newHouseIn(t, dir, Options{})
	h.deliver(t, store.Delivery{Account: 1, Mailbox: "INBOX"}, "Subject: whole\r\n\r\nintact\r\n")
	h.deliver(t, store.Delivery{Account: 1, Mailbox: "INBOX"}, "Subject: damaged\r\n\r\nunique-marker-of-the-damaged\r\n")
	noise := make([]byte, 600<<10)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	text := hex.EncodeToString(noise)
	h.deliver(t, store.Delivery{Account: 1, Mailbox: "INBOX"}, "Subject: large\r\n\r\n"+text+"\r\n")
	c := h.benchClient(t)

	undo := damage(t, dir, "unique-marker-of-the-damaged")
	io.WriteString(c.c, "b FETCH 1:2 (UID BODY.PEEK[TEXT])\r\n")
	answer := c.lines("b ")
	io.WriteString(c.c, "s SEARCH TEXT subject NOT BODY nothing\r\n")
	if got := c.lines("s "); !strings.HasPrefix(got, "* SEARCH 1 3\r\ns OK ") { // the damaged one matches nothing, whatever is asked
		t.Errorf("%q", got)
	}
	undo()
	if want := "* 1 FETCH (UID 1 BODY[TEXT] {8}\r\nintact\r\n)\r\nb NO [SERVERBUG] a message is damaged"; !strings.HasPrefix(answer, want) {
		t.Errorf("%q", answer)
	}
	c.do("FETCH 2 BODY.PEEK[TEXT]")

	undo = damage(t, dir, "")
	io.WriteString(c.c, "d FETCH 3 BODY.PEEK[]\r\n")
	c.c.SetReadDeadline(time.Now().Add(5 * time.Second))
	rest, err := io.ReadAll(c.r)
	undo()
	if err != nil || !strings.HasPrefix(string(rest), "* 3 FETCH (BODY[] {") || len(rest) > len(text) || bytes.Contains(rest, []byte("\nd ")) {
		t.Errorf("%v, %d octets: %.80q ... %.40q", err, len(rest), rest, rest[max(0, len(rest)-40):])
	}
}

// lines reads up to a line that begins with prefix, and returns all.
func (b *benchClient) lines(prefix string) string {
	var all strings.Builder
	for {
		line, err := b.r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			b.tb.Fatalf("%v after %q", err, all.String())
		}
		if strings.HasPrefix(line, prefix) {
			return all.String()
		}
	}
}
