package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestRoundTrip: a house comes back as it was when its backup was taken, however the backup is kept; the next one copies
// what is new only; the house goes on meanwhile, and what the restored one gives was never given by it.
func TestRoundTrip(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ write, read Secrets }{
		"plain":      {},
		"passphrase": {Secrets{Passphrase: "correct horse", cheap: true}, Secrets{Passphrase: "correct horse"}},
		"public key": {Secrets{Recipients: []string{id.Recipient().String()}}, Secrets{Identities: id.String()}},
		"both keys":  {Secrets{Recipients: []string{id.Recipient().String()}, Identities: "# mine\n" + id.String() + "\n"}, Secrets{Identities: id.String()}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h, folder, now := newHouse(t), filepath.Join(t.TempDir(), "deep", "backup"), newClock()
			o := options(h, folder, now)
			o.Secrets = c.write
			fill(t, h, "first", 60)
			first := backup(t, o)
			was := look(t, h.Store)
			if first.Copied != first.Segments || first.Copied < 3 {
				t.Fatalf("the first backup: %+v", first)
			}
			fill(t, h, "second", 30)
			now.at = now.at.Add(time.Hour)
			second := backup(t, o)
			later := look(t, h.Store)
			if second.Copied == 0 || second.Copied >= second.Segments || second.Segments < first.Segments {
				t.Fatalf("the second backup: %+v", second)
			}
			if how := second.Verified.How; (how == HowCiphertext) != (name == "public key") || how == HowRecords && second.Verified.Compared != 2 {
				t.Fatalf("verified: %+v", second.Verified)
			}
			list, err := Generations(nil, folder)
			if err != nil || len(list) != 2 {
				t.Fatalf("%d generations, %v", len(list), err)
			}
			for i, want := range []picture{was, later} {
				v, problems, err := Verify(t.Context(), list[i], VerifyOptions{Secrets: c.read})
				if err != nil || v == nil || v.How != HowRecords || v.Messages != 60+30*i {
					t.Fatalf("verify %d: %+v, %q, %v", i, v, problems, err)
				}
				r := openGeneration(t, list[i], c.read)
				want.compare(t, look(t, r.Store))
				want.compare(t, look(t, restored(t, r).Store))
			}
			if c.write.Passphrase != "" || len(c.write.Recipients) > 0 {
				hidden(t, folder)
			}
		})
	}
}

// hidden: nothing of a mail or an address stands in an encrypted folder, and names tell nothing.
func hidden(t *testing.T, folder string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		p, err := os.ReadFile(path)
		for _, word := range []string{"house.test", "Subject", "INBOX", "phseg"} {
			if strings.Contains(string(p), word) {
				t.Errorf("%s tells of %s", path, word)
			}
		}
		if strings.HasSuffix(path, ".seg") {
			t.Errorf("%s has the name of a segment", path)
		}
		return err
	})
	if err != nil || files < 10 {
		t.Fatalf("%d files, %v", files, err)
	}
}

// TestEpochs: the source goes on after the backup, and so does the restored house: no pair of UIDVALIDITY and UID of a mailbox, and no
// id, is given by both; what was there keeps its uids and unique-ids.
func TestEpochs(t *testing.T) {
	h, folder := newHouse(t), t.TempDir()
	fill(t, h, "before", 20)
	backup(t, options(h, folder, newClock()))
	r := openGeneration(t, newest1(t, folder), Secrets{})
	again := restored(t, r)
	pairs, ids := map[string]string{}, map[uint64]string{}
	old := look(t, r.Store)
	for _, house := range []struct {
		name string
		h    *storetest.House
	}{{"source", h}, {"restored", again}} {
		fill(t, house.h, "after", 20)
		for i := range 30 {
			if _, err := house.h.Store.CreateMailbox(t.Context(), 1, fmt.Sprint("box", i), 0); err != nil {
				t.Fatal(err)
			}
			storetest.Message(t, house.h.Store, 1, fmt.Sprint("box", i), "Subject: x\r\n\r\nx\r\n")
		}
		for _, id := range []mail.AccountID{1, 2} {
			boxes, err := house.h.Store.Mailboxes(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range boxes {
				st, err := house.h.Store.State(t.Context(), b.ID)
				if err != nil {
					t.Fatal(err)
				}
				before := map[uint64]bool{}
				for _, m := range old[fmt.Sprintf("%d %s", id, b.Name)] {
					before[m.id] = true
				}
				for _, m := range storetest.Rows(t, house.h.Store, id, b.Name) {
					pair := fmt.Sprint(id, b.Name, st.UIDValidity, m.UID)
					if by, ok := pairs[pair]; ok {
						t.Fatalf("%s gave %s, and %s did", house.name, pair, by)
					}
					pairs[pair] = house.name
					if by, ok := ids[m.ID]; ok && by != house.name && !before[m.ID] {
						t.Fatalf("%s gave id %x, and %s did", house.name, m.ID, by)
					}
					ids[m.ID] = house.name
				}
			}
		}
	}
}

// TestUnderLoad: mail comes, is flagged and expunged while a backup runs; what comes back is sound, and has all that was there before
// and stayed.
func TestUnderLoad(t *testing.T) {
	h, folder, now := newHouse(t), t.TempDir(), newClock()
	fill(t, h, "before", 40)
	must := look(t, h.Store, 2)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			storetest.Deliver(t, h.Store, 1, "INBOX", fmt.Sprintf("Subject: load %d\r\n\r\n%s\r\n", i, strings.Repeat("x", 300*(i%400))))
			if i%3 != 0 {
				continue
			}
			box, err := h.Store.Mailbox(t.Context(), 1, "INBOX")
			if err != nil {
				t.Error(err)
				return
			}
			uid := store.UID(i/3 + 1)
			if _, _, err := h.Store.SetFlags(t.Context(), box.ID, []store.UIDRange{{First: uid, Last: uid + 5}}, store.FlagsChange{Op: store.FlagsAdd, Flags: store.Flagged}); err != nil {
				t.Error(err)
			}
			if _, _, err := h.Store.Expunge(t.Context(), box.ID, []store.UIDRange{{First: uid, Last: uid}}, false); err != nil {
				t.Error(err)
			}
		}
	})
	for range 5 {
		now.at = now.at.Add(time.Minute)
		backup(t, options(h, folder, now))
		r := openGeneration(t, newest1(t, folder), Secrets{})
		must.compare(t, look(t, restored(t, r).Store, 2)) // and its cleanup checks everything
	}
	close(stop)
	wg.Wait()
}

