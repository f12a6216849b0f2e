package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// proof is the verification of one generation.
type proof struct {
	g        *Generation
	keys     *keys
	pace     pace
	now      time.Time
	due      func(File) bool                                       // this segment is to be read
	heal     func(ctx context.Context, f File) (File, bool, error) // copies a damaged segment again, if it can; nil: nobody can
	progress func(Progress)
	owners   *kv.DB // knows which rows name bodies; nil: those of the store

	sums     map[string][]string // name -> checksums that some generation knows
	good     map[uint32]File     // what is known of each segment
	causes   map[uint32]error    // why a segment is not good to its end
	numbers  map[string]uint32
	result   Verified
	problems []string
}

func (p *proof) bad(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}

// run reads back what is due and compares it. The answer is nil when there are problems.
func (p *proof) run(ctx context.Context) (*Verified, error) {
	p.result = Verified{At: stamp(p.now), How: HowRecords}
	p.good, p.causes, p.numbers = map[uint32]File{}, map[uint32]error{}, map[string]uint32{}
	for _, f := range p.g.Manifest.Files {
		sum, _, err := hashOf(ctx, p.g.fs, filepath.Join(p.g.dir(), f.Name), p.pace)
		if err := p.readError(f.Name, err); err != nil {
			return nil, err
		}
		if err == nil && sum != f.SHA256 {
			p.bad("%s does not read back as it was written", f.Name)
		}
	}
	if !p.keys.canOpen() || p.g.Manifest.Sealed && len(p.keys.identities) == 0 {
		p.result.How = HowCiphertext
		if err := p.segments(ctx, nil); err != nil {
			return nil, err
		}
		return p.answer(), nil
	}
	r, err := p.g.open(ctx, p.keys)
	if err := p.readError("tables", err); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, nil
	}
	err = p.inside(ctx, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return p.answer(), nil
}

func (p *proof) answer() *Verified {
	if len(p.problems) > 0 {
		return nil
	}
	return &p.result
}

// readError turns what a damaged or missing file causes into a problem; other errors end the verification.
func (p *proof) readError(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrKey) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	p.bad("%s: %v", what, err)
	return nil
}

// inside checks what only who can read the tables can.
func (p *proof) inside(ctx context.Context, r *Reader) error {
	p.numbers = r.Contents.Segments
	if err := p.segments(ctx, r); err != nil {
		return err
	}
	p.chain()
	if r.DB.Behind() {
		return nil // its rows are read by the program that made it; pages and records were checked
	}
	return p.places(ctx, r)
}

// segments reads the segments that are due.
func (p *proof) segments(ctx context.Context, r *Reader) error {
	list := p.g.Manifest.Segments
	var total, done int64
	for _, f := range list {
		if p.due(f) {
			total += f.Size
		}
	}
	for i := range list {
		f := &list[i]
		if p.due(*f) {
			if err := p.segment(ctx, r, f); err != nil {
				return err
			}
			p.result.Read++
			done += f.Size
			p.progress(Progress{Stage: "verify", Done: done, Total: total})
		}
		if n, ok := p.numbers[f.Name]; ok {
			p.good[n] = *f
		}
	}
	return nil
}

// segment reads one back, and has it copied again when that can be done.
func (p *proof) segment(ctx context.Context, r *Reader, f *File) error {
	why, err := p.look(ctx, r, f)
	if err != nil {
		return err
	}
	if why != nil && p.heal != nil {
		again, ok, err := p.heal(ctx, *f)
		if err != nil {
			return err
		}
		if ok {
			*f = again
			p.sums[f.Name] = append(p.sums[f.Name], f.SHA256)
			if why, err = p.look(ctx, r, f); err != nil {
				return err
			}
		}
	}
	if why != nil {
		f.Checked = time.Time{}
		p.bad("segment %s: %v", f.Name, why)
		return nil
	}
	f.Checked = p.result.At
	return nil
}

// look compares the checksum of what is stored and the checksums of all records in it.
func (p *proof) look(ctx context.Context, r *Reader, f *File) (why, err error) {
	path := filepath.Join(p.g.store(), segmentsDir, f.Name)
	sum, size, err := hashOf(ctx, p.g.fs, path, p.pace)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it is missing"), nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return err, nil
	case size != f.Size:
		return fmt.Errorf("it has %d octets, not %d", size, f.Size), nil
	case sum != f.SHA256 && !slices.Contains(p.sums[f.Name], sum):
		return errors.New("it does not read back as it was written"), nil
	}
	f.SHA256 = sum
	if r == nil {
		return nil, nil
	}
	began := time.Now()
	c, err := r.DB.CheckSegment(ctx, p.numbers[f.Name])
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return err, nil
	}
	f.Good, f.Log, f.Before = c.End, c.Log, uint64(c.Before)
	p.causes[p.numbers[f.Name]] = c.Problem
	return nil, p.pace.rest(ctx, time.Since(began))
}

// chain: each log segment says how far the one before it counts.
func (p *proof) chain() {
	for n, f := range p.good {
		before := blob.LSN(f.Before)
		was, ok := p.good[before.Segment()]
		if f.Log && ok && was.Good < before.Offset() {
			p.bad("segment %08x is good up to octet %d only, and segment %08x says that it counts up to %d", before.Segment(), was.Good, n, before.Offset())
		}
	}
}

