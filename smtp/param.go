package smtp

import (
	"strconv"
	"strings"

	gosmtp "github.com/emersion/go-smtp"
)

// param is one row of a table of parameters.
type param[A any] struct {
	bare bool // has no value
	read func(a *A, value string, c *conn) *gosmtp.SMTPError
}

func badParam(text string) *gosmtp.SMTPError {
	return &gosmtp.SMTPError{Code: 501, EnhancedCode: code(5, 5, 4), Message: text}
}

// mailParams are the parameters of MAIL. BODY=BINARYMIME is not offered; BY, MT-PRIORITY and others are unknown.
func mailParams(future bool) map[string]param[mailArgs] {
	all := map[string]param[mailArgs]{
		"SIZE":       {read: readSize},                   // RFC 1870 section 6
		"BODY":       {read: readBody},                   // RFC 6152 section 2
		"SMTPUTF8":   {read: readUTF8, bare: true},       // RFC 6531 section 3.4
		"RET":        {read: readRet},                    // RFC 3461 section 4.3
		"ENVID":      {read: readEnvid},                  // RFC 3461 section 4.4
		"AUTH":       {read: readAuth},                   // RFC 4954 section 5
		"REQUIRETLS": {read: readRequireTLS, bare: true}, // RFC 8689 section 2
	}
	if future {
		all["HOLDFOR"] = param[mailArgs]{read: readHoldFor}     // RFC 4865 section 3
		all["HOLDUNTIL"] = param[mailArgs]{read: readHoldUntil} // likewise
	}
	return all
}

// rcptParams are the parameters of RCPT.
func rcptParams() map[string]param[rcptArgs] {
	return map[string]param[rcptArgs]{
		"NOTIFY": {read: readNotify}, // RFC 3461 section 4.1
		"ORCPT":  {read: readOrcpt},  // RFC 3461 section 4.2
	}
}

// readParams reads keyword=value words (RFC 5321 section 4.1.2). Unknown ones are 555 5.5.4 (section 4.1.1.11).
func readParams[A any](s string, table map[string]param[A], a *A, c *conn) *gosmtp.SMTPError {
	if s == "" || strings.Trim(s, " \t") == "" {
		return nil
	}
	var seen []string
	for word := range strings.FieldsSeq(s) {
		key, value, valued := strings.Cut(word, "=")
		key = strings.ToUpper(key)
		p, ok := table[key]
		if !ok {
			return &gosmtp.SMTPError{Code: 555, EnhancedCode: code(5, 5, 4), Message: "Parameter not recognised: " + key}
		}
		if p.bare == valued || (valued && value == "") {
			return badParam("Bad value of " + key)
		}
		for _, k := range seen {
			if k == key {
				return badParam(key + " is given twice")
			}
		}
		seen = append(seen, key)
		if e := p.read(a, value, c); e != nil {
			return e
		}
	}
	return nil
}

func readSize(a *mailArgs, v string, c *conn) *gosmtp.SMTPError {
	if len(v) > 20 || strings.Trim(v, "0123456789") != "" {
		return badParam("Bad value of SIZE")
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n > c.s.o.MaxSize {
		return &gosmtp.SMTPError{Code: 552, EnhancedCode: code(5, 3, 4), Message: "Message is larger than " + strconv.FormatInt(c.s.o.MaxSize, 10) + " octets"}
	}
	a.Size = n
	return nil
}

func readBody(a *mailArgs, v string, _ *conn) *gosmtp.SMTPError {
	switch strings.ToUpper(v) {
	case "7BIT":
		a.Body = gosmtp.Body7Bit
	case "8BITMIME":
		a.Body = gosmtp.Body8BitMIME
	default:
		return badParam("Bad value of BODY")
	}
	return nil
}

func readUTF8(a *mailArgs, _ string, _ *conn) *gosmtp.SMTPError {
	a.UTF8 = true
	return nil
}

// readRequireTLS: without TLS on this connection the wish is broken already (RFC 8689 section 2, item 4).
func readRequireTLS(a *mailArgs, _ string, c *conn) *gosmtp.SMTPError {
	if c.state&inTLS == 0 {
		return &gosmtp.SMTPError{Code: 530, EnhancedCode: code(5, 7, 10), Message: "REQUIRETLS needs TLS on this connection too"}
	}
	a.RequireTLS = true
	return nil
}

func readRet(a *mailArgs, v string, _ *conn) *gosmtp.SMTPError {
	switch strings.ToUpper(v) {
	case "FULL":
		a.Return = gosmtp.DSNReturnFull
	case "HDRS":
		a.Return = gosmtp.DSNReturnHeaders
	default:
		return badParam("Bad value of RET")
	}
	return nil
}

func readEnvid(a *mailArgs, v string, _ *conn) *gosmtp.SMTPError {
	id, err := decodeXtext(v)
	if err != nil || len(v) > 100 {
		return badParam("Bad value of ENVID")
	}
	a.EnvelopeID = id
	return nil
}

// readAuth keeps what the client asserts; AUTH=<> is known and means nobody.
func readAuth(a *mailArgs, v string, _ *conn) *gosmtp.SMTPError {
	who := ""
	if v != "<>" {
		var err error
		if who, err = decodeXtext(v); err != nil {
			return badParam("Bad value of AUTH")
		}
	}
	a.Auth = &who
	return nil
}

func readNotify(a *rcptArgs, v string, _ *conn) *gosmtp.SMTPError {
	for word := range strings.SplitSeq(strings.ToUpper(v), ",") {
		n := gosmtp.DSNNotify(word)
		known := false
		for _, w := range notifyWords {
			known = known || w.word == word
		}
		for _, before := range a.Notify { // NEVER stands alone, and nothing comes twice
			known = known && before != n && before != gosmtp.DSNNotifyNever && n != gosmtp.DSNNotifyNever
		}
		if !known {
			return badParam("Bad value of NOTIFY")
		}
		a.Notify = append(a.Notify, n)
	}
	return nil
}

func readOrcpt(a *rcptArgs, v string, _ *conn) *gosmtp.SMTPError {
	kind, text, ok := strings.Cut(v, ";")
	if !ok || text == "" || len(v) > 500 {
		return badParam("Bad value of ORCPT")
	}
	if !atom(kind) {
		return badParam("Bad address type in ORCPT")
	}
	decode := decodeXtext
	if strings.EqualFold(kind, string(gosmtp.DSNAddressTypeUTF8)) {
		decode = decodeUTF8Address
	}
	var err error
	a.OriginalRecipientType = gosmtp.DSNAddressType(kind) // as it was written, and of any kind: it goes on unchanged (section 5.2.1 d)
	a.OriginalRecipient, err = decode(text)
	if err != nil {
		return badParam("Bad value of ORCPT")
	}
	return nil
}

// atom reports whether s can be the type of an address (RFC 3461 section 4.2, RFC 5321 section 4.1.2).
func atom(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || strings.IndexByte(`()<>[]:;@\,."`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
