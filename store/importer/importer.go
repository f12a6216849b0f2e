// Package importer moves mail in and out: Maildir, mbox and single files become
// messages with the flags, dates, uids and unique-ids that clients know them by,
// and mailboxes become Maildir or mbox again, to the octet.
//
// A Source (maildir.go, mbox.go, eml.go) lists Folders and yields the Items of
// one. Run (run.go) sends what is new of it to a Target as a stream of frames
// (frame.go); behind the target, in the process that owns the store, Take
// (take.go) stores them. Export runs the other way: Give (give.go) writes frames,
// an Exporter (writemaildir.go, writembox.go) makes files of them.
//
// Which messages are there already is known by the store's ledger of origins
// (store.Imported), written in the transaction that stores the messages, so an
// import that was killed goes on where it stopped, and nothing comes twice.
package importer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash/fnv"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store"
)

// Folder is one mailbox of a source.
type Folder struct {
	Name        string // levels divided by "/"; INBOX is the inbox
	Path        string // where it stands, for words and for the ledger
	UIDValidity uint32 // 0: not known
	UIDNext     uint32
	Subscribed  bool
	Alone       bool  // the source is this one file: it goes to the mailbox that is said, not below it
	Units       int64 // how much there is to do: messages or octets, the same for all folders of a source
}

// Item is one message of a source.
type Item struct {
	Key      [16]byte // what it is known by in its folder, for ever
	UID      uint32   // 0: none
	UIDL     string
	Flags    store.Flags // system flags and well-known keywords
	Keywords []string
	Received time.Time
	Mailbox  string       // another mailbox than the folder's; empty: the folder's
	Units    int64        // of Folder.Units
	Where    string       // names it in words
	Bad      string       // why it is passed over; empty: it is not
	Size     func() int64 // about; for what is left when a quota is full
	Open     func() (Text, error)
}

// Text is the octets of a message, as they are stored.
type Text interface {
	io.ReadCloser
	Changed() bool // line ends were made CRLF
}

// Source is a place with mail in files.
type Source interface {
	Folders(ctx context.Context) ([]Folder, error)
	// Items yields a folder's messages in the order of their uids, those without one last.
	Items(ctx context.Context, f Folder) iter.Seq2[*Item, error]
}

// Target is the store that takes the mail, here or behind the socket of a running house.
type Target interface {
	// ImportPlace finds or makes a mailbox and gives it the UIDVALIDITY of its source, where that can be. Until it is whole, uids
	// below UIDNext are for the messages of the source alone.
	ImportPlace(ctx context.Context, p Place) (Placed, error)
	// Imported copies the ledger of a source to w: store.Imported entries as AppendEntry writes them.
	Imported(ctx context.Context, account string, source uint64, w io.Writer) error
	// Import takes a stream of frames.
	Import(ctx context.Context, account string, r io.Reader) (Taken, error)
}

// Place names a mailbox of an account.
type Place struct {
	Account     string `json:"account"`
	Mailbox     string `json:"mailbox"`
	UIDValidity uint32 `json:"uidvalidity,omitempty"`
	UIDNext     uint32 `json:"uidnext,omitempty"`
	Subscribe   bool   `json:"subscribe,omitempty"`
	Whole       bool   `json:"whole,omitempty"` // all uids below UIDNext are there that will ever be
}

// Placed is the mailbox as it is now.
type Placed struct {
	ID      uint32 `json:"id"`
	Name    string `json:"name"`
	Refused string `json:"refused,omitempty"` // why there can be no such mailbox; the rest is empty then
	Adopted bool   `json:"adopted"`           // it has the UIDVALIDITY that was asked for: uids are kept
}

// Taken is what became of a stream of frames.
type Taken struct {
	Messages   int64  `json:"messages"`
	Octets     int64  `json:"octets"`
	Renumbered int64  `json:"renumbered,omitempty"` // could not keep their uids
	Keywords   int64  `json:"keywords,omitempty"`   // that could not be kept
	TooBig     int64  `json:"too_big,omitempty"`
	Reflagged  int64  `json:"reflagged,omitempty"`
	OverQuota  *Needs `json:"over_quota,omitempty"` // it stopped: the account was full, and this was free
}

// Needs is room in an account.
type Needs struct {
	Bytes    uint64 `json:"bytes"`
	Messages uint64 `json:"messages"`
}

func (t *Taken) add(o Taken) {
	t.Messages += o.Messages
	t.Octets += o.Octets
	t.Renumbered += o.Renumbered
	t.Keywords += o.Keywords
	t.TooBig += o.TooBig
	t.Reflagged += o.Reflagged
	if o.OverQuota != nil {
		t.OverQuota = o.OverQuota
	}
}

// key is the short name of a message in the ledger, made of all that names it.
func key(parts ...string) [16]byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(binary.AppendUvarint(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return [16]byte(h.Sum(nil))
}

// sourceID names a folder of a source in the ledger.
func sourceID(parts ...string) uint64 {
	k := key(parts...)
	return max(binary.BigEndian.Uint64(k[:]), 1)
}

// stamp tells whether the flags of a message have changed since it was taken.
func (it *Item) stamp() uint32 {
	h := fnv.New32a()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(it.Flags)))
	words := slices.Clone(it.Keywords)
	slices.Sort(words)
	h.Write([]byte(strings.ToLower(strings.Join(words, " "))))
	return h.Sum32()
}

// seconds is a date as the store keeps it.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.Unix(), 1)
}
