package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// step is one change: what is sent, and what the account is when it was made.
type step struct {
	name    string
	box     string // to be selected before; "" for none
	command string
	after   map[string]*box
	fresh   bool // every message that is touched changes: it gets a new ModSeq
	// check looks at the answer; nil where OK says it all.
	check func(lines []string, last string) error
}

// work makes one change after the other until the server is gone.
func (r *reader) work(addr string) {
	c, err := dialIMAP(addr, r.user)
	if err != nil {
		return
	}
	defer c.c.Close()
	for r.wrong == nil {
		if err := r.one(c); err != nil {
			if errors.Is(err, errRefused) && !strings.Contains(err.Error(), "[UNAVAILABLE]") { // it says that when it is being ended
				r.wrong = fmt.Errorf("%s: %w", r.user, err)
			}
			return
		}
	}
}

// one makes one change. Whatever breaks off after the command was sent leaves it open.
func (r *reader) one(c *imap) error {
	if r.rng.IntN(8) == 0 {
		return r.clear(c)
	}
	s := r.choose()
	if r.rng.IntN(10) == 0 {
		var err error
		if s, err = r.restore(c); err != nil {
			return err
		}
	}
	if s == nil {
		return nil
	}
	if err := c.choose(s.box); err != nil {
		return err
	}
	r.last, r.after = s.command, s.after
	if len(r.last) > 80 {
		r.last = r.last[:80]
	}
	lines, last, err := c.do(s.command)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(last, "OK") {
		return fmt.Errorf("%.80q: %w: %s", s.command, errRefused, last)
	}
	if s.check != nil {
		if err := s.check(lines, last); err != nil {
			r.wrong = fmt.Errorf("%s: %.80q: %w", r.user, s.command, err)
		}
	}
	r.follow(s, lines)
	r.boxes, r.after = s.after, nil
	r.done[s.name]++
	return r.learn(c)
}

// learn asks for the UIDVALIDITY of a mailbox that was made just now. It must be a new one.
func (r *reader) learn(c *imap) error {
	for name, b := range r.boxes {
		if b.validity != 0 || name == kind || name == bin {
			continue
		}
		lines, err := c.ok("STATUS " + name + " (UIDVALIDITY)")
		if err != nil {
			return err
		}
		b.validity = uint32(number(statusValidity, strings.Join(lines, " ")))
		if r.lives[b.validity] != nil || b.validity == 0 {
			r.wrong = fmt.Errorf("%s: the new mailbox %s has the UIDVALIDITY %d of another", r.user, name, b.validity)
		}
		r.life(b.validity)
	}
	return nil
}

var statusValidity = regexp.MustCompile(`UIDVALIDITY (\d+)`)

// follow notes the UIDs and ModSeqs that were told: each new ModSeq must be above all earlier ones of its mailbox.
func (r *reader) follow(s *step, lines []string) {
	for _, b := range s.after {
		if b.validity != 0 && b != s.after[bin] { // its UIDs are not known ahead
			l := r.life(b.validity)
			l.next = max(l.next, b.next)
		}
	}
	if s.box == "" || s.box == bin {
		return
	}
	l := r.life(s.after[s.box].validity)
	old := l.modseq
	for _, line := range lines {
		n := number(fetchMod, line)
		if n == 0 {
			continue
		}
		if n <= old && s.fresh {
			r.wrong = fmt.Errorf("%s: MODSEQ %d after %d: %s", r.user, n, old, line)
		}
		l.modseq = max(l.modseq, n)
	}
}

// choose selects a mailbox, "" needs none.
func (c *imap) choose(name string) error {
	if name == "" || c.box == name {
		return nil
	}
	_, err := c.ok("SELECT " + strconv.Quote(name))
	c.box = name
	return err
}

func (r *reader) choose() *step {
	name, b := r.pick()
	switch r.rng.IntN(14) {
	case 0, 1, 2:
		return r.append(name)
	case 3, 4, 5:
		return r.store(name, b)
	case 6, 7:
		return r.copy("COPY", name, b)
	case 8:
		return r.copy("MOVE", name, b)
	case 9:
		return r.expunge(name, b)
	case 10:
		return r.subscribe(name, b)
	}
	return r.mailbox()
}

