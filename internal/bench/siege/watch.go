package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
)

// state is what the server says of itself.
type state struct {
	connections float64
	goroutines  float64
	mb          float64 // resident
	panics      float64
}

func (s *siege) read() (state, error) {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + s.house.Metrics() + "/metrics")
	if err != nil {
		return state{}, err
	}
	defer r.Body.Close()
	var st state
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch {
		case strings.HasPrefix(name, "posthouse_connections{"):
			st.connections += v
		case name == "go_goroutines":
			st.goroutines = v
		case name == "process_resident_memory_bytes":
			st.mb = v / 1e6
		case name == "posthouse_panics_total":
			st.panics = v
		}
	}
	return st, nil
}

// watch keeps the highest of everything until stop is closed.
func (s *siege) watch(stop <-chan struct{}) state {
	var peak state
	for {
		if st, err := s.read(); err == nil {
			peak.connections, peak.goroutines = max(peak.connections, st.connections), max(peak.goroutines, st.goroutines)
			peak.mb, peak.panics = max(peak.mb, st.mb), max(peak.panics, st.panics)
		}
		select {
		case <-stop:
			return peak
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// settle waits until no connection and no goroutine of the attack is left.
func (s *siege) settle(before state) (state, error) {
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(250 * time.Millisecond) {
		st, err := s.read()
		if err != nil {
			return st, err
		}
		switch over := time.Now().After(end); {
		case st.panics > 0:
			return st, fmt.Errorf("%.0f panics", st.panics)
		case st.connections == 0 && st.goroutines <= before.goroutines+4:
			time.Sleep(2500 * time.Millisecond) // memory is given back when it has been calm
			return s.read()
		case over:
			return st, fmt.Errorf("%.0f connections and %.0f goroutines are left, %.0f goroutines were there before", st.connections, st.goroutines, before.goroutines)
		}
	}
}

// honest sends a message and reads its mailbox, again and again.
type honest struct {
	house  *house.House
	served int
	worst  time.Duration
	err    error
}

func newHonest(h *house.House) *honest { return &honest{house: h} }

func (h *honest) work(stop <-chan struct{}) {
	t := h.house.Target()
	for {
		start := time.Now()
		if err := dialogue(t.SMTP.Addr, "", "220", "EHLO honest.test", "250", "MAIL FROM:<a@honest.test>", "250",
			"RCPT TO:<"+t.UserN(1)+">", "250", "DATA", "354", "Subject: x\r\n\r\nbody\r\n.", "250", "QUIT", "221"); err != nil {
			h.err = fmt.Errorf("SMTP: %w", err)
		}
		if err := dialogue(t.IMAP.Addr, "", "* OK", "a LOGIN "+t.UserN(1)+" "+t.Password, "a OK", "b SELECT INBOX", "b OK",
			"c FETCH 1 (FLAGS ENVELOPE)", "c OK", "d LOGOUT", "d OK"); err != nil {
			h.err = fmt.Errorf("IMAP: %w", err)
		}
		if err := dialogue(t.POP3.Addr, "", "+OK", "USER "+t.UserN(2), "+OK", "PASS "+t.Password, "+OK", "STAT", "+OK", "QUIT", "+OK"); err != nil {
			h.err = fmt.Errorf("POP3: %w", err)
		}
		h.worst = max(h.worst, time.Since(start))
		h.served++
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// dialogue sends each command and waits for a line that begins as the answer must; "-" after a code goes on.
func dialogue(addr string, pairs ...string) error {
	c, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	for i := 0; i < len(pairs); i += 2 {
		if err := exchange(c, r, pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func exchange(c net.Conn, r *bufio.Reader, command, want string) error {
	if command != "" {
		if _, err := io.WriteString(c, command+"\r\n"); err != nil {
			return err
		}
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%.40q: %w", command, err)
		}
		untagged := strings.HasPrefix(line, "* ") && want[0] != '*'
		if untagged || len(want) == 3 && strings.HasPrefix(line, want+"-") {
			continue
		}
		if !strings.HasPrefix(line, want) {
			return fmt.Errorf("%.40q: %s", command, strings.TrimSpace(line))
		}
		return nil
	}
}
