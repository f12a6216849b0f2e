package story

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Find looks for stories by transaction id, Message-ID (with or without its brackets) or address, newest first, at most limit of them.
func (b *Book) Find(ctx context.Context, what string, limit int) ([]Story, error) {
	if b == nil {
		return nil, ErrUnknown
	}
	if err := b.o.Side.Flush(ctx); err != nil {
		return nil, err
	}
	limit, what = min(limit, maxFound), strings.TrimSpace(what)
	bare := strings.TrimSuffix(strings.TrimPrefix(what, "<"), ">")
	var out []Story
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		if plainID(what) {
			out = begun(tx, 1, func(m *Message) bool { return m.ID == what }, hashOf(byID, what))
		}
		if len(out) == 0 && bare != "" {
			id := "<" + bare + ">"
			fits := func(m *Message) bool { return strings.EqualFold(m.MessageID, id) || m.concerns(bare) }
			out = begun(tx, limit, fits, hashOf(byMessageID, id), hashOf(byAddress, bare))
		}
		gather(tx, out)
		return nil
	})
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("%w: %s", ErrUnknown, what)
	}
	return out, err
}

func (m *Message) concerns(address string) bool {
	return slices.ContainsFunc(append([]string{m.From, m.Author, m.Account}, m.To...), func(s string) bool { return strings.EqualFold(s, address) })
}

// has reports a chunk that one of the hashes leads to.
func has(hashes []byte, one func(uint32) bool) bool {
	for ; len(hashes) >= 4; hashes = hashes[4:] {
		if one(binary.BigEndian.Uint32(hashes)) {
			return true
		}
	}
	return false
}

// begun finds the beginnings of stories that fit, the newest first.
func begun(tx *kv.Tx, limit int, fits func(m *Message) bool, hashes ...uint32) []Story {
	var out []Story
	first, last := hashes[0], hashes[len(hashes)-1]
	for key, row := range tx.ScanBack(tabHash, nil, nil) {
		if !has(row, func(h uint32) bool { return h == first || h == last }) {
			continue
		}
		var here []Story
		for m := range messages(tx.Get(tabChunk, key)) {
			if fits(m) {
				here = append(here, Story{Message: *m})
			}
		}
		slices.Reverse(here)
		if out = append(out, here...); len(out) >= limit {
			return out[:limit]
		}
	}
	return out
}

// messages yields the beginnings in a chunk.
func messages(chunk []byte) func(yield func(*Message) bool) {
	return func(yield func(*Message) bool) {
		for e := range entries(chunk) {
			if e.kind != kindBegin {
				continue
			}
			if m := e.rest.message(string(e.id)); !e.rest.bad && !yield(m) {
				return
			}
		}
	}
}

// gather adds what was told of the stories since they began.
func gather(tx *kv.Tx, stories []Story) {
	if len(stories) == 0 {
		return
	}
	byName, byPlace, wanted := map[string]*Story{}, map[uint64]*Story{}, map[uint32]bool{}
	oldest := stories[0].At
	placed := func(s *Story, at uint64) {
		byPlace[at] = s
		wanted[hashOfPlace(at)] = true
	}
	for i := range stories {
		s := &stories[i]
		byName[s.ID] = s
		wanted[hashOf(byID, s.ID)] = true
		if s.At.Before(oldest) {
			oldest = s.At
		}
		for _, at := range s.Places {
			placed(s, at)
		}
	}
	from := chunkKey(uint64(oldest.Add(-time.Hour).UnixNano())) // a chunk begins before what is in it, and clocks are set
	for key, row := range tx.Scan(tabHash, from, nil) {
		if !has(row, func(h uint32) bool { return wanted[h] }) {
			continue
		}
		for e := range entries(tx.Get(tabChunk, key)) {
			switch s := byName[string(e.id)]; {
			case e.kind == kindRead:
				at := e.rest.number()
				if s := byPlace[at]; s != nil {
					s.add(e.rest.event(), &e.rest)
				}
			case s == nil:
			case e.kind == kindPlaced:
				if at := e.rest.number(); !e.rest.bad {
					placed(s, at)
				}
			case e.kind == kindTell:
				for range e.rest.count() {
					s.add(e.rest.event(), &e.rest)
				}
			}
		}
	}
	for i := range stories {
		slices.SortStableFunc(stories[i].Events, func(a, b Event) int { return a.At.Compare(b.At) })
	}
}

// add adds an event that could be read whole; a reading once for each account and client.
func (s *Story) add(e Event, r *reader) {
	if r.bad || len(s.Events) >= maxEvents {
		return
	}
	if e.Step == Opened && slices.ContainsFunc(s.Events, func(o Event) bool { return o.Step == Opened && o.Who == e.Who && o.Client == e.Client }) {
		return
	}
	s.Events = append(s.Events, e)
}

// List yields the newest stories, without their events, at most limit, those before a time when it is not zero.
func (b *Book) List(ctx context.Context, before time.Time, limit int) ([]Message, error) {
	if b == nil {
		return nil, nil
	}
	if err := b.o.Side.Flush(ctx); err != nil {
		return nil, err
	}
	var out []Message
	limit = min(limit, maxFound)
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		var to []byte
		if !before.IsZero() {
			to = chunkKey(uint64(before.UnixNano()))
		}
		for _, row := range tx.ScanBack(tabChunk, nil, to) {
			var here []Message
			for m := range messages(row) {
				if before.IsZero() || m.At.Before(before) {
					here = append(here, *m)
				}
			}
			slices.Reverse(here)
			if out = append(out, here...); len(out) >= limit {
				out = out[:limit]
				return nil
			}
		}
		return nil
	})
	return out, err
}
