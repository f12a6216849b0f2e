package load

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// IMAP is how to log in.
type IMAP struct {
	Server
	User, Pass string
}

// IMAPConn is one logged-in session.
type IMAPConn struct {
	c    *conn
	tag  int
	caps string // upper case, with a space on both sides
	// of the command that ran last
	Untagged int    // untagged responses
	Fetches  int    // of which FETCH
	Bytes    int64  // bytes of literals
	Wire     int64  // bytes read in all
	Search   int    // numbers in SEARCH or ESEARCH
	Exists   int    // last EXISTS
	LastLine string // the tagged answer
}

// Login connects and authenticates.
func (s IMAP) Login() (*IMAPConn, error) {
	c, err := s.dial()
	if err != nil {
		return nil, err
	}
	l, err := c.line()
	if err == nil && !strings.HasPrefix(l, "* OK") {
		err = fmt.Errorf("greeting: %s", l)
	}
	if err == nil && s.TLS == "starttls" {
		c, err = c.startTLS("s STARTTLS", "s OK")
	}
	if err != nil {
		if c != nil {
			c.close()
		}
		return nil, err
	}
	ic := &IMAPConn{c: c}
	if err := ic.Cmd("LOGIN " + s.User + " " + s.Pass); err != nil {
		ic.Close()
		return nil, err
	}
	if err := ic.Cmd("CAPABILITY"); err != nil {
		ic.Close()
		return nil, err
	}
	return ic, nil
}

// Has says whether the server named a capability.
func (ic *IMAPConn) Has(cap string) bool { return strings.Contains(ic.caps, " "+cap+" ") }

// Close drops the connection without LOGOUT.
func (ic *IMAPConn) Close() { ic.c.close() }

// Logout ends the session.
func (ic *IMAPConn) Logout() { ic.Cmd("LOGOUT"); ic.c.close() }

func (ic *IMAPConn) nextTag() string { ic.tag++; return "a" + strconv.Itoa(ic.tag) }

// Cmd sends one command and reads to its tagged OK.
func (ic *IMAPConn) Cmd(cmd string) error {
	tag := ic.nextTag()
	if err := ic.c.send(tag + " " + cmd); err != nil {
		return err
	}
	return ic.finish(tag, cmd)
}

