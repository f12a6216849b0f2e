package syntax

import (
	"strings"
	"time"
)

// Date takes a date, quoted or not (RFC 9051 section 9); a date has no zone, so the time is midnight UTC.
func (d *Decoder) Date() time.Time {
	quoted := d.Try('"')
	day := d.digits(1, 2)
	d.Expect('-')
	month := d.month()
	d.Expect('-')
	year := d.digits(4, 4)
	if quoted {
		d.Expect('"')
	}
	return d.checked(year, month, day)
}

// checked refuses the 31st of February, which package time would move.
func (d *Decoder) checked(year, month, day int) time.Time {
	t := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if d.err == nil && (t.Day() != day || int(t.Month()) != month) {
		d.fail(badf("no such day"))
	}
	return t
}

// DateTime takes a date-time: "17-Jul-1996 02:44:25 -0700".
func (d *Decoder) DateTime() time.Time {
	d.Expect('"')
	d.Try(' ') // date-day-fixed
	day := d.digits(1, 2)
	d.Expect('-')
	month := d.month()
	d.Expect('-')
	year := d.digits(4, 4)
	d.SP()
	hour := d.digits(2, 2)
	d.Expect(':')
	minute := d.digits(2, 2)
	d.Expect(':')
	second := d.digits(2, 2)
	d.SP()
	sign := 1
	if d.Try('-') {
		sign = -1
	} else {
		d.Expect('+')
	}
	zone := d.digits(4, 4)
	d.Expect('"')
	d.checked(year, month, day)
	if d.err == nil && (hour > 23 || minute > 59 || second > 60 || zone%100 > 59) {
		d.fail(badf("no such time"))
	}
	if d.err != nil {
		return time.Time{}
	}
	offset := sign * (zone/100*3600 + zone%100*60)
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.FixedZone("", offset))
}

func (d *Decoder) digits(least, most int) int {
	n, count := 0, 0
	for c := d.Peek(); c >= '0' && c <= '9' && count < most; c = d.Peek() {
		n = n*10 + int(c-'0')
		count++
		d.pos++
	}
	if d.err == nil && count < least {
		d.fail(badf("wrong date at %s", d.here()))
	}
	return n
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

func (d *Decoder) month() int {
	if d.err == nil && d.pos+3 <= len(d.line) {
		for i := 0; i < len(months); i += 3 {
			if strings.EqualFold(months[i:i+3], string(d.line[d.pos:d.pos+3])) {
				d.pos += 3
				return i/3 + 1
			}
		}
	}
	if d.err == nil {
		d.fail(badf("wrong month at %s", d.here()))
	}
	return 1
}

// AppendDateTime appends a date-time in the zone of t (RFC 9051 section 9).
func AppendDateTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	if day < 10 {
		b = append(b, ' ', byte('0'+day))
	} else {
		b = appendDigits(b, day, 2)
	}
	b = append(b, '-')
	b = append(b, months[3*month-3:3*month]...)
	b = append(b, '-')
	b = appendDigits(b, year, 4)
	b = append(b, ' ')
	b = appendDigits(b, hour, 2)
	b = append(b, ':')
	b = appendDigits(b, minute, 2)
	b = append(b, ':')
	b = appendDigits(b, second, 2)
	_, offset := t.Zone()
	sign := byte('+')
	if offset < 0 {
		sign, offset = '-', -offset
	}
	b = append(b, ' ', sign)
	b = appendDigits(b, offset/3600, 2)
	b = appendDigits(b, offset/60%60, 2)
	return append(b, '"')
}

func appendDigits(b []byte, n, width int) []byte {
	for unit := pow10(width - 1); unit > 0; unit /= 10 {
		b = append(b, byte('0'+n/unit%10))
	}
	return b
}

func pow10(n int) int {
	p := 1
	for range n {
		p *= 10
	}
	return p
}
