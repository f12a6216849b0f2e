package autoconfig

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/web/page"
)

// clientConfig is the form of Thunderbird's autoconfiguration, version 1.1.
type clientConfig struct {
	XMLName  xml.Name       `xml:"clientConfig"`
	Version  string         `xml:"version,attr"`
	Provider configProvider `xml:"emailProvider"`
}

type configProvider struct {
	ID       string         `xml:"id,attr"`
	Domain   string         `xml:"domain"`
	Name     string         `xml:"displayName"`
	Short    string         `xml:"displayShortName"`
	Incoming []configServer `xml:"incomingServer"`
	Outgoing []configServer `xml:"outgoingServer"`
}

type configServer struct {
	Type   string `xml:"type,attr"`
	Host   string `xml:"hostname"`
	Port   int    `xml:"port"`
	Socket string `xml:"socketType"` // SSL or STARTTLS
	User   string `xml:"username"`
	Auth   string `xml:"authentication"`
}

// thunderbird answers GET /mail/config-v1.1.xml?emailaddress=ADDRESS. Without an address the host's name says the domain, as
// programs ask that know it only (autoconfig.DOMAIN); then the program fills in the user.
func (m *room) thunderbird(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return page.ErrMissing
	}
	text := r.URL.Query().Get("emailaddress")
	user := text
	if text == "" || strings.HasPrefix(text, "%") { // some ask with the placeholder itself
		host, _, _ := strings.Cut(r.Host, ":")
		text, user = "postmaster@"+strings.TrimPrefix(strings.ToLower(host), "autoconfig."), "%EMAILADDRESS%"
	}
	a, err := m.asked(r.Context(), text)
	if err != nil {
		return err
	}
	if user != "%EMAILADDRESS%" {
		user = a.String()
	}
	c := clientConfig{Version: "1.1", Provider: configProvider{
		ID: string(a.Domain), Domain: string(a.Domain), Name: string(a.Domain) + " mail", Short: string(a.Domain),
	}}
	for _, way := range m.o.Programs.Ways() {
		s := configServer{Type: strings.ToLower(way.Protocol), Host: m.o.Programs.Host, Port: way.Port, Socket: "STARTTLS", User: user, Auth: "password-cleartext"}
		if way.TLS {
			s.Socket = "SSL"
		}
		if way.Sends {
			c.Provider.Outgoing = append(c.Provider.Outgoing, s)
		} else {
			c.Provider.Incoming = append(c.Provider.Incoming, s)
		}
	}
	out, err := xml.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	answer(w, "application/xml; charset=utf-8", append([]byte(xml.Header), out...))
	return nil
}

// port writes a port as text.
func port(n int) string { return strconv.Itoa(n) }
