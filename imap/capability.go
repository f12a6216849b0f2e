package imap

import (
	"context"
	"slices"
	"strconv"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

// alwaysCaps are offered in every state.
func alwaysCaps() []goimap.Cap {
	return []goimap.Cap{goimap.CapIMAP4rev1, goimap.CapIMAP4rev2, goimap.CapSASLIR, goimap.CapID, goimap.CapEnable}
}

// loginCaps are offered after login. UIDONLY never stands here: Office 365's client breaks on it.
func loginCaps() []goimap.Cap {
	return []goimap.Cap{
		goimap.CapLiteralPlus, goimap.CapIdle, goimap.CapNamespace, goimap.CapUIDPlus, goimap.CapMove, goimap.CapUnselect,
		goimap.CapChildren, goimap.CapListExtended, goimap.CapListStatus, goimap.CapStatusSize, goimap.CapSpecialUse, goimap.CapCreateSpecialUse,
		goimap.CapESearch, goimap.CapSearchRes, goimap.CapBinary, goimap.CapMultiAppend, goimap.CapUTF8Accept, goimap.CapCondStore,
		goimap.CapUnauthenticate,
	}
}

// capabilities lists what holds in this state. LITERAL- and LITERAL+ are never offered together (RFC 7888 section 7).
func (c *conn) capabilities() string {
	caps := alwaysCaps()
	if c.state == notAuthenticated {
		caps = append(caps, goimap.CapLiteralMinus)
		if c.s.o.TLS != nil && c.w.TLS() == nil {
			caps = append(caps, goimap.CapStartTLS)
		}
		mechanisms := c.s.auth.Mechanisms(c.client())
		for _, m := range mechanisms {
			caps = append(caps, goimap.AuthCap(m))
		}
		if !slices.Contains(mechanisms, "PLAIN") {
			caps = append(caps, goimap.CapLoginDisabled) // a password may not be sent now
		}
	} else {
		caps = append(caps, loginCaps()...)
		caps = append(caps, goimap.CapAppendLimit+goimap.Cap("="+strconv.FormatInt(c.s.o.MaxMessage, 10)))
	}
	var b strings.Builder
	for i, name := range caps {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(name))
	}
	return b.String()
}

// capability answers CAPABILITY (RFC 9051 section 6.1.1).
func (c *conn) capability(_ context.Context, r *request) error {
	if err := c.d.End(); err != nil {
		return err
	}
	c.w.WriteString("* CAPABILITY " + c.capabilities() + "\r\n")
	return nil
}

// noop answers NOOP (RFC 9051 section 6.1.2); what it is for happens in tell.
func (c *conn) noop(context.Context, *request) error { return c.d.End() }

// logout answers LOGOUT (RFC 9051 section 6.1.3).
func (c *conn) logout(context.Context, *request) error {
	if err := c.d.End(); err != nil {
		return err
	}
	return &goodbye{text: "see you", tagged: true}
}

// The bounds of RFC 2971 section 3.3.
const (
	maxIDFields = 30
	maxIDValue  = 1024
)

// id answers ID (RFC 2971), in every state.
func (c *conn) id(ctx context.Context, r *request) error {
	c.d.SP()
	var pairs []string
	if c.d.Peek() == '(' {
		c.d.List(func() {
			if len(pairs) >= 2*maxIDFields {
				c.d.Fail("more than 30 ID fields")
				return
			}
			field := c.d.String()
			c.d.SP()
			value, _ := c.d.NString()
			pairs = append(pairs, field, value[:min(len(value), maxIDValue)])
		})
	} else {
		c.d.NString()
	}
	if err := c.d.End(); err != nil {
		return err
	}
	var name, version string
	for i := 0; i+1 < len(pairs); i += 2 {
		switch strings.ToLower(pairs[i]) {
		case "name":
			name = plain(pairs[i+1])
		case "version":
			version = plain(pairs[i+1])
		}
	}
	c.program = strings.TrimSpace(name + " " + version)
	if c.who.Account != 0 && c.program != "" {
		c.s.auth.Named(c.who, c.client())
	}
	c.log.DebugContext(ctx, logx.IMAPClient, "name", name, "version", version)
	b := append(c.w.AvailableBuffer(), `* ID ("name" "posthouse" "version" `...)
	b = syntax.AppendString(b, c.s.o.Version)
	c.w.Write(append(b, ")\r\n"...))
	return nil
}

// enable answers ENABLE (RFC 5161). What is not known is passed over, as the RFC wants.
func (c *conn) enable(_ context.Context, r *request) error {
	var on []goimap.Cap
	for c.d.SP(); c.d.Err() == nil; c.d.SP() {
		switch name := goimap.Cap(c.d.Keyword()); name {
		case goimap.CapCondStore, goimap.CapUTF8Accept, "IMAP4REV2":
			if !slices.Contains(on, name) {
				on = append(on, name)
			}
		}
		if c.d.AtEnd() {
			break
		}
	}
	if err := c.d.End(); err != nil {
		return err
	}
	c.w.WriteString("* ENABLED")
	for _, name := range on {
		switch name {
		case goimap.CapCondStore:
			c.enabled.condstore = true
		case goimap.CapUTF8Accept:
			c.enabled.utf8 = true
		default:
			name, c.enabled.rev2 = goimap.CapIMAP4rev2, true
		}
		c.w.WriteString(" " + string(name))
	}
	c.w.WriteString("\r\n")
	return nil
}