// pick is a mailbox of the model that is the reader's own.
func (r *reader) pick() (string, *box) {
	var names []string
	for name := range r.boxes {
		if name != inbox && name != kind && name != bin && r.boxes[name].validity != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	name := names[r.rng.IntN(len(names))]
	return name, r.boxes[name]
}

func (r *reader) flags() string {
	var f []string
	for _, name := range []string{`\Answered`, `\Deleted`, `\Draft`, `\Flagged`, `\Seen`, "$Forwarded", "$label1", "own-word"} {
		if r.rng.IntN(3) == 0 {
			f = append(f, name)
		}
	}
	return strings.Join(f, " ")
}

// append adds one message, or three at once (MULTIAPPEND); sometimes a large one.
func (r *reader) append(name string) *step {
	after := cloneAll(r.boxes)
	b := after[name]
	first := b.next
	var command strings.Builder
	command.WriteString("APPEND " + name)
	count := 1 + 2*(r.rng.IntN(4)/3)
	for range count {
		r.next++
		lines := 1 + r.rng.IntN(60)
		if r.rng.IntN(25) == 0 {
			lines = 4000
		}
		m := note{id: fmt.Sprintf("%s-%d", r.user, r.next), flags: r.flags()}
		text := message(m.id, lines)
		fmt.Fprintf(&command, " (%s) {%d+}\r\n%s", m.flags, len(text), text)
		m.flags = flags(m.flags)
		b.messages[b.next] = m
		b.next++
	}
	return &step{name: "APPEND", command: command.String(), after: after, check: func(_ []string, last string) error {
		return told(last, "APPENDUID", b.validity, set(first, uint32(count)))
	}}
}

// some chooses up to five messages that stand one after the other.
func (r *reader) some(b *box) []uint32 {
	uids := b.uids()
	if len(uids) == 0 {
		return nil
	}
	at := r.rng.IntN(len(uids))
	return uids[at:min(len(uids), at+1+r.rng.IntN(5))]
}

func list(uids []uint32) string {
	var s []string
	for _, u := range uids {
		s = append(s, strconv.Itoa(int(u)))
	}
	return strings.Join(s, ",")
}

func (r *reader) store(name string, b *box) *step {
	uids := r.some(b)
	if uids == nil {
		return nil
	}
	after := cloneAll(r.boxes)
	word, change := []string{"+FLAGS", "-FLAGS", "FLAGS"}[r.rng.IntN(3)], r.flags()
	fresh := true
	for _, u := range uids {
		m := after[name].messages[u]
		was := m.flags
		switch word {
		case "+FLAGS":
			m.flags = flags(m.flags + " " + change)
		case "-FLAGS":
			m.flags = flags(strings.Join(slices.DeleteFunc(strings.Fields(m.flags), func(f string) bool {
				return slices.Contains(strings.Fields(change), f)
			}), " "))
		case "FLAGS":
			m.flags = flags(change)
		}
		after[name].messages[u] = m
		fresh = fresh && m.flags != was
	}
	return &step{name: "STORE", box: name, fresh: fresh, command: fmt.Sprintf("UID STORE %s %s (%s)", list(uids), word, change), after: after}
}

// copy is COPY or MOVE to another mailbox.
func (r *reader) copy(word, name string, b *box) *step {
	uids := r.some(b)
	to, _ := r.pick()
	if uids == nil || to == name {
		return nil
	}
	after := cloneAll(r.boxes)
	dst := after[to]
	first := dst.next
	for _, u := range uids {
		dst.messages[dst.next] = b.messages[u]
		dst.next++
		if word == "MOVE" {
			delete(after[name].messages, u)
		}
	}
	return &step{name: word, box: name, command: "UID " + word + " " + list(uids) + " " + to, after: after, check: func(lines []string, last string) error {
		return told(strings.Join(append(lines, last), " "), "COPYUID", dst.validity, set(first, uint32(len(uids))))
	}}
}

// subscribe changes whether a mailbox is subscribed to.
func (r *reader) subscribe(name string, b *box) *step {
	after := cloneAll(r.boxes)
	after[name].listed = !b.listed
	word := "SUBSCRIBE"
	if b.listed {
		word = "UNSUBSCRIBE"
	}
	return &step{name: word, command: word + " " + name, after: after}
}

// restore moves one of the messages that were expunged last out of the bin.
func (r *reader) restore(c *imap) (*step, error) {
	b := r.boxes[bin]
	to, dst := r.pick()
	if b == nil || len(b.messages) == 0 {
		return nil, nil
	}
	if err := c.choose(bin); err != nil {
		return nil, err
	}
	lines, err := c.ok(fmt.Sprintf("UID FETCH %d:* (UID FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])", max(int(r.binNext)-5, 1)))
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		id, set, uid := fetchID.FindStringSubmatch(line), fetchSet.FindStringSubmatch(line), number(fetchUID, line)
		if id == nil || set == nil || uid == 0 {
			continue
		}
		r.binNext = max(r.binNext, uint32(uid)+1)
		for u, m := range b.messages {
			if m.id != id[1] || r.rng.IntN(2) == 0 {
				continue
			}
			after := cloneAll(r.boxes)
			delete(after[bin].messages, u)
			first := dst.next
			words := slices.DeleteFunc(strings.Fields(set[1]), func(f string) bool { return f == `\Deleted` || f == `\Recent` })
			after[to].add(note{id: id[1], flags: flags(strings.Join(words, " "))})
			return &step{name: "MOVE back", box: bin, command: fmt.Sprintf("UID MOVE %d %s", uid, to), after: after, check: func(lines []string, last string) error {
				return told(strings.Join(append(lines, last), " "), "COPYUID", dst.validity, set1(first))
			}}, nil
		}
	}
	return nil, nil
}

