package message

import (
	"strings"
	"time"
)

// FormatDate writes a date as RFC 5322 section 3.3 wants it.
func FormatDate(t time.Time) string {
	return t.Format("Mon, 02 Jan 2006 15:04:05 -0700")
}

// ParseDate reads a Date field: RFC 5322 with its obsolete forms (two-digit years, named zones, comments), and
// what is seen in the wild (no day of week, no seconds, no zone, ISO dates, single digits). The time keeps the zone it was written in.
func ParseDate(v string) (time.Time, bool) {
	p := dateParser{in: stripComments(v)}
	var d dateParts
	first := p.word()
	if isDigits(first) && len(first) == 4 {
		if !p.isoDate(first, &d) {
			return time.Time{}, false
		}
	} else {
		if !isDigits(first) {
			first = p.word()
		}
		if !p.day(first, &d) {
			return time.Time{}, false
		}
	}
	if !p.clock(&d) {
		return time.Time{}, false
	}
	return d.time(p.zone())
}

type dateParts struct {
	year, month, day  int
	hour, minute, sec int
}

func (d dateParts) time(offset int) (time.Time, bool) {
	if d.month < 1 || d.month > 12 || d.day < 1 || d.day > 31 || d.hour > 24 || d.minute > 59 || d.sec > 60 || d.year < 1 || d.year > 9999 {
		return time.Time{}, false
	}
	loc := time.UTC
	if offset != 0 {
		loc = time.FixedZone("", offset)
	}
	t := time.Date(d.year, time.Month(d.month), d.day, d.hour, d.minute, min(d.sec, 59), 0, loc)
	return t, t.Day() == d.day || d.hour == 24
}

// dateParser cuts a date into words and numbers.
type dateParser struct {
	in string
	i  int
}

// word is the next run of letters or of digits; separators are skipped.
func (p *dateParser) word() string {
	for p.i < len(p.in) && !isDigit(p.in[p.i]) && !isLetter(p.in[p.i]) {
		p.i++
	}
	start := p.i
	if p.i < len(p.in) && isDigit(p.in[p.i]) {
		for p.i < len(p.in) && isDigit(p.in[p.i]) {
			p.i++
		}
	} else {
		for p.i < len(p.in) && isLetter(p.in[p.i]) {
			p.i++
		}
	}
	return p.in[start:p.i]
}

func (p *dateParser) day(first string, d *dateParts) bool {
	d.day = number(first)
	d.month = monthNumber(p.word())
	year := p.word()
	d.year = number(year)
	switch { // RFC 5322 section 4.3
	case len(year) == 2 && d.year < 50:
		d.year += 2000
	case len(year) == 2 || len(year) == 3:
		d.year += 1900
	}
	return d.day > 0 && d.month > 0 && d.year > 0
}

func (p *dateParser) isoDate(year string, d *dateParts) bool {
	d.year, d.month, d.day = number(year), number(p.word()), number(p.word())
	if p.i < len(p.in) && (p.in[p.i] == 'T' || p.in[p.i] == 't') {
		p.i++
	}
	return d.month > 0 && d.day > 0
}

// clock reads hh:mm[:ss]; a date without a time is taken as midnight.
func (p *dateParser) clock(d *dateParts) bool {
	mark := p.i
	hour := p.word()
	if !isDigits(hour) || len(hour) > 2 {
		p.i = mark
		return hour == "" || !isDigits(hour)
	}
	minute := p.word()
	d.hour, d.minute = number(hour), number(minute)
	if d.hour < 0 || d.minute < 0 {
		return false
	}
	for p.i < len(p.in) && p.in[p.i] == ' ' && strings.HasPrefix(strings.TrimLeft(p.in[p.i:], " "), ":") {
		p.i++
	}
	if p.i < len(p.in) && (p.in[p.i] == ':' || p.in[p.i] == '.') {
		if d.sec = number(p.word()); d.sec < 0 {
			return false
		}
		if p.i < len(p.in) && p.in[p.i] == '.' { // fractions
			p.word()
		}
	}
	return true
}

// zone is the offset in seconds east of Greenwich; what is unknown counts as UTC (RFC 5322 section 4.3).
func (p *dateParser) zone() int {
	for ; p.i < len(p.in); p.i++ {
		c := p.in[p.i]
		if c == '+' || c == '-' {
			digits := strings.ReplaceAll(p.in[p.i+1:], ":", "")
			if len(digits) < 4 || !isDigits(digits[:4]) {
				return 0
			}
			offset := number(digits[:2])*3600 + number(digits[2:4])*60
			if offset > 24*3600 {
				return 0
			}
			if c == '-' {
				return -offset
			}
			return offset
		}
		if isLetter(c) {
			return namedZone(p.word())
		}
	}
	return 0
}

func namedZone(name string) int {
	switch strings.ToUpper(name) {
	case "EDT":
		return -4 * 3600
	case "EST", "CDT":
		return -5 * 3600
	case "CST", "MDT":
		return -6 * 3600
	case "MST", "PDT":
		return -7 * 3600
	case "PST":
		return -8 * 3600
	}
	return 0
}

func monthNumber(w string) int {
	if len(w) < 3 {
		return 0
	}
	const names = "janfebmaraprmayjunjulaugsepoctnovdec"
	i := strings.Index(names, strings.ToLower(w[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return i/3 + 1
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigits(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// number is the value of up to five digits, -1 for anything else.
func number(s string) int {
	if !isDigits(s) || len(s) > 5 {
		return -1
	}
	n := 0
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	return n
}
