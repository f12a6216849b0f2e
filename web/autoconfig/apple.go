package autoconfig

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"strings"

	"github.com/smallstep/pkcs7"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/page"
)

// apple answers GET /email.mobileconfig?email=ADDRESS with a profile that iPhones, iPads and Macs install. The password is asked for
// there: a file that is sent around has none.
func (m *room) apple(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return page.ErrMissing
	}
	a, err := m.asked(r.Context(), r.URL.Query().Get("email"))
	if err != nil {
		return err
	}
	profile := m.profile(a)
	if m.o.Signer != nil {
		if profile, err = m.signed(profile); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Disposition", `attachment; filename="email.mobileconfig"`)
	answer(w, "application/x-apple-aspen-config", profile)
	return nil
}

// entry is one key of a property list.
type entry struct {
	key   string
	value any // string, int, bool, []entry or [][]entry
}

// profile is the property list.
func (m *room) profile(a mail.Address) []byte {
	in, out := page.Way{}, page.Way{}
	for _, way := range m.o.Programs.Ways() {
		switch {
		case way.Sends && out.Port == 0:
			out = way
		case !way.Sends && in.Port == 0:
			in = way
		}
	}
	kind := "EmailTypeIMAP"
	if in.Protocol == "POP3" {
		kind = "EmailTypePOP"
	}
	id := strings.ReplaceAll(string(a.Domain), "/", "") + ".posthouse"
	payload := []entry{
		{"PayloadType", "com.apple.mail.managed"}, {"PayloadVersion", 1}, {"PayloadIdentifier", id + ".mail"}, {"PayloadUUID", uuid("mail", a)},
		{"PayloadDisplayName", a.String()},
		{"EmailAccountDescription", a.String()}, {"EmailAccountType", kind}, {"EmailAddress", a.String()},
		{"IncomingMailServerAuthentication", "EmailAuthPassword"}, {"IncomingMailServerHostName", m.o.Programs.Host},
		{"IncomingMailServerPortNumber", in.Port}, {"IncomingMailServerUseSSL", true}, {"IncomingMailServerUsername", a.String()},
		{"OutgoingMailServerAuthentication", "EmailAuthPassword"}, {"OutgoingMailServerHostName", m.o.Programs.Host},
		{"OutgoingMailServerPortNumber", out.Port}, {"OutgoingMailServerUseSSL", true}, {"OutgoingMailServerUsername", a.String()},
		{"OutgoingPasswordSameAsIncomingPassword", true}, {"SMIMEEnabled", false},
	}
	var b strings.Builder
	b.WriteString(xml.Header + `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">` + "\n<plist version=\"1.0\">\n")
	write(&b, []entry{
		{"PayloadType", "Configuration"}, {"PayloadVersion", 1}, {"PayloadIdentifier", id}, {"PayloadUUID", uuid("profile", a)},
		{"PayloadDisplayName", "Mail of " + string(a.Domain)}, {"PayloadOrganization", string(a.Domain)},
		{"PayloadDescription", "Sets up " + a.String() + " in Mail."}, {"PayloadRemovalDisallowed", false},
		{"PayloadContent", [][]entry{payload}},
	})
	b.WriteString("</plist>\n")
	return []byte(b.String())
}

// write is a value of a property list.
func write(b *strings.Builder, value any) {
	switch v := value.(type) {
	case []entry:
		b.WriteString("<dict>\n")
		for _, e := range v {
			b.WriteString("<key>" + e.key + "</key>")
			write(b, e.value)
		}
		b.WriteString("</dict>\n")
	case [][]entry:
		b.WriteString("<array>\n")
		for _, d := range v {
			write(b, d)
		}
		b.WriteString("</array>\n")
	case int:
		b.WriteString("<integer>" + port(v) + "</integer>\n")
	case bool:
		fmt.Fprintf(b, "<%t/>\n", v)
	case string:
		b.WriteString("<string>")
		_ = xml.EscapeText(b, []byte(v)) // a Builder takes everything
		b.WriteString("</string>\n")
	}
}

// uuid is always the same for an address, so that a profile that is installed again takes the place of the one before (RFC 9562
// section 5.8).
func uuid(what string, a mail.Address) string {
	sum := sha256.Sum256([]byte(what + "\x00" + a.Key()))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return strings.ToUpper(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
}

// signed wraps a profile as Apple wants it (CMS, RFC 5652), with the certificate that the host shows: the device names it as the
// sender.
func (m *room) signed(profile []byte) ([]byte, error) {
	c := m.o.Signer()
	if c == nil || c.Leaf == nil {
		return profile, nil
	}
	s, err := pkcs7.NewSignedData(profile)
	if err != nil {
		return nil, err
	}
	s.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
	var parents []*x509.Certificate
	for _, der := range c.Certificate[1:] {
		p, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		parents = append(parents, p)
	}
	if err := s.AddSignerChain(c.Leaf, c.PrivateKey, parents, pkcs7.SignerInfoConfig{}); err != nil {
		return nil, err
	}
	return s.Finish()
}
