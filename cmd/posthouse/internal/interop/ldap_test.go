//go:build interop

package interop

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth/external"
	"github.com/posthouse-mail/posthouse/internal/cert"
)

// startSlapd runs Debian's OpenLDAP with alice in it, on a unix socket, and returns its address.
func startSlapd(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	conf := write(t, dir, "slapd.conf", "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude /etc/ldap/schema/inetorgperson.schema\n"+
		"modulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\nsuffix dc=alpha,dc=test\nrootdn cn=root,dc=alpha,dc=test\nrootpw root\ndirectory "+dir+"/db\n")
	people := write(t, dir, "people.ldif", "dn: dc=alpha,dc=test\nobjectClass: dcObject\nobjectClass: organization\no: Alpha\ndc: alpha\n\n"+
		"dn: uid=alice,dc=alpha,dc=test\nobjectClass: inetOrgPerson\nuid: alice\ncn: Alice\nsn: Liddell\nmail: "+alice+"\nuserPassword: of the directory\n\n"+
		"dn: uid=one,dc=alpha,dc=test\nobjectClass: inetOrgPerson\nuid: one\ncn: One\nsn: One\nmail: twice@alpha.test\nuserPassword: x\n\n"+
		"dn: uid=two,dc=alpha,dc=test\nobjectClass: inetOrgPerson\nuid: two\ncn: Two\nsn: Two\nmail: twice@alpha.test\nuserPassword: x\n")
	run(t, dir, "", "/usr/sbin/slapadd", "-f", conf, "-l", people)
	socket := filepath.Join(dir, "ldapi")
	uri := "ldapi://" + url.PathEscape(socket)
	listening(t, socket, "/usr/sbin/slapd", "-d", "0", "-f", conf, "-h", uri)
	return uri
}

// listening runs a program until the test ends, and waits for its socket.
func listening(t *testing.T, socket, name string, args ...string) (stop func()) {
	t.Helper()
	log := &buffer{}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: apt-get install the packages that .ci/run lists: %v", name, err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return stop
		}
	}
	t.Fatalf("%s does not listen on %s\n%s", name, socket, log)
	return stop
}

// TestPasswordsInLDAP: the helper of deploy/ between OpenLDAP and the house, as curl meets it over IMAP.
func TestPasswordsInLDAP(t *testing.T) {
	directory := startSlapd(t)
	dir := t.TempDir()
	socket := filepath.Join(dir, "helper")
	stop := listening(t, socket, "../../../../deploy/ldap-helper", "--socket", socket, "--uri", directory, "--base", "dc=alpha,dc=test")

	x := external.New(external.Options{Socket: socket})
	defer x.Close()
	for q, want := range map[external.Question]string{
		{User: alice, Password: "of the directory"}:                 "yes",
		{User: alice, Password: "wrong"}:                            "no",
		{User: alice}:                                               "no", // would be a bind of nobody
		{User: "*", Password: "of the directory"}:                   "no",
		{User: "*)(uid=alice", Password: "of the directory"}:        "no",
		{User: "twice@alpha.test", Password: "x"}:                   "later",
		{User: alice, Password: strings.Repeat("x", 20000)}:         "later",
		{User: "stranger@alpha.test", Password: "of the directory"}: "no",
	} {
		right, err := x.Ask(t.Context(), q, func() error { return nil })
		if got := map[bool]string{true: "yes", false: "no"}[right]; err == nil && got != want || (err != nil) != (want == "later") {
			t.Errorf("%.60q: %v, %v; want %s", q, right, err, want)
		}
	}

	authority, err := cert.NewAuthority("interop", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	h := plan{
		data: t.TempDir(), domain: "alpha.test", accounts: []string{alice, bob}, remotePort: "1", names: "127.0.0.1:1", authority: authority,
		settings: fmt.Sprintf("[auth.external]\nsocket = %q\ndomains = [\"alpha.test\"]\nexcept = [%q]\nremember = \"0s\"\n", socket, bob),
	}.serve(t)
	home := t.TempDir()
	curl := func(user, password string) (string, error) {
		return try(t, home, "", "curl", "-sSv", "--cacert", h.ca, "--user", user+":"+password, "imaps://localhost:"+h.port(1993)+"/INBOX")
	}
	for user, password := range map[string]string{alice: "of the directory", bob: password} {
		if out, err := curl(user, password); err != nil {
			t.Errorf("%s: %v\n%s", user, err, out)
		}
	}
	if out, err := curl(alice, password); err == nil || !strings.Contains(out, "AUTHENTICATIONFAILED") {
		t.Errorf("a wrong password: %v\n%s", err, out)
	}
	stop()
	if out, err := curl(alice, "of the directory"); err == nil || !strings.Contains(out, "UNAVAILABLE") {
		t.Errorf("the helper is down: %v\n%s", err, out)
	}
}
