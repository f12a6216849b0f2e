//go:build interop

package interop

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// startOpenDKIM runs Debian's OpenDKIM as a milter and returns its address; it asks the given DNS.
func startOpenDKIM(t *testing.T, names, settings string) string {
	t.Helper()
	dir := openFolder(t, "opendkim")
	own := fmt.Sprint(freePort(t))
	addr := "127.0.0.1:" + own
	host, port, _ := net.SplitHostPort(names)
	unbound := write(t, dir, "unbound.conf", "server:\n  do-not-query-localhost: no\n  do-ip6: no\n  local-zone: \"test.\" nodefault\n  module-config: \"iterator\"\nforward-zone:\n  name: \".\"\n  forward-addr: "+host+"@"+port+"\n")
	start(t, dir, "opendkim", "-f", "-x", write(t, dir, "opendkim.conf", "Socket inet:"+own+"@127.0.0.1\nUserID root\nRequireSafeKeys no\nSyslog no\nResolverConfiguration "+unbound+"\n"+settings))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(end) {
			t.Fatal("OpenDKIM does not answer")
		}
	}
}

// dkimRecord is a line of a zone: a key as its selector publishes it.
func dkimRecord(t *testing.T, selector, kind string, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := public.(ed25519.PublicKey); ok { // RFC 8463 section 4: as it is
		der = k
	}
	text, quoted := "v=DKIM1; k="+kind+"; p="+base64.StdEncoding.EncodeToString(der), ""
	for len(text) > 0 {
		n := min(len(text), 200)
		quoted, text = quoted+fmt.Sprintf(" %q", text[:n]), text[n:]
	}
	return selector + "._domainkey IN TXT" + quoted + "\n"
}

