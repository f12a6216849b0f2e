package load

import (
	"errors"
	"flag"
	"fmt"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/mailgen"
)

// Scale says how much mail the steps use.
type Scale struct {
	Big   int // messages of realistic mail in one mailbox
	Huge  int // messages of 1 KB in one mailbox
	POP   int // messages in each POP3 user's INBOX
	SMTP  int // messages of the main SMTP steps
	Idle  int // idle connections
	Seed  uint64
	Every time.Duration // how often delivery is looked for
}

// DefaultScale is what the reports use.
var DefaultScale = Scale{Big: 10000, Huge: 100000, POP: 300, SMTP: 2000, Idle: 200, Seed: 1, Every: 20 * time.Millisecond}

// Step is one scenario of the matrix. Users have fixed parts: 1-10 receive SMTP,
// 11-20 have mail for POP3, 21 has the large mailboxes, 22-41 append.
type Step struct {
	Name  string
	Needs string // the services it talks to: s(mtp) u(submission) p(op) i(map) r(estart)
	Once  bool   // in the first round only
	Run   func(t *Target, sc Scale) []Measure
}

const (
	big, huge = "Big", "Huge"
	bigUser   = 21
)

// Usable says whether the target has what the step needs.
func (s Step) Usable(t *Target) bool {
	for _, c := range s.Needs {
		ok := map[rune]bool{'s': t.SMTP.Addr != "", 'u': t.Submission.Addr != "", 'p': t.POP3.Addr != "",
			'i': t.IMAP.Addr != "", 'r': len(t.Start) > 0}[c]
		if !ok {
			return false
		}
	}
	return true
}

