package pull_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/imap/pull"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// filled is a folder with n messages.
func filled(name string, validity uint32, n int) *fakeFolder {
	x := newFolder(name, validity)
	flags := []string{"", `\Seen`, `\Answered \Flagged`, `\Seen $Work`, "$Forwarded $Work Private"}
	for i := range n {
		x.add(flags[i%len(flags)], text(i))
	}
	return x
}

func TestBringsEverything(t *testing.T) {
	inbox := filled("INBOX", 7001, 1234)
	inbox.messages = append(inbox.messages[:100], inbox.messages[110:]...) // gaps
	work, sent := filled("Arbeit & mehr/Pl&AOQ-ne", 7002, 12), filled("Sent Items", 7003, 3)
	sent.attributes = `\Sent`
	empty := newFolder("Empty", 7004)
	work.name = "Arbeit &- mehr/Pl&AOQ-ne"
	work.subscribed = false
	f := newFake(inbox, work, sent, empty, &fakeFolder{name: "Arbeit &- mehr", attributes: `\Noselect`})
	m := newMove(t, f)
	r := m.run()
	m.same(inbox, "INBOX")
	m.same(work, "Arbeit & mehr/Pläne")
	m.same(sent, "Sent")
	m.same(empty, "Empty")
	if r.Pulled != 1224+12+3 || r.Skips != 0 || len(r.Warnings) != 0 {
		t.Errorf("report %+v", r)
	}
	for _, c := range []struct {
		x  *fakeFolder
		to string
	}{{inbox, "INBOX"}, {work, "Arbeit & mehr/Pläne"}, {sent, "Sent"}} {
		st, err := m.Store.State(t.Context(), m.box(c.to).ID)
		if err != nil || st.UIDValidity != c.x.validity || st.UIDNext != c.x.uidNext {
			t.Errorf("%s: UIDVALIDITY %d, UIDNEXT %d, want %d, %d (%v)", c.to, st.UIDValidity, st.UIDNext, c.x.validity, c.x.uidNext, err)
		}
		for i, row := range storetest.Rows(t, m.Store, 1, c.to) {
			if row.UID != c.x.messages[i].uid {
				t.Fatalf("%s: uid %d, want %d", c.to, row.UID, c.x.messages[i].uid)
			}
		}
	}
	if m.box("Arbeit & mehr/Pläne").Subscribed || !m.box("Empty").Subscribed {
		t.Error("subscriptions did not come")
	}
	// Again: nothing new, nothing is fetched.
	was := f.bodies
	if r := m.run(); r.Pulled != 0 || f.bodies != was {
		t.Errorf("a second run pulled %d, fetched %d", r.Pulled, f.bodies-was)
	}
}

func TestIncrement(t *testing.T) {
	for _, caps := range []string{"IMAP4rev1 CONDSTORE", "IMAP4rev1"} {
		t.Run(caps, func(t *testing.T) {
			inbox := filled("INBOX", 7001, 50)
			f := newFake(inbox)
			f.caps = caps
			m := newMove(t, f)
			m.run()
			// There: new mail, flags added and taken away. Here: one flag of our own, which stays.
			inbox.add(`\Seen`, text(100))
			inbox.setFlags(0, `\Seen \Answered`)
			inbox.setFlags(3, `$Work New`)
			inbox.setFlags(4, ``)
			_, _, err := m.Store.SetFlags(t.Context(), m.box("INBOX").ID, []store.UIDRange{{First: 11, Last: 11}}, store.FlagsChange{Op: store.FlagsAdd, Flags: store.Draft})
			if err != nil {
				t.Fatal(err)
			}
			was := f.bodies
			r := m.run()
			inbox.messages[10].flags = `\Draft`
			m.same(inbox, "INBOX")
			inbox.messages[10].flags = ``
			if r.Pulled != 1 || f.bodies != was+1 || of(t, r, "INBOX").Flagged != 3 || of(t, r, "INBOX").NewUIDs != 0 {
				t.Errorf("pulled %d, fetched %d: %+v", r.Pulled, f.bodies-was, r)
			}
			if r := m.run(); r.Pulled != 0 || of(t, r, "INBOX").Flagged != 0 {
				t.Errorf("a run without changes: %+v", r)
			}
		})
	}
}

