package learn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	phishing = "$Phishing"

	// mostHints is how many messages of one mailbox teach in one round only because they were filed or answered: who brings a whole
	// archive along teaches with its newest messages.
	mostHints = 200
	// mostSeeds is how many messages of a Junk that is seen for the first time are remembered.
	mostSeeds = 5000
)

// round looks at what changed in one account.
type round struct {
	t       *Teacher
	account mail.AccountID
	at      cursor
	dirty   bool
	lessons int
	noted   map[uint64]state // of this round: the tables show it a little later
	prune   bool             // a mailbox has had some hundred messages more: look whether too many are remembered
}

// lesson is what is to be done about one message.
type lesson struct {
	m     store.Message
	class spam.Class
	teach bool  // else it is only noted
	note  state // what is known of it afterwards
	flags bool  // its keywords are to say so too
	hint  bool  // nobody has said that it is good, but it looks so
}

func (r *round) run(ctx context.Context) error {
	boxes, err := r.mailboxes(ctx)
	if errors.Is(err, store.ErrNoAccount) { // it was removed, perhaps while its mail was looked at or came in
		return r.t.gone(ctx, r.account)
	}
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if err := r.mailbox(ctx, b); err != nil && !errors.Is(err, store.ErrNoMailbox) {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
	}
	for id := range r.at {
		if !slices.ContainsFunc(boxes, func(b store.Mailbox) bool { return b.ID == id }) {
			delete(r.at, id)
			r.dirty = true
		}
	}
	return r.save(ctx)
}

// mailboxes reads the cursor and lists the mailboxes.
func (r *round) mailboxes(ctx context.Context) ([]store.Mailbox, error) {
	err := r.t.o.Side.View(ctx, func(tx *kv.Tx) error {
		r.at = readCursor(tx, r.account)
		return nil
	})
	if err != nil {
		return nil, err
	}
	boxes, err := r.t.o.Store.Mailboxes(ctx, r.account)
	return slices.DeleteFunc(boxes, func(b store.Mailbox) bool { return b.ID == 0 }), err
}

// begin is the first look at an account over new tables: what stands in its mailboxes teaches nothing by itself (Train is for that), but what is taken
// out of Junk later on is known to have been there.
func (r *round) begin(ctx context.Context) error {
	boxes, err := r.mailboxes(ctx)
	if err != nil || len(r.at) > 0 {
		return err
	}
	r.dirty = true
	for _, b := range boxes {
		st, err := r.t.o.Store.State(ctx, b.ID)
		if errors.Is(err, store.ErrNoMailbox) {
			continue
		}
		if err != nil {
			return err
		}
		r.at[b.ID] = place{st.HighestModSeq, st.UIDNext}
		if b.Use&store.UseJunk == 0 {
			continue
		}
		rows, err := r.rows(ctx, b.ID, 0, mostSeeds)
		if err != nil {
			return err
		}
		if err := r.seed(ctx, rows); err != nil {
			return err
		}
	}
	return r.save(ctx)
}

func (r *round) seed(ctx context.Context, rows []store.Message) error {
	now := r.t.o.Now()
	return r.t.o.Side.Update(ctx, func(tx *kv.Tx) error {
		for i := range rows {
			if stateOf(tx, r.account, rows[i].ID) == unknown {
				putState(tx, r.account, rows[i].ID, ours, now)
			}
		}
		return nil
	})
}

func (r *round) save(ctx context.Context) error {
	if !r.dirty {
		return nil
	}
	row := r.at.encode()
	return r.t.o.Side.Update(ctx, func(tx *kv.Tx) error {
		tx.Put(tabCursor, accountKey(r.account), row)
		if r.prune {
			prune(tx, r.account, r.t.o.Most)
		}
		return nil
	})
}

