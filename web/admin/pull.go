package admin

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	imappull "github.com/posthouse-mail/posthouse/imap/pull"
	"github.com/posthouse-mail/posthouse/internal/mail"
	pop3pull "github.com/posthouse-mail/posthouse/pop3/pull"
	"github.com/posthouse-mail/posthouse/store"
)

// Pull is an order to bring the mail of an account on another server.
type Pull struct {
	Account  string `json:"account"`
	From     string `json:"from"`          // imaps://user@host[:port], imap:, pop3s: or pop3:
	TLS      string `json:"tls,omitempty"` // implicit, starttls or none; empty: what the scheme says, imap and pop3 mean starttls
	CA       string `json:"ca,omitempty"`  // PEM of authorities to trust instead of the system's
	Insecure bool   `json:"insecure,omitempty"`
	Password string `json:"password,omitempty"`
	Token    string `json:"token,omitempty"` // OAuth, instead of a password

	Folders  []string          `json:"folders,omitempty"`        // IMAP: patterns
	Map      map[string]string `json:"map,omitempty"`            // IMAP: folder there to mailbox here
	Mirror   bool              `json:"mirror,omitempty"`         // IMAP: expunge here what was expunged there
	UIDLFrom string            `json:"pop3_uidl_from,omitempty"` // IMAP: pop3s://[user@]host[:port] of the same mailbox
	Mailbox  string            `json:"mailbox,omitempty"`        // POP3: where to; INBOX
	Delete   bool              `json:"delete,omitempty"`         // POP3: delete there what is durable here
}

// PullStatus is a pull, running or ended. Those that have ended are remembered until the house is.
type PullStatus struct {
	ID       string           `json:"id"`
	Account  string           `json:"account"`
	From     string           `json:"from"`
	State    string           `json:"state"`           // running, done, stopped or failed
	Error    string           `json:"error,omitempty"` // of failed
	Began    time.Time        `json:"began"`
	Ended    time.Time        `json:"ended,omitzero"`
	Revision int              `json:"revision"` // grows with every change
	Progress PullProgress     `json:"progress"`
	IMAP     *imappull.Report `json:"imap,omitempty"` // when it has ended
	POP3     *pop3pull.Report `json:"pop3,omitempty"`
}

// PullProgress is how far a pull is.
type PullProgress struct {
	Folder      string `json:"folder,omitempty"`
	Folders     int    `json:"folders"`
	FoldersDone int    `json:"folders_done"`
	Messages    int    `json:"messages"` // there
	Done        int    `json:"done"`     // of them looked at
	Pulled      int    `json:"pulled"`
	Bytes       int64  `json:"bytes"`
	Note        string `json:"note,omitempty"` // what it waits for
}

// The states of a pull.
const (
	PullRunning = "running"
	PullDone    = "done"
	PullStopped = "stopped"
	PullFailed  = "failed"
)

const (
	maxPulls  = 8  // at once
	keptPulls = 50 // that have ended
	keptOfOne = 10 // of an account: who tries again and again pushes nobody else's out
	watchTime = time.Second
)

// pulls are the pulls of a house.
type pulls struct {
	mu      sync.Mutex
	closed  bool   // guarded by mu
	list    []*job // guarded by mu; in the order of their beginning
	running sync.WaitGroup
}

// job is one of them.
type job struct {
	account mail.AccountID
	stop    context.CancelCauseFunc
	status  PullStatus    // guarded by pulls.mu
	changed chan struct{} // guarded by pulls.mu; closed with the next change
}

var (
	errStopped = errors.New("stopped by the operator")
	errClosing = errors.New("the house stops")
	errPulling = errors.New("an import of the account runs")
)

// StartPull begins to bring mail; it goes on when the caller is gone, until it is done, stopped, or the house ends.
func (h *House) StartPull(ctx context.Context, in Pull) (PullStatus, error) {
	a, err := h.o.Directory.FindAccount(ctx, in.Account)
	if err != nil {
		return PullStatus{}, translate(in.Account, err)
	}
	from, err := parseSource(in)
	if err != nil {
		return PullStatus{}, err
	}
	return h.startPull(ctx, a, from, in)
}

