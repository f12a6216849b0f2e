// Crash kills the serving binary with SIGKILL at random moments under a mixed load (mail in, submission, IMAP, POP3),
// sometimes leaves a torn tail in its log, starts it again, and compares what is there with ledgers of what was
// acknowledged: an acknowledged change holds, another one holds wholly or not at all, and nothing is there twice.
//
//	main.go     the rounds
//	ledger.go   mail: what was tried, what was answered, where it must be
//	smtp.go     mail from other hosts, submission, the queue
//	pop.go      POP3 sessions that remove mail
//	imap.go     a small IMAP client and the reading of an account
//	model.go    what an account must look like
//	steps.go    the changes that an IMAP client makes
//	operator.go changes of accounts, aliases and the queue over the house's socket
//	jobs.go     compaction and backups meanwhile
//	tail.go     torn tails
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
)

const (
	second = "second.test"      // a second domain of the house
	friend = "friend@" + second // its account
	down   = "down.test"        // a domain of others whose host cannot be reached
)

func main() {
	kills := flag.Int("kills", 20, "how often the server is killed")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments and of the load")
	binary := flag.String("binary", "bin/posthouse", "the server")
	base := flag.Int("base", 24000, "first port")
	dir := flag.String("dir", "", "folder for the house; a small file system shows what a full disk does")
	flag.Parse()
	fmt.Printf("seed %d\n", *seed)
	h := &house.House{
		Binary: *binary, Base: *base,
		Extra: "[queue]\nretry = [\"2s\"]\ndelay_notice = \"0s\"\n", // results of attempts are written all the time
	}
	if err := run(h, *dir, *kills, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func run(h *house.House, under string, kills int, seed uint64) error {
	dir, err := os.MkdirTemp(under, "posthouse-crash-")
	if err != nil {
		return err
	}
	h.Dir = dir
	t := newTrial(h, seed)
	if err := t.rounds(kills); err != nil {
		return fmt.Errorf("after kill %d (data kept in %s, run again with -seed %d): %w", t.kills, dir, seed, err)
	}
	return os.RemoveAll(dir)
}

// trial is one run: a house, those who use it, and what they were told.
type trial struct {
	house   *house.House
	rng     *rand.Rand
	mail    *ledger
	readers []*reader
	popper  *popper
	boss    *operator
	jobs    jobs
	tuned   int // settings of the store that this binary knows
	number  int // of the round
	kills   int
	tails   int
	stops   int // ends in order
	checks  int
	early   int // kills during the start
}

func newTrial(h *house.House, seed uint64) *trial {
	t := &trial{house: h, rng: rand.New(rand.NewPCG(seed, 1)), mail: newLedger()}
	for n := 6; n <= 8; n++ {
		t.readers = append(t.readers, newReader(account(n), rand.New(rand.NewPCG(seed, uint64(n)))))
	}
	t.popper = &popper{user: account(10), mail: t.mail, ids: map[string]string{}, rng: rand.New(rand.NewPCG(seed, 10))}
	t.boss = newOperator(h.Data(), t.mail, rand.New(rand.NewPCG(seed, 20)))
	return t
}

func account(n int) string { return fmt.Sprintf("u%d@%s", n, house.Domain) }

// receivers get mail from other hosts: two whom nobody reads, the IMAP and the POP3 users.
func receivers() []string {
	return []string{account(1), account(2), account(6), account(7), account(8), account(10)}
}

func (t *trial) rounds(kills int) error {
	if err := t.tune(); err != nil {
		return err
	}
	if err := t.house.Setup(); err != nil {
		return err
	}
	if _, err := t.house.Command("", "domain", "add", second); err != nil {
		return err
	}
	if err := t.house.AddAccount(friend); err != nil {
		return err
	}
	for t.kills < kills {
		if err := t.round(); err != nil {
			return err
		}
	}
	if err := t.house.Start(); err != nil {
		return err
	}
	err := t.compare()
	if err == nil {
		err = t.lastBackup()
	}
	if stopped := t.house.Stop(); err != nil || stopped != nil {
		return errors.Join(err, stopped)
	}
	t.report()
	if err := errors.Join(t.mail.check(), t.house.Check()); err != nil {
		return err
	}
	fmt.Println("losses: 0")
	return nil
}

// compare looks at everything while the house runs, and once more through its commands.
func (t *trial) compare() error {
	if err := t.verify(); err != nil {
		return err
	}
	imap := t.house.Target().IMAP.Addr
	for _, a := range append(receivers(), friend) {
		if err := t.mail.read(imap, a); err != nil {
			return err
		}
	}
	out, err := t.calmQueue()
	if err != nil {
		return err
	}
	if err := t.mail.readReports(imap, account(12)); err != nil {
		return err
	}
	return t.mail.readQueue(out)
}

// calmQueue lists the queue when all reports have reached their sender.
func (t *trial) calmQueue() (out []byte, err error) {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		out, err = t.house.Command("", "queue", "list", "--json")
		if err != nil || !bytes.Contains(out, []byte(`"address": "`+account(12))) {
			return out, err
		}
		if time.Now().After(end) {
			return nil, errors.New("reports to the sender do not leave the queue")
		}
	}
}

// round starts the server, looks whether it kept its word, lets everybody work for a random while, and kills it.
func (t *trial) round() error {
	if t.rng.IntN(4) == 0 {
		if err := t.killEarly(); err != nil {
			return err
		}
	}
	if err := t.house.Start(); err != nil {
		return err
	}
	if err := t.verify(); err != nil {
		return errors.Join(err, t.house.Kill())
	}
	target := t.house.Target()
	t.number++
	heavy, wait := t.rng.IntN(8) == 0, time.Duration(20+t.rng.IntN(900))*time.Millisecond
	if heavy {
		wait += 2 * time.Second
	}
	var wg sync.WaitGroup
	for s := range 4 {
		m := &sender{heavy: heavy, mail: t.mail, prefix: fmt.Sprintf("r%d-s%d", t.number, s), rng: rand.New(rand.NewPCG(t.rng.Uint64(), 0))}
		wg.Go(func() { m.deliver(target.SMTP.Addr) })
	}
	m := &sender{mail: t.mail, prefix: fmt.Sprintf("r%d-out", t.number), rng: rand.New(rand.NewPCG(t.rng.Uint64(), 0))}
	wg.Go(func() { m.submit(target.Submission.Addr) })
	for _, r := range t.readers {
		wg.Go(func() { r.work(target.IMAP.Addr) })
	}
	wg.Go(func() { t.popper.work(target.POP3.Addr) })
	wg.Go(t.boss.work)
	t.backups(&wg)
	time.Sleep(wait)
	err := t.end()
	wg.Wait()
	if err != nil {
		return err
	}
	for _, r := range t.readers {
		err = errors.Join(err, r.wrong)
	}
	if err = errors.Join(err, t.popper.wrong, t.boss.wrong); err != nil {
		return err
	}
	if err := t.tear(); err != nil || t.rng.IntN(4) > 0 {
		return err
	}
	t.checks++ // the command replays the log too
	return t.house.Check()
}

// end kills the server, or, seldom, ends it in order in the middle of the work: what the two leave behind differs.
func (t *trial) end() error {
	if t.rng.IntN(5) == 0 {
		t.stops++
		return t.house.Stop()
	}
	t.kills++
	return t.house.Kill()
}

// killEarly kills a server that has only begun to start.
func (t *trial) killEarly() error {
	if err := t.house.Spawn(); err != nil {
		return err
	}
	time.Sleep(time.Duration(t.rng.IntN(120)) * time.Millisecond)
	t.early++
	return t.house.Kill()
}

// tear leaves what a cut-off write may leave behind, sometimes.
func (t *trial) tear() error {
	if t.rng.IntN(2) == 0 {
		return nil
	}
	t.tails++
	return tear(t.house.Data(), t.rng)
}

// verify compares each reader's account with what it must look like.
func (t *trial) verify() error {
	imap := t.house.Target().IMAP.Addr
	for _, r := range t.readers {
		if err := r.verify(imap); err != nil {
			return fmt.Errorf("%s: %w", r.user, err)
		}
	}
	return t.boss.verify()
}

func (t *trial) report() {
	steps := map[string]int{}
	for _, r := range t.readers {
		for k, n := range r.done {
			steps[k] += n
		}
	}
	fmt.Printf("kills: %d, and %d during the start; ends in order: %d; torn tails: %d; checks between: %d\nIMAP changes acknowledged: %v\nPOP3: %d sessions with QUIT, %d messages removed\n",
		t.kills, t.early, t.stops, t.tails, t.checks, steps, t.popper.quits, t.popper.removed)
	fmt.Printf("operator's changes acknowledged: %v\nbackups: %d begun, %d ended well; settings for small segments and restless compaction: %d\n", t.boss.done, t.jobs.tried, t.jobs.done, t.tuned)
	operations := t.popper.removed + t.mail.taken()
	for _, counts := range []map[string]int{steps, t.boss.done} {
		for _, n := range counts {
			operations += n
		}
	}
	segments, err := filepath.Glob(filepath.Join(t.house.Data(), "seg", "*.seg"))
	if err == nil && len(segments) > 0 {
		slices.Sort(segments)
		fmt.Printf("segments: %d files, the last is %s\n", len(segments), filepath.Base(segments[len(segments)-1]))
	}
	t.mail.report()
	fmt.Printf("in all: %d kills, %d operations acknowledged\n", t.kills+t.early, operations)
}