// rows are the messages of a mailbox that changed after since, the last most of them.
func (r *round) rows(ctx context.Context, id store.MailboxID, since store.ModSeq, most int) ([]store.Message, error) {
	var out []store.Message
	for page, err := range r.t.o.Store.MessagesSince(ctx, id, []store.UIDRange{{First: 1, Last: 0xffffffff}}, since) {
		if err != nil {
			return nil, err
		}
		if out = append(out, page...); len(out) >= 2*most {
			out = append(out[:0], out[len(out)-most:]...)
		}
	}
	return out[max(0, len(out)-most):], nil
}

// mailbox looks at one mailbox. Its place moves when all lessons are given: after a crash they are given again, which changes nothing.
func (r *round) mailbox(ctx context.Context, b store.Mailbox) error {
	st, err := r.t.o.Store.State(ctx, b.ID)
	if err != nil || st.Bin {
		return err
	}
	at := r.at[b.ID]
	if st.HighestModSeq <= at.seq && at.seq != 0 {
		return nil
	}
	const most = 100_000
	rows, err := r.rows(ctx, b.ID, at.seq, most)
	if err != nil {
		return err
	}
	todo, err := r.consider(ctx, b, at, rows)
	if err != nil {
		return err
	}
	if r.t.o.Wanted == nil || r.t.o.Wanted(ctx, r.account) {
		if err := r.teach(ctx, todo); err != nil {
			return err
		}
	}
	const often = 256
	r.prune = r.prune || at.next/often != st.UIDNext/often
	r.at[b.ID], r.dirty = place{st.HighestModSeq, st.UIDNext}, true
	return nil
}

// consider finds out what the rows of a mailbox show.
func (r *round) consider(ctx context.Context, b store.Mailbox, at place, rows []store.Message) ([]lesson, error) {
	const elsewhere = store.UseTrash | store.UseDrafts | store.UseSent // what is there says nothing of its sender
	if b.Use&elsewhere != 0 || len(rows) == 0 {
		return nil, nil
	}
	var todo []lesson
	hints := 0
	err := r.t.o.Side.View(ctx, func(tx *kv.Tx) error {
		todo, hints = todo[:0], 0
		for i := len(rows) - 1; i >= 0; i-- {
			m := rows[i]
			known := r.known(tx, m.ID)
			fresh := m.UID >= at.next
			var l lesson
			if b.Use&store.UseJunk != 0 {
				l = inJunk(m, known, fresh)
			} else {
				l = outside(m, known, fresh, b.Name != store.Inbox)
			}
			if l.note == unknown || l.hint && hints >= mostHints {
				continue
			}
			if l.hint {
				hints++
			}
			l.m = m
			todo = append(todo, l)
		}
		return nil
	})
	slices.Reverse(todo)
	return todo, err
}

// inJunk is what a row of the mailbox for junk shows.
func inJunk(m store.Message, known state, fresh bool) lesson {
	says := m.Flags & (store.Junk | store.NotJunk)
	switch {
	case says == store.NotJunk && known != accepted && (!fresh || known.inJunk()):
		return lesson{class: spam.Good, teach: true, note: accepted}
	case !fresh, known.inJunk(): // a flag like \Seen; or it is ours
		return lesson{}
	case known == marked:
		return lesson{note: theirs}
	}
	return lesson{class: spam.Junk, teach: true, note: theirs, flags: true}
}

// outside is what a row anywhere else shows; filed: not in INBOX.
func outside(m store.Message, known state, fresh, filed bool) lesson {
	says := m.Flags & (store.Junk | store.NotJunk)
	switch {
	case fresh && known.inJunk(): // taken out of Junk
		return lesson{class: spam.Good, teach: true, note: accepted, flags: true}
	case says == store.NotJunk && known != accepted:
		return lesson{class: spam.Good, teach: true, note: accepted}
	case says == store.Junk && !fresh && known != marked && !known.inJunk(), says == store.Junk && known == unknown:
		return lesson{class: spam.Junk, teach: true, note: marked}
	case known != unknown || says != 0:
		return lesson{}
	case m.Flags&(store.Answered|store.Flagged|store.Forwarded) != 0, fresh && filed: // nobody does so with junk
		return lesson{class: spam.Good, teach: true, note: accepted, hint: true}
	}
	return lesson{}
}