func set1(uid uint32) string { return set(uid, 1) }

func (r *reader) expunge(name string, b *box) *step {
	after := cloneAll(r.boxes)
	for u, m := range b.messages {
		if slices.Contains(strings.Fields(m.flags), `\Deleted`) {
			delete(after[name].messages, u)
			after[bin].add(note{id: m.id})
			if b := after[bin]; b != nil && name == "Drafts" && strings.Contains(m.flags, `\Draft`) {
				if b.drafts == nil {
					b.drafts = map[string]bool{}
				}
				b.drafts[m.id] = true
			}
		}
	}
	return &step{name: "EXPUNGE", box: name, command: "EXPUNGE", after: after}
}

// mailbox is CREATE, RENAME with children, or DELETE of a mailbox without children.
func (r *reader) mailbox() *step {
	var own []string
	for name := range r.boxes {
		if strings.HasPrefix(name, "w") {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	after := cloneAll(r.boxes)
	r.next++
	fresh := fmt.Sprintf("w%d", r.next)
	if len(own) < 3 || len(own) < 7 && r.rng.IntN(3) == 0 {
		if len(own) > 0 && r.rng.IntN(2) == 0 {
			fresh = own[r.rng.IntN(len(own))] + "/" + fresh
		}
		after[fresh] = &box{next: 1, messages: map[uint32]note{}}
		return &step{name: "CREATE", box: inbox, command: "CREATE " + fresh, after: after}
	}
	old := own[r.rng.IntN(len(own))]
	children := slices.ContainsFunc(own, func(n string) bool { return strings.HasPrefix(n, old+"/") })
	if !children && r.rng.IntN(2) == 0 {
		if b := after[bin]; b != nil {
			for _, m := range after[old].messages {
				if b.perhaps == nil {
					b.perhaps = map[string]bool{}
				}
				b.perhaps[m.id] = true
			}
		}
		delete(after, old)
		return &step{name: "DELETE", box: inbox, command: "DELETE " + old, after: after}
	}
	for _, n := range own {
		if n == old || strings.HasPrefix(n, old+"/") {
			after[fresh+n[len(old):]] = after[n]
			delete(after, n)
		}
	}
	return &step{name: "RENAME", box: inbox, command: "RENAME " + old + " " + fresh, after: after}
}

// clear moves one message that came from elsewhere from INBOX to Taken.
func (r *reader) clear(c *imap) error {
	if r.boxes[kind] == nil {
		if _, err := c.ok("CREATE " + kind); err != nil {
			return err
		}
		r.boxes[kind] = &box{messages: map[uint32]note{}}
	}
	c.box = inbox
	if _, err := c.ok("SELECT " + inbox); err != nil {
		return err
	}
	lines, err := c.ok("FETCH 1 (UID FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
	if err != nil || len(lines) == 0 {
		return nil // BAD: it is empty
	}
	line := lines[0]
	id, uid := fetchID.FindStringSubmatch(line), number(fetchUID, line)
	if id == nil || uid == 0 {
		return nil
	}
	if _, err := c.ok(fmt.Sprintf("UID MOVE %d %s", uid, kind)); err != nil {
		return err
	}
	r.moved[id[1]] = true
	r.done["MOVE from INBOX"]++
	return nil
}

// set is a run of UIDs as answers write it.
func set(first, count uint32) string {
	if count == 1 {
		return strconv.Itoa(int(first))
	}
	return fmt.Sprintf("%d:%d", first, first+count-1)
}

var uidCode = regexp.MustCompile(`\[(APPENDUID|COPYUID) (\d+) (?:\S+ )?([0-9:,]+)\]`)

// told compares the UIDs that were promised with those that the mailbox must give.
func told(answer, code string, validity uint32, uids string) error {
	m := uidCode.FindStringSubmatch(answer)
	if m == nil || m[1] != code || m[2] != strconv.Itoa(int(validity)) || m[3] != uids {
		return fmt.Errorf("expected %s %d %s, got %s", code, validity, uids, answer)
	}
	return nil
}