// places: every body that the tables name stands in a segment of this backup, before the first octet that is not good.
func (p *proof) places(ctx context.Context, r *Reader) error {
	if p.owners == nil {
		p.owners = r.DB
	}
	lost := 0
	err := p.owners.Bodies(ctx, r.DB, func(at blob.LSN) {
		p.result.Messages++
		if p.why(at) != "" {
			lost++
		}
	})
	if err := p.readError("tables", err); err != nil || lost == 0 {
		return err
	}
	p.bad("%d messages are hit", lost)
	for _, a := range r.Contents.Accounts {
		if err := p.tell(ctx, r, a); err != nil {
			return err
		}
	}
	return nil
}

// why is what is wrong with the body at a place; empty: nothing.
func (p *proof) why(at blob.LSN) string {
	f, ok := p.good[at.Segment()]
	switch {
	case !ok:
		return "is not in the backup"
	case at.Offset() >= f.Good:
		if cause := p.causes[at.Segment()]; cause != nil {
			return "is damaged: " + cause.Error()
		}
		return "is damaged"
	}
	return ""
}

// toldMax bounds the lines about single messages.
const toldMax = 1000

// tell names the messages of an account that are hit.
func (p *proof) tell(ctx context.Context, r *Reader, a Account) error {
	boxes, err := r.Store.Mailboxes(ctx, mail.AccountID(a.ID))
	if err != nil {
		return p.readError("mailboxes of "+a.Address, err)
	}
	for _, b := range boxes {
		if b.ID == 0 {
			continue // a subscription of what is gone
		}
		for rows, err := range r.Store.Messages(ctx, b.ID, everything()) {
			if err != nil {
				return p.readError("mailbox "+b.Name+" of "+a.Address, err)
			}
			for _, m := range rows {
				if why := p.why(m.Place); why != "" && len(p.problems) < toldMax {
					p.bad("%s, mailbox %s, message %d: its text in segment %08x %s", a.Address, b.Name, m.UID, m.Place.Segment(), why)
				}
			}
		}
	}
	return nil
}

func everything() []store.UIDRange { return []store.UIDRange{{First: 1, Last: 0xffffffff}} }

// verify proves the generation that was just written and compares samples with the living house.
func (r *run) verify(ctx context.Context) error {
	p := &proof{
		g: r.gen, keys: r.keys, pace: pace{r.o.Share}, now: r.o.Now(), heal: r.heal, progress: r.o.Progress, owners: r.o.DB, sums: map[string][]string{},
		due: func(f File) bool { return r.fresh[f.Name] || r.o.Now().Sub(f.Checked) >= r.o.Recheck },
	}
	v, err := p.run(ctx)
	if err != nil {
		return err
	}
	r.problem = append(r.problem, p.problems...)
	if v != nil && v.How == HowCiphertext {
		v.Messages = r.named
	}
	if v != nil && v.How == HowRecords {
		if err := r.compare(ctx, v); err != nil {
			return err
		}
	}
	if len(r.problem) == 0 {
		r.gen.Manifest.Verified = v
	}
	return nil
}

// heal copies a segment again whose copy is damaged.
func (r *run) heal(ctx context.Context, f File) (File, bool, error) {
	n, ok := r.content.Segments[f.Name]
	if !ok {
		return f, false, nil
	}
	path := filepath.Join(r.o.DB.Dir(), "seg", fmt.Sprintf("%08x.seg", n))
	st, err := r.live.Stat(path)
	if err != nil || r.keys.segmentName(r.o.DB.Secret(), n, st.Size()) != f.Name {
		return f, false, nil // compaction has removed it: what is in it stands elsewhere now, and the next backup has that
	}
	again, err := r.copySegment(ctx, n, path, f.Name, st.Size())
	if err != nil {
		return f, false, err
	}
	return again, true, r.journal.add(again)
}

// checkPlain checks the records of a living segment and gives the checksum of what was checked.
func (r *run) checkPlain(ctx context.Context, number uint32, src vfs.File, size int64) (blob.Checked, string, error) {
	h := newHashReader(io.NewSectionReader(src, 0, size))
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{h}, make([]byte, piece)); err != nil {
		return blob.Checked{}, "", fmt.Errorf("%w: %w", errSource, err)
	}
	c, err := r.o.DB.CheckSegment(ctx, number)
	if err != nil {
		err = fmt.Errorf("%w: %w", errSource, err)
	}
	return c, h.sum(), err
}

// checkPicture checks with the picture of the tables what cannot be checked with the copy, because it cannot be opened here: that each
// body stands in a segment of the backup where its records were good on their way in.
func (r *run) checkPicture(ctx context.Context, s *store.Store) error {
	p := &proof{g: r.gen, owners: r.o.DB, numbers: r.content.Segments, good: map[uint32]File{}, causes: map[uint32]error{}}
	for _, f := range r.gen.Manifest.Segments {
		p.good[p.numbers[f.Name]] = f
	}
	p.chain()
	err := p.places(ctx, &Reader{Generation: r.gen, Contents: r.content, DB: r.pic, Store: s})
	r.problem, r.named = append(r.problem, p.problems...), p.result.Messages
	return err
}