func TestMirror(t *testing.T) {
	inbox := filled("INBOX", 7001, 30)
	f := newFake(inbox)
	m := newMove(t, f)
	m.run()
	inbox.expunge(20)
	inbox.expunge(3)
	if r := m.run(); of(t, r, "INBOX").Expunged != 0 || len(storetest.Rows(t, m.Store, 1, "INBOX")) != 30 {
		t.Errorf("without --mirror: %+v", r)
	}
	m.o.Mirror = true
	storetest.Deliver(t, m.Store, 1, "INBOX", "Subject: from elsewhere\r\n\r\n") // not the folder's: it stays
	if r := m.run(); of(t, r, "INBOX").Expunged != 2 || len(storetest.Rows(t, m.Store, 1, "INBOX")) != 29 {
		t.Errorf("with --mirror: %+v", r)
	}
}

// TestMailMeanwhile: mail that arrives here gets no uid that the server may still give, and nothing is renumbered before it.
func TestMailMeanwhile(t *testing.T) {
	inbox := filled("INBOX", 7001, 10)
	m := newMove(t, newFake(inbox))
	m.run()
	inbox.add("", text(50))
	m.run()
	storetest.Deliver(t, m.Store, 1, "INBOX", "Subject: new here\r\n\r\n")
	rows := storetest.Rows(t, m.Store, 1, "INBOX")
	if len(rows) != 12 || rows[10].UID != 11 || rows[11].UID < 100_000 {
		t.Fatalf("rows %+v", rows)
	}
	inbox.add("", text(51))
	r := m.run()
	rows = storetest.Rows(t, m.Store, 1, "INBOX")
	if x := of(t, r, "INBOX"); len(rows) != 13 || rows[12].UID <= rows[11].UID || x.NewUIDs != 1 || x.Note == "" {
		t.Errorf("after the cut-over: %+v, %d rows", x, len(rows))
	}
}

