//go:build interop

package interop

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/cert"
)

// stsHost is where the policies of the test's domains stand: port 443 of a loopback address that nobody else uses.
const stsHost = "127.8.4.61"

// signedNames runs nsd, which has the zones, and unbound, which validates those that are signed. It returns unbound's address.
func signedNames(t *testing.T, zones map[string]string, signed ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "interop-names-") // nsd and unbound read it as themselves
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	t.Cleanup(func() { os.RemoveAll(dir) })
	base := freeOffset(t) + 1025
	authority, resolver := fmt.Sprint(base), fmt.Sprint(base+562) // two of the demo's ports
	nsd := "server:\n  ip-address: 127.0.0.1\n  port: " + authority + "\n  username: \"\"\n  chroot: \"\"\n  zonesdir: " + dir + "\n  pidfile: " + dir + "/nsd.pid\n  database: \"\"\n  xfrdfile: " + dir + "/xfrd\n  zonelistfile: " + dir + "/zones\n  server-count: 1\nremote-control:\n  control-enable: no\n"
	unbound := "server:\n  interface: 127.0.0.1\n  port: " + resolver + "\n  username: \"\"\n  chroot: \"\"\n  directory: " + dir + "\n  pidfile: " + dir + "/unbound.pid\n  use-syslog: no\n  logfile: \"\"\n  do-not-query-localhost: no\n  do-ip6: no\n" +
		"  local-zone: \"test.\" nodefault\n  module-config: \"validator iterator\"\n"
	stubs := ""
	for name, text := range zones {
		file := write(t, dir, name, "$ORIGIN "+name+".\n$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns\nns IN A 127.0.0.1\n"+text)
		for _, s := range signed {
			if s == name {
				key := strings.TrimSpace(run(t, dir, "", "sh", "-c", "cd "+dir+" && ldns-keygen -a ECDSAP256SHA256 -k "+name))
				run(t, dir, "", "sh", "-c", "cd "+dir+" && ldns-signzone "+name+" "+key)
				file += ".signed"
				unbound += "  trust-anchor-file: " + dir + "/" + key + ".ds\n"
			}
		}
		if name == "bogus.test" { // somebody in between changes an address
			lines, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, dir, filepath.Base(file), strings.ReplaceAll(string(lines), "127.0.0.2", "127.0.0.1"))
		}
		nsd += "zone:\n  name: " + name + "\n  zonefile: " + filepath.Base(file) + "\n"
		stubs += "stub-zone:\n  name: " + name + "\n  stub-addr: 127.0.0.1@" + authority + "\n"
	}
	start(t, dir, "nsd", "-d", "-c", write(t, dir, "nsd.conf", nsd))
	start(t, dir, "unbound", "-d", "-c", write(t, dir, "unbound.conf", unbound+stubs+"remote-control:\n  control-enable: no\n"))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, _ := try(t, dir, "", "drill", "-p", resolver, "mx.plain.test", "@127.0.0.1")
		if strings.Contains(out, "127.0.0.1\n") && strings.Contains(out, "rcode: NOERROR") {
			return "127.0.0.1:" + resolver
		}
		if time.Now().After(end) {
			t.Fatalf("the names are not there:\n%s", out)
		}
	}
}

// start runs a program until the end of the test.
func start(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install the packages that .ci/run lists", name)
	}
	cmd, log := exec.Command(path, args...), &buffer{}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, log)
		}
	})
}

// policySite serves the STS policies of domains.
func policySite(t *testing.T, authority *cert.Authority, policies map[string]string) {
	t.Helper()
	var names []string
	for d := range policies {
		names = append(names, "mta-sts."+d)
	}
	leaf, err := authority.Leaf(names...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", stsHost+":443")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, policies[strings.TrimPrefix(r.Host, "mta-sts.")])
	})}
	go srv.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{leaf}}))
	t.Cleanup(func() { srv.Close() })
}

// tlsaData is the data of a TLSA record 3 1 1 for a certificate file.
func tlsaData(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(c.RawSubjectPublicKeyInfo))
}

