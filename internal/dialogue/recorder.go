// Package dialogue writes down what is said on a connection, for a person who
// looks for a fault, and never a secret of it.
//
// Recorder makes lines of the octets of one connection, mask.go decides what of
// them is shown, Hub lends recorders to the connections that somebody asked for.
package dialogue

import (
	"bytes"
	"strconv"
	"sync"
)

// Protocol is how the octets are read.
type Protocol int

const (
	SMTP Protocol = iota + 1 // LMTP too
	IMAP
	POP3
)

const (
	maxShown = 2000 // octets of a line that are shown
	maxLine  = 8192 // octets of a line that are kept to look at
	maxAsked = 1000 // POP3 commands without an answer yet
)

// Recorder follows one connection. What it cannot place is hidden: it may show too little, never a secret.
type Recorder struct {
	protocol Protocol
	bodies   bool // show messages and literals
	emit     func(client bool, text string)

	mu             sync.Mutex // guards what follows: one goroutine may read while another writes
	client, server half

	command    string // tag of IMAP's last one
	auth       bool   // an AUTH command has no result yet
	tag        string // of IMAP's
	challenged bool   // our last word was a challenge
	secret     bool   // the hidden command goes on behind its literal
	going      bool   // the shown one does
	asked      []string
}

// half is one direction.
type half struct {
	line    []byte
	dropped int   // octets of the line that were not kept
	literal int64 // octets to come that belong to a literal or a chunk
	more    bool  // the line that ended goes on behind a literal
	waits   bool  // the literal comes only when the server says so
	text    bool  // a message, up to its dot
	passed  int64 // octets of it that were not shown
}

// NewRecorder calls emit for each line, one at a time.
func NewRecorder(p Protocol, bodies bool, emit func(client bool, text string)) *Recorder {
	return &Recorder{protocol: p, bodies: bodies, emit: emit}
}

// Received takes what the client sent, Sent what we did.
func (r *Recorder) Received(b []byte) { r.take(&r.client, b) }
func (r *Recorder) Sent(b []byte)     { r.take(&r.server, b) }

func (r *Recorder) take(h *half, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(b) > 0 {
		if h.literal > 0 {
			h.waits = false
			n := min(h.literal, int64(len(b)))
			r.pass(h, b[:n])
			h.literal -= n
			b = b[n:]
			if h.literal == 0 {
				r.passed(h)
			}
			continue
		}
		i := bytes.IndexByte(b, '\n')
		part := b
		if i >= 0 {
			part = b[:i]
		}
		keep := min(len(part), maxLine-len(h.line))
		h.line = append(h.line, part[:keep]...)
		h.dropped += len(part) - keep
		if i < 0 {
			return
		}
		b = b[i+1:]
		r.ended(h)
	}
}

// pass is octets of a literal or a chunk.
func (r *Recorder) pass(h *half, b []byte) {
	if r.hides(h) || !r.bodies {
		h.passed += int64(len(b))
		return
	}
	for line := range bytes.Lines(b) {
		r.say(h, string(bytes.TrimRight(line, "\r\n")))
	}
}

// hides: what comes in this direction may be a secret.
func (r *Recorder) hides(h *half) bool { return h == &r.client && (r.secret || r.authenticating()) }

// passed says how much was not shown.
func (r *Recorder) passed(h *half) {
	switch {
	case r.hides(h):
		r.say(h, secret)
	case h.passed > 0:
		r.say(h, hidden(h.passed))
	}
	h.passed = 0
}

// ended is the end of a line.
func (r *Recorder) ended(h *half) {
	line, dropped := bytes.TrimSuffix(h.line, []byte("\r")), h.dropped
	h.line, h.dropped = h.line[:0], 0
	if h.text {
		switch {
		case string(line) == "." && dropped == 0:
			h.text = false
			r.passed(h)
			r.say(h, ".")
		case r.bodies:
			r.say(h, string(line))
		default:
			h.passed += int64(len(line) + dropped + 2)
		}
		return
	}
	if len(line) == 0 {
		if h == &r.client && (r.authenticating() || r.secret) {
			r.secret = false
			r.say(h, secret)
		} else if h == &r.client {
			r.going = false
		}
		return
	}
	h.more, h.waits = false, false
	if r.protocol == IMAP && dropped == 0 {
		h.literal, h.more, h.waits = literal(line)
	}
	if dropped > 0 { // what begins a line that no command is as long as, nobody knows
		line = append(line, make([]byte, min(dropped, maxLine))...)
		if h == &r.client && !r.authenticating() && !r.secret {
			r.say(h, r.hide())
			return
		}
	}
	if h == &r.client {
		r.say(h, r.clientLine(line))
		return
	}
	r.say(h, r.serverLine(line))
}

func (r *Recorder) say(h *half, text string) {
	if len(text) > maxShown {
		text = text[:maxShown] + " " + hidden(int64(len(text)-maxShown))
	}
	r.emit(h == &r.client, text)
}

// literal is how many octets the end of an IMAP line announces, if it does, and whether they wait for our word: {n}, {n+}, ~{n}
// (RFC 9051 section 4.3, RFC 7888).
func literal(line []byte) (n int64, ok, waits bool) {
	if line[len(line)-1] != '}' {
		return 0, false, false
	}
	i := bytes.LastIndexByte(line, '{')
	if i < 0 {
		return 0, false, false
	}
	digits, now := bytes.CutSuffix(line[i+1:len(line)-1], []byte("+"))
	if !now {
		digits, now = bytes.CutSuffix(digits, []byte("-"))
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || n < 0 {
		return 0, false, false
	}
	return n, true, !now
}
