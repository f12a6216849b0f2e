package junkmail

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// group is a sort of sender.
type group int

const (
	people     group = iota // of whom half are friends
	newcomers               // like people, each writes once
	publishers              // newsletters
	shops
	lists
	spammers  // machines of others, accounts of others, web servers of others
	snowshoes // domains and networks of their own, everything in order
	phishers  // like spammers
)

// sender is somebody who sends mail.
type sender struct {
	name, address string
	bounce        string // MAIL FROM
	hello         string
	remote        netip.Addr
	site          string // host of links
	list          string
	mailer        string
	via           string // an earlier hop
	key           mailauth.SigningKey
	friend        bool
	sloppy        bool // its program forgets fields
}

// posture is what a domain publishes.
type posture struct{ spf, dkim, dmarc string }

func (w *World) record(format string, args ...any) {
	w.records = append(w.records, fmt.Sprintf(format, args...))
}

// address gives the next client an address in a network of its own.
func (w *World) address() netip.Addr {
	b := w.o.Net.Masked().Addr().As4()
	half := uint32(1) << (31 - w.o.Net.Bits()) // of the networks
	n := binary.BigEndian.Uint32(b[:]) + w.rnd.Uint32N(half)
	if w.o.Test {
		n += half
	}
	n = n&^255 | 1 + uint32(w.rnd.IntN(250))
	binary.BigEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}

func reverse(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("%d.%d.%d.%d", b[3], b[2], b[1], b[0])
}

// named gives an address a name that leads back to it.
func (w *World) named(a netip.Addr, host string) {
	w.record("%s.in-addr.arpa. IN PTR %s.", reverse(a), host)
	w.record("%s. IN A %s", host, a)
}

// publish makes a domain's records and the key it signs with.
func (w *World) publish(domain string, a netip.Addr, p posture) mailauth.SigningKey {
	if p.spf != "" {
		w.record("%s. IN TXT \"v=spf1 ip4:%s %s\"", domain, a, p.spf)
	}
	if p.dmarc != "" {
		w.record("_dmarc.%s. IN TXT \"v=DMARC1; p=%s\"", domain, p.dmarc)
	}
	w.record("%s. IN A %s", domain, a)
	if p.dkim == "" {
		return mailauth.SigningKey{}
	}
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(w.rnd.UintN(256))
	}
	key := ed25519.NewKeyFromSeed(seed)
	public := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	w.record("k1._domainkey.%s. IN TXT \"v=DKIM1; k=ed25519; p=%s\"", domain, public)
	return mailauth.SigningKey{Domain: domain, Selector: "k1", Private: key}
}

func (w *World) anyPosture() posture {
	switch n := w.rnd.IntN(100); {
	case n < 50:
		return posture{"-all", "k1", w.pick([]string{"reject", "quarantine", "none"})}
	case n < 70:
		return posture{"~all", "k1", ""}
	case n < 85:
		return posture{"~all", "", ""}
	case n < 92:
		return posture{"", "k1", ""}
	}
	return posture{}
}

// domain makes a new name: of training and testing worlds never the same.
func (w *World) domain(word string) string {
	half := map[bool]string{false: "a", true: "b"}[w.o.Test]
	w.made++
	return fmt.Sprintf("%s-%s%d.example", strings.ToLower(strings.ReplaceAll(word, " ", "")), half, w.made)
}

// settle makes the senders who come again and again, and the lists' test entries.
func (w *World) settle() {
	for _, line := range []string{"2.0.0.127.bl.lists.example. IN A 127.0.0.2", "test.dbl.lists.example. IN A 127.0.1.2"} {
		w.record("%s", line)
	}
	free := w.provider()
	for i := range 30 {
		s := w.person(free)
		s.friend = i%2 == 0
		w.groups[people] = append(w.groups[people], s)
	}
	for range 12 {
		w.groups[publishers] = append(w.groups[publishers], w.firm("news", "letter"))
		w.groups[shops] = append(w.groups[shops], w.firm("service", "shop"))
		w.groups[snowshoes] = append(w.groups[snowshoes], w.snowshoe())
	}
	for range 4 {
		w.groups[lists] = append(w.groups[lists], w.list())
	}
}

