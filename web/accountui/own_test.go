package accountui_test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/junkbook"
	"github.com/posthouse-mail/posthouse/smtp/learn"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/accountui"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
	"github.com/posthouse-mail/posthouse/web/page/pagetest"
)

const (
	alice = mail.AccountID(1)
	bob   = mail.AccountID(2)
)

// full is a room with all that a house has, with alice signed in; bob is there too.
type full struct {
	*house
	s     *storetest.House
	side  *kv.Side
	queue *queue.Queue
	story *story.Book
	judge *spam.Judge
	now   time.Time // of stories
	roots *x509.CertPool
	slow  chan struct{} // when there, lessons wait for one of it
}

func newFull(t *testing.T) *full {
	f := &full{roots: x509.NewCertPool()}
	f.s = storetest.Start(t, storetest.Options{Register: []func(*kv.DB, *store.Store){func(db *kv.DB, s *store.Store) {
		q, err := queue.New(db, s, queue.Options{Hostname: "mail.test"})
		if err != nil {
			t.Fatal(err)
		}
		f.queue = q
	}}})
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Close(); err != nil {
			t.Error(err)
		}
	})
	f.side, f.story = side, story.New(story.Options{Side: side, Now: func() time.Time { return f.now }})
	devices := auth.NewDeviceBook(side)
	f.house = &house{t: t, directory: auth.New(f.s.DB, auth.Options{Devices: devices})}
	authtest.Make(t, f.s, f.directory, authtest.Account{Name: "alice", Quota: store.Quota{Bytes: 100_000}}, authtest.Account{Name: "bob"})
	f.judge = spam.New(spam.Options{Side: side, Hostname: "mail.test"})
	teacher := learn.New(learn.Options{Store: f.s.Store, Side: side, Learn: func(ctx context.Context, a mail.AccountID, m io.Reader, c spam.Class) (bool, error) {
		if f.slow != nil {
			select {
			case <-f.slow:
			case <-ctx.Done():
				return false, ctx.Err()
			}
		}
		return f.judge.Learn(ctx, a, m, c)
	}})
	f.admin = admin.New(admin.Options{
		DB: f.s.DB, Directory: f.directory, Store: f.s.Store, Queue: f.queue, Story: f.story, Devices: devices,
		Masks: auth.NewMaskBook(side), Limits: admin.Limits{Book: limit.New(limit.Options{Side: side, Settings: limit.Settings{Account: limit.Limits{MessagesHour: 200}}})},
		Junk:    admin.Junk{Judge: f.judge, Book: junkbook.New(f.s.DB, nil), Teacher: teacher, Enabled: true, Line: 6},
		Imports: admin.Imports{Allowed: func(a netip.Addr) string { return map[bool]string{false: "elsewhere"}[a.IsLoopback()] }, AnyPort: true, Roots: f.roots},
	})
	t.Cleanup(func() {
		if err := f.admin.Close(); err != nil {
			t.Error(err)
		}
	})
	f.room = accountui.New(accountui.Options{House: f.admin, Directory: f.directory, Programs: page.Programs{Host: "mail.test", IMAPS: 993}})
	f.visit = pagetest.SignIn(t, f.directory, "alice")
	return f
}

// not is a page that says none of some words.
func (f *full) not(path string, words ...string) {
	f.t.Helper()
	body, _ := f.want(path, nil, 200)
	for _, s := range words {
		if strings.Contains(body, s) {
			f.t.Errorf("%s says %q:\n%s", path, s, body)
		}
	}
}

