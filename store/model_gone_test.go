package store_test

import (
	"errors"
	"maps"
	"slices"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// modelGone is a message that was expunged, or was in a mailbox that was deleted.
type modelGone struct {
	modelMessage
	was   store.MailboxID
	name  string
	draft bool // a later copy of it may have taken its place
}

// lose notes what left a mailbox of the account.
func (m *model) lose(a *modelAccount, b *modelBox, msgs []modelMessage) {
	for name, x := range a.boxes {
		if x != b {
			continue
		}
		for _, msg := range msgs {
			msg.flags &^= store.Deleted
			a.gone = append(a.gone, modelGone{msg, b.id, name, name == "Drafts" && msg.flags&store.Draft != 0})
		}
	}
}

// kept compares what the store keeps with what the account has lost, and returns it. What is missing must have a reason.
func (m *model) kept(a *modelAccount) []store.Gone {
	m.t.Helper()
	var all []store.Gone
	for page, err := range m.h.Store.Gone(m.t.Context(), a.id) {
		m.want("gone", err, nil)
		all = append(all, page...)
	}
	var left []modelGone
	for _, g := range all {
		text, ok := m.texts[g.ID] // read once: there may be hundreds
		if !ok {
			text = storetest.Text(m.t, m.h.Store, g.Message)
			m.texts[g.ID] = text
		}
		i := slices.IndexFunc(a.gone, func(x modelGone) bool {
			return x.text == text && x.was == g.Was && x.name == g.Name && x.flags == g.Flags&0xff && maps.Equal(x.words, set(g.Keywords))
		})
		if i < 0 {
			m.t.Fatalf("account %d: uid %d from %q with %#x %v is kept, and was not lost:\n%s", a.id, g.Ref, g.Name, g.Flags, g.Keywords, text)
		}
		left = append(left, a.gone[i])
		a.gone = slices.Delete(a.gone, i, i+1)
	}
	for _, x := range a.gone {
		if !x.draft && !a.limited {
			m.t.Fatalf("account %d: %+v was lost and is not kept", a.id, x)
		}
	}
	a.gone = left
	return all
}

// undelete brings some of it back.
func (m *model) undelete() {
	a := m.account()
	all := m.kept(a)
	to := ""
	if m.n(2) == 0 {
		to = m.name()
	}
	if len(all) == 0 {
		return
	}
	from := m.n(len(all))
	picked := all[from:min(from+1+m.n(5), len(all))]
	var refs []uint64
	var texts []string
	for i, g := range picked {
		refs, texts = append(refs, g.Ref), append(texts, a.gone[from+i].text)
	}
	out, err := m.h.Store.Undelete(m.t.Context(), a.id, refs, to)
	if a.limited && errors.Is(err, store.ErrNoMessage) {
		return // given up in the background meanwhile
	}
	if !m.want("undelete", err, a.room(texts...)) {
		return
	}
	back := a.gone[from : from+len(picked)]
	for _, x := range back {
		name := to
		if name == "" {
			name = x.name
			for now, b := range a.boxes {
				if b.id == x.was {
					name = now
				}
			}
		}
		if a.boxes[name] == nil {
			m.grow(a, name)
		}
		a.boxes[name].add(x.modelMessage)
	}
	n := 0
	for _, r := range out {
		n += len(r.To)
	}
	if n != len(picked) {
		m.t.Fatalf("undelete: %d came back of %d", n, len(picked))
	}
	a.gone = slices.Delete(a.gone, from, from+len(picked))
}
