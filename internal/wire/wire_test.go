package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// script is a connection that gives its input in pieces and keeps what is written.
type script struct {
	net.Conn
	pieces [][]byte
	out    bytes.Buffer
	writes int
	closed bool
}

func (s *script) Read(p []byte) (int, error) {
	for len(s.pieces) > 0 && len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}
func (s *script) Write(p []byte) (int, error)      { s.writes++; return s.out.Write(p) }
func (s *script) Close() error                     { s.closed = true; return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }

// whole is in as one piece; chopped cuts it at random places.
func whole(in string) *script { return &script{pieces: [][]byte{[]byte(in)}} }

func chopped(in string, seed uint64) *script {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &script{}
	for b := []byte(in); len(b) > 0; {
		n := 1 + r.IntN(min(len(b), 1+int(seed%40)))
		s.pieces = append(s.pieces, b[:n:n])
		b = b[n:]
	}
	return s
}

// body reads a dot-coded body both ways that a reader offers.
func body(r io.Reader, byRead bool) (string, error) {
	var b bytes.Buffer
	if !byRead {
		_, err := r.(io.WriterTo).WriteTo(&b)
		return b.String(), err
	}
	p := make([]byte, 7)
	for {
		n, err := r.Read(p)
		b.Write(p[:n])
		if err == io.EOF {
			err = nil
			return b.String(), err
		}
		if err != nil {
			return b.String(), err
		}
	}
}

func TestDotReader(t *testing.T) {
	tests := []struct {
		name, in, want string
		limit          int64
		fixLF          bool
		err            error
		rest           string
	}{
		{name: "plain", in: "a\r\nb\r\n.\r\nNOOP", want: "a\r\nb\r\n", rest: "NOOP"},
		{name: "empty", in: ".\r\nx", want: "", rest: "x"},
		{name: "empty line", in: "\r\n.\r\n", want: "\r\n"},
		{name: "stuffed", in: "..\r\n..a\r\n.b\r\n.\r\n", want: ".\r\n.a\r\nb\r\n"},
		{name: "stuffed end only", in: "..\r\n.\r\n", want: ".\r\n"},
		{name: "CR CR LF then the end", in: "line\r\r\n.\r\nQUIT", err: ErrBareCR, rest: "QUIT"},
		{name: "dot CR Z", in: "Subject: x\r\n\r\n.\rZ\r\n.\r\n", err: ErrBareCR},
		{name: "dot CR CR LF", in: ".\r\r\n.\r\n", err: ErrBareCR},
		{name: "LF dot LF", in: "hi\n.\nMAIL\r\n.\r\nreal", err: ErrBareLF, rest: "real"},
		{name: "LF dot CRLF", in: "hi\n.\r\nMAIL\r\n.\r\nreal", err: ErrBareLF, rest: "real"},
		{name: "CRLF dot LF", in: "hi\r\n.\nMAIL\r\n.\r\nreal", err: ErrBareLF, rest: "real"},
		{name: "CRLF dot CR", in: "hi\r\n.\rMAIL\r\n.\r\nreal", err: ErrBareCR, rest: "real"},
		{name: "CR dot CR", in: "hi\r.\rMAIL\r\n.\r\nreal", err: ErrBareCR, rest: "real"},
		{name: "fixed", in: "hi\nyou\r\n\n.\r\n.\r\n", fixLF: true, want: "hi\r\nyou\r\n\r\n.\r\n"},
		{name: "fixed, never an end", in: "hi\n.\nMAIL\n.\r\n\r\n.\r\n", fixLF: true, want: "hi\r\n.\r\nMAIL\r\n.\r\n\r\n"},
		{name: "CR not fixed", in: "hi\ra\n\r\n.\r\n", fixLF: true, err: ErrBareCR},
		{name: "exact size", in: "aaaa\r\n.\r\n", limit: 6, want: "aaaa\r\n"},
		{name: "one more", in: "aaaaa\r\nbbb\r\n.\r\nx", limit: 6, err: ErrTooBig, rest: "x"},
		{name: "stuffing is not counted", in: "..aa\r\n.\r\n", limit: 5, want: ".aa\r\n"},
		{name: "NUL is text", in: "a\x00b\r\n.\r\n", want: "a\x00b\r\n"},
		{name: "cut", in: "a\r\n.\r", err: io.ErrUnexpectedEOF},
		{name: "cut in a line", in: "abc", err: io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		for seed := range uint64(40) {
			s := whole(tt.in)
			if seed > 1 {
				s = chopped(tt.in, seed)
			}
			c := New(s, Options{})
			got, err := body(c.DotReader(tt.limit, tt.fixLF), seed%2 == 1)
			if !errors.Is(err, tt.err) || (tt.err == nil && got != tt.want) {
				t.Fatalf("%s (%d): %q %v, want %q %v", tt.name, seed, got, err, tt.want, tt.err)
			}
			rest, _ := io.ReadAll(c)
			if tt.err != io.ErrUnexpectedEOF && string(rest) != tt.rest {
				t.Fatalf("%s (%d): rest %q, want %q", tt.name, seed, rest, tt.rest)
			}
		}
	}
}

func TestDotWriter(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "a\r\nb\r\n", "a\r\nb\r\n.\r\n"},
		{"empty", "", ".\r\n"},
		{"dots", ".\r\n..\r\na.\r\n", "..\r\n...\r\na.\r\n.\r\n"},
		{"no end of line", "a", "a\r\n.\r\n"},
		{"bare LF", "a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"},
		{"bare CR", "a\r.\rb\r", "a . b \r\n.\r\n"},
		{"CR CR LF", "a\r\r\n.\r\n", "a \r\n..\r\n.\r\n"},
	}
	for _, tt := range tests {
		for size := 1; size <= len(tt.in)+1; size++ {
			s := whole("")
			c := New(s, Options{})
			w := c.DotWriter()
			for p := []byte(tt.in); len(p) > 0; p = p[min(size, len(p)):] {
				w.Write(p[:min(size, len(p))])
			}
			if err := errors.Join(w.Close(), c.Flush()); err != nil || s.out.String() != tt.want {
				t.Errorf("%s in pieces of %d: %q %v, want %q", tt.name, size, s.out.String(), err, tt.want)
			}
		}
	}
}

