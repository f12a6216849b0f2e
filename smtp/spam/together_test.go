package spam

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// TestTogether: many messages at once, with lessons, lists and books beside them; the counts come out right.
func TestTogether(t *testing.T) {
	z := zone(t, "2.0.0.127.bl.test. IN A 127.0.0.2", "25.2.0.192.bl.test. IN A 127.0.0.2", "test.dl.test. IN A 127.0.1.2")
	j, _ := asking(t, z, blockList, "dl domain dl.test 127.0.1.2=4")
	const workers, each = 8, 10
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				raw := letter(fmt.Sprintf("a%d@example.net", i), fmt.Sprintf("n%d.%d", w, i), fmt.Sprintf("some words of letter https://h%s.example.com/", letters(w*each+i)))
				f := look(t.Context(), j, Facts{Remote: client, Hello: "mail.example.net", From: addr(t, "a@example.net")}, unproven(), raw)
				v := j.Verdict(t.Context(), f, alice)
				if !has(v, "bl") {
					t.Error("the list is not heard")
				}
				if _, err := j.Learn(t.Context(), alice.Account, bytes.NewReader(raw), []Class{Good, Junk}[i%2]); err != nil {
					t.Error(err)
				}
				j.Delivered(t.Context(), f, alice, Verdict{})
				j.Refused(t.Context(), f, alice, v)
				j.Greylist(t.Context(), f, alice)
				j.Wrote(t.Context(), alice.Account, "", []mail.Address{f.Author()})
				j.ListStates()
				j.forget()
			}
		})
	}
	wg.Wait()
	flush(t, j)
	tr, err := j.Training(t.Context(), alice.Account)
	if err != nil || tr.Good != workers*each/2 || tr.Junk != workers*each/2 {
		t.Errorf("%+v, %v", tr, err)
	}
	book, err := j.Refusals(t.Context(), alice.Account)
	sum := 0
	for _, r := range book {
		sum += r.Count
	}
	if err != nil || sum != workers*each {
		t.Errorf("%d refusals, %v", sum, err)
	}
}
