package imap

import (
	"bytes"
	"encoding/binary"
	"strings"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
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

// TestDamagedBin: what is wrong with the mailbox of deleted mail does not hide the others.
func TestDamagedBin(t *testing.T) {
	h := newHouse(t, Options{RecentlyDeleted: true})
	bin, err := h.Store.Bin(h.ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	key := append(binary.BigEndian.AppendUint32(nil, uint32(bin.ID)), 0xff, 0xff, 0xff, 0xff)
	var was []byte
	put := func(v func() []byte) {
		t.Helper()
		err := h.DB.Update(h.ctx, func(tx *kv.Tx) error {
			if was == nil {
				was = bytes.Clone(tx.Get("m", key))
			}
			tx.Put("m", key, v())
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	storetest.Message(t, h.Store, 1, "Archive", "Subject: x\r\n\r\n")
	put(func() []byte { return []byte("damaged") })
	if err := h.Store.DeleteMailbox(h.ctx, 1, "Archive"); err != nil {
		t.Fatal(err)
	}
	conn, err := h.dial()
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, conn)
	c.login()
	c.send(`1 LIST "" INBOX`)
	if got := c.expect("*"); !strings.HasSuffix(got, " INBOX") {
		t.Errorf("got %q", got)
	}
	c.expect("1 OK")
	put(func() []byte { return was })
}