// provider is where people have free mailboxes.
func (w *World) provider() *sender {
	a := w.address()
	d := w.domain("freepost")
	w.named(a, "out."+d)
	return &sender{remote: a, hello: "out." + d, site: d, key: w.publish(d, a, posture{"-all", "k1", "quarantine"})}
}

func (w *World) fullName() (first, last string) {
	return w.pick(w.half(firstNames())), w.pick(w.half(lastNames()))
}

// person has a mailbox at a provider, or a domain.
func (w *World) person(free *sender) *sender {
	first, last := w.fullName()
	mailer := w.pick([]string{"", "Thunderbird", "Apple Mail", "K-9 Mail", "Microsoft Outlook 16.0"})
	w.made++
	if w.chance(45) {
		s := *free
		s.name, s.mailer = first+" "+last, mailer
		s.address = strings.ToLower(fmt.Sprintf("%s.%s%d@%s", first, last, w.made, free.site))
		s.bounce = s.address
		return &s
	}
	a, d := w.address(), w.domain(last)
	w.named(a, "mail."+d)
	s := &sender{name: first + " " + last, address: strings.ToLower(first) + "@" + d, remote: a, hello: "mail." + d, site: "www." + d, mailer: mailer}
	s.bounce = s.address
	s.key = w.publish(d, a, w.anyPosture())
	if w.chance(6) { // forwarded: SPF is of another host
		s.via, s.remote = s.hello, w.address()
		s.hello = "relay." + w.domain("forward")
		w.named(s.remote, s.hello)
	}
	return s
}

// firm sends from a domain of its own, or through a service that signs for it.
func (w *World) firm(local, word string) *sender {
	company := w.pick(w.half(companies()))
	a, d := w.address(), w.domain(word)
	w.named(a, "mta."+d)
	s := &sender{name: company, address: local + "@" + d, bounce: fmt.Sprintf("bounce-%d@%s", w.made, d), remote: a, hello: "mta." + d, site: "www." + d}
	s.key = w.publish(d, a, posture{"-all", "k1", w.pick([]string{"reject", "quarantine", "none", ""})})
	if w.chance(4) { // a neighbour's junk brought the address onto a list
		w.record("%s.bl.lists.example. IN A 127.0.0.2", reverse(a))
	}
	return s
}

// list passes on mail of people, whose signature it breaks.
func (w *World) list() *sender {
	a, d := w.address(), w.domain("lists")
	w.named(a, "lists."+d)
	first, last := w.fullName()
	author := w.domain(last)
	w.publish(author, w.address(), posture{"~all", "", w.pick([]string{"none", ""})})
	s := &sender{name: first + " " + last, address: strings.ToLower(first) + "@" + author, bounce: "users-bounces@" + d, remote: a, hello: "lists." + d, site: "lists." + d, list: "users." + d}
	s.key = w.publish(d, a, posture{"-all", "k1", ""})
	return s
}

// snowshoe has everything in order but its intentions.
func (w *World) snowshoe() *sender {
	a, d := w.address(), w.domain("best")
	w.named(a, "m1."+d)
	s := &sender{name: w.pick(w.half(companies())), address: "offers@" + d, bounce: fmt.Sprintf("return-%d@%s", w.made, d), remote: a, hello: "m1." + d, site: "click." + d}
	s.key = w.publish(d, a, posture{"-all", "k1", w.pick([]string{"reject", "none", ""})})
	if w.chance(40) {
		w.record("%s.bl.lists.example. IN A 127.0.0.2", reverse(a))
	}
	if w.chance(45) {
		w.record("%s.dbl.lists.example. IN A 127.0.1.2", d)
	}
	return s
}

// sender chooses who sends a message of a kind; strangers are made anew. Records made here are new: see Records.
func (w *World) sender(k kind) *sender {
	switch k.from {
	case newcomers:
		return w.person(w.provider())
	case spammers, phishers:
		return w.robber(k)
	}
	all := w.groups[k.from]
	return all[w.rnd.IntN(len(all))]
}