func (h *House) startPull(ctx context.Context, a auth.Account, from source, in Pull) (PullStatus, error) {
	run, err := h.pullOf(a.ID, in, from)
	if err != nil {
		return PullStatus{}, err
	}
	if err := h.notedOf(ctx, "import", a, "from "+from.shown()); err != nil {
		return PullStatus{}, translate(in.Account, err)
	}
	ctx, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	j := &job{account: a.ID, stop: stop, changed: make(chan struct{}), status: PullStatus{
		ID: strings.ToLower(rand.Text()[:8]), Account: a.Addresses[0].String(), From: from.shown(), State: PullRunning, Began: time.Now(),
	}}
	if err := h.pulls.add(j); err != nil {
		stop(nil)
		return PullStatus{}, err
	}
	began := j.status
	go func() {
		defer h.pulls.running.Done()
		defer stop(nil)
		err := run(ctx, j)
		h.pulls.end(ctx, j, err)
		h.done(ctx, "import", fmt.Sprintf("%s from %s: %s", j.status.Account, j.status.From, j.status.State))
	}()
	return began, nil
}

// add lets a pull run, if it may.
func (p *pulls) add(j *job) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	running := 0
	for _, o := range p.list {
		if o.status.State != PullRunning {
			continue
		}
		running++
		if o.account == j.account {
			return &Error{Conflict, fmt.Sprintf("mail of %s is being brought already (%s); posthouse import stop %s ends it", o.status.Account, o.status.From, o.status.ID), errPulling}
		}
	}
	switch {
	case p.closed:
		return &Error{Class: Unavailable, Message: errClosing.Error()}
	case running >= maxPulls:
		return conflict(fmt.Sprintf("%d imports run at once already; begin this one when one of them has ended", maxPulls))
	}
	ended := func(o *job) bool { return o.status.State != PullRunning }
	p.forget(keptOfOne, func(o *job) bool { return ended(o) && o.account == j.account })
	p.forget(keptPulls, ended)
	p.list = append(p.list, j)
	p.running.Add(1)
	return nil
}

// forget drops the oldest of some when there are as many as are kept. It needs p.mu.
func (p *pulls) forget(most int, of func(*job) bool) {
	n := 0
	for _, o := range p.list {
		if of(o) {
			n++
		}
	}
	if n >= most {
		i := slices.IndexFunc(p.list, of)
		p.list = slices.Delete(p.list, i, i+1)
	}
}

// change changes a pull's status and wakes who watches it.
func (p *pulls) change(j *job, fn func(s *PullStatus)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn(&j.status)
	j.status.Revision++
	close(j.changed)
	j.changed = make(chan struct{})
}

func (p *pulls) end(ctx context.Context, j *job, err error) {
	p.change(j, func(s *PullStatus) {
		s.Ended, s.State, s.Progress.Note = time.Now(), PullDone, ""
		switch {
		case err == nil:
		case ctx.Err() != nil:
			s.State, s.Error = PullStopped, context.Cause(ctx).Error()
		default:
			s.State, s.Error = PullFailed, pullError(err)
		}
	})
}

// pullError is the error for people.
func pullError(err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(plain(" ", err), " : "), "pull: ")
	if errors.Is(err, store.ErrOverQuota) {
		text += "; raise it with posthouse account set --quota, then run the import again: it goes on where it was"
	}
	return strings.TrimSpace(text)
}

// find needs p.mu.
func (p *pulls) find(id string) (*job, error) {
	i := slices.IndexFunc(p.list, func(j *job) bool { return j.status.ID == id })
	if i < 0 {
		return nil, missing("no import has the id " + id + "; posthouse import list shows them")
	}
	return p.list[i], nil
}

// WatchPull is the status as soon as it is newer than the revision, or after a second.
func (h *House) WatchPull(ctx context.Context, id string, revision int) (PullStatus, error) {
	h.pulls.mu.Lock()
	j, err := h.pulls.find(id)
	if err != nil {
		h.pulls.mu.Unlock()
		return PullStatus{}, err
	}
	changed, status := j.changed, j.status
	h.pulls.mu.Unlock()
	if status.Revision > revision || status.State != PullRunning {
		return status, nil
	}
	t := time.NewTimer(watchTime)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return status, translate(id, context.Cause(ctx))
	}
	h.pulls.mu.Lock()
	defer h.pulls.mu.Unlock()
	return j.status, nil
}

// Pulls lists all that run and the last that have ended.
func (h *House) Pulls(context.Context) ([]PullStatus, error) {
	h.pulls.mu.Lock()
	defer h.pulls.mu.Unlock()
	out := []PullStatus{}
	for _, j := range h.pulls.list {
		out = append(out, j.status)
	}
	return out, nil
}

