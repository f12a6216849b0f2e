package autoconfig

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/posthouse-mail/posthouse/web/page"
)

// maxRequest bounds the octets of what Outlook sends.
const maxRequest = 64 << 10

// The namespaces of Autodiscover (MS-OXDSCLI section 2.2).
const (
	outlookResponse = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
	outlookMail     = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

// outlook answers both forms of Autodiscover, whose paths come in any case.
func (m *room) outlook(w http.ResponseWriter, r *http.Request) error {
	path := strings.ToLower(r.URL.Path)
	switch {
	case path == "/autodiscover/autodiscover.xml":
		return m.pox(w, r)
	case path == "/autodiscover/autodiscover.json" || strings.HasPrefix(path, "/autodiscover/autodiscover.json/v1.0/"):
		return m.v2(w, r)
	}
	return page.ErrMissing
}

// poxRequest is what Outlook posts.
type poxRequest struct {
	Request struct {
		Address string `xml:"EMailAddress"`
	}
}

type poxAnswer struct {
	XMLName  xml.Name `xml:"Autodiscover"`
	Space    string   `xml:"xmlns,attr"`
	Response poxBody  `xml:"Response"`
}

type poxBody struct {
	Space string    `xml:"xmlns,attr"`
	Error *poxError `xml:"Error,omitempty"`
	User  *poxUser  `xml:"User,omitempty"`
	Acct  *poxAcct  `xml:"Account,omitempty"`
}

type poxError struct {
	Code    int    `xml:"ErrorCode"`
	Message string `xml:"Message"`
}

type poxUser struct {
	Name string `xml:"DisplayName"`
}

type poxAcct struct {
	Type      string        `xml:"AccountType"`
	Action    string        `xml:"Action"`
	Protocols []poxProtocol `xml:"Protocol"`
}

type poxProtocol struct {
	Type       string `xml:"Type"`
	Server     string `xml:"Server"`
	Port       int    `xml:"Port"`
	Login      string `xml:"LoginName"`
	Domain     string `xml:"DomainRequired"`
	SPA        string `xml:"SPA"`
	SSL        string `xml:"SSL"`
	Encryption string `xml:"Encryption"` // SSL or TLS, which is STARTTLS
	Auth       string `xml:"AuthRequired"`
	POPAuth    string `xml:"UsePOPAuth,omitempty"`
	SMTPLast   string `xml:"SMTPLast,omitempty"`
}

// pox is the XML form. Its errors are answers with status 200, in XML too: what Outlook can show.
func (m *room) pox(w http.ResponseWriter, r *http.Request) error {
	text := r.URL.Query().Get("email")
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			return page.ErrTooLarge
		}
		var q poxRequest
		if err := xml.Unmarshal(body, &q); err != nil {
			return m.sendPox(w, poxBody{Error: &poxError{600, "The request is no Autodiscover request."}})
		}
		text = q.Request.Address
	}
	a, err := m.asked(r.Context(), strings.TrimSpace(text))
	var p *page.Problem
	if errors.As(err, &p) {
		return m.sendPox(w, poxBody{Error: &poxError{500, p.Title + ". " + p.Text}})
	}
	if err != nil {
		return err
	}
	acct := &poxAcct{Type: "email", Action: "settings"}
	taken := map[string]bool{}
	for _, way := range m.o.Programs.Ways() {
		if taken[way.Protocol] {
			continue // Outlook takes one of each: the best
		}
		taken[way.Protocol] = true
		p := poxProtocol{Type: way.Protocol, Server: m.o.Programs.Host, Port: way.Port, Login: a.String(), Domain: "off", SPA: "off", SSL: "on", Encryption: "TLS", Auth: "on"}
		if way.TLS {
			p.Encryption = "SSL"
		}
		if way.Sends {
			p.POPAuth, p.SMTPLast = "off", "off"
		}
		acct.Protocols = append(acct.Protocols, p)
	}
	return m.sendPox(w, poxBody{User: &poxUser{a.String()}, Acct: acct})
}

func (m *room) sendPox(w http.ResponseWriter, b poxBody) error {
	b.Space = outlookMail
	out, err := xml.MarshalIndent(poxAnswer{Space: outlookResponse, Response: b}, "", "  ")
	if err != nil {
		return err
	}
	answer(w, "application/xml; charset=utf-8", append([]byte(xml.Header), out...))
	return nil
}

// v2 is the JSON form: it says where the XML form is.
func (m *room) v2(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	field := func(name string) string { // names of fields come in any case
		for k, v := range q {
			if strings.EqualFold(k, name) && len(v) > 0 {
				return v[0]
			}
		}
		return ""
	}
	text := field("Email")
	const before = "/autodiscover/autodiscover.json/v1.0/"
	if text == "" && len(r.URL.Path) > len(before) && strings.EqualFold(r.URL.Path[:len(before)], before) {
		text = r.URL.Path[len(before):]
	}
	if protocol := field("Protocol"); protocol != "" && !strings.EqualFold(protocol, "AutodiscoverV1") {
		return sendJSON(w, http.StatusBadRequest, map[string]string{"ErrorCode": "InvalidProtocol", "ErrorMessage": "The only protocol here is AutodiscoverV1: mail by IMAP, POP3 and SMTP."})
	}
	if _, err := m.asked(r.Context(), text); err != nil {
		var p *page.Problem
		if errors.As(err, &p) {
			return sendJSON(w, p.Status, map[string]string{"ErrorCode": "UserNotFound", "ErrorMessage": p.Title + ". " + p.Text})
		}
		return err
	}
	return sendJSON(w, http.StatusOK, map[string]string{"Protocol": "AutodiscoverV1", "Url": "https://" + r.Host + "/autodiscover/autodiscover.xml"})
}

func sendJSON(w http.ResponseWriter, status int, value any) error {
	out, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(out, '\n')) // the program has gone: nobody to tell
	return nil
}
