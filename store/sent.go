package store

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Table j knows the messages that came into Sent in the last days, by Message-ID and Date: the house puts a message there when it takes
// it (Delivery.Own), and the client puts it there once more. What a conversion on the way out changes, octets of the body, does not
// count; a letter that was changed and sent again has another Date.

const (
	sentFor  = 7 * 24 * time.Hour // how long a second copy of a message is recognised
	sentStep = 4000               // rows that one commit forgets
)

// How a message came into Sent.
const (
	sentByUs     byte = 'h'
	sentByClient byte = 'c'
)

// copyHash names a message by its Message-ID and Date; 0 when it lacks one of them.
func (k *keys) copyHash(sum *message.Summary) uint64 {
	id := bareID(envelope(sum).MessageID)
	if id == "" || sum.Date.IsZero() {
		return 0
	}
	return k.hash(id + "\x00" + strconv.FormatInt(sum.Date.Unix(), 10))
}

func sentKey(id MailboxID, hash uint64) []byte { return key32x64(uint32(id), hash) }

// noteSent remembers a message of the mailbox.
func (b *box) noteSent(hash uint64, uid UID, how byte, at time.Time) {
	if hash == 0 {
		return
	}
	v := binary.BigEndian.AppendUint32(make([]byte, 0, 9), uid)
	v = binary.BigEndian.AppendUint32(v, seconds(at.Unix()))
	b.m.tx.Put(tabSent, sentKey(b.id, hash), append(v, how))
}

// twin finds the message of the mailbox that has the same Message-ID and Date, while it is known. Whether it is still there is for
// the caller to find out (addFlags).
func (b *box) twin(hash uint64, at time.Time) (uid UID, how byte, ok bool) {
	return twin(b.m.tx, b.id, hash, at)
}

func twin(tx *kv.Tx, id MailboxID, hash uint64, now time.Time) (uid UID, how byte, ok bool) {
	if hash == 0 {
		return 0, 0, false
	}
	v := tx.Get(tabSent, sentKey(id, hash))
	if len(v) != 9 || now.Unix()-int64(binary.BigEndian.Uint32(v[4:])) > int64(sentFor/time.Second) {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(v), v[8], true
}

// addFlags sets flags of one message; false: it is not there.
func (b *box) addFlags(u UID, bits Flags) bool {
	b.flush()
	for p, rr := range pages(b.m.tx, b.id, []UIDRange{{u, u}}) {
		for i := range p.hits(rr) {
			was := p.row(i).flags()
			if is := was | bits; is != was {
				edited := append(make(page, 0, len(p)), p...)
				edited.row(i).setFlags(is)
				edited.row(i).setModSeq(b.touch())
				edited.raise(b.st.highest)
				b.reflag(u, was, is)
				b.put(edited)
			}
			return true
		}
	}
	return false
}

// repeated answers an APPEND of a message that the house has put into Sent itself: the message that is there gets the flags. ok is false
// when there is none, and the message is to be stored.
func (s *Store) repeated(ctx context.Context, p *mailPart) (validity uint32, uid UID, ok bool, err error) {
	if err := s.db.Settle(ctx, uint32(p.account)); err != nil {
		return 0, 0, false, err
	}
	var how byte
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		uid, how, ok = twin(tx, p.mailbox, p.copy, s.now())
		return nil
	})
	if err != nil || !ok || how != sentByUs {
		return 0, 0, false, err
	}
	err = s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		b, err := m.box(p.mailbox)
		if err != nil {
			return err
		}
		validity = b.st.uidValidity
		if uid, ok, err = b.merge(p); err != nil || !ok {
			return err
		}
		return m.end()
	})
	return validity, uid, ok, err
}

// merge gives the flags of a message that is to be appended to its twin, which the house put there.
func (b *box) merge(p *mailPart) (uid UID, ok bool, err error) {
	uid, how, ok := b.twin(p.copy, b.m.s.now())
	if !ok || how != sentByUs {
		return 0, false, nil
	}
	kw := loadKeywords(b.m.tx, b.id)
	more, err := kw.learnAll(p.keywords)
	if err != nil {
		return 0, false, err
	}
	if !b.addFlags(uid, p.flags&kw.known()|more) {
		return 0, false, nil
	}
	kw.save(b.m.tx)
	return uid, true, nil
}

// forgetSent drops what is too old in table j.
func (s *Store) forgetSent(ctx context.Context) error {
	for more := true; more; {
		var old [][]byte
		err := s.db.View(ctx, func(tx *kv.Tx) error {
			old = old[:0]
			now := s.now().Unix()
			for k, v := range tx.Scan(tabSent, nil, nil) {
				if len(v) != 9 || now-int64(binary.BigEndian.Uint32(v[4:])) > int64(sentFor/time.Second) {
					if old = append(old, slices.Clone(k)); len(old) == sentStep {
						break
					}
				}
			}
			return nil
		})
		if err != nil || len(old) == 0 {
			return err
		}
		more = len(old) == sentStep
		err = s.db.Update(ctx, func(tx *kv.Tx) error {
			now := s.now().Unix()
			for _, k := range old { // it may have been noted anew meanwhile
				if v := tx.Get(tabSent, k); len(v) != 9 || now-int64(binary.BigEndian.Uint32(v[4:])) > int64(sentFor/time.Second) {
					tx.Delete(tabSent, k)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
