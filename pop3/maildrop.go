package pop3

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// row is one message of the maildrop: 24 octets, so that 100,000 messages cost 2.4 MB.
type row struct {
	id     uint64
	uid    store.UID
	size   uint32
	marked bool
}

// maildrop is INBOX as it was at the login: message n is rows[n-1] until the session
// ends, whatever other sessions and deliveries do (RFC 1939 section 4).
type maildrop struct {
	store   *store.Store
	box     store.MailboxID
	rows    []row
	count   int    // without the marked
	octets  uint64 // without the marked
	deleted int    // by QUIT
}

// openMaildrop reads INBOX, what is logged and not yet in the tables included.
func openMaildrop(ctx context.Context, s *store.Store, account mail.AccountID) (*maildrop, error) {
	box, err := s.Mailbox(ctx, account, "INBOX")
	if err != nil {
		return nil, fmt.Errorf("open the maildrop: %w", err)
	}
	d := &maildrop{store: s, box: box.ID}
	state, err := s.State(ctx, box.ID)
	if err != nil {
		return nil, fmt.Errorf("open the maildrop: %w", err)
	}
	d.rows = make([]row, 0, state.Exists)
	everything := []store.UIDRange{{First: 1, Last: 1<<32 - 1}}
	for page, err := range s.Messages(ctx, box.ID, everything) {
		if err != nil {
			return nil, fmt.Errorf("read the maildrop: %w", err)
		}
		for i := range page {
			d.rows = append(d.rows, row{id: page[i].ID, uid: page[i].UID, size: page[i].Size})
		}
	}
	d.reset()
	return d, nil
}

// reset takes all marks away.
func (d *maildrop) reset() {
	d.count, d.octets = len(d.rows), 0
	for i := range d.rows {
		d.rows[i].marked = false
		d.octets += uint64(d.rows[i].size)
	}
}

func (d *maildrop) summary() string {
	return strconv.Itoa(d.count) + " messages (" + strconv.FormatUint(d.octets, 10) + " octets)"
}

// find is the message a client's number stands for.
func (d *maildrop) find(number string) (*row, int, error) {
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 0 || n > uint64(len(d.rows)) {
		return nil, 0, refuse("no such message")
	}
	r := &d.rows[n-1]
	if r.marked {
		return nil, 0, refusef("message %d is marked as deleted", n)
	}
	return r, int(n), nil
}

func (d *maildrop) mark(r *row) {
	r.marked = true
	d.count--
	d.octets -= uint64(r.size)
}

// open opens the text of a message; another session may have removed it meanwhile.
func (d *maildrop) open(ctx context.Context, r *row) (*store.Body, store.Message, error) {
	for page, err := range d.store.Messages(ctx, d.box, []store.UIDRange{{First: r.uid, Last: r.uid}}) {
		if err != nil {
			return nil, store.Message{}, err
		}
		for _, m := range page {
			body, err := d.store.Open(ctx, m)
			return body, m, err
		}
	}
	return nil, store.Message{}, store.ErrNoMessage
}

// ids are the unique-ids of rows from first on.
func (d *maildrop) ids(ctx context.Context, rows []row) ([]string, error) {
	messages := make([]store.Message, len(rows))
	for i, r := range rows {
		messages[i] = store.Message{UID: r.uid, ID: r.id}
	}
	return d.store.UIDLs(ctx, d.box, messages)
}

// update removes the marked messages in one commit. Above 200,000 the store needs several, and deleted tells how far it came.
func (d *maildrop) update(ctx context.Context) error {
	var ranges []store.UIDRange
	for _, r := range d.rows {
		last := len(ranges) - 1
		switch {
		case !r.marked:
		case last >= 0 && ranges[last].Last == r.uid-1:
			ranges[last].Last = r.uid
		default:
			ranges = append(ranges, store.UIDRange{First: r.uid, Last: r.uid})
		}
	}
	if len(ranges) == 0 {
		return nil
	}
	removed, err := d.store.ExpungeAtOnce(ctx, d.box, ranges)
	if errors.Is(err, store.ErrLimit) {
		removed, _, err = d.store.Expunge(ctx, d.box, ranges, false)
	}
	d.deleted = len(removed)
	return err
}