// TestFolders: what becomes of names, delimiters, namespaces and special uses.
func TestFolders(t *testing.T) {
	for _, c := range []struct {
		name, delim, spaces string
		folders             [][2]string // name, attributes
		options             pull.Options
		want                string // "from>to" of all, in order of their coming
	}{
		{"Courier", ".", `(("INBOX." ".")) NIL (("shared." "."))`, [][2]string{{"INBOX", ""}, {"INBOX.Sent", ""}, {"INBOX.Trash", ""}, {"INBOX.a.b", ""}, {"shared.x", ""}},
			pull.Options{}, "INBOX>INBOX Sent>Sent Trash>Trash a/b>a/b shared/x>-"},
		{"no NAMESPACE", ".", "", [][2]string{{"INBOX", ""}, {"INBOX.Drafts", ""}, {"INBOX.Kunden", ""}}, pull.Options{}, "INBOX>INBOX Drafts>Drafts Kunden>Kunden"},
		{"folders of one's own below INBOX", ".", "", [][2]string{{"INBOX", ""}, {"INBOX.Kunden", ""}}, pull.Options{}, "INBOX>INBOX INBOX/Kunden>INBOX/Kunden"},
		{"Exchange", "/", `(("" "/")) NIL NIL`, [][2]string{{"Calendar", ""}, {"Deleted Items", ""}, {"INBOX", `\Marked`}, {"Junk Email", ""}, {"Sent Items", ""}},
			pull.Options{Folders: []string{"*", "!Calendar"}}, "INBOX>INBOX Deleted Items>Trash Junk Email>Junk Sent Items>Sent"},
		{"attributes go before names", "/", `(("" "/")) NIL NIL`, [][2]string{{"INBOX", ""}, {"Sent", ""}, {"Gesendet", `\Sent`}}, pull.Options{}, "INBOX>INBOX Gesendet>Sent Sent>Sent 2"},
		{"slash in a level", ".", `(("" ".")) NIL NIL`, [][2]string{{"INBOX", ""}, {"a/b.c", ""}}, pull.Options{}, "INBOX>INBOX a_b/c>a_b/c"},
		{"map", "/", `(("" "/")) NIL NIL`, [][2]string{{"INBOX", ""}, {"Alt", ""}, {"Alt/2001", ""}}, pull.Options{Map: map[string]string{"Alt": "Archive/Old", "INBOX": "Inbox of before"}},
			"INBOX>Inbox of before Alt>Archive/Old Alt/2001>Archive/Old/2001"},
		{"wanted", "/", `(("" "/")) NIL NIL`, [][2]string{{"INBOX", ""}, {"a", ""}, {"a/b", ""}, {"a/b/c", ""}}, pull.Options{Folders: []string{"a/%", "inbox"}}, "INBOX>INBOX a/b>a/b"},
		{"raw UTF-8 and a bare ampersand", "/", `(("" "/")) NIL NIL`, [][2]string{{"INBOX", ""}, {"Pläne", ""}, {"R & D", ""}}, pull.Options{}, "INBOX>INBOX Pläne>Pläne R & D>R & D"},
		{"virtual", "/", `(("" "/")) NIL NIL`, [][2]string{{"INBOX", ""}, {"All", `\All`}, {"Starred", `\Flagged`}}, pull.Options{}, "INBOX>INBOX Starred>- All>-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake()
			f.delim, f.spaces = c.delim, c.spaces
			if c.spaces == "" {
				f.caps = "IMAP4rev1"
			}
			for i, x := range c.folders {
				folder := filled(x[0], 900+uint32(i), 1)
				folder.attributes = x[1]
				f.folders = append(f.folders, folder)
			}
			m := newMove(t, f)
			m.o.Folders, m.o.Map = c.options.Folders, c.options.Map
			var got []string
			for _, x := range m.run().Folders {
				to := x.To
				if to == "" {
					to = "-"
				}
				got = append(got, x.From+">"+to)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}

// TestGmail: a message with several labels is stored once.
func TestGmail(t *testing.T) {
	inbox, label, all := newFolder("INBOX", 1), newFolder("Label", 2), newFolder("[Gmail]/All Mail", 3)
	important := newFolder("[Gmail]/Important", 4)
	all.attributes, important.attributes = `\All \HasNoChildren`, `\Important`
	add := func(x *fakeFolder, id uint64, labels string) {
		m := x.add(`\Seen`, text(int(id)))
		m.gmail, m.labels = id, labels
	}
	add(inbox, 11, "")
	add(inbox, 12, `"Label" "\\Important"`)
	add(label, 12, `"\\Inbox" "\\Important"`)
	add(label, 13, "")
	for id, labels := range map[uint64]string{11: `"\\Inbox"`, 12: `"\\Inbox" "Label" "\\Important"`, 13: "Label", 14: "", 15: `"\\Starred"`} {
		add(all, id, labels)
	}
	f := newFake(inbox, label, all, important)
	f.caps += " X-GM-EXT-1"
	m := newMove(t, f)
	r := m.run()
	if f.bodies != 5 || of(t, r, "Label").Copied != 1 || of(t, r, "[Gmail]/All Mail").Pulled != 2 || of(t, r, "[Gmail]/Important").To != "" {
		t.Errorf("%d texts fetched, want 5: %+v", f.bodies, r)
	}
	for name, want := range map[string]int{"INBOX": 2, "Label": 2, "Archive": 2} {
		if rows := storetest.Rows(t, m.Store, 1, name); len(rows) != want {
			t.Errorf("%s has %d messages, want %d", name, len(rows), want)
		}
	}
	a, b := storetest.Rows(t, m.Store, 1, "INBOX")[1], storetest.Rows(t, m.Store, 1, "Label")
	if a.ID != b[1].ID && a.ID != b[0].ID || m.flags("INBOX", a) != `\Seen $Important` {
		t.Errorf("the labelled message: %+v in INBOX (%s), %+v in Label", a, m.flags("INBOX", a), b)
	}
	if r := m.run(); r.Pulled != 0 || of(t, r, "Label").Copied != 0 {
		t.Errorf("again: %+v", r)
	}
}

// unique is the POP3 side of a fake.
type unique struct {
	x       *fakeFolder
	headers int
	order   []int // of the messages; nil: the folder's
}

func TestUniqueIDs(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		t.Run(fmt.Sprint(reversed), func(t *testing.T) {
			inbox := filled("INBOX", 7001, 60)
			m := newMove(t, newFake(inbox))
			u := &unique{x: inbox}
			for i := range inbox.messages {
				if u.order = append(u.order, i); reversed {
					u.order[i] = len(inbox.messages) - 1 - i
				}
			}
			m.o.UniqueIDs = u
			m.run()
			rows := storetest.Rows(t, m.Store, 1, "INBOX")
			ids, err := m.Store.UIDLs(t.Context(), m.box("INBOX").ID, rows)
			if err != nil {
				t.Fatal(err)
			}
			for i, id := range ids {
				if want := fmt.Sprintf("uidl-%d", i); id != want {
					t.Fatalf("message %d: %q, want %q", i, id, want)
				}
			}
			if (u.headers > 0) != reversed {
				t.Errorf("%d headers were asked for", u.headers)
			}
		})
	}
}
