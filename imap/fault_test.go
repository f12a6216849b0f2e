package imap

import (
	"strings"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// TestFullDisk: an APPEND that cannot be written is refused and read to its end, small or large; what was there stays, can be
// flagged and removed, and the next APPEND goes through when there is room again.
func TestFullDisk(t *testing.T) {
	fs := vfstest.New()
	h := newHouseOn(t, kv.Options{Memory: true, FS: fs, SegmentSize: 1 << 20}, Options{})
	conn, err := h.dial()
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn)
	c.login()
	c.send("1 APPEND INBOX {14+}\r\nSubject: new\r\n\r\n")
	c.expect("1 OK")
	c.send("2 SELECT INBOX")
	c.expect("2 OK")
	fs.SetFail(func(op vfstest.Op) error {
		if op.Kind == "write" || op.Kind == "allocate" || op.Kind == "open" {
			return syscall.ENOSPC
		}
		return nil
	})
	const refused = "NO [UNAVAILABLE] the server's disk is full, nothing was changed; try again later"
	for _, body := range []string{"Subject: small\r\n\r\n", "Subject: large\r\n\r\n" + strings.Repeat("evil LOGOUT\r\n", 20_000)} {
		c.send("3 APPEND INBOX {" + number(uint32(len(body))) + "+}\r\n" + body)
		if got := c.expect("3 "); got != "3 "+refused {
			t.Errorf("got %q", got)
		}
	}
	c.send("4 STORE 1 +FLAGS.SILENT (\\Deleted)")
	c.expect("4 OK")
	c.send("5 EXPUNGE")
	c.expect("* 1 EXPUNGE")
	c.expect("5 OK")
	fs.SetFail(nil)
	c.send("6 APPEND INBOX {14+}\r\nSubject: new\r\n\r\n")
	c.expect("* 1 EXISTS")
	c.expect("6 OK")
}
