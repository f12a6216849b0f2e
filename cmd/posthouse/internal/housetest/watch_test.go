package housetest

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// talk is a text connection without TLS, of IMAP or POP3, that fails its test.
type talk struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
	n int
}

func newTalk(t *testing.T, addr string) *talk {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	check(t, c.SetDeadline(time.Now().Add(patience)))
	k := &talk{t: t, c: c, r: bufio.NewReader(c)}
	k.line()
	return k
}

// line is one line with the literals in it.
func (k *talk) line() string {
	k.t.Helper()
	var b strings.Builder
	for {
		part, err := k.r.ReadString('\n')
		if err != nil {
			k.t.Fatalf("%v after %q", err, b.String())
		}
		b.WriteString(part)
		part = strings.TrimRight(part, "\r\n")
		open := strings.LastIndexByte(part, '{')
		n, err := strconv.Atoi(strings.TrimSuffix(part[open+1:], "}"))
		if open < 0 || err != nil || !strings.HasSuffix(part, "}") {
			return strings.TrimRight(b.String(), "\r\n")
		}
		if _, err := io.CopyN(&b, k.r, int64(n)); err != nil {
			k.t.Fatal(err)
		}
	}
}

func (k *talk) say(line string) {
	k.t.Helper()
	if _, err := io.WriteString(k.c, line+"\r\n"); err != nil {
		k.t.Fatal(err)
	}
}

// imap sends a command and returns its untagged answers; anything but OK fails.
func (k *talk) imap(command string) (lines []string) {
	k.t.Helper()
	k.n++
	tag := fmt.Sprintf("t%d ", k.n)
	k.say(tag + command)
	for {
		line := k.line()
		if last, ok := strings.CutPrefix(line, tag); ok {
			if !strings.HasPrefix(last, "OK") {
				k.t.Fatalf("%.60q: %s", command, last)
			}
			return append(lines, last)
		}
		lines = append(lines, line)
	}
}

// expect is a command of SMTP or POP3 whose answer begins with want.
func (k *talk) expect(want, line string) string {
	k.t.Helper()
	k.say(line)
	for {
		got := k.line()
		if !strings.HasPrefix(got, want) {
			k.t.Fatalf("%.60q: %s", line, got)
		}
		if len(want) != 3 || got[3] == ' ' {
			return got
		}
	}
}

func hashOf(text string) string { return fmt.Sprintf("%.8x", sha256.Sum256([]byte(text))) }

var (
	listed  = regexp.MustCompile(`^\* LIST \(([^)]*)\) "/" "?([^"]*)"?`)
	counted = regexp.MustCompile(`\[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)\]`)
	named   = regexp.MustCompile(`(?m)^Message-ID: (<[^>]*>)`)
	fetched = regexp.MustCompile(`(?s)UID (\d+) .*FLAGS \(([^)]*)\) .*INTERNALDATE "([^"]*)" .*RFC822.SIZE (\d+) .*MODSEQ \((\d+)\)`)
)

// watchMail reads all that IMAP shows of an account.
func watchMail(t *testing.T, addr, account, password string) map[string]*keptBox {
	t.Helper()
	k := newTalk(t, addr)
	defer k.c.Close()
	k.imap("LOGIN " + account + ` "` + password + `"`)
	k.imap("ENABLE CONDSTORE")
	boxes := map[string]*keptBox{}
	for _, line := range k.imap(`LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE CHILDREN)`) {
		if m := listed.FindStringSubmatch(line); m != nil {
			boxes[m[2]] = k.watchBox(m[2], strings.Fields(m[1]))
		}
	}
	k.imap("LOGOUT")
	return boxes
}

func (k *talk) watchBox(name string, attributes []string) *keptBox {
	k.t.Helper()
	slices.Sort(attributes)
	b := &keptBox{Attributes: attributes, Messages: map[string]keptMessage{}}
	for _, line := range k.imap(`EXAMINE "` + name + `"`) {
		for _, m := range counted.FindAllStringSubmatch(line, -1) {
			n := parse(k.t, m[2])
			switch m[1] {
			case "UIDVALIDITY":
				b.UIDValidity = n
			case "UIDNEXT":
				b.UIDNext = n
			case "HIGHESTMODSEQ":
				b.ModSeq = n
			}
		}
	}
	for _, line := range k.imap("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ BODY.PEEK[])") {
		m := fetched.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		_, text, _ := strings.Cut(line, "BODY[] {")
		_, text, _ = strings.Cut(text, "}\r\n")
		flags := slices.DeleteFunc(strings.Fields(m[2]), func(f string) bool { return f == `\Recent` })
		slices.Sort(flags)
		size := parse(k.t, m[4])
		id := ""
		if found := named.FindStringSubmatch(text[:size]); found != nil {
			id = found[1]
		}
		b.Messages[m[1]] = keptMessage{
			Flags: strings.Join(flags, " "), Date: m[3], MessageID: id, Hash: hashOf(text[:size]), Size: size, ModSeq: parse(k.t, m[5]),
		}
	}
	return b
}

func parse(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// watchUIDL reads the unique-ids of an account's maildrop and what text each names.
func watchUIDL(t *testing.T, addr, account, password string) map[string]string {
	t.Helper()
	k := newTalk(t, addr)
	defer k.c.Close()
	k.expect("+OK", "USER "+account)
	k.expect("+OK", "PASS "+password)
	k.expect("+OK", "UIDL")
	ids := map[string]string{}
	for _, line := range k.lines() {
		ids[line] = ""
	}
	out := map[string]string{}
	for line := range ids {
		n, id, _ := strings.Cut(line, " ")
		k.expect("+OK", "RETR "+n)
		out[id] = hashOf(strings.Join(k.lines(), "\r\n") + "\r\n")
	}
	k.expect("+OK", "QUIT")
	return out
}

// lines reads to the dot.
func (k *talk) lines() (out []string) {
	k.t.Helper()
	for {
		line, err := k.r.ReadString('\n')
		if err != nil {
			k.t.Fatal(err)
		}
		if line == ".\r\n" {
			return out
		}
		out = append(out, strings.TrimPrefix(strings.TrimRight(line, "\r\n"), "."))
	}
}
