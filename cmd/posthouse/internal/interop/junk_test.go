//go:build interop

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/posthouse-mail/posthouse/internal/bench/junkmail"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/dns"
)

// strangers is the address from which a PROXY header is believed, so that mail comes from the addresses of a whole world.
const strangers = "127.0.0.9"

// serveJudging is a house that asks the DNS of worlds and has the doubtful come again after a second. Nothing leaves it: its relay does
// not answer.
func serveJudging(t *testing.T, worlds ...*junkmail.World) (*house, string) {
	t.Helper()
	zone, err := dns.NewZone("alpha.test. MX 10 mx.alpha.test.", "mx.alpha.test. A 127.0.0.1", "relay.alpha.test. A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range worlds {
		if err := zone.Add(w.Records()...); err != nil {
			t.Fatal(err)
		}
	}
	names, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { names.Close() })
	authority, err := cert.NewAuthority("interop", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{data: t.TempDir(), offset: freeOffset(t), log: &buffer{}}
	pair, err := authority.WritePair(h.data, "mx", "localhost", "mx.alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	h.ca = filepath.Join(h.data, "demo-ca.pem")
	if err := os.WriteFile(h.ca, authority.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := write(t, h.data, "posthouse.toml", fmt.Sprintf(`hostname = "mx.alpha.test"
data = %q
[listen]
smtp = [%q]
submission = []
submissions = [%q]
pop3 = []
pop3s = []
imap = []
imaps = [%q]
proxy_from = ["%s/32"]
[[tls.certificates]]
cert = %q
key = %q
[dns]
servers = [%q]
[[remote.smart_hosts]]
host = "relay.alpha.test"
port = 1
tls = "none"
[junk]
greylist_delay = "1s"
[metrics]
listen = [%q]
`, filepath.Join(h.data, "data"), h.addr(1025), h.addr(1465), h.addr(1993), strangers, pair.Certificate, pair.Key, names.Addr(), h.addr(1090)))
	run(t, h.data, "", binary, "domain", "add", "alpha.test", "--config", settings)
	for _, a := range []string{alice, bob} {
		run(t, h.data, password+"\n", binary, "account", "add", a, "--password-stdin", "--config", settings)
	}
	h.cmd = exec.Command(binary, "serve", "--config", settings)
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.stop(t) })
	h.await(t)
	return h, settings
}

var messageID = regexp.MustCompile(`(?i)(?:^|\n)message-id:\s*(<[^>\r\n]+>)`)

func idOf(raw []byte) string {
	if m := messageID.FindSubmatch(raw); m != nil {
		return string(m[1])
	}
	return ""
}

// swaks hands a message in as its sender does, and returns the code at its end.
func (h *house) swaks(t *testing.T, dir string, m junkmail.Mail, to string) string {
	t.Helper()
	raw := bytes.ReplaceAll(append([]byte("\n"), m.Raw...), []byte("\n."), []byte("\n.."))[1:]
	file := write(t, dir, "message.eml", string(raw)+".\r\n")
	out, err := try(t, dir, "", "swaks", "--server", "127.0.0.1", "--port", h.port(1025), "--local-interface", strangers,
		"--proxy-version", "1", "--proxy-family", "TCP4", "--proxy-source", m.Remote.String(), "--proxy-source-port", "4711", "--proxy-dest", "192.0.2.1", "--proxy-dest-port", "25",
		"--helo", m.Hello, "--from", m.From, "--to", to, "--data", "@"+file, "--no-data-fixup", "--suppress-data")
	for _, code := range []string{"550 5.7.1", "451 4.7.1", "250 2.0.0"} {
		if strings.Contains(out, code) && (err == nil) == (code[0] == '2') {
			return code[:3]
		}
	}
	t.Fatalf("swaks ended with %v:\n%s", err, out)
	return ""
}