func TestReadLine(t *testing.T) {
	big := strings.Repeat("x", 40000)
	tests := []struct {
		name, in string
		max      int
		want     []string // "!" a long line
		err      error
	}{
		{"lines", "a\r\nb\nc\r\n", 10, []string{"a", "b", "c"}, io.EOF},
		{"bare CR stays", "a\rb\r\r\n", 10, []string{"a\rb\r"}, io.EOF},
		{"exactly max", "abc\r\nabc\n", 3, []string{"abc", "abc"}, io.EOF},
		{"too long", "abcd\r\nab\r\n", 3, []string{"!", "ab"}, io.EOF},
		{"much too long", big + "\r\nab\r\n" + big + "\nc\r\n", 3, []string{"!", "ab", "!", "c"}, io.EOF},
		{"larger than the buffer", big + "\r\nab\r\n", 50000, []string{big, "ab"}, io.EOF},
		{"cut", "ab\r\ncd", 10, []string{"ab"}, io.ErrUnexpectedEOF},
		{"cut in a long line", big, 10, nil, io.ErrUnexpectedEOF},
		{"empty", "\r\n\n", 0, []string{"", ""}, io.EOF},
	}
	for _, tt := range tests {
		for seed := range uint64(20) {
			s := whole(tt.in)
			if seed > 0 {
				s = chopped(tt.in, seed*5)
			}
			c := New(s, Options{})
			for i := 0; ; i++ {
				line, err := c.ReadLine(tt.max)
				got := string(line)
				if err == ErrLineTooLong {
					if got != strings.Repeat("x", min(32, len(got))) && got != "abcd" {
						t.Fatalf("%s: tail %q", tt.name, got)
					}
					got, err = "!", nil
				}
				if err != nil {
					if err != tt.err || i != len(tt.want) {
						t.Fatalf("%s: %d lines, %v", tt.name, i, err)
					}
					break
				}
				if i >= len(tt.want) || got != tt.want[i] {
					t.Fatalf("%s (%d): line %d is %.40q", tt.name, seed, i, got)
				}
			}
			c.Close()
		}
	}
}

