package importer_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

const childData, childSource = "POSTHOUSE_IMPORT_DATA", "POSTHOUSE_IMPORT_SOURCE"

// ticking is a clock that lets every report of progress through.
func ticking() func() time.Time {
	clock := time.Unix(0, 0)
	return func() time.Time { clock = clock.Add(time.Second); return clock }
}

// TestKillChild is the process that TestKilled kills: command and house in one. It prints a line for each 64 messages.
func TestKillChild(t *testing.T) {
	if os.Getenv(childData) == "" {
		return
	}
	h := &house{House: storetest.Start(t, storetest.Options{KV: kv.Options{Dir: os.Getenv(childData), SegmentSize: 128 << 10}}), t: t}
	if _, err := h.Store.Mailboxes(t.Context(), account); errors.Is(err, store.ErrNoAccount) {
		storetest.Account(t, h.Store, h.DB, account)
	}
	h.run(maildir(t, os.Getenv(childSource)), importer.Options{
		Kind: "maildir", Name: "x", Now: ticking(),
		Progress: func(p importer.Progress) { fmt.Println("progress", p.Messages) },
	})
}

// TestKilled: an import that is killed with SIGKILL anywhere, again and again, ends with every message there once.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	const n = 3000
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("cur/%d.x:2,", 10000+i)] = fmt.Sprintf("Subject: %d\n\n%s\n", i, strings.Repeat("text ", i%50))
	}
	source := write(t, filepath.Join(dir, "source"), files)
	kills := 0
	for after := 5; ; after += 9 {
		c := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
		c.Env = append(os.Environ(), childData+"="+filepath.Join(dir, "data"), childSource+"="+source)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := 0
		for s := bufio.NewScanner(out); s.Scan(); {
			if strings.HasPrefix(s.Text(), "progress") {
				if lines++; lines == after {
					c.Process.Kill()
				}
			} else if strings.Contains(s.Text(), "FAIL") || strings.Contains(s.Text(), "_test.go") {
				t.Log(s.Text())
			}
		}
		if err := c.Wait(); err == nil {
			break
		}
		if kills++; kills > 50 {
			t.Fatal("it never ends")
		}
	}
	h := &house{House: storetest.Start(t, storetest.Options{KV: kv.Options{Dir: filepath.Join(dir, "data")}}), t: t}
	once(t, h, n)
	if kills < 3 {
		t.Errorf("killed %d times only", kills)
	}
}

// once checks that messages with n subjects are there, each once.
func once(t *testing.T, h *house, n int) {
	t.Helper()
	seen := map[string]int{}
	for line := range strings.Lines(h.show(true)) {
		if i := strings.Index(line, `"Subject`); i > 0 {
			subject, _, _ := strings.Cut(line[i:], `\r`)
			seen[subject]++
		}
	}
	for subject, k := range seen {
		if k != 1 {
			t.Errorf("%s is there %d times", subject, k)
		}
	}
	if len(seen) != n {
		t.Errorf("%d messages, want %d", len(seen), n)
	}
}

// TestFullDisk: an import on a full disk stops and says so; with room again it goes on.
func TestFullDisk(t *testing.T) {
	fs := vfstest.New()
	fs.SetCapacity(2 << 20)
	h := &house{House: storetest.Start(t, storetest.Options{KV: kv.Options{Dir: "/data", FS: fs, Memory: true, Plain: true, SegmentSize: 256 << 10, Reserve: 4096}}), t: t}
	storetest.Account(t, h.Store, h.DB, account)
	files := map[string]string{}
	for i := range 800 {
		files[fmt.Sprintf("cur/%d.x:2,", 10000+i)] = fmt.Sprintf("Subject: %d\n\n%s\n", i, strings.Repeat("text ", 1000))
	}
	dir := write(t, t.TempDir(), files)
	o := importer.Options{Kind: "maildir", Name: "x"}
	sum, err := importer.Run(t.Context(), maildir(t, dir), h, o)
	if !errors.Is(err, kv.ErrFull) {
		t.Fatalf("%v, %+v; want ErrFull", err, sum)
	}
	fs.SetCapacity(1 << 30)
	if sum := h.run(maildir(t, dir), o); sum.Taken.Messages+sum.Already != 800 {
		t.Errorf("%+v", sum)
	}
	once(t, h, 800)
}
