package imap

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/store/storetest"
)

// FuzzSession sends octets as a whole session, logged in. It must end when the client does, without a panic, and leave a
// store that the consistency check at the end of the test finds whole.
func FuzzSession(f *testing.F) {
	for _, seed := range dialogues(f) {
		f.Add([]byte(seed))
	}
	h := newHouse(f, Options{MaxMessage: 10_000})
	for range 5 {
		storetest.Message(f, h.Store, 1, "INBOX", "Subject: fuzz\r\n\r\nhello\r\n")
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<16 {
			return
		}
		conn := h.pipe()
		go io.Copy(io.Discard, conn) // ends with the connection
		io.WriteString(conn, "l LOGIN alice secret\r\nm SELECT INBOX\r\n")
		conn.Write(in)
		conn.Close()
		h.conns.Wait()
	})
}

// dialogues are what the clients of the transcripts send, one string for each dialogue.
func dialogues(t testing.TB) []string {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts (%v)", err)
	}
	var out []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, dialogue := range strings.Split(string(text), "\n== ") {
			var b strings.Builder
			for _, line := range strings.Split(dialogue, "\n") {
				if raw, ok := strings.CutPrefix(line, "CX: "); ok {
					raw, err = strconv.Unquote(raw)
					if err != nil {
						t.Fatalf("%s: %s: %v", file, line, err)
					}
					b.WriteString(raw)
				} else if said, ok := strings.CutPrefix(line, "C: "); ok && !strings.Contains(said, "LOGOUT") {
					b.WriteString(said + "\r\n")
				}
			}
			out = append(out, b.String())
		}
	}
	return out
}