// robber uses what belongs to others.
func (w *World) robber(k kind) *sender {
	first, last := w.fullName()
	s := &sender{name: first + " " + last, remote: w.address(), site: w.domain("go")}
	if w.chance(40) {
		w.record("%s.dbl.lists.example. IN A 127.0.1.2", s.site)
	}
	switch n := w.rnd.IntN(100); {
	case n < 45:
		w.bot(s)
	case n < 70: // an account of somebody honest
		honest := w.person(w.provider())
		honest.site = s.site
		if !k.feign && !k.own {
			honest.name = w.pick([]string{honest.name, s.name})
		}
		honest.friend = false
		return honest
	default: // a web server of somebody honest
		d := w.domain("web")
		w.named(s.remote, "server."+d)
		w.publish(d, s.remote, posture{w.pick([]string{"?all", "~all", ""}), "", ""})
		s.hello, s.address, s.mailer = "server."+d, "info@"+d, w.pick([]string{"PHPMailer 6.8", "", "WordPress"})
		s.bounce = "www-data@server." + d
		if w.chance(35) {
			w.record("%s.bl.lists.example. IN A 127.0.0.2", reverse(s.remote))
		}
	}
	return s
}

// bot is a machine at somebody's home.
func (w *World) bot(s *sender) {
	s.sloppy = true
	b := s.remote.As4()
	dynamic := fmt.Sprintf("dyn-%d-%d-%d-%d.line.%s", b[0], b[1], b[2], b[3], w.domain("access"))
	switch n := w.rnd.IntN(100); {
	case n < 40: // no name
		s.hello = w.pick([]string{"localhost", "WIN-7F3K2", "[" + s.remote.String() + "]", s.remote.String(), "pc.local", "mail.freepost.example"})
	case n < 75:
		w.named(s.remote, dynamic)
		s.hello = w.pick([]string{dynamic, "user-PC", "smtp.freepost.example"})
	default:
		host := "host." + w.domain("rent")
		w.named(s.remote, host)
		s.hello = host
	}
	if w.chance(40) { // somebody else's name
		victim := w.groups[shops][w.rnd.IntN(len(w.groups[shops]))]
		s.address = "info@" + strings.TrimPrefix(victim.site, "www.")
	} else {
		first, last := w.fullName()
		s.address = strings.ToLower(first+"."+last) + "@" + w.domain("none")
	}
	s.bounce = s.address
	if w.chance(60) {
		w.record("%s.bl.lists.example. IN A 127.0.0.2", reverse(s.remote))
	}
}

func days() []string {
	return []string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
}

func firstNames() []string {
	return []string{"Anna", "Bernard", "Clara", "David", "Elena", "Frank", "Greta", "Hugo", "Irene", "Jonas", "Karin", "Louis", "Maria", "Nikolai", "Olga", "Pedro", "Quentin", "Rosa", "Stefan", "Tamara", "Ulrich", "Vera", "Walter", "Yusuf"}
}

func lastNames() []string {
	return []string{"Abbott", "Bauer", "Costa", "Dupont", "Ericson", "Fischer", "Garcia", "Hansen", "Ivanova", "Jansen", "Kovacs", "Larsen", "Meier", "Novak", "Olsen", "Peters", "Quinn", "Rossi", "Schmidt", "Tanaka", "Urban", "Vogel", "Weber", "Young"}
}

func cities() []string {
	return []string{"Aarhus", "Bergen", "Cork", "Dresden", "Evora", "Florence", "Ghent", "Halifax", "Innsbruck", "Jena", "Krakow", "Lyon", "Malmo", "Nantes", "Oulu", "Porto", "Quebec", "Riga", "Seville", "Turku"}
}

func companies() []string {
	return []string{"Alder Books", "Birch Tools", "Cedar Travel", "Dune Energy", "Elm Garden", "Fern Records", "Grove Bank", "Hazel Music", "Iris Optics", "Juniper Rail", "Kelp Foods", "Laurel Paper", "Maple Bikes", "Nettle Tea", "Oak Insurance", "Pine Theatre", "Quince Shoes", "Reed Boats", "Sorrel Press", "Thyme Kitchen"}
}

func products() []string {
	return []string{"lamp", "kettle", "rucksack", "headphones", "teapot", "bookshelf", "raincoat", "camera", "drill", "blanket", "keyboard", "saucepan", "tent", "mirror", "clock", "chair"}
}