// Steps is the whole matrix, in order.
func Steps() []Step {
	return []Step{
		{"resource.start", "r", false, restartStep},
		{"fill.big", "i", true, func(t *Target, sc Scale) []Measure {
			return fill(t, "fill.big", goal{t.box(bigUser), big, sc.Big, sc.real})
		}},
		{"fill.huge", "i", true, func(t *Target, sc Scale) []Measure {
			return fill(t, "fill.huge", goal{t.box(bigUser), huge, sc.Huge, sc.fixed(1024)})
		}},
		{"fill.pop", "i", true, func(t *Target, sc Scale) []Measure {
			var ms []Measure
			for n := 11; n <= 20; n++ {
				ms = append(ms, fill(t, "fill.pop", goal{t.box(n), "INBOX", sc.POP, func(i int) []byte { return sc.real(n*1000000 + i) }})...)
			}
			return ms[:1]
		}},
		{"imap.select_first.huge", "i", false, func(t *Target, sc Scale) []Measure { return selects(t, "imap.select_first.huge", huge, 1) }},
		{"imap.select.huge", "i", false, func(t *Target, sc Scale) []Measure { return selects(t, "imap.select.huge", huge, 10) }},
		{"imap.select_first.big", "i", false, func(t *Target, sc Scale) []Measure { return selects(t, "imap.select_first.big", big, 1) }},
		{"imap.select.big", "i", false, func(t *Target, sc Scale) []Measure { return selects(t, "imap.select.big", big, 10) }},
		{"imap.headers_first", "i", true, func(t *Target, sc Scale) []Measure { return headers(t, "imap.headers_first", sc) }},
		{"imap.headers_repeat", "i", false, func(t *Target, sc Scale) []Measure { return headers(t, "imap.headers_repeat", sc) }},
		{"imap.flags.huge", "i", false, func(t *Target, sc Scale) []Measure {
			return timed(t, "imap.flags.huge", query{huge, "UID FETCH 1:* (FLAGS)", sc.Huge, -1})
		}},
		{"imap.fetch_full", "i", false, func(t *Target, sc Scale) []Measure {
			return timed(t, "imap.fetch_full", query{big, "UID FETCH 1:* (FLAGS UID BODY.PEEK[])", sc.Big, -1})
		}},
		{"imap.fetch_full.c10", "i", false, fetchMany},
		{"imap.search_from", "i", false, func(t *Target, sc Scale) []Measure {
			return timed(t, "imap.search_from", query{big, "SEARCH FROM \"sender7@\"", sc.Big, (sc.Big - 7 + mailgen.Senders - 1) / mailgen.Senders})
		}},
		{"imap.search_subject", "i", false, func(t *Target, sc Scale) []Measure {
			return timed(t, "imap.search_subject", query{big, "SEARCH SUBJECT nosuchwordhere", sc.Big, 0})
		}},
		{"imap.search_body", "i", false, func(t *Target, sc Scale) []Measure {
			return timed(t, "imap.search_body", query{big, "SEARCH BODY " + mailgen.Needle, sc.Big, sc.needles()})
		}},
		{"imap.search_text", "i", false, func(t *Target, sc Scale) []Measure {
			return timed(t, "imap.search_text", query{big, "SEARCH TEXT " + mailgen.Needle, sc.Big, sc.needles()})
		}},
		{"imap.store_all", "i", false, func(t *Target, sc Scale) []Measure {
			ms := timed(t, "imap.store_all", query{big, "STORE 1:* +FLAGS (\\Flagged)", sc.Big, -1})
			return append(ms, timed(t, "imap.store_all_undo", query{big, "STORE 1:* -FLAGS (\\Flagged)", sc.Big, -1})...)
		}},
		{"imap.store_one", "i", false, storeOne},
		{"imap.append.c1.4k", "i", false, appends("imap.append.c1.4k", 1, 300, 4096)},
		{"imap.append.c1.real", "i", false, appends("imap.append.c1.real", 1, 300, 0)},
		{"imap.append.c20.4k", "i", false, appends("imap.append.c20.4k", 20, 2000, 4096)},
		{"imap.copy_move", "i", false, copyMove},
		{"imap.idle", "i", false, idleStep},
		{"smtp.c1.4k", "s", false, smtpStep("smtp.c1.4k", smtpKind{conns: 1, div: 6, size: 4096})},
		{"smtp.c20.4k", "s", false, smtpStep("smtp.c20.4k", smtpKind{conns: 20, div: 1, size: 4096})},
		{"smtp.c20.4k.fresh", "s", false, smtpStep("smtp.c20.4k.fresh", smtpKind{conns: 20, div: 2, size: 4096, fresh: true})},
		{"smtp.c20.4k.pipelined", "s", false, smtpStep("smtp.c20.4k.pipelined", smtpKind{conns: 20, div: 1, size: 4096, pipeline: true})},
		{"smtp.c20.real", "s", false, smtpStep("smtp.c20.real", smtpKind{conns: 20, div: 2})},
		{"subm.c20.4k", "u", false, smtpStep("subm.c20.4k", smtpKind{auth: true, conns: 20, div: 1, size: 4096})},
		{"subm.c20.4k.fresh", "u", false, smtpStep("subm.c20.4k.fresh", smtpKind{auth: true, conns: 20, div: 4, size: 4096, fresh: true})},
		{"pop.c10", "p", false, func(t *Target, sc Scale) []Measure { return pop(t, "pop.c10", 11, 20, false) }},
		{"pop.c1", "p", false, func(t *Target, sc Scale) []Measure { return pop(t, "pop.c1", 11, 11, false) }},
		{"pop.c5.dele", "p", false, func(t *Target, sc Scale) []Measure { return pop(t, "pop.c5.dele", 1, 5, true) }},
		{"imap.expunge", "i", false, expunge}, // also clears what SMTP brought
	}
}

func (sc Scale) real(i int) []byte { return mailgen.Message(sc.Seed, i) }
func (sc Scale) fixed(size int) func(int) []byte {
	return func(i int) []byte { return mailgen.Fixed(sc.Seed, i, size) }
}
func (sc Scale) needles() int {
	return (sc.Big - mailgen.NeedleAt + mailgen.NeedleEvery - 1) / mailgen.NeedleEvery
}

func one(m Measure) []Measure { return []Measure{m} }

func restartStep(t *Target, sc Scale) []Measure {
	d, err := t.Restart()
	if err != nil {
		return one(Fail("resource.start", err))
	}
	time.Sleep(2 * time.Second)
	u := t.Usage()
	return []Measure{
		{Name: "resource.start", Unit: "ms", Value: Ms(d), N: 1},
		{Name: "resource.rest_pss", Unit: "MB", Value: float64(u.PSS) / 1e6, N: u.Procs, More: map[string]float64{"rss": float64(u.RSS) / 1e6, "procs": float64(u.Procs)}},
	}
}

// goal is a mailbox and the mail it shall have.
type goal struct {
	box     IMAP
	mailbox string
	n       int
	msg     func(int) []byte
}

