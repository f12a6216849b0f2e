package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
)

// enemy is one attack's connections.
type enemy struct {
	house *house.House
	times int
	until time.Time
	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

type attack struct {
	name string
	run  func(*enemy)
}

func attacks() []attack {
	return []attack{
		{"silence", (*enemy).silence},
		{"slow octets", (*enemy).slow},
		{"half handshakes", (*enemy).halfTLS},
		{"garbage", (*enemy).garbage},
		{"line without end", (*enemy).endless},
		{"10,000 quick connects", (*enemy).quick},
		{"FETCH never read", (*enemy).neverRead},
		{"pipeline never read", (*enemy).pipeline},
		{"DATA that stalls", (*enemy).stall},
		{"literals", (*enemy).literals},
		{"wrong passwords", (*enemy).guess},
	}
}

func (e *enemy) addrs() []string {
	t := e.house.Target()
	return []string{t.SMTP.Addr, t.Submission.Addr, t.POP3.Addr, t.IMAP.Addr, e.house.IMAPS(), e.house.Submissions()}
}

func (e *enemy) open(addr string) net.Conn {
	c, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		return nil
	}
	c.SetDeadline(e.until.Add(30 * time.Second))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, c)
	return c
}

// many opens n connections to each address and lets run have each in a goroutine of its own.
func (e *enemy) many(n int, addrs []string, run func(addr string, c net.Conn)) {
	for range n * e.times {
		for _, a := range addrs {
			if c := e.open(a); c != nil {
				e.wg.Go(func() { run(a, c) })
			}
		}
	}
}

