package scan

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// The numbers of the protocol, as libmilter's mfdef.h has them: version 6.
const (
	milterVersion = 6

	mayAddHeader    = 0x01
	mayChangeHeader = 0x10
	mayQuarantine   = 0x20

	skipConnect   = 0x000001 // the milter wants no such command ...
	skipHello     = 0x000002
	skipMail      = 0x000004
	skipRecipient = 0x000008
	skipBody      = 0x000010
	skipFields    = 0x000020
	skipHeaderEnd = 0x000040
	muteField     = 0x000080 // ... or does not answer it
	skipUnknown   = 0x000100
	skipData      = 0x000200
	canSkip       = 0x000400
	muteConnect   = 0x001000
	muteHello     = 0x002000
	muteMail      = 0x004000
	muteRecipient = 0x008000
	muteData      = 0x010000
	muteUnknown   = 0x020000
	muteHeaderEnd = 0x040000
	muteBody      = 0x080000
	leadingSpace  = 0x100000 // values come and go with the white space behind the colon

	offered = skipConnect | skipHello | skipMail | skipRecipient | skipBody | skipFields | skipHeaderEnd | muteField | skipUnknown | skipData | canSkip |
		muteConnect | muteHello | muteMail | muteRecipient | muteData | muteUnknown | muteHeaderEnd | muteBody | leadingSpace
	actions = mayAddHeader | mayChangeHeader | mayQuarantine
)

// Bounds of what a milter may say for one message.
const (
	maxPacket = 64 << 10
	maxIdle   = 1000
	maxChunk  = 65535
)

// milter shows messages to a filter of Sendmail's kind, over a connection for each: what it would have been told command by command
// while the message came is told at its end, so that a slow sender keeps no connection busy and a slow milter no sender.
type milter struct {
	o                *Helper
	hostname         string
	network, address string
}

func (f *milter) scan(ctx context.Context, m *Message) (answer, error) {
	nc, err := f.o.Dial(ctx, f.network, f.address)
	if err != nil {
		return answer{}, &unreachable{err}
	}
	defer nc.Close()
	if end, ok := ctx.Deadline(); ok {
		nc.SetDeadline(end)
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &talk{r: bufio.NewReader(nc), w: bufio.NewWriterSize(nc, 16<<10), message: m, hostname: f.hostname}
	if err := c.all(); err != nil && !errors.Is(err, errDecided) {
		return answer{}, fmt.Errorf("milter: %w", err)
	}
	return c.answer(), nil
}

// errDecided ends a conversation early: the milter wants to see no more.
var errDecided = errors.New("decided")

// talk is the conversation about one message.
type talk struct {
	r        *bufio.Reader
	w        *bufio.Writer
	message  *Message
	hostname string

	version  uint32
	protocol uint32 // what was agreed on
	idle     int    // packets that were no answers

	verdict    byte   // its letter; 0: nothing against it
	reply      string // with verdict 'y'
	quarantine string
	refused    int // recipients that it would not have taken
	edits      edits
	changed    int // packets at the end
}

// step is one command.
type step struct {
	command    byte
	skip, mute uint32 // the bits by which a milter does without it, or without answering
	macros     []string
	data       []byte
}

func (c *talk) all() error {
	if err := c.negotiate(); err != nil {
		return err
	}
	for _, s := range c.envelope() {
		if err := c.step(s); err != nil {
			return err
		}
	}
	if err := c.header(); err != nil {
		return err
	}
	if err := c.body(); err != nil {
		return err
	}
	if err := c.send('D', macros('E', []string{"i", c.message.ID})); err != nil {
		return err
	}
	if err := c.send('E', nil); err != nil {
		return err
	}
	if err := c.changes(); err != nil {
		return err
	}
	c.send('Q', nil)
	c.w.Flush() // it has said all: nothing depends on it
	return nil
}

// negotiate tells what we do. Who needs more than that (other recipients, another sender, another body) does not go on.
func (c *talk) negotiate() error {
	hello := binary.BigEndian.AppendUint32(nil, milterVersion)
	hello = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(hello, actions), offered)
	if err := c.send('O', hello); err != nil {
		return err
	}
	code, data, err := c.receive()
	if err != nil {
		return err
	}
	if code != 'O' || len(data) < 12 {
		return fmt.Errorf("it does not begin as a milter does (%q)", code)
	}
	wants := binary.BigEndian.Uint32(data[4:])
	c.version, c.protocol = binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[8:])
	switch {
	case c.version < 2 || c.version > milterVersion:
		return fmt.Errorf("it speaks version %d of the protocol", c.version)
	case wants&^uint32(actions) != 0:
		return fmt.Errorf("it wants to change more than a header (actions %#x)", wants)
	case c.protocol&^uint32(offered) != 0:
		return fmt.Errorf("it wants what was not offered (protocol %#x)", c.protocol)
	}
	return nil
}