func fill(t *Target, name string, g goal) []Measure {
	box, mailbox, n, msg := g.box, g.mailbox, g.n, g.msg
	ic, err := box.Login()
	if err != nil {
		return one(Fail(name, err))
	}
	defer ic.Logout()
	if mailbox != "INBOX" {
		ic.Cmd("CREATE " + mailbox) // may exist
	}
	have, err := ic.Messages(mailbox)
	if err != nil {
		return one(Fail(name, err))
	}
	if have >= n {
		return one(Measure{Name: name, Unit: "msgs/s", N: 0})
	}
	before, filesBefore := DiskUsage(t.DataDirs)
	start := time.Now()
	bytes, err := ic.Fill(mailbox, n-have, func(i int) []byte { return msg(have + i) })
	d := time.Since(start)
	if err != nil {
		return one(Fail(name, err))
	}
	after, filesAfter := DiskUsage(t.DataDirs)
	m := Rate(name, "msgs/s", n-have, float64(n-have), d)
	m.More["MB/s"] = float64(bytes) / 1e6 / d.Seconds()
	m.More["mail_MB"] = float64(bytes) / 1e6
	m.More["disk_per_mail"] = float64(after-before) / float64(bytes)
	m.More["files"] = float64(filesAfter - filesBefore)
	return one(m)
}

func selects(t *Target, name, mailbox string, n int) []Measure {
	var h, login Hist
	for range n {
		start := time.Now()
		ic, err := t.box(bigUser).Login()
		if err != nil {
			return one(Fail(name, err))
		}
		login.Add(time.Since(start))
		d, err := ic.Timed("SELECT " + mailbox)
		ic.Logout()
		if err != nil {
			return one(Fail(name, err))
		}
		h.Add(d)
	}
	m := Latency(name, &h)
	m.More["login_p50"] = login.Quantile(0.5)
	return one(m)
}

func headers(t *Target, name string, sc Scale) []Measure {
	return timed(t, name, query{big, "FETCH 1:* (UID FLAGS ENVELOPE INTERNALDATE RFC822.SIZE BODYSTRUCTURE)", sc.Big, -1})
}

// query is one timed command.
type query struct {
	mailbox, cmd string
	n, want      int
}

// timed runs one command on a selected mailbox of n messages. A search must find
// want messages; another command must answer with n FETCH responses.
func timed(t *Target, name string, q query) []Measure {
	mailbox, cmd, n, want := q.mailbox, q.cmd, q.n, q.want
	ic, err := t.box(bigUser).Login()
	if err == nil {
		defer ic.Logout()
		err = ic.Cmd("SELECT " + mailbox)
	}
	if err != nil {
		return one(Fail(name, err))
	}
	d, err := ic.Timed(cmd)
	if err != nil {
		return one(Fail(name, err))
	}
	var m Measure
	if want >= 0 {
		m = Measure{Name: name, Unit: "ms", Value: Ms(d), N: 1, More: map[string]float64{"found": float64(ic.Search)}}
		if ic.Search != want {
			m.Errors, m.Error = 1, fmt.Sprintf("found %d, not %d", ic.Search, want)
		}
		return one(m)
	}
	m = Rate(name, "msgs/s", n, float64(n), d)
	m.More["MB/s"] = float64(ic.Wire) / 1e6 / d.Seconds()
	if ic.Fetches != n {
		m.Errors, m.Error = 1, fmt.Sprintf("%d FETCH responses, not %d", ic.Fetches, n)
	}
	return one(m)
}

// fetchMany reads ten INBOXes at the same time.
func fetchMany(t *Target, sc Scale) []Measure {
	const name = "imap.fetch_full.c10"
	var mu sync.Mutex
	var msgs int
	var wire int64
	var firstErr error
	start := time.Now()
	var wg sync.WaitGroup
	for _, b := range t.boxes(11, 20) {
		wg.Go(func() {
			ic, err := b.Login()
			if err == nil {
				defer ic.Logout()
				err = ic.Cmd("SELECT INBOX")
			}
			if err == nil {
				err = ic.Cmd("UID FETCH 1:* (FLAGS UID BODY.PEEK[])")
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				firstErr = err
				return
			}
			msgs += ic.Fetches
			wire += ic.Wire
		})
	}
	wg.Wait()
	d := time.Since(start)
	if firstErr != nil {
		return one(Fail(name, firstErr))
	}
	m := Rate(name, "msgs/s", msgs, float64(msgs), d)
	m.More["MB/s"] = float64(wire) / 1e6 / d.Seconds()
	return one(m)
}

func storeOne(t *Target, sc Scale) []Measure {
	const name = "imap.store_one"
	ic, err := t.box(bigUser).Login()
	if err == nil {
		defer ic.Logout()
		err = ic.Cmd("SELECT " + big)
	}
	var h Hist
	for i := 0; err == nil && i < 300; i++ {
		op := "+"
		if i >= 150 {
			op = "-"
		}
		var d time.Duration
		if d, err = ic.Timed(fmt.Sprintf("STORE %d %sFLAGS.SILENT (\\Answered)", 1+(i%150)*7%sc.Big, op)); err == nil {
			h.Add(d)
		}
	}
	if err != nil {
		return one(Fail(name, err))
	}
	return one(Latency(name, &h))
}