// leave closes what is open.
func (e *enemy) leave() {
	e.mu.Lock()
	for _, c := range e.conns {
		c.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
}

func (e *enemy) silence() { e.many(50, e.addrs(), func(string, net.Conn) {}) }

// slow sends an octet at a time of something that looks like a command.
func (e *enemy) slow() {
	e.many(20, e.addrs(), func(_ string, c net.Conn) {
		for i := 0; time.Now().Before(e.until); i++ {
			if _, err := c.Write([]byte{"EHLO a.very.long.name.that.never.ends."[i%38]}); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// halfTLS stops at different places of a handshake, on the TLS ports and after STARTTLS.
func (e *enemy) halfTLS() {
	hello := clientHello()
	e.many(40, []string{e.house.IMAPS(), e.house.Submissions()}, func(_ string, c net.Conn) {
		c.Write(hello[:1+rand.IntN(len(hello))])
		io.Copy(io.Discard, c)
	})
	t := e.house.Target()
	for addr, words := range map[string]string{t.SMTP.Addr: "EHLO x\r\nSTARTTLS\r\n", t.IMAP.Addr: "a STARTTLS\r\n", t.POP3.Addr: "STLS\r\n"} {
		e.many(30, []string{addr}, func(_ string, c net.Conn) {
			io.WriteString(c, words)
			time.Sleep(time.Second)
			c.Write(hello[:rand.IntN(len(hello))])
			io.Copy(io.Discard, c)
		})
	}
}

// clientHello is what crypto/tls sends first.
func clientHello() []byte {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go tls.Client(ours, &tls.Config{ServerName: "localhost"}).Handshake()
	b := make([]byte, 4096)
	n, _ := theirs.Read(b)
	return b[:n]
}

func (e *enemy) garbage() {
	e.many(10, e.addrs(), func(_ string, c net.Conn) {
		go io.Copy(io.Discard, c)
		b := make([]byte, 32<<10)
		for n := 0; n < 64 && time.Now().Before(e.until); n++ {
			for i := range b {
				b[i] = byte(rand.Uint32())
			}
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
}

// endless is one line of 20 MB on each connection.
func (e *enemy) endless() {
	e.many(8, e.addrs()[:4], func(_ string, c net.Conn) {
		go io.Copy(io.Discard, c)
		b := []byte(strings.Repeat("x", 64<<10))
		for n := 0; n < 320 && time.Now().Before(e.until); n++ {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
}

func (e *enemy) quick() {
	addrs := e.addrs()
	for n := range 10000 {
		c, err := net.DialTimeout("tcp", addrs[n%len(addrs)], 20*time.Second)
		if err != nil {
			continue
		}
		if n%3 == 0 {
			c.(*net.TCPConn).SetLinger(0) // a reset
		}
		c.Close()
	}
}

// neverRead asks for a 50 MB message and does not read it.
func (e *enemy) neverRead() {
	t := e.house.Target()
	e.many(20, []string{t.IMAP.Addr}, func(_ string, c net.Conn) {
		c.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(c, "a LOGIN %s %s\r\nb SELECT INBOX\r\nc FETCH 1 BODY[]\r\nd FETCH 1 BODY[TEXT]\r\n", t.UserN(3), t.Password)
	})
	e.many(20, []string{t.POP3.Addr}, func(_ string, c net.Conn) {
		c.(*net.TCPConn).SetReadBuffer(4096)
		fmt.Fprintf(c, "USER %s\r\nPASS %s\r\nRETR 1\r\nRETR 1\r\n", t.UserN(3), t.Password)
	})
}

// pipeline sends commands without end and never reads the answers.
func (e *enemy) pipeline() {
	t := e.house.Target()
	words := map[string]string{t.SMTP.Addr: "EHLO x\r\n", t.Submission.Addr: "HELP\r\n", t.POP3.Addr: "CAPA\r\n", t.IMAP.Addr: "a CAPABILITY\r\n"}
	e.many(15, e.addrs()[:4], func(addr string, c net.Conn) {
		c.(*net.TCPConn).SetReadBuffer(4096)
		b := strings.Repeat(words[addr], 1000)
		for time.Now().Before(e.until) {
			if _, err := io.WriteString(c, b); err != nil {
				return
			}
		}
	})
}

// stall sends a part of a message and stops: 3 MB, which is in a file of its own by then.
func (e *enemy) stall() {
	t := e.house.Target()
	e.many(60, []string{t.SMTP.Addr}, func(_ string, c net.Conn) {
		r := bufio.NewReader(c)
		for _, p := range [][2]string{{"", "220"}, {"EHLO x", "250"}, {"MAIL FROM:<x@y.test>", "250"}, {"RCPT TO:<" + t.UserN(4) + ">", "250"}, {"DATA", "354"}} {
			if exchange(c, r, p[0], p[1]) != nil {
				return
			}
		}
		for range 3000 {
			if _, err := io.WriteString(c, strings.Repeat("y", 998)+"\r\n"); err != nil {
				return
			}
		}
		io.Copy(io.Discard, r)
	})
}

// literals announces much and sends some of it, before and after login.
func (e *enemy) literals() {
	t := e.house.Target()
	some := strings.Repeat("z", 1<<20)
	e.many(30, []string{t.IMAP.Addr}, func(_ string, c net.Conn) {
		io.WriteString(c, "a LOGIN {4000000000}\r\nb LOGIN {4096+}\r\n"+some)
		io.Copy(io.Discard, c)
	})
	e.many(30, []string{t.IMAP.Addr}, func(_ string, c net.Conn) {
		fmt.Fprintf(c, "a LOGIN %s %s\r\nb APPEND INBOX {50000000+}\r\n%s", t.UserN(5), t.Password, some)
		io.Copy(io.Discard, c)
	})
	e.many(30, []string{t.IMAP.Addr}, func(_ string, c net.Conn) {
		fmt.Fprintf(c, "a LOGIN %s %s\r\nb SEARCH TEXT {900000+}\r\n%s", t.UserN(5), t.Password, some[:899999])
		io.Copy(io.Discard, c)
	})
}

// guess tries passwords of many users at once.
func (e *enemy) guess() {
	t := e.house.Target()
	e.many(40, []string{t.IMAP.Addr, t.POP3.Addr}, func(addr string, c net.Conn) {
		go io.Copy(io.Discard, c)
		for n := 0; time.Now().Before(e.until); n++ {
			user := t.UserN(10 + n%30)
			line := fmt.Sprintf("a LOGIN %s wrong\r\n", user)
			if addr == t.POP3.Addr {
				line = fmt.Sprintf("USER %s\r\nPASS wrong\r\n", user)
			}
			if _, err := io.WriteString(c, line); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// prepare puts a message of 50 MB (36 MB would be the largest attachment) into a mailbox, and makes the honest users known.
func (s *siege) prepare() error {
	t := s.house.Target()
	c, err := net.Dial("tcp", t.SMTP.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	for _, p := range [][2]string{{"", "220"}, {"EHLO x", "250"}, {"MAIL FROM:<x@y.test>", "250"}, {"RCPT TO:<" + t.UserN(3) + ">", "250"}, {"DATA", "354"}} {
		if err := exchange(c, r, p[0], p[1]); err != nil {
			return err
		}
	}
	line := strings.Repeat("0123456789", 7) + "\r\n"
	if _, err := io.WriteString(c, "Subject: large\r\n\r\n"+strings.Repeat(line, 50_000_000/len(line))); err != nil {
		return err
	}
	return exchange(c, r, ".", "250")
}