// teach gives the lessons, with pauses: somebody may have moved thousands.
func (r *round) teach(ctx context.Context, todo []lesson) error {
	const atOnce = 32
	began, given := time.Now(), 0
	for i := range todo {
		if given == atOnce {
			if !r.t.rest(ctx, time.Since(began)) {
				return ctx.Err()
			}
			began, given = time.Now(), 0
		}
		l := &todo[i]
		if l.teach {
			err := r.t.give(ctx, r.account, l.m, l.class)
			if errors.Is(err, store.ErrNoMessage) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrDamaged) {
				continue // it is gone, or cannot be read: there is nothing to learn from it
			}
			if err != nil {
				return err
			}
			r.lessons++
			given++
		}
		r.note(l.m.ID, l.note)
		if l.flags {
			r.mark(ctx, l.m, l.class)
		}
	}
	return nil
}

// note remembers what is known of a message. Nobody waits for it: the cursor is written behind it.
func (r *round) note(id uint64, s state) {
	if r.noted == nil {
		r.noted = map[uint64]state{}
	}
	r.noted[id] = s
	account, now := r.account, r.t.o.Now()
	r.t.o.Side.Later(func(tx *kv.Tx) error {
		putState(tx, account, id, s, now)
		return nil
	})
}

// known is what is known of a message.
func (r *round) known(tx *kv.Tx, id uint64) state {
	if s, ok := r.noted[id]; ok {
		return s
	}
	return stateOf(tx, r.account, id)
}

// give teaches one message.
func (t *Teacher) give(ctx context.Context, account mail.AccountID, m store.Message, c spam.Class) error {
	body, err := t.o.Store.Open(ctx, m)
	if err != nil {
		return err
	}
	defer body.Close()
	changed, err := t.o.Learn(ctx, account, io.NewSectionReader(body, 0, body.Size()), c)
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	if changed {
		t.lessons.WithLabelValues(c.String()).Inc()
	}
	return nil
}

// mark has the keywords of a message that was moved say what its owner has shown, so that every program of his sees it so. It is a
// courtesy: when it fails, nothing is lost.
func (r *round) mark(ctx context.Context, m store.Message, c spam.Class) {
	add, remove := store.NotJunk, store.Junk
	var words []string
	if c == spam.Junk {
		add, remove = store.Junk, store.NotJunk
	} else if r.has(ctx, m, phishing) {
		words = []string{phishing}
	}
	one := []store.UIDRange{{First: m.UID, Last: m.UID}}
	var err error
	if m.Flags&remove != 0 || len(words) > 0 {
		_, _, err = r.t.o.Store.SetFlags(ctx, m.Mailbox, one, store.FlagsChange{Op: store.FlagsRemove, Flags: remove, Keywords: words})
	}
	if m.Flags&add == 0 && err == nil {
		_, _, err = r.t.o.Store.SetFlags(ctx, m.Mailbox, one, store.FlagsChange{Op: store.FlagsAdd, Flags: add})
	}
	if err != nil && !errors.Is(err, store.ErrNoMailbox) {
		r.t.o.Logger.WarnContext(ctx, logx.LearnFailed, "account", r.account, "error", err)
	}
}

// has tells whether a message has one of its mailbox's own keywords.
func (r *round) has(ctx context.Context, m store.Message, keyword string) bool {
	const own = 8 // store.Flags: bit 8+i is the mailbox's keyword i
	all, err := r.t.o.Store.Keywords(ctx, m.Mailbox)
	i := slices.Index(all, keyword)
	return err == nil && i >= 0 && m.Flags&(1<<(own+i)) != 0
}