// envelope is what comes before the message.
func (c *talk) envelope() []step {
	m := c.message
	secured := []string{"{tls_version}", m.TLS, "{cipher}", m.Cipher}
	steps := []step{
		{'C', skipConnect, muteConnect, []string{"j", c.hostname, "{daemon_name}", "posthouse", "v", "posthouse", "_", m.client(), "{client_addr}", m.address()}, m.connection()},
		{'H', skipHello, muteHello, secured, text(m.Hello)},
		{'M', skipMail, muteMail, append([]string{"i", m.ID, "{mail_addr}", m.From.String(), "{auth_authen}", m.Account, "{auth_type}", m.mechanism()}, secured...), path(m.From)},
	}
	for _, to := range m.To {
		steps = append(steps, step{'R', skipRecipient, muteRecipient, []string{"{rcpt_addr}", to.String()}, path(to)})
	}
	if c.version < 4 { // it does not know DATA
		return steps
	}
	return append(steps, step{'T', skipData, muteData, []string{"i", m.ID}, nil})
}

// connection is the data of the first command: name, family, port and address.
func (m *Message) connection() []byte {
	b := text(m.client())
	a := m.Remote.Addr().Unmap().WithZone("")
	switch {
	case !a.IsValid():
		return append(b, 'U')
	case a.Is4():
		b = append(b, '4')
	default:
		b = append(b, '6')
	}
	return append(binary.BigEndian.AppendUint16(b, m.Remote.Port()), text(a.String())...)
}

func (m *Message) client() string {
	switch {
	case m.Name != "":
		return m.Name
	case m.Remote.IsValid():
		return "[" + m.address() + "]"
	}
	return "localhost"
}

func (m *Message) address() string {
	if !m.Remote.IsValid() {
		return ""
	}
	return m.Remote.Addr().Unmap().WithZone("").String()
}

// mechanism is a name for milters that ask no more than whether somebody is logged in.
func (m *Message) mechanism() string {
	if m.Account == "" {
		return ""
	}
	return "PLAIN"
}

func text(s string) []byte { return append([]byte(clean(s, 2000)), 0) }

func path(a mail.Address) []byte { return text("<" + a.String() + ">") }

// macros is the data of macros for a command; those without value are left out.
func macros(command byte, pairs []string) []byte {
	b := []byte{command}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b = append(append(b, text(pairs[i])...), text(pairs[i+1])...)
		}
	}
	return b
}

func (c *talk) step(s step) error {
	if c.protocol&s.skip != 0 {
		return nil
	}
	if len(s.macros) > 0 {
		if err := c.send('D', macros(s.command, s.macros)); err != nil {
			return err
		}
	}
	if err := c.send(s.command, s.data); err != nil || c.protocol&s.mute != 0 {
		return err
	}
	return c.listen(s.command)
}

