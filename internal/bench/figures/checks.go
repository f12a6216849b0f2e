package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/bench/strangers"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/inbound"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// What is sent to the desk: messages of so many octets, from so many domains, to so many accounts that have taught their classifier.
const (
	strangersSize    = 12 << 10
	strangersDomains = 100
	strangersReaders = 5
	strangersTaught  = 100 // messages of each class
)

// checkedDesk is a desk of port 25 with all that stands behind it.
type checkedDesk struct {
	o        *opened
	options  inbound.Options
	checks   *mailauth.Checker
	judge    *spam.Judge
	texts    [][]byte
	far      *strangers.Domains
	resolver *dns.Client
	server   *dns.Server
	side     *kv.Side
}

// checks is what SPF, DKIM, DMARC and the score of a message cost, as the difference of the same mail with and without: answers of DNS are
// in the cache, the classifier knows the accounts' mail.
func (b *bench) checks() error {
	d, err := b.checkedDesk()
	if err != nil {
		return err
	}
	defer d.close()
	n := max(500, b.n/10)
	kinds := []struct {
		name   string
		checks *mailauth.Checker
		judge  *spam.Judge
	}{{"none", nil, nil}, {"proven", d.checks, nil}, {"all", d.checks, d.judge}}
	took := map[string][]float64{}
	if _, err := d.run(d.checks, d.judge, n); err != nil { // the cache becomes warm
		return err
	}
	for range 3 {
		for _, k := range kinds {
			each, err := d.run(k.checks, k.judge, n)
			if err != nil {
				return err
			}
			took[k.name] = append(took[k.name], each)
		}
	}
	mid := func(name string) float64 { return slices.Sorted(slices.Values(took[name]))[1] }
	all := mid("all") - mid("none")
	b.add(all <= 1000, "CPU that SPF, DKIM, DMARC and score add to a message of 12 KB, warm DNS cache", "at most 1000 us",
		"%.0f us (SPF, DKIM, DMARC and names %.0f, score %.0f; taking and storing it costs %.0f)", all, mid("proven")-mid("none"), mid("all")-mid("proven"), mid("none"))
	return nil
}

func (b *bench) checkedDesk() (*checkedDesk, error) {
	d := &checkedDesk{}
	var err error
	if d.far, err = strangers.New(strangersDomains); err != nil {
		return nil, err
	}
	zone, err := d.far.Zone()
	if err != nil {
		return nil, err
	}
	if d.server, err = dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone); err != nil {
		return nil, err
	}
	if d.resolver, err = dns.New(dns.Options{Servers: []netip.AddrPort{d.server.Addr()}}); err != nil {
		return nil, err
	}
	var q *queue.Queue
	if d.o, err = b.openWith("checks", kv.Options{}, func(db *kv.DB, s *store.Store) (err error) {
		q, err = queue.New(db, s, queue.Options{Hostname: "mx.bench.test"})
		return err
	}); err != nil {
		return nil, err
	}
	directory := auth.New(d.o.db, auth.Options{})
	if err := d.o.db.Update(context.Background(), func(tx *kv.Tx) error {
		if err := directory.PutDomain(tx, auth.Domain{Name: "bench.test"}); err != nil {
			return err
		}
		for i := range strangersReaders { // openWith has made their mailboxes
			if _, err := directory.CreateAccount(tx, auth.Account{Addresses: []mail.Address{reader(i)}, Doors: auth.DoorAll}, auth.Secret{}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if d.side, err = kv.OpenSide(kv.SideOptions{Path: filepath.Join(d.o.dir, "side.db")}); err != nil {
		return nil, err
	}
	d.checks = mailauth.New(mailauth.Options{Resolver: d.resolver, Hostname: "mx.bench.test"})
	d.judge = spam.New(spam.Options{Resolver: d.resolver, Hostname: "mx.bench.test", Side: d.side, Vouched: d.checks.Vouched})
	d.options = inbound.Options{Hostname: "mx.bench.test", Directory: directory, Store: d.o.s, Queue: q, Local: local.New(local.Options{Store: d.o.s, Directory: directory, Queue: q})}
	for i := range 500 {
		text, err := d.far.Message(i, strangersSize, reader(i).String())
		if err != nil {
			return nil, err
		}
		d.texts = append(d.texts, text)
	}
	return d, d.teach()
}

func reader(i int) mail.Address {
	return mail.Address{Local: fmt.Sprint("u", 1+i%strangersReaders), Domain: "bench.test"}
}

// teach shows each account's classifier good mail, and junk of other words.
func (d *checkedDesk) teach() error {
	for account := range strangersReaders {
		for i := range 2 * strangersTaught {
			class, text := spam.Good, bytes.Clone(d.texts[i%len(d.texts)])
			if i%2 == 1 {
				class, text = spam.Junk, []byte(strings.NewReplacer("a", "o", "e", "u").Replace(string(text)))
			}
			if _, err := d.judge.Learn(context.Background(), mail.AccountID(1+account), bytes.NewReader(text), class); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *checkedDesk) close() {
	d.resolver.Close()
	d.server.Close()
	d.side.Close()
	d.o.drop()
}

// run gives n messages to a desk, twenty at a time, and returns the microseconds of CPU of each.
func (d *checkedDesk) run(checks *mailauth.Checker, judge *spam.Judge, n int) (float64, error) {
	o := d.options
	o.Checks, o.Judge = checks, judge
	desk := inbound.New(o)
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make(chan error, 20)
	start := cpuTime()
	for range 20 {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := d.send(desk, i%len(d.texts)); err != nil {
					errs <- fmt.Errorf("message %d: %w", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	used := cpuTime() - start
	select {
	case err := <-errs:
		return 0, err
	default:
	}
	return float64(used.Microseconds()) / float64(n), d.o.db.SettleAll(context.Background())
}

func (d *checkedDesk) send(desk *inbound.Desk, i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := desk.NewSession(ctx, smtp.Peer{ID: "b", Service: "smtp", Hello: d.far.Host(i), Extended: true, Remote: netip.AddrPortFrom(d.far.Addr(i), 4711)})
	if err != nil {
		return err
	}
	defer s.Logout()
	if err := s.Mail(d.far.From(i), &gosmtp.MailOptions{}); err != nil {
		return err
	}
	if err := s.Rcpt(reader(i).String(), &gosmtp.RcptOptions{}); err != nil {
		return err
	}
	return s.Data(bytes.NewReader(d.texts[i]))
}
