package pull

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/posthouse-mail/posthouse/store"
)

// uidls are the POP3 unique-ids of INBOX (RFC 1939 section 7), by uid when both lists agree, else by header.
type uidls struct {
	byUID    map[uint32]string
	byHeader map[[16]byte][]string
}

// fewMessages are too few for sizes to prove that two lists are the same.
const fewMessages = 20

func (u *uidls) wantsHeaders() bool { return u != nil && u.byHeader != nil }

// of is the unique-id of a message; empty: it has none that we can keep.
func (u *uidls) of(uid uint32, h *header) string {
	switch {
	case u == nil:
		return ""
	case u.byHeader == nil:
		return u.byUID[uid]
	case h == nil:
		return ""
	}
	key := fingerprint(h.b)
	ids := u.byHeader[key]
	if len(ids) == 0 {
		return ""
	}
	u.byHeader[key] = ids[1:]
	return ids[0]
}

// fingerprint hashes a header without the fields that a server adds for one protocol only.
func fingerprint(header []byte) [16]byte {
	h := sha256.New()
	skip := false
	for line := range bytes.Lines(header) {
		line = bytes.TrimRight(line, "\r\n\t ")
		if len(line) == 0 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := bytes.Cut(line, []byte(":"))
			switch strings.ToLower(string(bytes.TrimSpace(name))) {
			case "x-uidl", "x-uid", "status", "x-status", "x-keywords", "x-imap", "x-imapbase", "content-length", "lines":
				skip = true
			default:
				skip = false
			}
		}
		if !skip {
			h.Write(line)
			h.Write([]byte("\n"))
		}
	}
	return [16]byte(h.Sum(nil))
}

// validUIDL: RFC 1939 section 7, 1 to 70 characters from 0x21 to 0x7E.
func validUIDL(id string) bool {
	return id != "" && len(id) <= 70 && strings.IndexFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7e }) < 0
}

// beginUIDLs finds out which unique-id belongs to which message. Servers list INBOX in the same order by both protocols, and then
// all sizes agree; where they do not, headers are compared.
func (f *folder) beginUIDLs(ctx context.Context) error {
	f.uidls = nil
	if f.p.o.UniqueIDs == nil || f.name != store.Inbox {
		return nil
	}
	f.p.shown.Note = "asking for the POP3 unique-ids"
	f.p.tell()
	defer func() { f.p.shown.Note = "" }()
	list, err := f.p.o.UniqueIDs.List(ctx)
	if err != nil {
		return fmt.Errorf("POP3 unique-ids: %w", err)
	}
	u := &uidls{byUID: map[uint32]string{}}
	agree, err := f.sameOrder(list, u)
	if err != nil {
		return err
	}
	if !agree {
		u = &uidls{byHeader: map[[16]byte][]string{}}
		err = f.p.o.UniqueIDs.Headers(ctx, func(i int, header []byte) {
			if i < len(list) && validUIDL(list[i].ID) {
				key := fingerprint(header)
				u.byHeader[key] = append(u.byHeader[key], list[i].ID)
			}
		})
		if err != nil {
			return fmt.Errorf("POP3 headers: %w", err)
		}
	}
	f.uidls = u
	return nil
}

// sameOrder compares the sizes of both lists, message by message. Mail that came between the two is at the end.
func (f *folder) sameOrder(list []UniqueID, u *uidls) (bool, error) {
	n := min(len(list), int(f.p.c.exists))
	if n < fewMessages || max(len(list), int(f.p.c.exists))-n > n/10 {
		return false, nil
	}
	agree := true
	for from := 1; from <= n && agree; from += window {
		to := min(from+window-1, n)
		_, err := f.p.c.do(fmt.Sprintf("FETCH %d:%d (UID RFC822.SIZE)", from, to), func(r *response) error {
			if r.name != "FETCH" || int(r.num) < from || int(r.num) > to {
				return nil
			}
			if id := list[r.num-1]; id.Size != int64(r.number("RFC822.SIZE")) {
				agree = false
			} else if validUIDL(id.ID) {
				u.byUID[uint32(r.number("UID"))] = id.ID
			}
			return nil
		})
		if err != nil {
			return false, err
		}
	}
	return agree && f.p.c.shifted == 0, nil
}
