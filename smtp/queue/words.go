package queue

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxAnswer is how many characters of a foreign answer the people's part shows; the machine's part has it all.
const maxAnswer = 600

// writeWords writes the people's part: what happened to which address, what the other side said, what to do.
func (r *report) writeWords(m *lines) {
	var b bytes.Buffer
	r.words(&b)
	text := bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\r\n"))
	m.line("Content-Type: text/plain; charset=utf-8")
	m.line("Content-Description: Notification")
	switch {
	case ascii(text):
		m.line("Content-Transfer-Encoding: 7bit")
		m.line("")
		m.raw(text)
	case r.utf8:
		m.line("Content-Transfer-Encoding: 8bit")
		m.line("")
		m.raw(text)
	default:
		m.line("Content-Transfer-Encoding: quoted-printable")
		m.line("")
		w := quotedprintable.NewWriter(m)
		w.Write(text) // m keeps the error
		w.Close()
	}
}

func (r *report) words(b *bytes.Buffer) {
	fmt.Fprintf(b, "This is the mail system of %s.\n", r.hostname)
	action := ""
	for _, to := range r.recipients {
		if to.action != action {
			action = to.action
			fmt.Fprintf(b, "\n%s\n", r.opening(action))
		}
		r.wordsOn(b, to)
	}
	r.about(b)
}

func (r *report) opening(action string) string {
	switch action {
	case actionFailed:
		if !r.unproven.IsNull() {
			return r.unprovenOpening()
		}
		return "Your message could not be delivered to:"
	case actionDelayed:
		return "Your message has not been delivered yet to the addresses below. You need not send\nit again: delivery is tried until " +
			r.until.UTC().Format("Monday, 2 January 15:04 MST") + ", and you will\nhear if it fails."
	case actionDelivered:
		return "Your message has arrived in the mailbox of:"
	case actionExpanded:
		return "Your message was passed on to the members of:"
	}
	return "Your message was handed over to the mail server of the addresses below. That server\ndoes not report further:"
}

func (r *report) wordsOn(b *bytes.Buffer, to reported) {
	fmt.Fprintf(b, "\n  %s\n", show(to.Address))
	if to.action != actionFailed && to.action != actionDelayed {
		return
	}
	e := explain(to.result)
	for _, s := range wrap(e.what, 72) {
		b.WriteString("    " + s + "\n")
	}
	if to.action == actionFailed {
		for _, s := range wrap(e.remedy, 72) {
			b.WriteString("    " + s + "\n")
		}
	}
	if a, ok := advise(to.result); ok && !a.plain {
		b.WriteString("    What the postmaster here can do about it:\n")
		for _, s := range wrap(a.what, 70) {
			b.WriteString("      " + s + "\n")
		}
	}
	answer := strings.ToValidUTF8(to.result.Text, "?")
	if to.result.Code != 0 {
		answer = strconv.Itoa(to.result.Code) + " " + answer
	}
	if answer == "" {
		return
	}
	who := "The reason"
	if to.result.Remote != "" {
		who = clean(to.result.Remote) + " said"
	}
	fmt.Fprintf(b, "    %s:\n", who)
	answer = clean(oneLine(answer))
	if n := []rune(answer); len(n) > maxAnswer {
		answer = string(n[:maxAnswer]) + " ..."
	}
	for _, s := range wrap(answer, 70) {
		b.WriteString("      " + s + "\n")
	}
}

// about names the message, so that it is recognised.
func (r *report) about(b *bytes.Buffer) {
	subject := r.original.field("Subject")
	if decoded, err := new(mime.WordDecoder).DecodeHeader(subject); err == nil {
		subject = decoded
	}
	subject = clean(strings.ToValidUTF8(subject, "?"))
	if n := utf8.RuneCountInString(subject); n > 100 {
		subject = string([]rune(subject)[:100]) + " ..."
	}
	whose := "Your"
	if !r.unproven.IsNull() {
		whose = "The"
	}
	fmt.Fprintf(b, "\n%s message:\n", whose)
	if subject != "" {
		fmt.Fprintf(b, "  Subject: %s\n", subject)
	}
	fmt.Fprintf(b, "  Taken here: %s\n  Our number for it: %s\n", r.created.UTC().Format(time.RFC1123), r.of)
}