// StopPull ends a pull. What it has brought stays; the same order goes on where it was.
func (h *House) StopPull(ctx context.Context, id string) error {
	of, err := h.stopPull(id)
	if err != nil {
		return err
	}
	return translate(id, h.noted(ctx, "import stop", of, id))
}

func (h *House) stopPull(id string) (account string, err error) {
	h.pulls.mu.Lock()
	defer h.pulls.mu.Unlock()
	j, err := h.pulls.find(id)
	switch {
	case err != nil:
		return "", err
	case j.status.State != PullRunning:
		return "", conflict("import " + id + " has ended already: " + j.status.State)
	}
	j.stop(errStopped)
	return j.status.Account, nil
}

// Close ends what runs in the background, and waits for it; before the keepers are closed.
func (h *House) Close() error {
	h.pulls.mu.Lock()
	h.pulls.closed = true
	for _, j := range h.pulls.list {
		j.stop(errClosing)
	}
	h.pulls.mu.Unlock()
	h.watches.close()
	h.copies.close()
	h.lessons.close()
	h.pulls.running.Wait()
	return nil
}

// source is where mail comes from.
type source struct {
	pop3     bool
	user     string
	host     string
	port     string
	implicit bool
	starttls bool
	tls      *tls.Config
	dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: the network's
}

func (s source) address() string { return net.JoinHostPort(s.host, s.port) }

// shown never has a password.
func (s source) shown() string {
	scheme := map[bool]string{false: "imap", true: "pop3"}[s.pop3]
	if s.implicit {
		scheme += "s"
	}
	return scheme + "://" + s.user + "@" + s.address()
}

// parseSource reads the address of a server.
func parseSource(in Pull) (source, error) {
	const form = "write it as imaps://user@host, imap:, pop3s: or pop3:, with a :port where it is another"
	u, err := url.Parse(in.From)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return source{}, invalid(fmt.Sprintf("%q is no address of a server: %s", in.From, form))
	}
	s := source{host: u.Hostname(), port: u.Port(), user: u.User.Username()}
	if _, has := u.User.Password(); has {
		return source{}, invalid("the address holds a password, which everybody on this machine could read: say --password-file")
	}
	ports := map[string]string{"imap": "143", "imaps": "993", "pop3": "110", "pop3s": "995", "pop": "110", "pops": "995"}
	port, ok := ports[u.Scheme]
	if !ok {
		return source{}, invalid(fmt.Sprintf("%q: %s", in.From, form))
	}
	if s.port == "" {
		s.port = port
	}
	s.pop3 = strings.HasPrefix(u.Scheme, "pop")
	switch in.TLS {
	case "":
		s.implicit = strings.HasSuffix(u.Scheme, "s")
		s.starttls = !s.implicit
	case "implicit", "imaps", "pop3s":
		s.implicit = true
	case "starttls":
		s.starttls = true
	case "none":
	default:
		return source{}, invalid(in.TLS + ": write implicit, starttls or none")
	}
	switch {
	case s.user == "":
		return source{}, invalid("who is it there? " + form)
	case in.Password == "" && in.Token == "":
		return source{}, invalid("the password is empty")
	}
	s.tls, err = trust(s.host, in)
	return s, err
}

// trust is how the server's certificate is verified.
func trust(host string, in Pull) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: in.Insecure}
	if in.CA != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(in.CA)) {
			return nil, invalid("the file of authorities holds no certificate (PEM)")
		}
	}
	return c, nil
}

// clear warns of a password that everybody on the way can read.
func (s source) clear() string {
	if ip, err := netip.ParseAddr(s.host); s.implicit || s.starttls || s.host == "localhost" || err == nil && ip.IsLoopback() {
		return ""
	}
	return "the password went over the network in clear (--tls none): change it"
}