// samples is how many messages of an account are tried until one is found that is still there.
const samples = 8

// compare restores a message of each account, chosen by lot, and compares it with what the living house gives.
func (r *run) compare(ctx context.Context, v *Verified) error {
	rd, err := r.gen.open(ctx, r.keys)
	if err != nil {
		return err
	}
	for _, a := range r.content.Accounts {
		done, err := r.compareOne(ctx, rd, a)
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), rd.Close())
		}
		if err != nil {
			r.problem = append(r.problem, fmt.Sprintf("a message of %s, restored for a test: %v", a.Address, err))
		}
		if done {
			v.Compared++
		}
	}
	return rd.Close()
}

func (r *run) compareOne(ctx context.Context, rd *Reader, a Account) (done bool, err error) {
	var boxes []store.Mailbox
	var sizes []uint32
	all := uint32(0)
	list, err := rd.Store.Mailboxes(ctx, mail.AccountID(a.ID))
	if err != nil {
		return false, err
	}
	for _, b := range list {
		if b.ID == 0 {
			continue
		}
		st, err := rd.Store.State(ctx, b.ID)
		if err != nil {
			return false, err
		}
		boxes, sizes, all = append(boxes, b), append(sizes, st.Exists), all+st.Exists
	}
	for range samples {
		if all == 0 {
			return false, nil
		}
		n := rand.Uint32N(all)
		i := 0
		for n >= sizes[i] {
			n -= sizes[i]
			i++
		}
		if done, err := r.compareMessage(ctx, rd, boxes[i], n); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// compareMessage compares the n-th message of a mailbox; false: the living house does not have it any more.
func (r *run) compareMessage(ctx context.Context, rd *Reader, b store.Mailbox, n uint32) (bool, error) {
	runs, err := rd.Store.UIDs(ctx, b.ID)
	if err != nil {
		return false, err
	}
	uid := store.UID(0)
	for _, run := range runs {
		if c := run.Last - run.First + 1; n >= c {
			n -= c
			continue
		}
		uid = run.First + n
		break
	}
	was, ok, err := row(ctx, rd.Store, b.ID, uid)
	if err != nil || !ok {
		return false, err
	}
	is, ok, err := row(ctx, r.o.Store, b.ID, uid)
	if errors.Is(err, store.ErrNoMailbox) || err == nil && (!ok || is.ID != was.ID) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	want, err := textSum(ctx, r.o.Store, is)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrNoMessage) {
		return false, nil // expunged or moved while we looked
	}
	if err != nil {
		return false, fmt.Errorf("in the living house: %w", err)
	}
	got, err := textSum(ctx, rd.Store, was)
	if err == nil && got != want {
		err = fmt.Errorf("mailbox %s, message %d differs from the living house", b.Name, uid)
	}
	return err == nil, err
}

func row(ctx context.Context, s *store.Store, id store.MailboxID, uid store.UID) (m store.Message, ok bool, err error) {
	for rows, err := range s.Messages(ctx, id, []store.UIDRange{{First: uid, Last: uid}}) {
		if err != nil {
			return m, false, err
		}
		for _, m := range rows {
			return m, true, nil
		}
	}
	return m, false, nil
}

// textSum is the checksum of a message's text.
func textSum(ctx context.Context, s *store.Store, m store.Message) (string, error) {
	b, err := s.Open(ctx, m)
	if err != nil {
		return "", err
	}
	h := newHashReader(io.NewSectionReader(b, 0, b.Size()))
	_, err = io.CopyBuffer(io.Discard, struct{ io.Reader }{h}, make([]byte, 64<<10))
	return h.sum(), errors.Join(err, b.Close())
}

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// VerifyOptions of Verify.
type VerifyOptions struct {
	Secrets  Secrets
	Now      func() time.Time
	Progress func(Progress)
}

// Verify reads a whole generation back and writes into its manifest what came of it, where the folder can be written.
func Verify(ctx context.Context, g *Generation, o VerifyOptions) (*Verified, []string, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	k, err := o.Secrets.forReading(g.fs, g.store())
	if err != nil {
		return nil, nil, err
	}
	sums := map[string][]string{}
	all, _, err := generationsOf(g.fs, g.root, g.Manifest.Store)
	if err != nil {
		return nil, nil, err
	}
	for _, other := range all {
		for _, f := range other.Manifest.Segments {
			sums[f.Name] = append(sums[f.Name], f.SHA256)
		}
	}
	p := &proof{g: g, keys: k, now: o.Now(), progress: o.Progress, sums: sums, due: func(File) bool { return true }}
	v, err := p.run(ctx)
	if err != nil {
		return nil, nil, err
	}
	g.Manifest.Verified, g.Manifest.Problems = v, p.problems
	_ = writeJSON(g.fs, filepath.Join(g.dir(), manifestName), &g.Manifest) // a folder that is mounted read-only is no problem
	return v, p.problems, nil
}
