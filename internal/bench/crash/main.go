// Crash kills the serving binary with SIGKILL at random moments while mail comes
// in over SMTP, starts it again, and at the end compares a ledger of every 250 with what is in
// the mailboxes: each acknowledged message exactly once, each other one at most once per try.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
	"github.com/posthouse-mail/posthouse/internal/bench/load"
)

func main() {
	kills := flag.Int("kills", 20, "how often the server is killed")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments and the mail")
	binary := flag.String("binary", "bin/posthouse", "the server")
	base := flag.Int("base", 24000, "first port")
	flag.Parse()
	fmt.Printf("seed %d\n", *seed)
	if err := run(*binary, *base, *kills, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func run(binary string, base, kills int, seed uint64) error {
	dir, err := os.MkdirTemp("", "posthouse-crash-")
	if err != nil {
		return err
	}
	h := &house.House{Binary: binary, Dir: dir, Base: base}
	if err := h.Setup(); err != nil {
		return err
	}
	l := &ledger{answers: map[string]answer{}}
	rng := rand.New(rand.NewPCG(seed, 1))
	for k := range kills {
		if err := round(h, l, k, rng); err != nil {
			return fmt.Errorf("after kill %d (data kept in %s): %w", k, dir, err)
		}
	}
	if err := h.Start(); err != nil {
		return err
	}
	if err := l.compare(h.Target()); err != nil {
		h.Stop()
		return fmt.Errorf("%w (data kept in %s)", err, dir)
	}
	if err := h.Stop(); err != nil {
		return err
	}
	if err := h.Check(); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// round starts the server, lets 8 senders work for a random while, and kills it.
func round(h *house.House, l *ledger, k int, rng *rand.Rand) error {
	if err := h.Start(); err != nil {
		return err
	}
	target := h.Target()
	var wg sync.WaitGroup
	for s := range 8 {
		large := rng.IntN(4) == 0
		wg.Go(func() { send(target.SMTP.Addr, l, fmt.Sprintf("k%d-s%d", k, s), large) })
	}
	time.Sleep(time.Duration(20+rng.IntN(700)) * time.Millisecond)
	err := h.Kill()
	wg.Wait()
	return err
}

// answer is what the sender of one message heard.
type answer int

const (
	silence answer = iota // the connection ended first
	taken                 // 250
	refused               // 4xx or 5xx
)

// ledger keeps every message that was tried, by id.
type ledger struct {
	mu      sync.Mutex
	answers map[string]answer
}

func (l *ledger) note(id string, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[id] = a
}

// send delivers one message after the other until the connection breaks.
func send(addr string, l *ledger, prefix string, large bool) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	if reply(r) != "220" || say(c, r, "EHLO crash.test\r\n") != "250" {
		return
	}
	body := strings.Repeat("a line of the body that is worth compressing\r\n", 60)
	if large {
		body = strings.Repeat(body, 100) // over the size at which a body gets a segment of its own
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d", prefix, i)
		rcpt := fmt.Sprintf("u%d@%s", 1+i%5, house.Domain)
		if say(c, r, "MAIL FROM:<sender@crash.test>\r\n") != "250" || say(c, r, "RCPT TO:<"+rcpt+">\r\n") != "250" || say(c, r, "DATA\r\n") != "354" {
			return
		}
		l.note(id, silence)
		switch code := say(c, r, "Message-ID: <"+id+"@crash.test>\r\nSubject: x\r\n\r\n"+body+".\r\n"); {
		case code == "250":
			l.note(id, taken)
		case code != "":
			l.note(id, refused)
		default:
			return
		}
	}
}

// say sends and returns the code of the answer, "" when there is none.
func say(c net.Conn, r *bufio.Reader, text string) string {
	if _, err := io.WriteString(c, text); err != nil {
		return ""
	}
	return reply(r)
}

func reply(r *bufio.Reader) string {
	for {
		line, err := r.ReadString('\n')
		if err != nil || len(line) < 4 {
			return ""
		}
		if line[3] == ' ' {
			return line[:3]
		}
	}
}

// compare counts every message in the mailboxes against the ledger.
func (l *ledger) compare(t *load.Target) error {
	found := map[string]int{}
	for n := 1; n <= 5; n++ {
		ids, err := messageIDs(t.IMAP.Addr, t.UserN(n), t.Password)
		if err != nil {
			return err
		}
		for _, id := range ids {
			found[id]++
		}
	}
	var counts [3]int
	lost, twice, foreign := 0, 0, 0
	for id, a := range l.answers {
		counts[a]++
		switch {
		case a == taken && found[id] == 0:
			lost++
		case found[id] > 1:
			twice++
		}
	}
	for id := range found {
		if _, ok := l.answers[id]; !ok {
			foreign++
		}
	}
	fmt.Printf("messages answered 250: %d, refused: %d, cut off: %d; lost: %d, twice: %d, never sent: %d\n", counts[taken], counts[refused], counts[silence], lost, twice, foreign)
	switch {
	case counts[taken] == 0:
		return errors.New("no message was taken at all: nothing was shown")
	case lost+twice+foreign > 0:
		return errors.New("the mailboxes do not match the ledger")
	}
	return nil
}

// messageIDs reads the Message-ID of every message in INBOX over IMAP.
func messageIDs(addr, user, password string) ([]string, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	fmt.Fprintf(c, "a LOGIN %s %s\r\nb EXAMINE INBOX\r\nc UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])\r\n", user, password)
	var ids []string
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("IMAP of %s: %w", user, err)
		}
		if id, ok := strings.CutPrefix(line, "Message-ID: <"); ok {
			ids = append(ids, strings.TrimSuffix(strings.TrimSpace(id), "@crash.test>"))
		}
		if strings.HasPrefix(line, "c ") || strings.HasPrefix(line, "a NO") || strings.HasPrefix(line, "b NO") {
			if !strings.HasPrefix(line, "c OK") && !strings.HasPrefix(line, "c BAD") { // BAD: an empty mailbox has no 1
				return nil, fmt.Errorf("IMAP of %s: %s", user, strings.TrimSpace(line))
			}
			return ids, nil
		}
	}
}