// pullOf is what the job does.
func (h *House) pullOf(account mail.AccountID, in Pull, s source) (func(context.Context, *job) error, error) {
	var warnings []string
	if w := s.clear(); w != "" {
		warnings = append(warnings, w)
	}
	if in.Insecure {
		warnings = append(warnings, "the server's certificate was not verified (--insecure): somebody in between could have read password and mail")
	}
	if s.pop3 {
		if len(in.Folders)+len(in.Map) > 0 || in.Mirror || in.UIDLFrom != "" {
			return nil, invalid("POP3 knows INBOX alone: folders, map, mirror and pop3_uidl_from are for IMAP")
		}
		return h.pullPOP3(h.pop3Options(account, in, s), warnings), nil
	}
	if in.Delete || in.Mailbox != "" {
		return nil, invalid("delete and mailbox are for POP3")
	}
	o := imappull.Options{
		Store: h.o.Store, Account: account, Logger: h.o.Logger, Address: s.address(), Security: imappull.Clear, TLS: s.tls, Dial: s.dial,
		User: s.user, Password: in.Password, Token: in.Token, Folders: in.Folders, Map: in.Map, Mirror: in.Mirror,
	}
	switch {
	case s.implicit:
		o.Security = imappull.Implicit
	case s.starttls:
		o.Security = imappull.StartTLS
	}
	if in.UIDLFrom != "" {
		unique, err := h.uniqueOf(account, in, s)
		if err != nil {
			return nil, err
		}
		o.UniqueIDs = unique
	}
	return h.pullIMAP(o, warnings), nil
}

func (h *House) pullIMAP(o imappull.Options, warnings []string) func(context.Context, *job) error {
	return func(ctx context.Context, j *job) error {
		o.Progress = func(p imappull.Progress) {
			h.pulls.change(j, func(s *PullStatus) { s.Progress = PullProgress(p) })
		}
		r, err := imappull.Run(ctx, o)
		r.Warnings = append(warnings, r.Warnings...)
		h.pulls.change(j, func(s *PullStatus) { s.IMAP = &r })
		return err
	}
}

func (h *House) pullPOP3(o pop3pull.Options, warnings []string) func(context.Context, *job) error {
	return func(ctx context.Context, j *job) error {
		o.Progress = func(p pop3pull.Progress) {
			h.pulls.change(j, func(s *PullStatus) {
				s.Progress = PullProgress{Messages: p.Messages, Done: p.Done, Pulled: p.Pulled, Bytes: p.Bytes, Note: p.Note}
			})
		}
		r, err := pop3pull.Run(ctx, o)
		r.Warnings = append(warnings, r.Warnings...)
		h.pulls.change(j, func(s *PullStatus) { s.POP3 = &r })
		return err
	}
}

func (h *House) pop3Options(account mail.AccountID, in Pull, s source) pop3pull.Options {
	o := pop3pull.Options{
		Store: h.o.Store, Account: account, Logger: h.o.Logger, Address: s.address(), Security: pop3pull.Clear, TLS: s.tls, Dial: s.dial,
		User: s.user, Password: in.Password, Token: in.Token, Mailbox: in.Mailbox, Delete: in.Delete,
	}
	switch {
	case s.implicit:
		o.Security = pop3pull.Implicit
	case s.starttls:
		o.Security = pop3pull.StartTLS
	}
	return o
}

// uniqueOf is the POP3 side of an IMAP server.
func (h *House) uniqueOf(account mail.AccountID, in Pull, imap source) (uniqueIDs, error) {
	pop := in
	pop.From, pop.TLS = in.UIDLFrom, ""
	if u, err := url.Parse(in.UIDLFrom); err == nil && u.User == nil { // the same user
		u.User = url.User(imap.user)
		pop.From = u.String()
	}
	s, err := parseSource(pop)
	if err != nil {
		return uniqueIDs{}, err
	}
	if !s.pop3 {
		return uniqueIDs{}, invalid("unique-ids come by POP3: write pop3s://user@host")
	}
	if in.TLS == "none" && !s.implicit {
		s.starttls = false
	}
	return uniqueIDs{h.pop3Options(account, pop, s)}, nil
}

// uniqueIDs brings the two packages together.
type uniqueIDs struct{ o pop3pull.Options }

func (u uniqueIDs) List(ctx context.Context) ([]imappull.UniqueID, error) {
	var all []imappull.UniqueID
	p := pop3pull.Unique{Options: u.o, Each: func(id string, size int64) { all = append(all, imappull.UniqueID{ID: id, Size: size}) }}
	err := p.List(ctx)
	return all, err
}

func (u uniqueIDs) Headers(ctx context.Context, yield func(i int, header []byte)) error {
	p := pop3pull.Unique{Options: u.o}
	return p.Headers(ctx, yield)
}
