// Package check knows what a domain and a machine should be, and whether they
// are: DNS, certificates, ports, reputation, and what the house says of itself.
//
// RecordsOf (records.go) makes the records that should be there. Run asks for
// everything side by side, each with its deadline, and gives one Result for
// each: ok, wrong, a warning, or that it could not be seen. What it needs of
// the world comes through Options, so that a test has a world of its own.
package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/smtp/spam"
)

// State is what came of a check.
type State string

// States. Unseen is neither good nor bad: DNS did not answer, or there is no network.
const (
	OK      State = "ok"
	Warning State = "warning"
	Wrong   State = "wrong"
	Unseen  State = "unseen"
)

// Result is what came of one check.
type Result struct {
	Check  string `json:"check"`            // "mx"; docs/operations.md has the list
	Domain string `json:"domain,omitempty"` // empty: the machine
	State  State  `json:"state"`
	Found  string `json:"found"`            // what is there
	Advice string `json:"advice,omitempty"` // what to do
}

// Report is all of it: the machine first, then the domains in the order asked for.
type Report struct {
	Hostname string        `json:"hostname"`
	Time     time.Time     `json:"time"`
	Took     time.Duration `json:"took_ns"`
	Results  []Result      `json:"results"`
}

// Count is how many results have the state.
func (r Report) Count(s State) (n int) {
	for _, x := range r.Results {
		if x.State == s {
			n++
		}
	}
	return n
}

// Domain is one of the house's, with the records it should have.
type Domain struct {
	Name  string // A-labels
	Keys  []Key
	Wants Records
}

// Disk is the space of the data folder, and below what the house warns and stops.
type Disk struct{ Free, Low, Stop int64 }

// Backup is how copies of the house do.
type Backup struct {
	To    string    // empty: there are none
	Last  time.Time // the newest one that was verified; zero: never
	Every time.Duration
	Error string // why nobody could look
}

// Queue is the mail that waits.
type Queue struct {
	Entries, Held int
	Oldest        time.Time
}

// Facts is what the house knows of itself; nil: nobody could say.
type Facts struct {
	Disk   *Disk
	Backup *Backup
	Queue  *Queue
}

// Options of a Run. The zero value of a function or time means its default.
type Options struct {
	Site     Site
	Domains  []Domain
	Facts    Facts
	Local    []netip.Addr // addresses of this machine's interfaces
	Resolver *dns.Client
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	Chain    func(name string) *tls.Certificate // what the house shows for a name; nil: it has no certificates
	Roots    *x509.CertPool                     // nil: the system's
	Lists    []spam.List                        // that are asked about our addresses
	Probes   []string                           // domains whose mail hosts tell whether port 25 is open on the way out; none: nobody is asked
	Relay    string                             // all mail leaves through this host; empty: it goes straight
	ClockURL string                             // whose answer tells the time; empty: nobody is asked
	Now      func() time.Time
	SMTPPort int // 25
	WebPort  int // 443

	Only        []string      // names of checks; none: all
	Each, Whole time.Duration // deadlines of one check and of all
}

const (
	defaultEach  = 8 * time.Second
	defaultWhole = 18 * time.Second
	sideBySide   = 64
)

// run is one Run.
type run struct {
	Options
	places *places // addresses of the host's name
}

// job is one check that is to be done.
type job struct {
	check, domain string
	do            func(context.Context) Result
}

// Run checks everything; it takes no longer than Whole.
func Run(ctx context.Context, o Options) Report {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	o.SMTPPort, o.WebPort = cmp.Or(o.SMTPPort, 25), cmp.Or(o.WebPort, 443)
	o.Each, o.Whole = cmp.Or(o.Each, defaultEach), cmp.Or(o.Whole, defaultWhole)
	began := time.Now()
	out := Report{Hostname: o.Site.Hostname, Time: o.Now().UTC().Truncate(time.Second)}
	ctx, cancel := context.WithTimeout(ctx, o.Whole)
	defer cancel()
	r := &run{Options: o, places: &places{}}
	jobs := r.machine()
	for _, d := range o.Domains {
		jobs = append(jobs, r.domain(d)...)
	}
	if len(o.Only) > 0 {
		jobs = slices.DeleteFunc(jobs, func(j job) bool { return !slices.Contains(o.Only, j.check) })
	}
	out.Results = make([]Result, len(jobs))
	room := make(chan struct{}, sideBySide)
	var all sync.WaitGroup
	for i, j := range jobs {
		all.Go(func() {
			select {
			case room <- struct{}{}:
				defer func() { <-room }()
			case <-ctx.Done():
				out.Results[i] = unseen("there was no time left", "name fewer domains")
				out.Results[i].Check, out.Results[i].Domain = j.check, j.domain
				return
			}
			each, cancel := context.WithTimeout(ctx, o.Each)
			defer cancel()
			x := j.do(each)
			x.Check, x.Domain = j.check, j.domain
			x.Found, x.Advice = printable(x.Found), printable(x.Advice)
			out.Results[i] = x
		})
	}
	all.Wait()
	out.Took = time.Since(began)
	return out
}

// maxText bounds what is shown of a stranger's words.
const maxText = 2000

// printable is a text with what strangers may have put into it made harmless for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + " ..."
	}
	return s
}

func ok(format string, a ...any) Result { return Result{State: OK, Found: fmt.Sprintf(format, a...)} }

func warn(found, advice string) Result { return Result{State: Warning, Found: found, Advice: advice} }

func wrong(found, advice string) Result { return Result{State: Wrong, Found: found, Advice: advice} }

func unseen(found, advice string) Result { return Result{State: Unseen, Found: found, Advice: advice} }

// noAnswer is a question that DNS did not answer.
func noAnswer(what string, err error) Result {
	return unseen("DNS does not answer for "+what+": "+strings.TrimPrefix(err.Error(), "dns: "), "try again; if it stays: is the resolver of this machine up, and the zone's servers?")
}

// publish is the advice to publish records.
func publish(wants Records, pick func(Record) bool) string {
	var lines []string
	for _, x := range wants.Records {
		if pick(x) {
			lines = append(lines, x.Line())
		}
	}
	if len(lines) == 0 {
		return ""
	}
	return "publish: " + strings.Join(lines, " and ")
}

// at picks the records of a name and type.
func at(name, kind string) func(Record) bool {
	return func(x Record) bool { return x.Name == name+"." && x.Type == kind }
}

// joined lists names or addresses for people.
func joined[T fmt.Stringer](all []T) string {
	var out []string
	for _, x := range all {
		out = append(out, x.String())
	}
	return strings.Join(out, ", ")
}

// places is the addresses of the host's name, looked up once for all checks.
type places struct {
	once  sync.Once
	addrs []netip.Addr
	err   error
}

// hostAddresses is where the host's name leads.
func (r *run) hostAddresses(ctx context.Context) ([]netip.Addr, error) {
	r.places.once.Do(func() { r.places.addrs, _, r.places.err = r.Resolver.IP(ctx, r.Site.Hostname) })
	return r.places.addrs, r.places.err
}

// within: all of a are among b.
func within(a, b []netip.Addr) bool {
	return !slices.ContainsFunc(a, func(x netip.Addr) bool { return !slices.Contains(b, x) })
}