func TestTailOfLongLine(t *testing.T) {
	long := strings.Repeat("x", 70000) + " {123456+}"
	for seed := range uint64(20) {
		c := New(chopped(long+"\r\nnext\r\n", 3+seed*16), Options{})
		if l, err := c.ReadLine(20); err != ErrLineTooLong || len(l) != 32 || !strings.HasSuffix(string(l), "x {123456+}") {
			t.Fatalf("%q %v", l, err)
		}
		if l, err := c.ReadLine(20); err != nil || string(l) != "next" || c.HasLine() {
			t.Fatalf("%q %v", l, err)
		}
	}
}

func TestRawBytesBetweenLines(t *testing.T) {
	lit := strings.Repeat("\r\n.", 30000)
	for seed := range uint64(20) {
		c := New(chopped("A\r\n"+lit+"B\r\n"+lit+"C\r\n", 39+seed*40), Options{})
		if l, _ := c.ReadLine(5); string(l) != "A" {
			t.Fatalf("line %q", l)
		}
		got := make([]byte, len(lit))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != lit {
			t.Fatal("literal", err)
		}
		if l, _ := c.ReadLine(5); string(l) != "B" {
			t.Fatalf("line %q", l)
		}
		if err := c.Discard(int64(len(lit))); err != nil {
			t.Fatal(err)
		}
		if l, _ := c.ReadLine(5); string(l) != "C" {
			t.Fatalf("line %q", l)
		}
		if err := c.Discard(1); err != io.ErrUnexpectedEOF {
			t.Fatal(err)
		}
	}
}

func TestOneWritePerFlush(t *testing.T) {
	s := whole("")
	c := New(s, Options{})
	for range 20 {
		c.WriteString("250-SOMETHING\r\n")
	}
	c.Write(append(c.AvailableBuffer(), "250 END\r\n"...))
	if c.Unflushed() == 0 || s.writes != 0 {
		t.Fatal("written before Flush")
	}
	if err := c.Flush(); err != nil || s.writes != 1 || !strings.HasSuffix(s.out.String(), "SOMETHING\r\n250 END\r\n") {
		t.Fatal(s.writes, err)
	}
	big := strings.Repeat("y", 100000)
	s.out.Reset()
	c.WriteString("x")
	c.Write([]byte(big))
	c.ReadFrom(strings.NewReader(big))
	c.WriteString(big)
	if err := c.Flush(); err != nil || s.out.String() != "x"+big+big+big {
		t.Fatal("large writes", err)
	}
}

func TestBuffersGoBack(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := New(a, Options{})
	defer c.Close()
	go b.Write([]byte("NOOP\r\n"))
	if l, err := c.ReadLine(10); err != nil || string(l) != "NOOP" {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, b)
	c.WriteString("250 OK\r\n")
	c.Flush()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("shutdown")
	cancel(why)
	if err := c.WaitReadable(ctx, 0); err != why {
		t.Fatal(err)
	}
	// an ended ctx is noticed before the buffer is looked at in the next wait only
	if err := c.WaitReadable(t.Context(), time.Nanosecond); err == nil || c.in.pooled != nil || c.out.pooled != nil {
		t.Fatalf("%v: buffers %v %v", err, c.in.pooled != nil, c.out.pooled != nil)
	}
}

// conns gives pairs of connected ends over what the house uses.
func conns(t *testing.T) map[string][2]net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dial := func() [2]net.Conn {
		a, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return [2]net.Conn{a, b}
	}
	p1, p2 := net.Pipe()
	secure := dial()
	server, client := configs(t)
	ts, tc := tls.Server(secure[0], server), tls.Client(secure[1], client)
	done := make(chan error, 1)
	go func() { done <- tc.Handshake() }()
	if err := errors.Join(ts.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	m := map[string][2]net.Conn{"tcp": dial(), "pipe": {p1, p2}, "tls": {ts, tc}}
	t.Cleanup(func() {
		for _, p := range m {
			p[0].Close()
			p[1].Close()
		}
	})
	return m
}

