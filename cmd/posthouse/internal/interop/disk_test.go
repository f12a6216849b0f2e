//go:build interop

package interop

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
)

// TestFullDisk fills a file system of 64 MB with mail: the answer is 452, everything acknowledged is there, flags and deletes
// still work, and deletes make room.
func TestFullDisk(t *testing.T) {
	mount := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", mount).CombinedOutput(); err != nil {
		t.Fatalf("mount a small file system (run make interop as root): %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	h := serveHouse(t, filepath.Join(mount, "data"), "1")
	taken, last := fillWithMail(t, h, bob)
	if !strings.HasPrefix(last, "452 4.3.1") {
		t.Errorf("a full disk answers %q, want 452 4.3.1", last)
	}
	if taken < 20 {
		t.Errorf("only %d messages fit on 64 MB", taken)
	}
	c := h.imap(t, bob)
	selected, err := c.Select("INBOX", nil).Wait()
	if err != nil || int(selected.NumMessages) != taken {
		t.Fatalf("INBOX has %d messages, %d were acknowledged (%v)", selected.NumMessages, taken, err)
	}
	half := goimap.SeqSet{}
	half.AddRange(1, uint32(taken/2))
	if _, err := c.Store(half, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagSeen}}, nil).Collect(); err != nil {
		t.Errorf("flags on a full disk: %v", err)
	}
	if _, err := c.Store(half, &goimap.StoreFlags{Op: goimap.StoreFlagsAdd, Flags: []goimap.Flag{goimap.FlagDeleted}}, nil).Collect(); err != nil {
		t.Errorf("mark on a full disk: %v", err)
	}
	gone, err := c.Expunge().Collect()
	if err != nil || len(gone) != taken/2 {
		t.Errorf("EXPUNGE on a full disk removed %d of %d: %v", len(gone), taken/2, err)
	}
	h.awaitMail(t, bob, "INBOX", "fill the disk", taken-taken/2)

	// What was expunged is kept, and given up for the room that it takes: mail is taken again without anybody's doing.
	again := 0
	for end := time.Now().Add(2 * time.Minute); again == 0 && time.Now().Before(end); time.Sleep(time.Second) {
		again, last = fillWithMail(t, h, bob)
	}
	if again == 0 {
		t.Errorf("half of the mail was expunged, and new mail is still answered %q", last)
	}
	kept, err := c.Select("Recently Deleted", nil).Wait()
	if err != nil || int(kept.NumMessages) >= taken/2 {
		t.Errorf("%d messages are kept of %d (%v); some should have made room", kept.NumMessages, taken/2, err)
	}
	c.Close()
}

// fillWithMail delivers 400 KB messages until one is refused, and returns how many were taken and the last answer.
func fillWithMail(t *testing.T, h *house, to string) (taken int, last string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", h.addr(1025), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(conn)
	say := func(text string) string {
		io.WriteString(conn, text)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("after %d messages: %v", taken, err)
			}
			if len(line) > 3 && line[3] == ' ' {
				return line
			}
		}
	}
	say("")
	say("EHLO interop.test\r\n")
	noise := make([]byte, 300_000) // does not compress
	for taken < 400 {
		rand.Read(noise)
		var body strings.Builder
		for text := base64.StdEncoding.EncodeToString(noise); len(text) > 76; text = text[76:] {
			body.WriteString(text[:76] + "\r\n")
		}
		for _, command := range []string{"MAIL FROM:<stranger@gamma.test>\r\n", "RCPT TO:<" + to + ">\r\n", "DATA\r\n"} {
			if last = say(command); last[0] == '4' || last[0] == '5' {
				return taken, last
			}
		}
		if last = say(fmt.Sprintf("Subject: fill the disk %d\r\n\r\n%s.\r\n", taken, body.String())); last[0] != '2' {
			return taken, last
		}
		taken++
	}
	return taken, last
}

// TestSendmail: cron's way in, while the server runs and while it does not.
func TestSendmail(t *testing.T) {
	h := demo(t)
	home := t.TempDir()
	link := filepath.Join(home, "sendmail")
	target, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	run(t, home, "Subject: from sendmail\nTo: bob@alpha.test\n\nbody\n.\nafter a dot\n", link, "--data", h.data, "-t", "-i", "-f", alice)
	run(t, home, "Subject: by argument, from sendmail\n\nbody\n", link, "--data", h.data, "-oi", "-f", alice, "--", bob)
	h.awaitMail(t, bob, "INBOX", "from sendmail", 2)
}