// clean takes control characters out of foreign text.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return '?'
		}
		return c
	}, s)
}

// wrap breaks text at spaces, and words that are longer than a line.
func wrap(s string, width int) []string {
	var out []string
	line := ""
	for _, word := range strings.Fields(s) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			out = append(out, line)
			line = ""
		}
		for utf8.RuneCountInString(word) > 4*width {
			r := []rune(word)
			out = append(out, string(r[:4*width]))
			word = string(r[4*width:])
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

// explanation is a status code in plain words.
type explanation struct{ what, remedy string }

// explanations by status code without its class; an entry for the subject alone ("7") is the general one.
func explanations() map[string]explanation {
	const askThem = "Ask the recipient by another way, for example by telephone, and pass the answer below on."
	return map[string]explanation{
		"1.1":  {"There is no such address at the receiving side.", "Check the spelling of the part before the @. If it is right, the recipient may have a new address."},
		"1.2":  {"There is no such mail domain.", "Check the spelling of the part behind the @."},
		"1.3":  {"The receiving side says that the address is not a valid one.", "Check the spelling of the address."},
		"1.6":  {"The recipient has moved and left no new address.", "Ask the recipient for the new address."},
		"1.7":  {"The receiving side does not take your sender address.", "Check the sender address in your mail program."},
		"1.8":  {"The receiving side cannot find the domain of your sender address.", "Check the sender address in your mail program, and tell your postmaster."},
		"1.10": {"This domain does not take mail at all.", "Check the spelling of the part behind the @."},
		"2.0":  {"The mailbox cannot take the message.", askThem},
		"2.1":  {"The mailbox is closed.", askThem},
		"2.2":  {"The recipient's mailbox is full.", "Send the message again when the recipient has made room."},
		"2.3":  {"The message is too large for this mailbox.", "Send it without its attachments, or share them by a link."},
		"3.4":  {"The message is too large for the receiving side.", "Send it without its attachments, or share them by a link."},
		"4.0":  {"The receiving server could not be reached.", "Try again later, or tell your postmaster."},
		"4.1":  {"The receiving server did not answer.", "Try again later. If it goes on, tell the recipient or your postmaster."},
		"4.2":  {"The connection to the receiving server broke down.", "Try again later. If it goes on, tell your postmaster."},
		"4.3":  {"The address of the receiving server could not be found out.", "Check the part behind the @. If it is right, try again later."},
		"4.4":  {"There is no way to the receiving server.", "Check the part behind the @, or tell your postmaster."},
		"4.6":  {"The message would run in a circle.", "Tell your postmaster: the mail servers of the domain are set up wrongly."},
		"4.7":  {"The receiving side could not take the message in all the time we tried.", "Try again later, or reach the recipient by another way."},
		"6.3":  {"The receiving server cannot take a message of this kind.", "Send the message as plain text or with its attachments packed."},
		"6.7":  {"The receiving server cannot take addresses or headers with letters outside of ASCII.", "Use an address of plain letters for sender and recipient, if there is one."},
		"7":    {"The receiving side refuses the message by its rules.", "The answer below often says why; pass it on to your postmaster."},
		"7.1":  {"The receiving side does not let this message through.", "The answer below often says why; pass it on to your postmaster or ask the recipient to let you through."},
		"4":    {"The message could not be handed over to the receiving server.", "Try again later, or tell your postmaster."},
		"1":    {"The receiving side does not take this address.", "Check the spelling of the address."},
		"2":    {"The recipient's mailbox cannot take the message.", askThem},
		"3":    {"The receiving system has a problem of its own.", "Try again later, or reach the recipient by another way."},
		"5":    {"The two mail servers did not understand each other.", "Tell your postmaster."},
		"6":    {"The receiving side cannot take the content of the message.", "Send the message in a simpler form."},
		"":     {"The receiving side did not take the message.", "The answer below may say why; pass it on to your postmaster."},
	}
}

func explain(r Result) explanation {
	_, rest, _ := strings.Cut(status(r), ".")
	all := explanations()
	subject, _, _ := strings.Cut(rest, ".")
	for _, key := range []string{rest, subject} {
		if e, ok := all[key]; ok {
			return e
		}
	}
	return all[""]
}