func TestWaitReadable(t *testing.T) {
	for name, p := range conns(t) {
		c := New(p[0], Options{ReadTimeout: time.Minute})
		ctx, cancel := context.WithCancelCause(context.Background())
		if err := c.WaitReadable(ctx, time.Millisecond); err != ErrTimeout {
			t.Errorf("%s: %v, want a timeout", name, err)
		}
		waited := make(chan error)
		wait := func() { waited <- c.WaitReadable(ctx, 0) }
		go wait()
		c.Interrupt()
		if err := <-waited; err != ErrInterrupted {
			t.Errorf("%s: %v, want an interrupt", name, err)
		}
		go wait()
		go p[1].Write([]byte("hello\r\nmore\r\n"))
		if err := <-waited; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range []string{"hello", "more"} {
			if l, err := c.ReadLine(10); err != nil || string(l) != want {
				t.Errorf("%s: %q %v", name, l, err)
			}
		}
		go wait()
		why := errors.New("the end")
		cancel(why)
		if err := <-waited; err != why {
			t.Errorf("%s: %v, want the cause", name, err)
		}
		p[1].Close()
		if err := c.WaitReadable(context.Background(), 0); err == nil || err == ErrTimeout {
			t.Errorf("%s: %v after the end", name, err)
		}
		if err := c.Close(); err != nil && name == "tcp" {
			t.Error(err)
		}
	}
}

func TestStalledAndSteady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := New(a, Options{ReadTimeout: 3 * time.Minute, WriteTimeout: time.Minute})
		done := make(chan bool)
		go func() {
			defer close(done)
			for range 100 {
				b.Write([]byte("slow but steady\r\n"))
				time.Sleep(2 * time.Minute)
			}
			time.Sleep(time.Hour)
			b.Write([]byte("RSET\r\nQUIT\r\n"))
			b.Close()
		}()
		var n countWriter
		_, err := c.DotReader(0, false).(io.WriterTo).WriteTo(&n)
		if err != ErrTimeout || n != 1700 {
			t.Fatal(n, err)
		}
		if _, err := c.ReadLine(100); err != ErrTimeout { // what arrives later is never read
			t.Fatal(err)
		}
		c.WriteString("421\r\n")
		begin := time.Now()
		if err := c.Flush(); err != ErrTimeout || time.Since(begin) != time.Minute {
			t.Fatal(err)
		}
		c.Close()
		<-done
	})
}

func TestSlowReaderIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := New(a, Options{WriteTimeout: time.Minute})
		done := make(chan bool)
		go func() {
			defer close(done)
			p := make([]byte, 100)
			for range 500 {
				if n, err := b.Read(p); err != nil || n != 100 {
					t.Error(n, err)
				}
				time.Sleep(10 * time.Second)
			}
			time.Sleep(time.Hour) // and now it has stopped
			b.Close()
		}()
		c.Write(make([]byte, 50000))
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		c.WriteString("more")
		if err := c.Flush(); err != ErrTimeout || time.Since(begin) != time.Minute {
			t.Fatal(err, time.Since(begin))
		}
		c.Close()
		<-done
	})
}

func TestLineHasOneTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		c := New(a, Options{ReadTimeout: 5 * time.Minute})
		done := make(chan bool)
		go func() {
			defer close(done)
			for {
				if _, err := b.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		}()
		begin := time.Now()
		if _, err := c.ReadLine(1000); err != ErrTimeout || time.Since(begin) != 5*time.Minute {
			t.Fatal(err, time.Since(begin))
		}
		c.Close()
		<-done
	})
}

type countWriter int

func (n *countWriter) Write(p []byte) (int, error) { *n += countWriter(len(p)); return len(p), nil }