// ids are the Message-IDs of a mailbox.
func ids(t *testing.T, c *imapclient.Client, mailbox string) map[string]bool {
	t.Helper()
	data, err := c.Select(mailbox, &goimap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	if data.NumMessages == 0 {
		return out
	}
	list, err := c.Fetch(goimap.SeqSet{{Start: 1, Stop: 0}}, &goimap.FetchOptions{Envelope: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list {
		out["<"+m.Envelope.MessageID+">"] = true
	}
	return out
}

// reasons are the verdict in the header of a message in Junk.
func reasons(t *testing.T, c *imapclient.Client, id string) string {
	t.Helper()
	if _, err := c.Select("Junk", &goimap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		t.Fatal(err)
	}
	found, err := c.UIDSearch(&goimap.SearchCriteria{Header: []goimap.SearchCriteriaHeaderField{{Key: "Message-ID", Value: id}}}, nil).Wait()
	if err != nil || len(found.AllUIDs()) == 0 {
		t.Fatal(id, err)
	}
	section := &goimap.FetchItemBodySection{Peek: true, Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"X-Spam-Status", "Authentication-Results"}}
	list, err := c.Fetch(goimap.UIDSetNum(found.AllUIDs()...), &goimap.FetchOptions{BodySection: []*goimap.FetchItemBodySection{section}}).Collect()
	if err != nil || len(list) == 0 {
		t.Fatal(id, err)
	}
	return string(list[0].FindBodySection(section))
}

// outcome is what became of the mail of a world.
type outcome struct {
	good, goodJunk, goodRefused, waited int
	friends, friendsLost                int
	junk, found                         int
}

// receive brings n good messages and n of junk to an account, and looks where they are. Who is told to come again does so when his mail
// is good; senders of junk seldom do.
func (h *house) receive(t *testing.T, w *junkmail.World, to string, n int) (o outcome) {
	t.Helper()
	dir := t.TempDir()
	var again, all []junkmail.Mail
	answers := map[string]string{}
	for range n {
		for _, m := range []junkmail.Mail{w.Good(), w.Junk()} {
			id := idOf(m.Raw)
			answers[id] = h.swaks(t, dir, m, to)
			all = append(all, m)
			if answers[id] == "451" && !m.Junk {
				o.waited++
				again = append(again, m)
			}
		}
	}
	time.Sleep(1100 * time.Millisecond) // what the senders are told to wait
	for _, m := range again {
		answers[idOf(m.Raw)] = h.swaks(t, dir, m, to)
	}
	c := h.imap(t, to)
	inbox, junk := ids(t, c, "INBOX"), ids(t, c, "Junk")
	for _, m := range all {
		id := idOf(m.Raw)
		if id == "" {
			continue
		}
		if answers[id] == "250" && !inbox[id] && !junk[id] {
			t.Errorf("%s was taken, and is nowhere", id)
		}
		lost := answers[id] != "250" || junk[id]
		switch {
		case m.Junk:
			o.junk++
			if lost {
				o.found++
			}
		default:
			o.good++
			if junk[id] {
				o.goodJunk++
				t.Logf("good mail (%s) in Junk: %s", m.Kind, reasons(t, c, id))
			}
			if answers[id] != "250" {
				o.goodRefused++
			}
			if m.Friend {
				o.friends++
				if lost {
					o.friendsLost++
					t.Errorf("mail of a correspondent is not in INBOX: %s\n%s", answers[id], run(t, dir, string(m.Raw), binary, "spam", "explain", "-", "--account", to, "--data", filepath.Join(h.data, "data")))
				}
			}
		}
	}
	return o
}

// teach puts good mail and junk into the account's mailboxes, as a mail program does, and waits until they are learned.
func (h *house) teach(t *testing.T, settings string, w *junkmail.World, account string, n int) {
	t.Helper()
	c := h.imap(t, account)
	put := func(box string, raw []byte) {
		t.Helper()
		a := c.Append(box, int64(len(raw)), nil)
		_, werr := a.Write(raw)
		if err := a.Close(); err != nil || werr != nil {
			t.Fatal(err, werr)
		}
		if _, err := a.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		put("Archive", w.Good().Raw)
		put("Junk", w.Junk().Raw)
	}
	var stats struct {
		Accounts []struct {
			Account    string
			Good, Junk int
		}
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) { // another process: there is nothing else to wait on
		if err := json.Unmarshal([]byte(run(t, h.data, "", binary, "spam", "stats", "--json", "--config", settings)), &stats); err != nil {
			t.Fatal(err)
		}
		for _, a := range stats.Accounts {
			if a.Account == account && a.Good >= n && a.Junk >= n {
				return
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%d messages of each kind are not learned: %+v", n, stats)
		}
	}
}

// TestJunkAndGoodMail: mail of a world comes from its addresses, with its DNS, to an account that has taught nothing and to one that has
// taught two hundred messages of other senders. No good mail of a known correspondent is lost.
func TestJunkAndGoodMail(t *testing.T) {
	const n = 40
	untaught := n
	for _, lessons := range []int{0, 100} {
		t.Run(fmt.Sprint(2*lessons, " messages taught"), func(t *testing.T) {
			o := junkmail.Options{Seed: 1, To: alice, Now: time.Now()}
			school := junkmail.New(o)
			o.Test = true
			world := junkmail.New(o)
			h, settings := serveJudging(t, school, world)
			run(t, t.TempDir(), "", "swaks", "--server", "127.0.0.1", "--port", h.port(1465), "--tls-on-connect", "--auth", "PLAIN", "--au", alice, "--ap", password,
				"--from", alice, "--to", strings.Join(world.Friends(), ","), "--suppress-data")
			h.teach(t, settings, school, alice, lessons)
			is := h.receive(t, world, alice, n)
			t.Logf("good mail %d, in Junk %d, not taken %d, came twice %d; of correspondents %d, lost %d; junk %d, found %d",
				is.good, is.goodJunk, is.goodRefused, is.waited, is.friends, is.friendsLost, is.junk, is.found)
			if is.good < n-2 || is.junk < n*3/4 || is.friends == 0 {
				t.Errorf("too little mail: %+v", is)
			}
			if is.goodJunk+is.goodRefused > n/20 {
				t.Errorf("good mail is lost: %+v", is)
			}
			if lessons == 0 {
				untaught = is.found
			} else if is.found <= untaught || is.found < is.junk*6/10 {
				t.Errorf("of %d junk %d are found, before it was taught %d", is.junk, is.found, untaught)
			}
		})
	}
}