// TestOpenDKIMAsMilter: a real milter sees mail as it came, and its header is the message's.
func TestOpenDKIMAsMilter(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	names := signedNames(t, map[string]string{"plain.test": "@ IN MX 10 mx\nmx IN A 127.0.0.1\n" + dkimRecord(t, "r", "rsa", &key.PublicKey)})
	milter := startOpenDKIM(t, names, "Mode v\nAuthservID opendkim.alpha.test\nAlwaysAddARHeader yes\nOn-BadSignature reject\n")
	authority, err := cert.NewAuthority("interop", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	h := plan{data: filepath.Join(t.TempDir(), "data"), domain: "alpha.test", accounts: []string{alice, bob}, remotePort: "1", names: names, authority: authority,
		settings: "[junk]\nenabled = false\n[[scanners]]\nkind = \"milter\"\nname = \"opendkim\"\naddress = \"" + milter + "\"\non_failure = \"tempfail\"\n"}.serve(t)
	mail := message("zoe@plain.test", bob, "signed, for a milter")
	header, body, _ := strings.Cut(mail, "\r\n\r\n")
	s := mailauth.NewSigner([]byte(header+"\r\n"), time.Now(), mailauth.SigningKey{Domain: "plain.test", Selector: "r", Private: key})
	s.Write([]byte(body))
	signature, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	if said := offer(t, h.addr(1025), "zoe@plain.test", bob, string(signature)+mail); !strings.HasPrefix(said, "250 ") {
		t.Errorf("answered %q", said)
	}
	h.awaitText(t, bob, "INBOX", "signed, for a milter", `Authentication-Results: opendkim\.alpha\.test;\s+dkim=pass`, `Authentication-Results: mx\.alpha\.test;[^:]*dkim=pass`)
	if said := offer(t, h.addr(1025), "zoe@plain.test", bob, string(signature)+strings.Replace(mail, "A line.", "Another line.", 1)); !strings.HasPrefix(said, "550 ") {
		t.Errorf("a changed message is answered %q", said)
	}
	h.awaitLog(t, "mail not taken by helper", "opendkim", "action=refuse")
}

// awaitText waits for a message with the subject, whose header must match each expression.
func (h *house) awaitText(t *testing.T, account, box, subject string, like ...string) {
	t.Helper()
	h.awaitMail(t, account, box, subject, 1)
	home := t.TempDir()
	url := "imaps://localhost:" + h.port(1993) + "/" + box
	args := []string{"-sS", "--cacert", h.ca, "--user", account + ":" + password}
	found := run(t, home, "", "curl", append(args, url+"?SUBJECT%20%22"+strings.ReplaceAll(strings.ReplaceAll(subject, " ", "%20"), ",", "%2C")+"%22")...)
	number := regexp.MustCompile(`\d+`).FindString(found)
	text := run(t, home, "", "curl", append(args, url+";MAILINDEX="+number)...)
	for _, l := range like {
		if !regexp.MustCompile(l).MatchString(text) {
			t.Errorf("%q in %s of %s is not like %q:\n%s", subject, box, account, l, text)
		}
	}
}

// dkimHouses are two houses and Postfix with OpenDKIM, each with its address, its names and its keys in DNS.
type dkimHouses struct {
	alpha, beta *house
	postfix     *postfix
	signers     map[string]string // ports where Postfix takes mail from its users, by how it signs
}

// makeDKIMHouses: alpha.test and gamma.test (Postfix) send from addresses of their own, so that SPF tells them apart.
func makeDKIMHouses(t *testing.T) *dkimHouses {
	t.Helper()
	authority, err := cert.NewAuthority("interop", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(freeOffset(t) + 1026)
	zones, data := map[string]string{"plain.test": "@ IN MX 10 mx\nmx IN A 127.0.0.1\n"}, map[string]string{}
	for domain, mx := range map[string]string{"alpha.test": "127.0.0.11", "beta.test": "127.0.0.12"} {
		data[domain] = t.TempDir()
		run(t, t.TempDir(), "", binary, "domain", "add", domain, "--data", data[domain])
		records := run(t, t.TempDir(), "", binary, "domain", "dkim", "rotate", domain, "--ed25519", "--now", "--data", data[domain])
		zone := "@ IN MX 10 mx\nmx IN A " + mx + "\n@ IN TXT \"v=spf1 ip4:127.0.0.1 -all\"\n_dmarc IN TXT \"v=DMARC1; p=quarantine\"\n"
		for line := range strings.Lines(records) {
			if strings.Contains(line, "._domainkey.") {
				zone += strings.Replace(line, " TXT ", " IN TXT ", 1)
			}
		}
		zones[domain] = zone
	}
	keys := openFolder(t, "keys")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for name, k := range map[string]any{"rsa": key, "ed25519": private} {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = write(t, keys, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	}
	zones["gamma.test"] = "@ IN MX 10 mx\nmx IN A 127.0.0.1\n@ IN TXT \"v=spf1 ip4:127.0.0.21 -all\"\n_dmarc IN TXT \"v=DMARC1; p=reject\"\n" + dkimRecord(t, "rsa", "rsa", &key.PublicKey) + dkimRecord(t, "ed25519", "ed25519", public)
	names := signedNames(t, zones)

	all := &dkimHouses{signers: map[string]string{}}
	const quiet = "[junk]\nenabled = false\n"
	all.alpha = plan{data: data["alpha.test"], domain: "alpha.test", accounts: []string{alice, bob}, remotePort: port, names: names, authority: authority, smtp: "127.0.0.11:" + port, settings: quiet}.serve(t)
	all.beta = plan{data: data["beta.test"], domain: "beta.test", accounts: []string{carol}, remotePort: port, names: names, authority: authority, smtp: "127.0.0.12:" + port, settings: quiet}.serve(t)
	all.postfix = startPostfix(t, port, all.alpha.port(1025))

	verifier := startOpenDKIM(t, names, "Mode v\nAuthservID mx.gamma.test\nAlwaysAddARHeader yes\n")
	master, err := os.ReadFile(all.postfix.dir + "/etc/master.cf")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(master), "smtpd\n", "smtpd -o smtpd_milters=inet:"+verifier+"\n", 1)
	for name, how := range map[string]string{
		"rsa relaxed": "KeyFile " + files["rsa"] + "\nSelector rsa\nCanonicalization relaxed/relaxed\n", "rsa simple": "KeyFile " + files["rsa"] + "\nSelector rsa\nCanonicalization simple/simple\n",
		"ed25519 mixed": "KeyFile " + files["ed25519"] + "\nSelector ed25519\nSignatureAlgorithm ed25519-sha256\nCanonicalization relaxed/simple\n",
	} {
		signer := startOpenDKIM(t, names, "Mode s\nDomain gamma.test\nInternalHosts 127.0.0.0/8\nOversignHeaders From\n"+how)
		own := fmt.Sprint(freePort(t))
		all.signers[name] = "127.0.0.1:" + own
		text += "127.0.0.1:" + own + " inet n - n - - smtpd -o smtpd_milters=inet:" + signer + "\n"
	}
	text += "changing unix n - n - 0 cleanup -o header_checks=regexp:{{/^Subject:.(.*)/ REPLACE Subject: list: $$1}}\n"
	list := fmt.Sprint(freePort(t))
	all.signers["list"] = "127.0.0.1:" + list
	text += "127.0.0.1:" + list + " inet n - n - - smtpd -o cleanup_service_name=changing\n"
	write(t, all.postfix.dir, "etc/master.cf", text)
	os.Chmod(all.postfix.dir+"/etc/master.cf", 0o644)
	run(t, keys, "", "postconf", "-c", all.postfix.dir+"/etc", "-e", "smtp_bind_address=127.0.0.21", "milter_default_action=tempfail", "virtual_alias_domains=",
		"virtual_alias_maps=inline:{on@gamma.test="+carol+"}", "transport_maps=inline:{alpha.test=smtp:[127.0.0.11]:"+port+", beta.test=smtp:[127.0.0.12]:"+port+"}")
	run(t, keys, "", "postfix", "-c", all.postfix.dir+"/etc", "reload")
	return all
}

// TestSignedMail: what we sign verifies at another house and at Postfix with OpenDKIM, what OpenDKIM signs verifies here in each of its
// forms, and what is changed on the way verifies nowhere.
func TestSignedMail(t *testing.T) {
	all := makeDKIMHouses(t)
	home := t.TempDir()
	conf := write(t, home, "msmtprc", "account default\nhost localhost\nport "+all.alpha.port(1465)+"\ntls on\ntls_starttls off\ntls_trust_file "+all.alpha.ca+"\nauth on\nuser "+alice+"\npassword "+password+"\nfrom "+alice+"\n")
	send := func(subject, to string) {
		t.Helper()
		run(t, home, message(alice, to, subject), "msmtp", "-C", conf, to)
	}
	const ours = `Authentication-Results: mx\.beta\.test;`
	send("house to house", carol)
	all.beta.awaitText(t, carol, "INBOX", "house to house", ours, `dkim=pass header\.d=alpha\.test[^;]*rsa-sha256|dkim=pass[^;]*header\.d=alpha\.test`, `spf=pass`, `dmarc=pass`, `a=ed25519-sha256`, `a=rsa-sha256`)

	send("house to postfix", "ann@gamma.test")
	all.postfix.await(t, "ann", 1, "Subject: house to postfix\n", "Authentication-Results: mx.gamma.test;\n\tdkim=pass")

	for name, addr := range all.signers {
		if name == "list" {
			continue
		}
		subject := "signed with " + name
		text := "From: Ann  <ann@gamma.test>\r\nTo: <" + bob + ">\r\nSubject:   " + subject + "\r\nX-Folded: one\r\n\ttwo  \r\nDate: " + time.Now().Format(time.RFC1123Z) + "\r\nMessage-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@gamma.test>\r\n\r\nA  line \t with blanks  \r\n..dots\r\n\r\n\r\n"
		if said := offer(t, addr, "ann@gamma.test", bob, text); !strings.HasPrefix(said, "250 ") {
			t.Fatalf("Postfix answers %q", said)
		}
		all.alpha.awaitText(t, bob, "INBOX", subject, `Authentication-Results: mx\.alpha\.test;`, `dkim=pass[^;]*header\.d=gamma\.test`, `spf=pass`, `dmarc=pass`)
	}

	// Forwarded as it is, the signature holds where SPF does not; changed as lists do it, nothing holds, and alpha.test asks for Junk.
	send("forwarded", "on@gamma.test")
	all.beta.awaitText(t, carol, "INBOX", "forwarded", ours, `spf=fail`, `dkim=pass[^;]*header\.d=alpha\.test`, `dmarc=pass`)
	send("for the list", "ann@gamma.test")
	all.postfix.await(t, "ann", 1, "Subject: for the list\n", "dkim=pass")
	for _, sub := range []string{"new", "cur"} {
		files, err := filepath.Glob(filepath.Join(all.postfix.dir, "mail", "ann", sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if i := strings.Index(string(text), "DKIM-Signature:"); i >= 0 && strings.Contains(string(text), "Subject: for the list\n") {
				if said := offer(t, all.signers["list"], alice, carol, strings.ReplaceAll(string(text[i:]), "\n", "\r\n")); !strings.HasPrefix(said, "250 ") {
					t.Fatalf("Postfix answers %q", said)
				}
			}
		}
	}
	all.beta.awaitText(t, carol, "Junk", "list: for the list", ours, `spf=fail`, `dkim=fail[^;]*header\.d=alpha\.test`, `dmarc=fail`)
}