func appends(name string, conns, n, size int) func(*Target, Scale) []Measure {
	return func(t *Target, sc Scale) []Measure {
		msg := sc.real
		if size > 0 {
			msg = sc.fixed(size)
		}
		boxes := t.boxes(22, 22+conns-1)
		m := Appends(name, boxes, "Append", Amount{conns, n, msg})
		for _, b := range boxes {
			if ic, err := b.Login(); err == nil {
				ic.Cmd("DELETE Append")
				ic.Logout()
			}
		}
		return one(m)
	}
}

func copyMove(t *Target, sc Scale) []Measure {
	n := min(1000, sc.Big)
	ic, err := t.box(bigUser).Login()
	if err != nil {
		return one(Fail("imap.copy", err))
	}
	defer ic.Logout()
	ic.Cmd("CREATE Scratch")
	ic.Cmd("CREATE Scratch2")
	defer func() {
		ic.Cmd("UNSELECT")
		ic.Cmd("DELETE Scratch")
		ic.Cmd("DELETE Scratch2")
	}()
	if err := ic.Cmd("SELECT " + big); err != nil {
		return one(Fail("imap.copy", err))
	}
	d, err := ic.Timed(fmt.Sprintf("COPY 1:%d Scratch", n))
	if err != nil {
		return one(Fail("imap.copy", err))
	}
	ms := one(Rate("imap.copy", "msgs/s", n, float64(n), d))
	if !ic.Has("MOVE") {
		return append(ms, Fail("imap.move", errors.New("no MOVE")))
	}
	if err = ic.Cmd("SELECT Scratch"); err == nil {
		d, err = ic.Timed("MOVE 1:* Scratch2")
	}
	if err != nil {
		return append(ms, Fail("imap.move", err))
	}
	return append(ms, Rate("imap.move", "msgs/s", n, float64(n), d))
}

func idleStep(t *Target, sc Scale) []Measure {
	const name = "imap.idle_pss_per_conn"
	before := t.Usage()
	ics, err := Idle(t.boxes(1, t.Users), sc.Idle)
	defer func() {
		for _, ic := range ics {
			ic.Close()
		}
		time.Sleep(time.Second)
	}()
	if err != nil {
		return one(Fail(name, err))
	}
	time.Sleep(3 * time.Second)
	after := t.Usage()
	n := float64(sc.Idle)
	return one(Measure{Name: name, Unit: "KB", Value: float64(after.PSS-before.PSS) / n / 1e3, N: sc.Idle, More: map[string]float64{
		"rss_KB": float64(after.RSS-before.RSS) / n / 1e3, "pss_before_MB": float64(before.PSS) / 1e6, "pss_after_MB": float64(after.PSS) / 1e6,
		"procs_before": float64(before.Procs), "procs_after": float64(after.Procs)}})
}

// watch logs in users 1 to 10, before the clock starts.
func watch(t *Target) (ics []*IMAPConn, err error) {
	for _, b := range t.boxes(1, 10) {
		ic, err := b.Login()
		if err != nil {
			unwatch(ics)
			return nil, err
		}
		ics = append(ics, ic)
	}
	return ics, nil
}

func unwatch(ics []*IMAPConn) {
	for _, ic := range ics {
		ic.Logout()
	}
}

// inboxes counts the mail in each INBOX, waiting for want[k] where given.
func inboxes(ics []*IMAPConn, every time.Duration, want []int) ([]int, error) {
	end := time.Now().Add(3 * time.Minute)
	var got []int
	for k, ic := range ics {
		for {
			n, err := ic.Messages("INBOX")
			if err != nil {
				return nil, err
			}
			if want == nil || n >= want[k] {
				got = append(got, n)
				break
			}
			if time.Now().After(end) {
				return nil, fmt.Errorf("user %d has %d messages, not %d", k+1, n, want[k])
			}
			time.Sleep(every)
		}
	}
	return got, nil
}

// smtpKind is how one SMTP step sends.
type smtpKind struct {
	auth             bool // submission
	conns, div, size int  // size 0: realistic mail
	fresh, pipeline  bool
}

