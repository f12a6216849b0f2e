package importer_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/store/importer"
)

const from = "From a@example.org Thu Jan  2 03:04:05 2020\n"

// TestMbox: what a file says, and what the mailbox shows of it (without its first line).
func TestMbox(t *testing.T) {
	for _, c := range []struct {
		name, file, want string
		variant          importer.Variant
		labels           importer.Labels
	}{
		{name: "two", file: from + "Subject: a\n\none\n\n" + from + "Subject: b\n\ntwo\n\n", want: `
  1 2020-01-02 03:04:05 () "Subject: a\r\n\r\none\r\n"
  2 2020-01-02 03:04:05 () "Subject: b\r\n\r\ntwo\r\n"`},
		{name: "status", file: from + "Status: RO\nSubject: a\nX-Status: AFTD\nX-Keywords: $Forwarded Work\n later\n\none\n", want: `
  1 2020-01-02 03:04:05 ($Forwarded Work \Answered \Deleted \Draft \Flagged \Seen later) "Subject: a\r\n\r\none\r\n"`},
		{name: "crlf, no empty line between", file: strings.ReplaceAll(from+"Subject: a\n\none\n"+from+"Subject: b\n\ntwo\n", "\n", "\r\n"), want: `
  1 2020-01-02 03:04:05 () "Subject: a\r\n\r\none\r\n"
  2 2020-01-02 03:04:05 () "Subject: b\r\n\r\ntwo\r\n"`},
		{name: "From in the text", file: from + "Subject: a\n\nFrom here to there\n\nFrom now on: nothing\n\nFrom Thu to Fri\n", want: `
  1 2020-01-02 03:04:05 () "Subject: a\r\n\r\nFrom here to there\r\n\r\nFrom now on: nothing\r\n\r\nFrom Thu to Fri\r\n"`},
		{name: "mboxrd", file: from + "Subject: a\n\n>From x\n>>From y\n> From z\n", want: `
  1 2020-01-02 03:04:05 () "Subject: a\r\n\r\nFrom x\r\n>From y\r\n> From z\r\n"`},
		{name: "mboxo", variant: importer.VariantO, file: from + "Subject: a\n\n>From x\n>>From y\n", want: `
  1 2020-01-02 03:04:05 () "Subject: a\r\n\r\nFrom x\r\n>>From y\r\n"`},
		{name: "mboxcl2", file: from + "Content-Length: " + "47\nSubject: a\n\n" + from + ">>\n\n" + from + "Subject: b\n\n>From q\n", want: `
  1 2020-01-02 03:04:05 () "Subject: a\r\n\r\nFrom a@example.org Thu Jan  2 03:04:05 2020\r\n>>\r\n"
  2 2020-01-02 03:04:05 () "Subject: b\r\n\r\nFrom q\r\n"`},
		{name: "mboxcl", variant: importer.VariantCL, file: from + "Content-Length: 8\n\n>From x\n\n" + from + "\nb\n", want: `
  1 2020-01-02 03:04:05 () "\r\nFrom x\r\n"
  2 2020-01-02 03:04:05 () "\r\nb\r\n"`},
		{name: "a length that does not fit", file: from + "Content-Length: 3\nSubject: a\n\none\n\n" + from + "\nb\n", want: `
  1 2020-01-02 03:04:05 () "Subject: a\r\n\r\none\r\n"
  2 2020-01-02 03:04:05 () "\r\nb\r\n"`},
		{name: "thunderbird", file: "From - Thu Jan 02 03:04:05 2020\nX-Mozilla-Status: 0005\nX-Mozilla-Status2: 00000000\nX-Mozilla-Keys: $label1      \nSubject: a\n\none\n\n" +
			"From - Thu Jan 02 03:04:05 2020\nX-Mozilla-Status: 0009\nSubject: gone\n\n", want: `
  1 2020-01-02 03:04:05 ($label1 \Flagged \Seen) "Subject: a\r\n\r\none\r\n"`},
		{name: "no date", file: "From \nSubject: a\n\none\n\nFrom \nSubject: b\n\n", want: `
  1 2026-01-01 00:00:00 () "Subject: a\r\n\r\none\r\n"
  2 2026-01-01 00:00:00 () "Subject: b\r\n\r\n"`},
		{name: "uids", file: from + "X-IMAPbase: 1500000000 0000000009 Work\nX-UID: 4\nSubject: a\n\n\n" + from + "X-UID: 8\nSubject: b\n\n\n", want: `
  4 2020-01-02 03:04:05 () "Subject: a\r\n\r\n"
  8 2020-01-02 03:04:05 () "Subject: b\r\n\r\n"`},
		{name: "gmail", file: from + "X-Gmail-Labels: Inbox,Unread,\"My, label\",=?UTF-8?Q?B=C3=BCro?=\nSubject: a\n\n", want: `
  1 2020-01-02 03:04:05 (B&APw-ro My,&ACA-label) "Subject: a\r\n\r\n"`},
		{name: "a long line", file: from + "Subject: a\n\n" + strings.Repeat("x", 100_000) + "\n", want: `
  1 2020-01-02 03:04:05 () "Subject: a\r\n\r\n` + strings.Repeat("x", 100_000) + `\r\n"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHouse(t)
			dir := write(t, t.TempDir(), map[string]string{"mbox": c.file})
			h.run(mbox(t, filepath.Join(dir, "mbox"), importer.MboxOptions{Variant: c.variant, Labels: c.labels}),
				importer.Options{Kind: "mbox", Name: "x"})
			got := h.show(true)
			_, got, _ = strings.Cut(got[strings.Index(got, "INBOX"):], "\n")
			got = undated(noUIDLs(got))
			equal(t, "\n"+strings.TrimRight(got, "\n"), c.want)
		})
	}
}

// noUIDLs leaves the unique-ids out.
func noUIDLs(s string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		before, after, ok := strings.Cut(line, ") ")
		if ok && strings.HasPrefix(line, "  ") {
			_, text, _ := strings.Cut(after, " ")
			line = before + ") " + text
		}
		out.WriteString(line)
	}
	return out.String()
}

// undated gives messages of today a fixed date.
func undated(s string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		if f := strings.SplitN(line, " ", 6); len(f) == 6 && f[3] > "2021" {
			line = "  " + f[2] + " 2026-01-01 00:00:00 " + f[5]
		}
		out.WriteString(line)
	}
	return out.String()
}

// TestMboxTrees: Thunderbird's and Apple's folders, and what stands beside them.
func TestMboxTrees(t *testing.T) {
	mail := from + "Subject: a\n\n"
	h := newHouse(t)
	dir := write(t, t.TempDir(), map[string]string{
		"Inbox": mail, "Inbox.msf": "index", "Sent": mail, "Work.sbd/2020": mail, "Work.sbd/2020.sbd/May": mail, "Work": "",
		"Apple.mbox/mbox": mail, "Apple.mbox/table_of_contents": "x", "notes.txt": "no mbox", "msgFilterRules.dat": "x",
	})
	sum := h.run(mbox(t, dir, importer.MboxOptions{}), importer.Options{Kind: "mbox", Name: "x"})
	boxes, err := h.Store.Mailboxes(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range boxes {
		names = append(names, b.Name)
	}
	got := strings.Join(names, " ")
	if want := "Apple Archive Drafts INBOX Junk Sent Trash Work Work/2020 Work/2020/May"; got != want || sum.Taken.Messages != 5 {
		t.Errorf("mailboxes %s, want %s; %+v", got, want, sum)
	}
}

func TestGmailFolders(t *testing.T) {
	h := newHouse(t)
	var file strings.Builder
	for _, labels := range []string{"Inbox", "Sent,Opened", "Spam", "Trash", "Archived,Projects/House", "Archived", "Draft"} {
		file.WriteString(from + "X-Gmail-Labels: " + labels + "\nSubject: " + labels + "\n\n\n")
	}
	dir := write(t, t.TempDir(), map[string]string{"All mail.mbox": file.String()})
	o := importer.Options{Kind: "mbox", Name: "x"}
	h.run(mbox(t, filepath.Join(dir, "All mail.mbox"), importer.MboxOptions{Labels: importer.LabelsFolders}), o)
	for _, want := range []string{"INBOX", "Sent", "Junk", "Trash", "Projects/House", "Archive", "Drafts"} {
		if !strings.Contains("\n"+h.show(false), "\n"+want+" ") {
			t.Errorf("nothing in %s:\n%s", want, h.show(true))
		}
	}
	if sum := h.run(mbox(t, filepath.Join(dir, "All mail.mbox"), importer.MboxOptions{Labels: importer.LabelsFolders}), o); sum.Already != 7 {
		t.Errorf("second run: %+v", sum)
	}
}

func TestEml(t *testing.T) {
	h := newHouse(t)
	emlx := "Subject: apple\n\nx\n"
	dir := write(t, t.TempDir(), map[string]string{
		"a.eml":        "Received: by x; Thu, 2 Jan 2020 03:04:05 +0100\nDate: Fri, 3 Jan 2020 00:00:00 +0000\nSubject: a\n\n",
		"b.eml":        "Date: Fri, 3 Jan 2020 00:00:00 +0000\nSubject: b\n\n",
		"c.eml":        "Date: Fri, 3 Jan 2020 00:00:00 +0000\nSubject: b\n\n",
		"Work/d.emlx":  "18        \n" + emlx + "<plist><dict><key>date-received</key><integer>1577934245</integer><key>flags</key>\n<integer>17</integer></dict></plist>",
		"Work/e.emlx":  "no number\n",
		"Work/readme":  "no mail",
		"Work/f.eml":   "",
		"Empty/g.text": "x",
	})
	src, err := importer.OpenEml(dir, false, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	o := importer.Options{Kind: "eml", Name: "x"}
	sum := h.run(src, o)
	got := h.show(true)
	for _, want := range []string{
		`1 2020-01-02 02:04:05 (\Seen)`, `2 2020-01-03 00:00:00 (\Seen)`, `3 2020-01-03 00:00:00 (\Seen)`,
		`1 2020-01-02 03:04:05 (\Flagged \Seen) "Subject: apple\r\n\r\nx\r\n"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if sum.Taken.Messages != 4 || len(sum.Skipped) != 2 {
		t.Errorf("%+v", sum)
	}
	if sum := h.run(src, o); sum.Already != 4 {
		t.Errorf("second run: %+v", sum)
	}
}