// tlsHouse is a house, and Postfix as the mail host of many domains, each with its own idea of TLS.
func tlsHouse(t *testing.T) (*house, *postfix) {
	t.Helper()
	authority, err := cert.NewAuthority("interop", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "interop-certs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	pair, err := authority.WritePair(dir, "peer", "mx.sts.test", "mx.dane.test")
	if err != nil {
		t.Fatal(err)
	}
	port := fmt.Sprint(freeOffset(t) + 1026)
	mx := "@ IN MX 10 mx\nmx IN A 127.0.0.1\n"
	sts := mx + "_mta-sts IN TXT \"v=STSv1; id=1\"\nmta-sts IN A " + stsHost + "\n"
	record := "_" + port + "._tcp.mx IN TLSA 3 1 1 "
	key := tlsaData(t, pair.Certificate)
	names := signedNames(t, map[string]string{
		"plain.test":   mx,
		"dane.test":    mx + record + key + "\n",
		"other.test":   mx + record + strings.Repeat("ab", 32) + "\n",
		"bogus.test":   "@ IN MX 10 mx\nmx IN A 127.0.0.2\n" + record + key + "\n",
		"liar.test":    mx + record + strings.Repeat("cd", 32) + "\n", // not signed: nobody may believe it
		"sts.test":     sts,
		"foreign.test": strings.Replace(sts, "MX 10 mx\n", "MX 10 mx.plain.test.\n", 1),
		"named.test":   sts,
		"watch.test":   sts,
		"bare.test":    "@ IN MX 10 mx\nmx IN A 127.0.0.3\n_mta-sts IN TXT \"v=STSv1; id=1\"\nmta-sts IN A " + stsHost + "\n", // a host without TLS
		"naked.test":   "@ IN MX 10 mx\nmx IN A 127.0.0.3\n" + record + key + "\n",
	}, "dane.test", "other.test", "bogus.test", "naked.test")
	policy := func(mode, host string) string {
		return "version: STSv1\nmode: " + mode + "\nmx: " + host + "\nmax_age: 86400\n"
	}
	policySite(t, authority, map[string]string{
		"sts.test": policy("enforce", "mx.sts.test"), "foreign.test": policy("enforce", "mx.foreign.test"),
		"named.test": policy("enforce", "mx.named.test"), "watch.test": policy("testing", "mx.watch.test"),
		"bare.test": policy("enforce", "mx.bare.test"),
	})
	h := serveWith(t, filepath.Join(t.TempDir(), "data"), port, names, authority)
	p := startPostfix(t, port, h.port(1025))
	var maps []string
	for _, d := range strings.Fields("plain dane other bogus liar sts foreign named watch bare naked") {
		maps = append(maps, "ann@"+d+".test=ann/")
	}
	os.Chmod(dir, 0o755)
	run(t, dir, "", "postconf", "-c", p.dir+"/etc", "-e", "virtual_mailbox_domains=plain.test dane.test other.test bogus.test liar.test sts.test foreign.test named.test watch.test bare.test naked.test",
		"virtual_mailbox_maps=inline:{"+strings.Join(maps, ", ")+"}", "smtpd_tls_security_level=may", "smtpd_tls_received_header=yes",
		"smtpd_tls_cert_file="+pair.Certificate, "smtpd_tls_key_file="+pair.Key)
	master, err := os.ReadFile(p.dir + "/etc/master.cf")
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.dir, "etc/master.cf", string(master)+"127.0.0.3:"+port+" inet n - n - - smtpd -o smtpd_tls_security_level=none\n")
	os.Chmod(p.dir+"/etc/master.cf", 0o644)
	run(t, dir, "", "postfix", "-c", p.dir+"/etc", "reload")
	return h, p
}

// TestTLSPolicies: DANE and MTA-STS are kept where they can be, and mail waits where they cannot.
func TestTLSPolicies(t *testing.T) {
	h, p := tlsHouse(t)
	home := t.TempDir()
	conf := write(t, home, "msmtprc", "account default\nhost localhost\nport "+h.port(1465)+"\ntls on\ntls_starttls off\ntls_trust_file "+h.ca+"\nauth on\nuser "+alice+"\npassword "+password+"\nfrom "+alice+"\n")
	all := strings.Fields("plain dane other bogus liar sts foreign named watch bare naked")
	for _, d := range all {
		run(t, home, message(alice, "ann@"+d+".test", "policy of "+d), "msmtp", "-C", conf, "ann@"+d+".test")
	}
	for _, d := range []string{"plain", "dane", "liar", "sts", "watch"} {
		p.await(t, "ann", 1, "Subject: policy of "+d+"\n", "using TLSv1.3")
	}
	for d, why := range map[string]string{
		"other":   "(DANE): the certificate is none of the published ones",
		"bogus":   "cannot be looked up",
		"foreign": "(MTA-STS): mx.plain.test is no host of the STS policy of foreign.test",
		"named":   "(MTA-STS): the certificate is not for mx.named.test",
		"bare":    "(MTA-STS): it does not offer STARTTLS",
		"naked":   "(DANE): it does not offer STARTTLS",
	} {
		h.awaitLog(t, "delivery deferred", "ann@"+d+".test", why)
		if n := maildir(t, filepath.Join(p.dir, "mail", "ann"), "Subject: policy of "+d+"\n"); n != 0 {
			t.Errorf("mail for %s arrived", d)
		}
	}
}

// TestRequireTLS: Postfix does not know REQUIRETLS, so that such mail comes back, with no more than its header.
func TestRequireTLS(t *testing.T) {
	h, p := tlsHouse(t)
	c, err := tls.Dial("tcp", h.addr(1465), h.tls(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + alice + "\x00" + password))
	io.WriteString(c, "EHLO interop.test\r\nAUTH PLAIN "+plain+"\r\n")
	for _, line := range []string{"MAIL FROM:<" + alice + "> REQUIRETLS", "RCPT TO:<ann@dane.test>", "RCPT TO:<" + bob + ">", "DATA"} {
		io.WriteString(c, line+"\r\n")
	}
	io.WriteString(c, message(alice, "ann@dane.test", "requires tls")+".\r\nQUIT\r\n")
	answer, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(answer), "\r\n354 ") || !strings.Contains(string(answer), "250-REQUIRETLS") && !strings.Contains(string(answer), "250 REQUIRETLS") {
		t.Fatalf("%v\n%s", err, answer)
	}
	h.awaitMail(t, bob, "INBOX", "requires tls", 1)
	h.awaitMail(t, alice, "INBOX", "could not be delivered", 1)
	h.awaitLog(t, "delivery failed", "ann@dane.test", "status=5.7.30")
	if n := maildir(t, filepath.Join(p.dir, "mail", "ann"), "requires tls"); n != 0 {
		t.Error("it went where REQUIRETLS is not known")
	}
}

// awaitLog waits for a line of the house's log with all the words.
func (h *house) awaitLog(t *testing.T, words ...string) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for line := range strings.Lines(h.log.String()) {
			if containsAll(line, words) {
				return
			}
		}
	}
	t.Errorf("no line of the log has %q", words)
}