// header shows the fields as they are; the lines of a folded one are divided by a line feed, as Sendmail does it.
func (c *talk) header() error {
	for f := range message.Fields(c.message.Header) {
		if len(f.Name) == 0 {
			continue
		}
		value := bytes.ReplaceAll(bytes.ReplaceAll(f.Value, []byte("\r\n"), []byte("\n")), []byte{0}, nil)
		if c.protocol&leadingSpace == 0 && len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
			value = value[1:]
		}
		if most := maxChunk - 2 - len(f.Name); len(value) > most { // more cannot be said in this protocol; the rest of the message is shown all the same
			value = value[:max(most, 0)]
		}
		data := append(append(make([]byte, 0, len(f.Name)+len(value)+2), f.Name...), 0)
		data = append(append(data, value...), 0)
		if err := c.step(step{command: 'L', skip: skipFields, mute: muteField, data: data}); err != nil {
			return err
		}
	}
	return c.step(step{command: 'N', skip: skipHeaderEnd, mute: muteHeaderEnd})
}

func (c *talk) body() error {
	if c.protocol&skipBody != 0 {
		return nil
	}
	chunk := make([]byte, min(maxChunk, c.message.Size))
	for at := int64(0); at < c.message.Size; at += int64(len(chunk)) {
		chunk = chunk[:min(int64(len(chunk)), c.message.Size-at)]
		if n, err := c.message.Body.ReadAt(chunk, at); n < len(chunk) {
			return fmt.Errorf("read the message: %w", err)
		}
		switch err := c.step(step{command: 'B', mute: muteBody, data: chunk}); {
		case errors.Is(err, errEnough):
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

// errEnough: it wants no more of the body.
var errEnough = errors.New("enough")

// listen reads the answer to a command.
func (c *talk) listen(command byte) error {
	code, data, err := c.receive()
	if err != nil {
		return err
	}
	return c.decide(command, code, data)
}

func (c *talk) decide(command, code byte, data []byte) error {
	switch code {
	case 'c':
		return nil
	case 's':
		if command == 'B' {
			return errEnough
		}
	case 'a', 'd', 'r', 't', 'y':
		if code == 'y' {
			if err := c.setReply(data); err != nil {
				return err
			}
		}
		if command == 'R' && code != 'a' && code != 'd' { // it is about this recipient; the message goes on to the others
			if c.refused++; c.refused < len(c.message.To) {
				return nil
			}
		}
		c.verdict = code
		return errDecided
	case '4':
		c.verdict, c.reply = 'y', "421 4.7.0 Try again later"
		return errDecided
	}
	return fmt.Errorf("it answers %q to %q", code, command)
}

// setReply takes a reply of its own: three digits, and text.
func (c *talk) setReply(data []byte) error {
	text := string(bytes.TrimRight(data, "\x00"))
	if len(text) < 4 || text[3] != ' ' && text[3] != '-' || text[0] != '4' && text[0] != '5' {
		return fmt.Errorf("its reply is none: %q", clean(text, 60))
	}
	if _, err := strconv.ParseUint(text[:3], 10, 16); err != nil {
		return fmt.Errorf("its reply is none: %q", clean(text, 60))
	}
	c.reply = text
	return nil
}

// changes reads what the milter wants done at the end, up to its verdict.
func (c *talk) changes() error {
	for {
		code, data, err := c.receive()
		if err != nil {
			return err
		}
		if c.changed++; c.changed > 2*maxEdits {
			return errors.New("it changes things without end")
		}
		switch code {
		case 'h':
			err = c.edit(edit{op: editAppend}, data)
		case 'i', 'm':
			if len(data) < 4 {
				return fmt.Errorf("it answers %q without its number", code)
			}
			e := edit{op: editInsert, index: int(int32(binary.BigEndian.Uint32(data)))}
			if code == 'm' {
				e.op = editChange
			}
			err = c.edit(e, data[4:])
		case 'q':
			c.quarantine = clean(string(bytes.TrimRight(data, "\x00")), 200)
			if c.quarantine == "" {
				c.quarantine = "without a reason"
			}
		default:
			return c.decide('E', code, data)
		}
		if err != nil {
			return err
		}
	}
}

func (c *talk) edit(e edit, data []byte) error {
	name, rest, ok := bytes.Cut(data, []byte{0})
	value, _, ended := bytes.Cut(rest, []byte{0})
	if !ok || !ended {
		return errors.New("it changes a field that has no end")
	}
	e.name, e.value = string(name), string(value)
	if e.value != "" && c.protocol&leadingSpace == 0 {
		e.value = " " + e.value
	}
	if !c.edits.add(e) {
		return fmt.Errorf("it wants a field that is none, or too long, or one too many: %s", clean(e.name, 60))
	}
	return nil
}

// answer is the verdict in our words. Nothing that was taken is dropped: who wants that refuses it.
func (c *talk) answer() answer {
	a := answer{told: "passed"}
	no := answer{action: Refuse, code: 550, enhanced: [3]int{5, 7, 1}, text: "The message was refused by a check of its content"}
	later := answer{action: Later, code: 451, enhanced: [3]int{4, 7, 1}, text: "A check of the message cannot be made now, try again later"}
	switch {
	case c.verdict == 'd' || c.verdict == 'r':
		a = no
	case c.verdict == 't':
		a = later
	case c.verdict == 'y':
		a = no
		if c.reply[0] == '4' {
			a = later
		}
		a.setReply(c.reply)
	case c.quarantine != "":
		a.action, a.told = Junk, "sets it aside: "+c.quarantine
	}
	if a.action >= Later {
		a.told = fmt.Sprintf("%d %d.%d.%d %s", a.code, a.enhanced[0], a.enhanced[1], a.enhanced[2], a.text)
		return a
	}
	if n := len(c.edits.all); n > 0 {
		a.edits = c.edits.all
		a.told += fmt.Sprintf(", changed %d fields of the header", n)
	}
	if c.refused > 0 {
		a.told += fmt.Sprintf(", would not have taken %d of %d recipients", c.refused, len(c.message.To))
	}
	return a
}

// setReply takes over code, enhanced code and text of a reply that was looked at. Of several lines it keeps the words.
func (a *answer) setReply(reply string) {
	code, _ := strconv.Atoi(reply[:3])
	if code != 421 { // we do not hang up
		a.code = code
	}
	var words []string
	for line := range strings.Lines(reply) {
		line = strings.TrimRight(line, "\r\n")
		if len(line) > 4 && line[:3] == reply[:3] {
			line = line[4:]
		}
		first, rest, _ := strings.Cut(line, " ")
		if e, ok := enhanced(first); ok && e[0] == a.code/100 {
			a.enhanced, line = e, rest
		}
		words = append(words, line)
	}
	if said := ascii(clean(strings.ReplaceAll(strings.Join(words, " "), "%%", "%"), 300)); said != "" {
		a.text = said
	}
}

// enhanced reads a code of RFC 3463.
func enhanced(s string) (e [3]int, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return e, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 10)
		if err != nil || n > 999 {
			return e, false
		}
		e[i] = int(n)
	}
	return e, true
}

// send writes a packet: its length, a letter, and data. It waits in the buffer until an answer is needed.
func (c *talk) send(code byte, data []byte) error {
	var head [5]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(data)+1))
	head[4] = code
	if _, err := c.w.Write(head[:]); err != nil {
		return err
	}
	_, err := c.w.Write(data)
	return err
}

// receive reads a packet, and passes over those that only ask for patience: the time is bounded as a whole.
func (c *talk) receive() (byte, []byte, error) {
	if err := c.w.Flush(); err != nil {
		return 0, nil, err
	}
	for {
		var head [5]byte
		if _, err := io.ReadFull(c.r, head[:]); err != nil {
			return 0, nil, err
		}
		n := binary.BigEndian.Uint32(head[:])
		if n == 0 || n > maxPacket {
			return 0, nil, fmt.Errorf("it does not speak as a milter does (a packet of %d octets)", n)
		}
		data := make([]byte, n-1)
		if _, err := io.ReadFull(c.r, data); err != nil {
			return 0, nil, err
		}
		if head[4] != 'p' {
			return head[4], data, nil
		}
		if c.idle++; c.idle > maxIdle {
			return 0, nil, errors.New("it asks for patience without end")
		}
	}
}