// smtpStep sends sc.SMTP/div messages, and where there is IMAP also waits until
// all are in the mailboxes: that rate is more["delivered/s"].
func smtpStep(name string, k smtpKind) func(*Target, Scale) []Measure {
	return func(t *Target, sc Scale) []Measure {
		rcpts := t.userRange(1, 10)
		s := &SMTP{Server: t.SMTP, From: "bench@example.net", Rcpts: rcpts, Conns: k.conns, Msgs: sc.SMTP / k.div, Fresh: k.fresh, Pipeline: k.pipeline, Body: sc.real}
		if k.size > 0 {
			s.Body = sc.fixed(k.size)
		}
		if k.auth {
			s.Submit(t, 11)
		}
		var want []int
		var ics []*IMAPConn
		if t.IMAP.Addr != "" {
			var err error
			if ics, err = watch(t); err == nil {
				defer func() { unwatch(ics) }()
				want, err = inboxes(ics, sc.Every, nil)
			}
			if err != nil {
				return one(Fail(name, err))
			}
			for i := range s.Msgs {
				want[i%len(rcpts)]++
			}
		}
		return one(WithCPU(t, func() Measure { // not the watchers' logins
			r := s.Run()
			start := time.Now().Add(-r.Elapsed)
			m := r.Measure(name)
			if want != nil && r.Errors == 0 {
				if _, err := inboxes(ics, sc.Every, want); err != nil {
					m.Errors++
					m.Error = err.Error()
				} else {
					m.More["delivered/s"] = float64(r.Sent) / time.Since(start).Seconds()
				}
			}
			return m
		}))
	}
}

func pop(t *Target, name string, from, to int, dele bool) []Measure {
	p := &POP3{Server: t.POP3, Users: t.userRange(from, to), Pass: t.Password, Dele: dele}
	return one(p.Run().Measure(name))
}

// expunge empties the INBOXes of users 1 to 10.
func expunge(t *Target, sc Scale) []Measure {
	const name = "imap.expunge"
	var n int
	var took time.Duration
	for _, b := range t.boxes(1, 10) {
		ic, err := b.Login()
		if err == nil {
			defer ic.Logout()
			err = ic.Cmd("SELECT INBOX")
		}
		if err != nil {
			return one(Fail(name, err))
		}
		have := ic.Exists
		if have == 0 {
			continue
		}
		start := time.Now()
		if err = ic.Cmd("STORE 1:* +FLAGS.SILENT (\\Deleted)"); err == nil {
			err = ic.Cmd("EXPUNGE")
		}
		if err != nil {
			return one(Fail(name, err))
		}
		took += time.Since(start)
		n += have
	}
	if n == 0 {
		return one(Measure{Name: name, Unit: "msgs/s"})
	}
	return one(Rate(name, "msgs/s", n, float64(n), took))
}

// RunStep runs one step and adds the CPU time that the server spent in it.
func RunStep(s Step, t *Target, sc Scale) []Measure {
	var ms []Measure
	sum := WithCPU(t, func() Measure { ms = s.Run(t, sc); return ms[0] })
	if len(ms) == 1 && s.Name != "resource.start" {
		ms[0] = sum
	}
	for i := range ms {
		ms[i].Target = t.Name
	}
	return ms
}

// WithCPU adds to a measure the CPU time that the server spent in it, unless f
// has done so for a part of its work.
func WithCPU(t *Target, f func() Measure) Measure {
	before := t.Usage()
	m := f()
	if _, done := m.More["cpu_s"]; done {
		return m
	}
	time.Sleep(100 * time.Millisecond) // a process ending while /proc is read would be lost
	cpu := t.Usage().CPUSeconds - before.CPUSeconds
	if before.Procs == 0 || cpu < 0 {
		return m
	}
	if m.More == nil {
		m.More = map[string]float64{}
	}
	m.More["cpu_s"] = cpu
	if m.N > 1 {
		m.More["cpu_ms_each"] = cpu * 1000 / float64(m.N)
	}
	return m
}

// Flags declares the command line flags that change the scale.
func (sc *Scale) Flags() {
	flag.IntVar(&sc.Big, "nbig", sc.Big, "messages in the realistic mailbox")
	flag.IntVar(&sc.Huge, "nhuge", sc.Huge, "messages in the mailbox of 1 KB mails")
	flag.IntVar(&sc.POP, "npop", sc.POP, "messages for each of ten POP3 users")
	flag.IntVar(&sc.SMTP, "nsmtp", sc.SMTP, "messages in the main SMTP steps")
	flag.IntVar(&sc.Idle, "nidle", sc.Idle, "idle IMAP connections")
}
