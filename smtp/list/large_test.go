package list

import (
	"fmt"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// TestLargeList: the largest list is posted to in one record, with a link of its own in each copy too.
func TestLargeList(t *testing.T) {
	r := newRig(t)
	var all []mail.Address
	for i := range 4998 {
		all = append(all, mail.Address{Local: fmt.Sprint("member", i), Domain: mail.Domain(fmt.Sprintf("d%d.test", i%500))})
	}
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		_, err := r.dir.AddMembers(tx, parse(t, "dev@alpha.test"), all)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = r.db.Update(t.Context(), func(tx *kv.Tx) error {
		_, err := r.dir.AddMembers(tx, parse(t, "dev@alpha.test"), []mail.Address{parse(t, "one@more.test")})
		return err
	})
	if err == nil {
		t.Error("5,001 members")
	}
	// A stranger's word, on port 25 or in a link, costs no more than a look at the keys.
	words := testing.AllocsPerRun(3, func() {
		if _, _, err := r.lists.tokens.Leave(t.Context(), r.db, r.dir, "1-aaaaaaaaaaaaaaaa"); err != ErrLink {
			t.Error(err)
		}
	})
	if words > 2000 {
		t.Errorf("a word that names nobody: %.0f allocations", words)
	}
	for name, url := range map[string]string{"plain": "", "linked": "https://mx.alpha.test/lists/leave/"} {
		r.with(Options{URL: url})
		if got := r.take("alice@alpha.test", "dev@alpha.test", "From: alice@alpha.test\nMessage-ID: <"+name+"@x>\n\nx\n"); got.Verdict != queue.Done {
			t.Fatal(name, got)
		}
		items, err := r.queue.List(t.Context(), queue.Filter{})
		if err != nil || len(items) != 5000 {
			t.Errorf("%s: %d copies, %v", name, len(items), err)
		}
		if _, err := r.queue.Cancel(t.Context(), queue.Filter{}, false); err != nil {
			t.Fatal(err)
		}
	}
}
