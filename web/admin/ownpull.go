package admin

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/remote"
)

// Imports is how far users may reach with imports of their own.
type Imports struct {
	Allowed func(netip.Addr) string // why not, or empty; nil: addresses of the world
	AnyPort bool
	Roots   *x509.CertPool // who signs certificates of other servers; nil: the system's
}

// OwnPull is an import that a user asks for himself. He has less choice than the operator: TLS always, a certificate that stands, the
// ports of mail, and no address of an inner network, or the form would be a way to look around there.
type OwnPull struct {
	Protocol string `json:"protocol"` // imap or pop3
	Host     string `json:"host"`
	Port     int    `json:"port,omitempty"`     // 0: with TLS from the beginning
	StartTLS bool   `json:"starttls,omitempty"` // instead
	User     string `json:"user"`
	Password string `json:"password"`
	Delete   bool   `json:"delete,omitempty"` // POP3: delete there what is here
}

// Bounds of what is kept while an import runs, and written into the log.
const (
	maxOwnUser     = 320
	maxOwnPassword = 4096
)

// StartOwnPull begins it.
func (h *House) StartOwnPull(ctx context.Context, user string, in OwnPull) (PullStatus, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return PullStatus{}, translate(user, err)
	}
	s := source{pop3: in.Protocol == "pop3", user: in.User, host: strings.ToLower(strings.TrimSuffix(in.Host, ".")), implicit: !in.StartTLS, starttls: in.StartTLS}
	ports := map[string][]int{"imap": {993, 143}, "pop3": {995, 110}}[in.Protocol]
	if ports == nil {
		return PullStatus{}, invalid("Choose IMAP or POP3.")
	}
	if in.Port == 0 {
		in.Port = ports[0]
		if in.StartTLS {
			in.Port = ports[1]
		}
	}
	_, err = domain(s.host)
	switch {
	case err != nil:
		return PullStatus{}, &Error{Invalid, "The server is a name such as imap.example.org.", err}
	case !slices.Contains(ports, in.Port) && !h.o.Imports.AnyPort:
		return PullStatus{}, invalid(fmt.Sprintf("The port is %d or %d.", ports[0], ports[1]))
	case in.User == "" || in.Password == "" || strings.ContainsAny(in.User+in.Password, "\r\n\x00"):
		return PullStatus{}, invalid("User name and password of the other server are needed.")
	case len(in.User) > maxOwnUser || len(in.Password) > maxOwnPassword:
		return PullStatus{}, invalid("The user name or password is too long.")
	}
	s.port = fmt.Sprint(in.Port)
	if s.tls, err = trust(s.host, Pull{}); err != nil {
		return PullStatus{}, err
	}
	s.dial, s.tls.RootCAs = h.outside, h.o.Imports.Roots
	began, err := h.startPull(ctx, a, s, Pull{Password: in.Password, Delete: in.Delete && s.pop3})
	if errors.Is(err, errPulling) {
		return began, &Error{Conflict, "An import goes on already. Begin the next one when it has ended.", err}
	}
	return began, err
}

const notForOthers = "does not go for others"

// outside connects to addresses of the world only. The name was resolved when Control is asked, so that no second answer of the DNS can
// lead elsewhere.
func (h *House) outside(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		may := h.o.Imports.Allowed
		if may == nil {
			may = func(a netip.Addr) string { why, _ := remote.Forbidden(a, false, false); return why }
		}
		why := may(at.Addr())
		if why != "" {
			return fmt.Errorf("%s is %s, where this server %s", at.Addr(), why, notForOthers)
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// ownWords says to a user what an import has said to an operator: no address of an inner network that a name leads to, and nothing that
// he cannot do.
func ownWords(s PullStatus) string {
	low := strings.ToLower(s.Error)
	if s.State == PullStopped && s.Error == errStopped.Error() {
		return ""
	}
	for _, x := range []struct{ has, say string }{
		{"quota", "Your mailbox is full. Delete something, or ask the postmaster for more space; then begin again: it goes on where it was."},
		{notForOthers, "That name leads into an inner network, where this server does not go for you. Ask the postmaster to bring the mail."},
		{"no such host", "There is no server of that name. Look for a typing mistake."},
		{"certificate", "The other server could not prove who it is (its certificate is not in order), so your password was not sent. Ask its operator, or look for the right name of the server."},
		{"connection refused", "The other server does not answer at this port. Try the other protocol or security, or look up what its operator says."},
		{"i/o timeout", "The other server does not answer in time. Try again later; where that does not help, try the other protocol or security."},
		{errClosing.Error(), "This server was restarted. Begin again: it goes on where it was."},
	} {
		if strings.Contains(low, x.has) {
			return x.say
		}
	}
	return s.Error
}

// OwnPulls lists the imports of an account, the last first, in words for its user.
func (h *House) OwnPulls(ctx context.Context, user string) ([]PullStatus, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	h.pulls.mu.Lock()
	defer h.pulls.mu.Unlock()
	out := []PullStatus{}
	for _, j := range slices.Backward(h.pulls.list) {
		if j.account == a.ID {
			s := j.status
			s.Error = ownWords(s)
			if strings.Contains(s.Progress.Note, notForOthers) { // the name has led elsewhere before
				s.Progress.Note = "waiting"
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// StopOwnPull ends one of the account's own.
func (h *House) StopOwnPull(ctx context.Context, user, id string) error {
	all, err := h.OwnPulls(ctx, user)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(s PullStatus) bool { return s.ID == id }) {
		return missing("There is no such import.")
	}
	return h.StopPull(ctx, id)
}