// literalSize returns n of a line that ends in {n} or {n+}, and -1 of others.
func literalSize(l []byte) int64 {
	if len(l) < 3 || l[len(l)-1] != '}' {
		return -1
	}
	i := bytes.LastIndexByte(l, '{')
	if i < 0 {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(string(l[i+1:len(l)-1]), "+"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// response reads one whole response with its literals and returns its first line.
func (ic *IMAPConn) response() ([]byte, error) {
	l, err := ic.c.slice()
	if err != nil {
		return nil, err
	}
	ic.Wire += int64(len(l)) + 2
	n := literalSize(l)
	if n < 0 {
		return l, nil
	}
	first := append([]byte(nil), l...)
	for n >= 0 {
		if _, err := ic.c.r.Discard(int(n)); err != nil {
			return nil, err
		}
		ic.Bytes += n
		ic.Wire += n
		if l, err = ic.c.slice(); err != nil {
			return nil, err
		}
		ic.Wire += int64(len(l)) + 2
		n = literalSize(l)
	}
	return first, nil
}

func (ic *IMAPConn) finish(tag, cmd string) error {
	ic.Untagged, ic.Fetches, ic.Bytes, ic.Wire, ic.Search = 0, 0, 0, 0, 0
	for {
		l, err := ic.response()
		if err != nil {
			return fmt.Errorf("%.40s: %w", cmd, err)
		}
		if bytes.HasPrefix(l, []byte("* ")) {
			ic.Untagged++
			ic.untagged(l[2:])
			continue
		}
		if bytes.HasPrefix(l, []byte(tag+" ")) {
			ic.LastLine = string(l)
			if !bytes.HasPrefix(l[len(tag)+1:], []byte("OK")) {
				return fmt.Errorf("%.40s: %s", cmd, l)
			}
			return nil
		}
		if !bytes.HasPrefix(l, []byte("+")) {
			return fmt.Errorf("%.40s: odd line %.80q", cmd, l)
		}
	}
}

func (ic *IMAPConn) untagged(l []byte) {
	num, rest, _ := bytes.Cut(l, []byte(" "))
	if len(num) > 0 && num[0] >= '0' && num[0] <= '9' {
		switch {
		case bytes.HasPrefix(rest, []byte("FETCH")):
			ic.Fetches++
		case bytes.HasPrefix(rest, []byte("EXISTS")):
			ic.Exists, _ = strconv.Atoi(string(num))
		}
		return
	}
	switch string(num) {
	case "CAPABILITY":
		ic.caps = " " + strings.ToUpper(string(rest)) + " "
	case "SEARCH":
		ic.Search += len(bytes.Fields(rest))
	case "STATUS":
		if i := bytes.Index(rest, []byte("MESSAGES ")); i >= 0 {
			fmt.Sscanf(string(rest[i:]), "MESSAGES %d", &ic.Exists)
		}
	}
}

// Messages returns STATUS MESSAGES of a mailbox.
func (ic *IMAPConn) Messages(mailbox string) (int, error) {
	err := ic.Cmd("STATUS " + mailbox + " (MESSAGES)")
	return ic.Exists, err
}

// Append adds one message.
func (ic *IMAPConn) Append(mailbox string, msg []byte) error {
	tag := ic.nextTag()
	if err := ic.literal(tag+" APPEND "+mailbox+" ", msg); err != nil {
		return err
	}
	if err := ic.c.send(""); err != nil {
		return err
	}
	return ic.finish(tag, "APPEND")
}

func (ic *IMAPConn) literal(before string, msg []byte) error {
	ic.c.w.WriteString(before)
	if ic.Has("LITERAL+") {
		fmt.Fprintf(ic.c.w, "{%d+}\r\n", len(msg))
	} else {
		fmt.Fprintf(ic.c.w, "{%d}\r\n", len(msg))
		if err := ic.c.w.Flush(); err != nil {
			return err
		}
		for {
			l, err := ic.c.line()
			if err != nil {
				return err
			}
			if strings.HasPrefix(l, "+") {
				break
			}
			if !strings.HasPrefix(l, "* ") {
				return fmt.Errorf("APPEND: %s", l)
			}
		}
	}
	_, err := ic.c.w.Write(msg)
	return err
}

// Fill appends n messages, in batches where the server has MULTIAPPEND.
func (ic *IMAPConn) Fill(mailbox string, n int, msg func(int) []byte) (int64, error) {
	var total int64
	batch := 1
	if ic.Has("MULTIAPPEND") {
		batch = 50
	}
	for i := 0; i < n; {
		tag := ic.nextTag()
		before := tag + " APPEND " + mailbox + " "
		for range min(batch, n-i) {
			m := msg(i)
			total += int64(len(m))
			if err := ic.literal(before, m); err != nil {
				return total, err
			}
			before = " "
			i++
		}
		if err := ic.c.send(""); err != nil {
			return total, err
		}
		if err := ic.finish(tag, "APPEND"); err != nil {
			return total, err
		}
	}
	return total, nil
}

// Appends measures n appends over conns connections, each to its own user's mailbox.
func Appends(name string, boxes []IMAP, mailbox string, a Amount) Measure {
	conns, n, msg := a.Conns, a.N, a.Msg
	ics := make([]*IMAPConn, conns)
	for k := range ics {
		ic, err := boxes[k%len(boxes)].Login()
		if err != nil {
			return Fail(name, err)
		}
		defer ic.Close()
		ic.Cmd("CREATE " + mailbox) // may exist
		ics[k] = ic
	}
	bodies := make([][]byte, n)
	var total atomic.Int64
	for i := range bodies {
		bodies[i] = msg(i)
		total.Add(int64(len(bodies[i])))
	}
	var h Hist
	var next atomic.Int64
	var mu sync.Mutex
	var failed int
	var firstErr error
	start := time.Now()
	var wg sync.WaitGroup
	for _, ic := range ics {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				t := time.Now()
				if err := ic.Append(mailbox, bodies[i]); err != nil {
					mu.Lock()
					failed++
					firstErr = err
					mu.Unlock()
					return
				}
				h.Add(time.Since(t))
			}
		})
	}
	wg.Wait()
	d := time.Since(start)
	m := Rate(name, "msgs/s", h.Len(), float64(h.Len()), d)
	m.More["MB/s"] = float64(total.Load()) / 1e6 / d.Seconds()
	m.More["p50_ms"], m.More["p99_ms"] = h.Quantile(0.5), h.Quantile(0.99)
	m.Errors = failed
	if firstErr != nil {
		m.Error = firstErr.Error()
	}
	return m
}

// Idle opens n sessions that SELECT INBOX and IDLE; the caller closes them.
func Idle(boxes []IMAP, n int) ([]*IMAPConn, error) {
	var ics []*IMAPConn
	for k := range n {
		ic, err := boxes[k%len(boxes)].Login()
		if err == nil {
			ics = append(ics, ic)
			err = ic.Cmd("SELECT INBOX")
		}
		if err == nil {
			err = ic.c.send(ic.nextTag() + " IDLE")
		}
		if err == nil {
			_, err = ic.c.line()
		}
		if err != nil {
			return ics, fmt.Errorf("connection %d: %w", k+1, err)
		}
	}
	return ics, nil
}

// Timed runs one command and returns how long it took.
func (ic *IMAPConn) Timed(cmd string) (time.Duration, error) {
	t := time.Now()
	err := ic.Cmd(cmd)
	return time.Since(t), err
}

// Amount is how many messages a load appends, over how many connections.
type Amount struct {
	Conns, N int
	Msg      func(i int) []byte
}
