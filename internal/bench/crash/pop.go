package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
)

var errRefused = errors.New("refused")

// popper reads a mailbox over POP3 and removes a part of it in each session.
type popper struct {
	user    string
	mail    *ledger
	ids     map[string]string // message by unique-id: one unique-id is one message for ever
	rng     *rand.Rand
	quits   int
	removed int
	wrong   error

	c net.Conn
	r *bufio.Reader
}

// work begins one session after the other until the server is gone.
func (p *popper) work(addr string) {
	for p.wrong == nil && p.session(addr) == nil {
	}
}

func (p *popper) session(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	p.c, p.r = c, bufio.NewReader(c)
	if _, err := p.line(); err != nil {
		return err
	}
	for _, command := range []string{"USER " + p.user, "PASS " + house.Password} {
		if err := p.say(command); err != nil {
			return err
		}
	}
	there, err := p.list()
	if err != nil {
		return err
	}
	all := map[string]bool{}
	for _, id := range there {
		if all[id] {
			p.wrong = fmt.Errorf("POP3: %s is there twice", id)
		}
		all[id] = true
	}
	if back := p.mail.settle(p.user, all); len(back) > 0 {
		p.wrong = fmt.Errorf("POP3: removed messages came back: %v", back)
	}
	return p.remove(there)
}

// remove deletes up to ten messages, and ends with QUIT mostly.
func (p *popper) remove(there map[int]string) error {
	var ids []string
	for n := range len(there) {
		if len(ids) == 10 {
			break
		}
		if p.rng.IntN(3) == 0 {
			continue
		}
		if err := p.say(fmt.Sprintf("DELE %d", n+1)); err != nil {
			return err
		}
		ids = append(ids, there[n+1])
	}
	if p.rng.IntN(4) == 0 {
		return nil // without QUIT nothing is removed
	}
	p.mail.removing(ids, perhaps)
	if err := p.say("QUIT"); err != nil {
		if errors.Is(err, errRefused) && !strings.Contains(err.Error(), "[SYS/TEMP]") { // it says that when it is being ended
			p.wrong = fmt.Errorf("POP3 QUIT: %w", err)
		}
		return err
	}
	p.mail.removing(ids, removed)
	p.quits++
	p.removed += len(ids)
	return nil
}

// list returns the messages by number, and compares their unique-ids with what they were.
func (p *popper) list() (map[int]string, error) {
	if err := p.say("UIDL"); err != nil {
		return nil, err
	}
	unique := map[int]string{}
	for {
		line, err := p.line()
		if err != nil {
			return nil, err
		}
		if line == "." {
			break
		}
		var n int
		var id string
		if _, err := fmt.Sscan(line, &n, &id); err != nil {
			return nil, err
		}
		unique[n] = id
	}
	there := map[int]string{}
	for n := 1; n <= len(unique); n++ {
		was, known := p.ids[unique[n]]
		if known && p.rng.IntN(20) > 0 {
			there[n] = was
			continue
		}
		id, err := p.id(n)
		if err != nil {
			return nil, err
		}
		if known && was != id {
			p.wrong = fmt.Errorf("POP3: unique-id %s was %s, is %s", unique[n], was, id)
		}
		p.ids[unique[n]] = id
		there[n] = id
	}
	return there, nil
}

// id reads one message's Message-ID.
func (p *popper) id(n int) (string, error) {
	if err := p.say(fmt.Sprintf("TOP %d 0", n)); err != nil {
		return "", err
	}
	id := ""
	for {
		line, err := p.line()
		if err != nil {
			return "", err
		}
		if line == "." {
			return id, nil
		}
		if v, ok := strings.CutPrefix(line, "Message-ID: <"); ok {
			id = strings.TrimSuffix(v, "@crash.test>")
		}
	}
}

func (p *popper) say(command string) error {
	if _, err := io.WriteString(p.c, command+"\r\n"); err != nil {
		return err
	}
	line, err := p.line()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		return fmt.Errorf("%s: %w: %s", command, errRefused, line)
	}
	return err
}

func (p *popper) line() (string, error) {
	line, err := p.r.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}