func (f *full) flush() {
	f.t.Helper()
	if err := f.side.Flush(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// TestDevicesSeen: rows in words; another's device cannot be forgotten.
func TestDevicesSeen(t *testing.T) {
	f := newFull(t)
	f.want("/account/devices", nil, 200, "Nothing has logged in yet")
	login := func(user, name, password string) {
		c := auth.Client{Door: auth.DoorIMAP, Remote: netip.MustParseAddr("192.0.2.7"), TLS: &tls.ConnectionState{}, Name: name}
		_, _ = f.directory.Login(t.Context(), c, user, password)
	}
	login("alice", "<i>Phone</i> 1.2", authtest.Password)
	login("alice", "<i>Phone</i> 1.2", "wrong")
	login("bob", "Bobs tablet", authtest.Password)
	f.flush()
	f.want("/account/devices", nil, 200, "&lt;i&gt;Phone", "Read mail (IMAP)", "your own password", "192.0.2.7", "the password was wrong")
	f.not("/account/devices", "Bobs")
	theirs, err := f.admin.Devices(t.Context(), "bob")
	if err != nil || len(theirs) != 1 {
		t.Fatal(theirs, err)
	}
	f.want("/account/devices/forget", url.Values{"device": {theirs[0].ID}}, 303)
	if theirs, err = f.admin.Devices(t.Context(), "bob"); err != nil || len(theirs) != 1 {
		t.Error("alice has changed bob's list", err)
	}
	mine, err := f.admin.Devices(t.Context(), "alice")
	if err != nil || len(mine) != 1 {
		t.Fatal(mine, err)
	}
	f.want("/account/devices/forget", url.Values{"device": {mine[0].ID}}, 303)
	f.want("/account/devices/forget", url.Values{"device": {"zz"}}, 404)
	f.want("/account/devices", nil, 200, "Nothing has logged in yet")
}

// TestAddresses: all names, and only one's own.
func TestAddresses(t *testing.T) {
	f := newFull(t)
	address := func(s string) mail.Address {
		a, err := mail.ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	err := f.s.DB.Update(t.Context(), func(tx *kv.Tx) error {
		for _, a := range []auth.Alias{
			{Address: address("team@mail.test"), Members: []mail.Address{address("alice@mail.test"), address("bob@mail.test")}, SendAs: true},
			{Address: address("all@mail.test"), Members: []mail.Address{address("team@mail.test")}},
			{Address: address("theirs@mail.test"), Members: []mail.Address{address("bob@mail.test")}},
		} {
			if err := f.directory.PutAlias(tx, a); err != nil {
				return err
			}
		}
		return f.directory.PutDomain(tx, auth.Domain{Name: "also.test", AliasOf: "mail.test"})
	})
	if err != nil {
		t.Fatal(err)
	}
	f.want("/account/addresses", nil, 200, "alice@mail.test", "team@mail.test", "all@mail.test", "1 other", "@also.test", "alice&#43;shop@mail.test")
	f.not("/account/addresses", "theirs@", "bob@")
}

// TestMasks: made, found, noted, switched, and removed after a question; another's are not there.
func TestMasks(t *testing.T) {
	f := newFull(t)
	f.want("/account/masks", nil, 200, "There are none yet")
	_, header := f.want("/account/masks", url.Values{"note": {"the <shop>"}}, 303) // to load the page again makes no second one
	body, _ := f.want(header.Get("Location"), nil, 200, "Your new address", "the &lt;shop&gt;")
	own := regexp.MustCompile(`id="made-address">([^<]+)<`).FindStringSubmatch(body)[1]
	theirs, err := f.admin.AddMask(t.Context(), "bob", admin.NewMask{Note: "bobs"})
	if err != nil {
		t.Fatal(err)
	}
	f.not("/account/masks", theirs.Address, "bobs")
	f.not("/account/masks?made="+url.QueryEscape(theirs.Address), theirs.Address)
	f.want("/account/masks?find=SHOP", nil, 200, own)
	f.want("/account/masks?find=none", nil, 200, "None of yours fits")
	f.want("/account/masks?page=99", nil, 200, own)
	one := "/account/masks/one"
	f.want(one+"?address="+url.QueryEscape(own), nil, 200, "on: mail to it reaches you")
	f.want(one, url.Values{"address": {own}, "state": {"off"}}, 303)
	f.want(one+"?address="+url.QueryEscape(own), nil, 200, "mail to it is refused")
	f.want(one, url.Values{"address": {own}, "note": {strings.Repeat("x", 300)}}, 422, "too long")
	f.want(one, url.Values{"address": {own}, "note": {"another shop"}}, 303)
	f.want("/account/masks", nil, 200, "another shop", `class="no">off`)
	for _, path := range []string{one, "/account/masks/remove"} {
		f.want(path+"?address="+url.QueryEscape(theirs.Address), nil, 404, "no such masked address")
		f.want(path, url.Values{"address": {theirs.Address}, "state": {"off"}}, 404)
	}
	f.want("/account/masks", url.Values{"domain": {"elsewhere.test"}}, 422)
	f.want("/account/masks/remove?address="+url.QueryEscape(own), nil, 200, "cannot be undone")
	f.want("/account/masks/remove", url.Values{"address": {own}}, 303)
	f.want("/account/masks", nil, 200, "There are none yet")
	all, err := f.admin.Masks(t.Context(), "bob")
	if err != nil || len(all) != 1 || !all[0].On {
		t.Errorf("bob's: %v %v", all, err)
	}
}

// TestForwarding: with the password, with what is wrong said beside it, and never over somebody else's change.
func TestForwarding(t *testing.T) {
	f := newFull(t)
	path := "/account/forwarding"
	body, _ := f.want(path, nil, 200, "nothing is forwarded", `name="keep" value="1" checked`)
	version := regexp.MustCompile(`name="version" value="([^"]+)"`).FindStringSubmatch(body)[1]
	form := func(to, keep, password string) url.Values {
		return url.Values{"to": {to}, "keep": {keep}, "version": {version}, "password": {password}}
	}
	f.want(path, form("me@example.org", "1", "wrong"), 422, "This is not your password", "me@example.org")
	f.want(path, form("no address", "1", authtest.Password), 422, "is no mail address")
	f.want(path, form("x@example.org\ny@example.org", "1", authtest.Password), 303)
	f.want(path, nil, 200, "x@example.org</span>, <span", "y@example.org", "a copy stays here")
	body, _ = f.want(path, form("thief@example.org", "", authtest.Password), 409, "changed meanwhile", "thief@example.org</textarea>", "x@example.org") // what was typed beside what is
	if g, err := f.admin.Forwarding(t.Context(), "alice"); err != nil || len(g.To) != 2 || !g.Keep {
		t.Error(g, err)
	}
	if g, err := f.admin.Forwarding(t.Context(), "bob"); err != nil || len(g.To) != 0 {
		t.Error(g, err)
	}
	version = regexp.MustCompile(`name="version" value="([^"]+)"`).FindStringSubmatch(body)[1]
	f.want(path, form("z@example.org", "1", authtest.Password), 303) // who has seen that may go on
	f.want("/account/sending", url.Values{"hold": {"30s"}, "copy": {"off"}, "version": {"old"}}, 409, "changed meanwhile", `value="30s" selected`, `value="off" selected`)
}

// TestSpace: a picture, and the same in numbers.
func TestSpace(t *testing.T) {
	f := newFull(t)
	f.want("/account/space", nil, 200, "INBOX", "<svg")
	storetest.Message(t, f.s.Store, alice, "INBOX", "Subject: x\r\n\r\n"+strings.Repeat("x", 95_000))
	body, _ := f.want("/account/space", nil, 200, "95 KB of 100 KB used", "nearly full", "INBOX, 95 KB")
	if strings.Contains(body, "style=") {
		t.Error("an inline style")
	}
}

// TestDeleted: by day and mailbox, brought back one by one or all; another's stay where they are.
func TestDeleted(t *testing.T) {
	f := newFull(t)
	f.want("/account/deleted", nil, 200, "There is no deleted mail")
	remove := func(of mail.AccountID, mailbox string, subjects ...string) {
		for _, s := range subjects {
			m := storetest.Message(t, f.s.Store, of, mailbox, "From: Zoe <zoe@example.org>\r\nSubject: "+s+"\r\n\r\ntext\r\n")
			if _, _, err := f.s.Store.Expunge(t.Context(), m.Mailbox, []store.UIDRange{{First: m.UID, Last: m.UID}}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove(alice, "INBOX", "one", "two <b>", "three")
	remove(alice, "Archive", "four")
	remove(bob, "INBOX", "bobs")
	f.want("/account/deleted", nil, 200, "4 deleted messages", "Archive")
	day := time.Now().UTC().Format("2006-01-02")
	group := "/account/deleted/group?day=" + day + "&mailbox=INBOX"
	body, _ := f.want(group, nil, 200, "3 messages", "two &lt;b&gt;", "Zoe &lt;zoe@example.org&gt;")
	ids := regexp.MustCompile(`name="id" value="(\d+)"`).FindAllStringSubmatch(body, -1)
	if strings.Contains(body, "bobs") || len(ids) != 3 {
		t.Fatalf("%v", ids)
	}
	form := url.Values{"day": {day}, "mailbox": {"INBOX"}}
	f.want("/account/deleted/group", form, 422, "tick what is to come back")
	form["id"] = []string{ids[0][1], "x"}
	f.want("/account/deleted/group", form, 200, "1 message is where it was", "INBOX: 1")
	delete(form, "id")
	form.Set("all", "1")
	f.want("/account/deleted/group", form, 200, "2 messages are where they were")
	f.want("/account/deleted/group", form, 404)
	f.want(group, nil, 404, "Nothing of this is left")
	f.want("/account/deleted/group?day=never&mailbox=INBOX", nil, 422)
	if rows := storetest.Rows(t, f.s.Store, alice, "INBOX"); len(rows) != 3 {
		t.Errorf("%d are back", len(rows))
	}
	if rows := storetest.Rows(t, f.s.Store, bob, "INBOX"); len(rows) != 0 {
		t.Errorf("bob has %d", len(rows))
	}
}

// TestExport: a zip of all or of one mailbox, of nobody else's.
func TestExport(t *testing.T) {
	f := newFull(t)
	storetest.Message(t, f.s.Store, alice, "INBOX", "Subject: mine\r\n\r\ntext\r\n")
	storetest.Message(t, f.s.Store, bob, "INBOX", "Subject: bobs\r\n\r\ntext\r\n")
	f.want("/account/export", nil, 200, "All mailboxes", "INBOX")
	for _, q := range []string{"form=mbox", "form=maildir", "form=mbox&mailbox=INBOX"} {
		body, header := f.want("/account/export/mail.zip?"+q, nil, 200)
		if !strings.HasPrefix(header.Get("Content-Disposition"), `attachment; filename="mail-alice-at-mail.test-`) || header.Get("Cache-Control") != "no-store" {
			t.Error(header)
		}
		z, err := zip.NewReader(strings.NewReader(body), int64(len(body)))
		if err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		for _, x := range z.File {
			r, err := x.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(&all, r); err != nil {
				t.Fatal(err)
			}
		}
		if text := all.String(); !strings.Contains(text, "Subject: mine") || strings.Contains(text, "bobs") {
			t.Errorf("%s: %q", q, text)
		}
	}
	f.want("/account/export/mail.zip?form=doc", nil, 422)
	stuck, gone := make(chan struct{}), make(chan error)
	go func() { // somebody who takes one octet and no more
		gone <- f.admin.ExportZip(t.Context(), "alice", admin.ZipExport{Form: "mbox"}, writer(func(p []byte) (int, error) {
			stuck <- struct{}{}
			<-stuck
			return 0, io.ErrClosedPipe
		}))
	}()
	<-stuck
	f.want("/account/export/mail.zip?form=mbox", nil, 409, "fetched as a file already")
	f.as("bob")
	f.want("/account/export/mail.zip?form=mbox", nil, 200)
	f.as("alice")
	stuck <- struct{}{}
	if err := <-gone; err == nil {
		t.Error("a file that nobody took is whole")
	}
	f.want("/account/export/mail.zip?form=mbox", nil, 200)
	f.want("/account/export/mail.zip?form=mbox&mailbox=None", nil, 404)
}

// writer is a function that writes.
type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// popServer is another server with two messages, over TLS, that the house trusts.
func (f *full) popServer(hold chan struct{}) (port string) {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		f.t.Fatal(err)
	}
	f.roots.AddCert(leaf)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go speakPOP(c, hold)
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	return port
}

func speakPOP(c net.Conn, hold chan struct{}) {
	defer c.Close()
	fmt.Fprint(c, "+OK\r\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		switch word, rest, _ := strings.Cut(in.Text(), " "); {
		case word == "PASS" && rest != "theirs":
			fmt.Fprint(c, "-ERR wrong password\r\n")
		case word == "LIST":
			fmt.Fprint(c, "+OK\r\n1 10\r\n2 10\r\n.\r\n")
		case word == "UIDL":
			fmt.Fprint(c, "+OK\r\n1 a\r\n2 b\r\n.\r\n")
		case word == "RETR":
			<-hold
			fmt.Fprint(c, "+OK\r\nSubject: x\r\n\r\n.\r\n")
		case word == "CAPA":
			fmt.Fprint(c, "-ERR\r\n")
		default:
			fmt.Fprint(c, "+OK\r\n")
		}
	}
}

// TestImport: begun from the page, followed without a script, stopped; errors in words; bob's are bob's.
func TestImport(t *testing.T) {
	f := newFull(t)
	hold := make(chan struct{})
	port := f.popServer(hold)
	path := "/account/import"
	f.want(path, nil, 200, "Bring mail here")
	form := url.Values{"protocol": {"pop3"}, "host": {"localhost"}, "port": {port}, "security": {"tls"}, "user": {"u"}, "password": {"theirs"}}
	for _, c := range []struct{ field, value, says string }{
		{"host", "", "Which server?"}, {"host", "a b", "The server is a name"}, {"host", "[127.0.0.1]", "The server is a name"}, {"port", "0", "A port is a number"}, {"port", "x", "A port is a number"},
		{"password", "", "Your password there is needed"}, {"user", "", "Who are you there?"}, {"protocol", "ftp", "Choose IMAP or POP3"},
	} {
		bad := url.Values{}
		for k, v := range form {
			bad[k] = v
		}
		bad.Set(c.field, c.value)
		if body, _ := f.want(path, bad, 422, c.says); strings.Contains(body, "theirs") {
			t.Error("the password is in the page")
		}
	}
	_, header := f.want(path, form, 303)
	to := header.Get("Location")
	if _, header := f.want(to, nil, 200, "It goes on"); header.Get("Refresh") == "" {
		t.Error("nobody looks again")
	}
	f.want(path, form, 422, "An import goes on already")
	close(hold)
	id := strings.TrimPrefix(to, "/account/import/progress?id=")
	ended := func(id string) {
		t.Helper()
		for s := (admin.PullStatus{State: admin.PullRunning}); s.State == admin.PullRunning; {
			var err error
			if s, err = f.admin.WatchPull(t.Context(), id, s.Revision); err != nil {
				t.Fatal(err)
			}
		}
	}
	ended(id)
	if body, header := f.want(to, nil, 200, "All is here", "2 brought here"); header.Get("Refresh") != "" || strings.Contains(body, "theirs") {
		t.Error("it goes on, or tells the password")
	}
	if rows := storetest.Rows(t, f.s.Store, alice, "INBOX"); len(rows) != 2 {
		t.Errorf("%d messages", len(rows))
	}
	form.Set("password", "another")
	_, header = f.want(path, form, 303)
	failed := strings.TrimPrefix(header.Get("Location"), "/account/import/progress?id=")
	ended(failed)
	f.want(header.Get("Location"), nil, 200, "It has failed", "wrong password")
	theirs, err := f.admin.StartOwnPull(t.Context(), "bob", admin.OwnPull{Protocol: "pop3", Host: "localhost", Port: 1, User: "bob", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	f.not(path, theirs.ID, "bob")
	f.want("/account/import/progress?id="+theirs.ID, nil, 404, "no such import")
	f.want("/account/import/stop", url.Values{"id": {theirs.ID}}, 404)
}

// TestImportInside: what a user asks for leads to no inner network, and to no other service.
func TestImportInside(t *testing.T) {
	f := newFull(t)
	h := admin.New(admin.Options{DB: f.s.DB, Directory: f.directory, Store: f.s.Store, Queue: f.queue})
	defer h.Close()
	if _, err := h.StartOwnPull(t.Context(), "alice", admin.OwnPull{Protocol: "imap", Host: "localhost", Port: 22, User: "u", Password: "p"}); err == nil {
		t.Error("port 22 was taken")
	}
	s, err := h.StartOwnPull(t.Context(), "alice", admin.OwnPull{Protocol: "imap", Host: "localhost", User: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	for s.State == admin.PullRunning && !strings.Contains(s.Progress.Note, "does not go") {
		if s, err = h.WatchPull(t.Context(), s.ID, s.Revision); err != nil {
			t.Fatal(err)
		}
	}
	if s.State == admin.PullRunning {
		if err := h.StopPull(t.Context(), s.ID); err != nil {
			t.Error(err)
		}
	}
	if !strings.Contains(s.Error+s.Progress.Note, "a loopback address") {
		t.Errorf("%+v", s)
	}
	if _, err := h.StartOwnPull(t.Context(), "alice", admin.OwnPull{Protocol: "imap", Host: "localhost", User: strings.Repeat("u", 1000), Password: "p"}); err == nil {
		t.Error("a name of 1,000 octets was taken")
	}
	for range 60 { // who tries again and again pushes nobody's out
		for x, err := h.StartOwnPull(t.Context(), "bob", admin.OwnPull{Protocol: "pop3", Host: "localhost", User: "u", Password: "p"}); x.State == admin.PullRunning; x, err = h.WatchPull(t.Context(), x.ID, x.Revision) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	all, err := h.OwnPulls(t.Context(), "alice") // what lies inside is not told to who asked
	if err != nil || len(all) != 1 || !strings.Contains(all[0].Error, "inner network") || strings.Contains(all[0].Error+all[0].Progress.Note, "127.") {
		t.Errorf("%+v, %v", all, err)
	}
}
