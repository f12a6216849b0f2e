package housetest

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// A small data folder of each release is kept in releases, with a list of all that it must give: made once by that
// release's own binary (makerelease_test.go), killed in the middle of its work.
const releases = "../../../../store/testdata/releases"

// keepsake is what a data folder must give, as clients and operators see it.
type keepsake struct {
	Version  string
	Password string // of all accounts
	Domains  []map[string]any
	Accounts []map[string]any
	Aliases  []map[string]any
	Queue    []map[string]any
	Mail     map[string]map[string]*keptBox // account, mailbox
	UIDL     map[string]map[string]string   // account: unique-id, hash of the text
	Logged   []keptLate                     // answered 250 just before the kill
}

// keptBox is a mailbox as IMAP shows it.
type keptBox struct {
	Attributes                   []string // of LIST
	UIDValidity, UIDNext, ModSeq uint64
	Messages                     map[string]keptMessage `json:",omitempty"` // by UID
}

type keptMessage struct {
	Flags, Date, MessageID, Hash string
	Size, ModSeq                 uint64
}

// keptLate is a message that may have been in the log only.
type keptLate struct{ Account, Mailbox, MessageID string }

// TestReleases opens a copy of each release's folder with today's code and compares everything.
func TestReleases(t *testing.T) {
	lists, err := filepath.Glob(filepath.Join(releases, "*.json"))
	if err != nil || len(lists) == 0 {
		t.Fatalf("no folders of releases: %v", err)
	}
	for _, list := range lists {
		name := strings.TrimSuffix(filepath.Base(list), ".json")
		t.Run(name, func(t *testing.T) {
			raw, err := os.ReadFile(list)
			if err != nil {
				t.Fatal(err)
			}
			var k keepsake
			if err := json.Unmarshal(raw, &k); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "data")
			unpack(t, strings.TrimSuffix(list, ".json")+".tar.gz", dir)
			if log := openRelease(t, dir, &k); !strings.Contains(log, logx.StoreReplayed) {
				t.Errorf("nothing was in the log only: the folder shows less than it should\n%s", log)
			}
			openRelease(t, dir, &k) // nothing comes twice
			backAndForth(t, strings.TrimSuffix(list, ".json")+".tar.gz", &k)
		})
	}
}

// openRelease serves the folder with today's code, compares, and checks every octet of it.
func openRelease(t *testing.T, dir string, k *keepsake) (log string) {
	t.Helper()
	zone, err := dns.NewZone()
	if err != nil {
		t.Fatal(err)
	}
	zone.Fail("far.test")
	names, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, names.Close()) }()
	anywhere := []config.Address{{HostPort: "127.0.0.1:0"}}
	c := config.Default()
	c.Hostname, c.Data = "mx.one.test", dir
	c.Listen = config.Listen{IMAP: anywhere, POP3: anywhere}
	c.Auth.ClearLoopback = true
	c.Metrics.Listen = nil
	c.Queue.Lifetime.Duration, c.Queue.DelayNotice.Duration = 100*365*24*time.Hour, 0 // the folder is as old as its release
	c.DNS.Servers = []netip.AddrPort{names.Addr()}
	h := &house{t: t, street: &street{t: t}, log: &buffer{}}
	h.serve(c)
	defer h.stop()
	client, err := api.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	compareVerbs(t, client, k)
	for account, boxes := range k.Mail {
		compareMail(t, account, boxes, watchMail(t, h.doors["imap"], account, k.Password), k.Logged)
		compareUIDL(t, account, k.UIDL[account], watchUIDL(t, h.doors["pop3"], account, k.Password))
	}
	problems, err := client.CheckStore(t.Context(), admin.CheckRequest{Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("check: %s", p)
	}
	return h.log.String()
}

// backAndForth opens the folder with today's code and goes back: it is what it was, and can be opened again.
func backAndForth(t *testing.T, archive string, k *keepsake) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	unpack(t, archive, dir)
	before := listing(t, dir)
	c := config.Default()
	c.Data = dir
	files, err := daemon.OpenFiles(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	check(t, files.Close())
	r, err := kv.Rollback(t.Context(), kv.RollbackOptions{Dir: dir, Keep: store.PartKinds})
	if errors.Is(err, kv.ErrNoWayBack) {
		return // a release of today's format
	}
	if err != nil {
		t.Fatalf("%+v %v", r, err)
	}
	if after := listing(t, dir); !slices.Equal(before, after) {
		t.Errorf("after the rollback %q\nbefore %q", after, before)
	}
	openRelease(t, dir, k)
}