// TestStopped: a backup without a change copies nothing, and gives the same house.
func TestStopped(t *testing.T) {
	h, folder, now := newHouse(t), t.TempDir(), newClock()
	fill(t, h, "x", 20)
	backup(t, options(h, folder, now))
	h.Reopen()
	now.at = now.at.Add(time.Second)
	rep := backup(t, options(h, folder, now))
	if rep.Copied > 1 || rep.Verified.Messages != 20 {
		t.Fatalf("%+v", rep)
	}
	if again := backup(t, options(h, folder, now)); !strings.HasSuffix(again.Generation, "Z-2") {
		t.Fatalf("two generations of one second: %s", again.Generation)
	}
}

// TestKeys: what is wrong with a key is said, and never the key.
func TestKeys(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	h, folder := newHouse(t), t.TempDir()
	fill(t, h, "x", 5)
	o := options(h, folder, newClock())
	o.Secrets = Secrets{Recipients: []string{id.Recipient().String()}}
	backup(t, o)
	g := newest1(t, folder)
	for name, s := range map[string]Secrets{
		"none": {}, "another": {Identities: other.String()}, "garbage": {Identities: "AGE-SECRET-KEY-1XYZ"}, "passphrase": {Passphrase: "x"},
	} {
		if _, err := g.Open(t.Context(), s); !errors.Is(err, ErrKey) || strings.Contains(fmt.Sprint(err), "SECRET-KEY-1X") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, s := range []Secrets{{Recipients: []string{"age1nonsense"}}, {Recipients: []string{id.Recipient().String()}, Passphrase: "x"}} {
		o.Secrets = s
		if _, err := Run(t.Context(), o); !errors.Is(err, ErrKey) {
			t.Errorf("backup: %v", err)
		}
	}
	o.Secrets = Secrets{Passphrase: "right", cheap: true}
	backup(t, o)
	o.Secrets.Passphrase = "wrong"
	if _, err := Run(t.Context(), o); !errors.Is(err, ErrKey) {
		t.Errorf("another passphrase: %v", err)
	}
}

// TestRefusals: what cannot be done is refused with what to do.
func TestRefusals(t *testing.T) {
	h, folder, now := newHouse(t), t.TempDir(), newClock()
	fill(t, h, "x", 3)
	backup(t, options(h, folder, now))
	g := newest1(t, folder)
	r := openGeneration(t, g, Secrets{})
	if _, err := r.Restore(t.Context(), h.DB.Dir(), nil); !errors.Is(err, ErrNotEmpty) || !strings.Contains(err.Error(), "mv ") {
		t.Errorf("restore over a house: %v", err)
	}
	if _, err := Generations(nil, filepath.Join(folder, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("list of nothing: %v", err)
	}
	if _, err := Find(nil, "", time.Time{}); !errors.Is(err, ErrNone) {
		t.Errorf("find in nothing: %v", err)
	}
	if _, err := Find([]*Generation{g}, "", now.at.Add(-time.Second)); !errors.Is(err, ErrNone) {
		t.Errorf("find before the first: %v", err)
	}
	if err := writeJSON(g.fs, filepath.Join(g.store(), lockName), holder{Who: "elsewhere:/x", At: now.at.Add(-time.Minute)}); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), options(h, folder, now)); !errors.Is(err, ErrBusy) {
		t.Errorf("two at once: %v", err)
	}
	now.at = now.at.Add(lockStale)
	backup(t, options(h, folder, now)) // whoever held it is gone
	m := g.Manifest
	m.Format++
	if err := writeJSON(g.fs, filepath.Join(g.dir(), manifestName), m); err != nil {
		t.Fatal(err)
	}
	if _, err := Generations(nil, folder); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer format: %v", err)
	}
}

// TestFolder: settings, keys and mail that waits in files come back; what belongs to the running house does not.
func TestFolder(t *testing.T) {
	h, folder := newHouse(t), t.TempDir()
	settings := filepath.Join(t.TempDir(), "posthouse.toml")
	files := map[string]string{"dkim/house.test.pem": "secret", "spool/1": "mail", "tmp/x": "", "meta.db.day": "", "side.db": ""}
	for name, text := range files {
		path := filepath.Join(h.DB.Dir(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(settings, []byte("hostname = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(h, folder, newClock())
	o.Settings = settings
	backup(t, o)
	for _, name := range []string{"meta.db.day", "side.db"} {
		if err := os.Remove(filepath.Join(h.DB.Dir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := restored(t, openGeneration(t, newest1(t, folder), Secrets{})).DB.Dir()
	for name, want := range map[string]string{RestoredSettings: "hostname = \"x\"\n", "dkim/house.test.pem": "secret", "spool/1": "mail"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"tmp/x", "side.db"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s came back: %v", name, err)
		}
	}
}
