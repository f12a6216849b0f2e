package imap

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// believer is a client that keeps what it was told of its mailbox, and nothing else.
type believer struct {
	t      *testing.T
	name   string
	conn   net.Conn
	r      *bufio.Reader
	random *rand.Rand
	tags   int
	mail   []believed
	log    []string
}

// believed is one message; flags nil: not told yet.
type believed struct {
	uid   string
	flags []string
}

func newBeliever(t *testing.T, h *house, name string, seed uint64) *believer {
	conn, err := h.dial()
	if err != nil {
		t.Fatal(err)
	}
	b := &believer{t: t, name: name, conn: conn, r: bufio.NewReader(conn), random: rand.New(rand.NewPCG(seed, 1))}
	if _, err := b.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	b.command("LOGIN alice secret", "")
	b.command("SELECT INBOX", "")
	b.refresh()
	return b
}

var (
	countLine = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE)$`)
	fetchLine = regexp.MustCompile(`^\* (\d+) FETCH \((.*)\)$`)
	uidItem   = regexp.MustCompile(`UID (\d+)`)
	flagsItem = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
)

// command sends one, believes every untagged response, and returns whether the answer was OK. forbidden may not come.
func (b *believer) command(text, forbidden string) bool {
	b.tags++
	tag := b.name + strconv.Itoa(b.tags)
	b.log = append(b.log, "C: "+text)
	if _, err := fmt.Fprintf(b.conn, "%s %s\r\n", tag, text); err != nil {
		b.fail(err)
	}
	for {
		line, err := b.r.ReadString('\n')
		if err != nil {
			b.fail(err)
		}
		line = strings.TrimRight(line, "\r\n")
		b.log = append(b.log, "S: "+line)
		if answer, ok := strings.CutPrefix(line, tag+" "); ok {
			if strings.HasPrefix(answer, "BAD") {
				b.fail(line)
			}
			return strings.HasPrefix(answer, "OK")
		}
		if forbidden != "" && strings.HasSuffix(line, forbidden) {
			b.fail("forbidden here: ", line)
		}
		b.believe(line)
	}
}

func (b *believer) fail(what ...any) {
	b.t.Errorf("%s: %s\n%s", b.name, fmt.Sprint(what...), strings.Join(b.log[max(0, len(b.log)-40):], "\n"))
	panic("dialogue broken")
}

func (b *believer) believe(line string) {
	if m := countLine.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		switch {
		case m[2] == "EXISTS" && n < len(b.mail) || m[2] == "EXPUNGE" && (n < 1 || n > len(b.mail)):
			b.fail("cannot be: ", line, " with ", len(b.mail))
		case m[2] == "EXISTS":
			b.mail = append(b.mail, make([]believed, n-len(b.mail))...)
		default:
			b.mail = slices.Delete(b.mail, n-1, n)
		}
	}
	m := fetchLine.FindStringSubmatch(line)
	if m == nil {
		return
	}
	n, _ := strconv.Atoi(m[1])
	if n < 1 || n > len(b.mail) {
		b.fail("cannot be: ", line, " with ", len(b.mail))
	}
	msg := &b.mail[n-1]
	if uid := uidItem.FindStringSubmatch(m[2]); uid != nil {
		if msg.uid != "" && msg.uid != uid[1] {
			b.fail("message ", n, " is uid ", msg.uid, ", not: ", line)
		}
		msg.uid = uid[1]
	}
	if flags := flagsItem.FindStringSubmatch(m[2]); flags != nil {
		msg.flags = strings.Fields(strings.ReplaceAll(flags[1], `\Recent`, ""))
		slices.Sort(msg.flags)
		msg.flags = append([]string{}, msg.flags...)
	}
}

// refresh asks for what was not told yet.
func (b *believer) refresh() {
	for i := range b.mail {
		if b.mail[i].flags == nil {
			b.command(fmt.Sprintf("FETCH %d:%d (UID FLAGS)", i+1, len(b.mail)), "EXPUNGE")
			return
		}
	}
}

// act does one random thing.
func (b *believer) act() {
	defer b.refresh()
	n := len(b.mail)
	dice := b.random.IntN(10)
	if dice < 3 || n == 0 {
		b.command("APPEND INBOX {14+}\r\nSubject: new\r\n\r\n", "")
		return
	}
	at := b.random.IntN(n)
	last := min(n, at+1+b.random.IntN(3))
	set := fmt.Sprintf("%d:%d", at+1, last)
	flag := []string{`\Seen`, `\Flagged`, `\Deleted`, "Work", "Home"}[b.random.IntN(5)]
	switch dice {
	case 3:
		b.command("STORE "+set+" +FLAGS ("+flag+")", "EXPUNGE")
	case 4:
		b.command("STORE "+set+" -FLAGS ("+flag+")", "EXPUNGE")
	case 5, 6:
		b.silent(at, last, dice == 5, flag)
	case 7:
		if uid := b.mail[at].uid; uid != "" {
			b.command("UID STORE "+uid+" FLAGS ("+flag+")", "")
		}
	case 8:
		b.command("EXPUNGE", "")
	default:
		b.command("NOOP", "")
	}
}

// silent changes flags without being told: the client computes the outcome itself, before it hears of anything else.
func (b *believer) silent(at, last int, add bool, flag string) {
	sign := "-"
	if add {
		sign = "+"
	}
	for i := at; i < last; i++ {
		m := &b.mail[i]
		if m.flags == nil {
			continue
		}
		m.flags = slices.DeleteFunc(m.flags, func(f string) bool { return f == flag })
		if add {
			m.flags = append(m.flags, flag)
			slices.Sort(m.flags)
		}
	}
	b.command(fmt.Sprintf("STORE %d:%d %sFLAGS.SILENT (%s)", at+1, last, sign, flag), "EXPUNGE")
}

// TestSessionsBelieveTheTruth lets several clients change one mailbox at once. At the end each of them, told nothing but
// untagged responses, must believe what a new client is told.
func TestSessionsBelieveTheTruth(t *testing.T) {
	h := newHouse(t, Options{})
	var all []*believer
	for i := range 4 {
		all = append(all, newBeliever(t, h, string(rune('a'+i)), uint64(i)))
	}
	var running sync.WaitGroup
	for _, b := range all {
		running.Go(func() {
			defer func() { _ = recover() }() // fail has reported
			for range 60 {
				b.act()
			}
		})
	}
	running.Wait()
	if t.Failed() {
		return
	}
	truth := newBeliever(t, h, "truth", 9)
	for _, b := range all {
		b.command("NOOP", "")
		b.refresh()
		if got, want := fmt.Sprint(b.mail), fmt.Sprint(truth.mail); got != want {
			t.Errorf("%s believes\n%s\nthe truth is\n%s\n%s", b.name, got, want, strings.Join(b.log[max(0, len(b.log)-60):], "\n"))
		}
	}
}