// compareVerbs looks for each thing that the operator had, with all that was said of it; more may be said today.
func compareVerbs(t *testing.T, c *api.Client, k *keepsake) {
	t.Helper()
	ctx := t.Context()
	domains, err := c.Domains(ctx)
	check(t, err)
	accounts, err := c.Accounts(ctx)
	check(t, err)
	aliases, err := c.Aliases(ctx)
	check(t, err)
	queue, err := c.Queue(ctx)
	check(t, err)
	for what, pair := range map[string][2]any{
		"domains": {k.Domains, domains}, "accounts": {k.Accounts, accounts}, "aliases": {k.Aliases, aliases}, "queue": {k.Queue, queue},
	} {
		raw, err := json.Marshal(pair[1])
		check(t, err)
		var is []map[string]any
		check(t, json.Unmarshal(raw, &is))
		must := pair[0].([]map[string]any)
		if len(is) != len(must) {
			t.Errorf("%s: %v; want %v", what, is, must)
			continue
		}
		for _, m := range must {
			if !slices.ContainsFunc(is, func(x map[string]any) bool { return says(x, m) }) {
				t.Errorf("%s: %v is not among %v", what, m, is)
			}
		}
	}
}

// says reports whether x has all that must has.
func says(x, must any) bool {
	switch must := must.(type) {
	case map[string]any:
		m, ok := x.(map[string]any)
		for k, v := range must {
			ok = ok && says(m[k], v)
		}
		return ok
	case []any:
		l, ok := x.([]any)
		ok = ok && len(l) == len(must)
		for i := range must {
			ok = ok && says(l[i], must[i])
		}
		return ok
	}
	return reflect.DeepEqual(x, must)
}

func compareMail(t *testing.T, account string, must, is map[string]*keptBox, late []keptLate) {
	t.Helper()
	for name, b := range must {
		x := is[name]
		if x == nil {
			t.Errorf("%s has no mailbox %q", account, name)
			continue
		}
		if x.UIDValidity != b.UIDValidity || !slices.Equal(x.Attributes, b.Attributes) || x.ModSeq < b.ModSeq {
			t.Errorf("%s: %q is %+v; want %+v", account, name, *x, *b)
		}
		for uid, m := range b.Messages {
			if x.Messages[uid] != m {
				t.Errorf("%s: %q UID %s is %+v; want %+v", account, name, uid, x.Messages[uid], m)
			}
		}
		compareLate(t, keptLate{Account: account, Mailbox: name}, b, x, late)
	}
	for name := range is {
		if must[name] == nil && name != "Recently Deleted" { // a view of later releases
			t.Errorf("%s has a mailbox %q", account, name)
		}
	}
}

// compareLate: what was logged last has the next UIDs, each message once.
func compareLate(t *testing.T, of keptLate, must, is *keptBox, late []keptLate) {
	t.Helper()
	account, name := of.Account, of.Mailbox
	next := must.UIDNext
	for _, l := range late {
		if l.Account != account || l.Mailbox != name {
			continue
		}
		if got := is.Messages[fmt.Sprint(next)].MessageID; got != l.MessageID {
			t.Errorf("%s: %q UID %d is %q; want %q", account, name, next, got, l.MessageID)
		}
		next++
	}
	if is.UIDNext != next || len(is.Messages) != len(must.Messages)+int(next-must.UIDNext) {
		t.Errorf("%s: %q has %d messages, UIDNEXT %d; want %d of before, UIDNEXT %d", account, name, len(is.Messages), is.UIDNext, len(must.Messages), next)
	}
}

func compareUIDL(t *testing.T, account string, must, is map[string]string) {
	t.Helper()
	for id, hash := range must {
		if is[id] != hash {
			t.Errorf("%s: the message with the unique-id %s is %q; want %q", account, id, is[id], hash)
		}
	}
}

// unpack makes a folder of an archive.
func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNewerFolder: a folder of tomorrow's format is refused by the daemon in words that say what to do.
func TestNewerFolder(t *testing.T) {
	lists, err := filepath.Glob(filepath.Join(releases, "*.tar.gz"))
	if err != nil || len(lists) == 0 {
		t.Fatalf("no folders of releases: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	unpack(t, lists[len(lists)-1], dir)
	tables, err := bbolt.Open(filepath.Join(dir, "meta.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	check(t, tables.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("s")).Put([]byte("version"), []byte{0, 1, 0, 0}) }))
	check(t, tables.Close())
	before := listing(t, dir)
	c := config.Default()
	c.Data, c.Listen, c.Metrics.Listen = dir, config.Listen{}, nil
	_, err = daemon.New(t.Context(), daemon.Options{Config: c})
	if !errors.Is(err, kv.ErrNewer) || !strings.Contains(err.Error(), "use a newer posthouse") {
		t.Errorf("%v", err)
	}
	if after := listing(t, dir); !slices.Equal(before, after) {
		t.Errorf("the folder was changed: %v; was %v", after, before)
	}
}

// listing names the segments with a sum of their octets, and the rows of the tables.
func listing(t *testing.T, dir string) (out []string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "seg", "*.seg"))
	check(t, err)
	for _, path := range segments {
		b, err := os.ReadFile(path)
		check(t, err)
		out = append(out, filepath.Base(path)+" "+hashOf(string(b)))
	}
	tables, err := bbolt.Open(filepath.Join(dir, "meta.db"), 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	check(t, tables.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				out = append(out, fmt.Sprintf("%s %x %s", name, k, hashOf(string(v))))
				return nil
			})
		})
	}))
	check(t, tables.Close())
	return out
}
