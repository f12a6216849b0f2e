package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
)

// imap is a connection that sends one command at a time.
type imap struct {
	c   net.Conn
	r   *bufio.Reader
	tag int
	box string // selected
}

func dialIMAP(addr, user string) (*imap, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(patience))
	c := &imap{c: nc, r: bufio.NewReaderSize(nc, 64<<10)}
	if _, err := c.line(); err != nil {
		nc.Close()
		return nil, err
	}
	for _, command := range []string{"LOGIN " + user + " " + house.Password, "ENABLE CONDSTORE"} {
		if _, err := c.ok(command); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return c, nil
}

// line reads one line of an answer with the literals in it.
func (c *imap) line() (string, error) {
	var b strings.Builder
	for {
		part, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		b.WriteString(part)
		part = strings.TrimRight(part, "\r\n")
		open := strings.LastIndexByte(part, '{')
		if open < 0 || !strings.HasSuffix(part, "}") {
			return strings.TrimRight(b.String(), "\r\n"), nil
		}
		n, err := strconv.Atoi(part[open+1 : len(part)-1])
		if err != nil {
			return "", err
		}
		if _, err := io.CopyN(&b, c.r, int64(n)); err != nil {
			return "", err
		}
	}
}

// do sends one command and returns its untagged answers and the tagged one.
func (c *imap) do(command string) (lines []string, last string, err error) {
	c.tag++
	tag := fmt.Sprintf("t%d ", c.tag)
	if _, err := io.WriteString(c.c, tag+command+"\r\n"); err != nil {
		return nil, "", err
	}
	for {
		line, err := c.line()
		if err != nil {
			return nil, "", err
		}
		if last, ok := strings.CutPrefix(line, tag); ok {
			return lines, last, nil
		}
		lines = append(lines, line)
	}
}

// ok is do for a command that must not be refused.
func (c *imap) ok(command string) ([]string, error) {
	lines, last, err := c.do(command)
	if err == nil && !strings.HasPrefix(last, "OK") {
		err = fmt.Errorf("%.60q: %w: %s", command, errRefused, last)
	}
	return lines, err
}

// observe reads everything in the account.
func observe(addr, user string) (map[string]*box, error) {
	c, err := dialIMAP(addr, user)
	if err != nil {
		return nil, err
	}
	defer c.c.Close()
	list, err := c.ok(`LIST "" "*" RETURN (SUBSCRIBED)`)
	if err != nil {
		return nil, err
	}
	boxes := map[string]*box{}
	for _, line := range list {
		_, name, ok := strings.Cut(line, `"/" `)
		if !ok {
			continue
		}
		name = strings.Trim(name, `"`)
		b, err := c.readBox(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		b.listed = strings.Contains(line, `\Subscribed`)
		boxes[name] = b
	}
	return boxes, nil
}

var (
	numbers  = regexp.MustCompile(`\[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)\]`)
	fetchUID = regexp.MustCompile(`[( ]UID (\d+)`)
	fetchMod = regexp.MustCompile(`MODSEQ \((\d+)\)`)
	fetchSet = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
	fetchID  = regexp.MustCompile(`Message-ID: <([^>]*)@crash.test>`)
)

func (c *imap) readBox(name string) (*box, error) {
	lines, err := c.ok("EXAMINE " + strconv.Quote(name))
	if err != nil {
		return nil, err
	}
	b := &box{messages: map[uint32]note{}}
	for _, line := range lines {
		for _, m := range numbers.FindAllStringSubmatch(line, -1) {
			n, err := strconv.ParseUint(m[2], 10, 64)
			if err != nil {
				return nil, err
			}
			switch m[1] {
			case "UIDVALIDITY":
				b.validity = uint32(n)
			case "UIDNEXT":
				b.next = uint32(n)
			case "HIGHESTMODSEQ":
				b.modseq = n
			}
		}
	}
	lines, err = c.ok("UID FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if strings.Contains(line, " FETCH (") {
			if err := b.take(line); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// take puts one FETCH answer into the mailbox.
func (b *box) take(line string) error {
	id, set := fetchID.FindStringSubmatch(line), fetchSet.FindStringSubmatch(line)
	uid := number(fetchUID, line)
	if uid == 0 || id == nil || set == nil {
		return fmt.Errorf("an answer to FETCH that lacks something: %q", line)
	}
	mod := number(fetchMod, line)
	if _, ok := b.messages[uint32(uid)]; ok || uid >= uint64(b.next) || mod > b.modseq {
		return fmt.Errorf("UIDNEXT %d, HIGHESTMODSEQ %d, but (or twice): %q", b.next, b.modseq, line)
	}
	b.messages[uint32(uid)] = note{id: id[1], flags: flags(set[1])}
	return nil
}

// number is the first number that the expression finds, else 0.
func number(e *regexp.Regexp, line string) uint64 {
	m := e.FindStringSubmatch(line)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseUint(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// flags puts a flag list in order; \Recent is a session's own.
func flags(list string) string {
	f := slices.DeleteFunc(strings.Fields(list), func(s string) bool { return s == `\Recent` })
	slices.Sort(f)
	return strings.Join(slices.Compact(f), " ")
}
