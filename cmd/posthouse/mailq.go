package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// sendmailNames are the other names that a package gives this binary, and the option of sendmail that each of them stands for.
func sendmailNames() map[string]string {
	return map[string]string{"sendmail": "", "mailq": "-bp", "newaliases": "-bi"}
}

// asSendmail is the command line of a binary that was called by one of sendmail's names.
func asSendmail(argv []string) []string {
	option, ok := sendmailNames()[calledAs(argv)]
	if !ok {
		return argv
	}
	out := append([]string{argv[0], "sendmail"}, argv[1:]...)
	if option != "" {
		out = append(out, option)
	}
	return out
}

// mailq prints the queue in the shape that monitoring programs and people know from other systems: one paragraph for each
// message, its id at the beginning of the line, a count at the end.
func (p *program) mailq(ctx context.Context, o *options) error {
	if o.json {
		return p.listQueue(ctx, o)
	}
	var queue []admin.QueueEntry
	err := p.with(ctx, o, func(v verbs) (err error) {
		queue, err = v.Queue(ctx)
		return err
	})
	if err != nil {
		return err
	}
	c, err := o.settings()
	if err != nil {
		return err
	}
	spooled, err := api.Spooled(c.Data)
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(mailqText(queue, len(spooled)))
	return err
}

// mailqText is what mailq prints; spooled messages have no id yet, they are counted only.
func mailqText(queue []admin.QueueEntry, spooled int) []byte {
	var b bytes.Buffer
	messages := byMessage(queue)
	if len(messages) == 0 && spooled == 0 {
		b.WriteString("Mail queue is empty\n")
		return b.Bytes()
	}
	if len(messages) > 0 {
		b.WriteString("-Queue ID-     --Size-- ----Arrival Time---- -Sender/Recipient-------\n")
	}
	var octets int64
	for _, entries := range messages {
		octets += entries[0].Size
		writeMessage(&b, entries)
	}
	if spooled > 0 {
		fmt.Fprintf(&b, "(%d handed in while no house ran; taken when one runs)\n\n", spooled)
	}
	requests := "Requests"
	if len(messages)+spooled == 1 {
		requests = "Request"
	}
	fmt.Fprintf(&b, "-- %d Kbytes in %d %s.\n", (octets+1023)/1024, len(messages)+spooled, requests)
	return b.Bytes()
}

// byMessage puts the entries of one message together, the oldest message first.
func byMessage(queue []admin.QueueEntry) [][]admin.QueueEntry {
	at := map[string]int{}
	var out [][]admin.QueueEntry
	for _, e := range queue {
		i, ok := at[e.ID]
		if !ok {
			i = len(out)
			at[e.ID] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], e)
	}
	slices.SortStableFunc(out, func(a, b []admin.QueueEntry) int {
		return cmp.Or(a[0].Created.Compare(b[0].Created), strings.Compare(a[0].ID, b[0].ID))
	})
	return out
}

// writeMessage writes the paragraph of one message. An exclamation mark behind the id says that all of it is held.
func writeMessage(b *bytes.Buffer, entries []admin.QueueEntry) {
	first := entries[0]
	mark := " "
	if !slices.ContainsFunc(entries, func(e admin.QueueEntry) bool { return !e.Held }) {
		mark = "!"
	}
	const date = "Mon Jan _2 15:04:05"
	fmt.Fprintf(b, "%-13s%s %8d %20s  %s\n", first.ID, mark, first.Size, first.Created.Local().Format(date), printable(cmp.Or(first.From, "MAILER-DAEMON")))
	const column = 45
	for _, e := range entries {
		for _, r := range e.Recipients {
			if r.Result != "" {
				fmt.Fprintf(b, "%*s\n", column+30, "("+printable(strings.ReplaceAll(r.Result, "\n", " "))+")")
			}
			fmt.Fprintf(b, "%*s%s\n", column, "", printable(r.Address))
		}
	}
	b.WriteByte('\n')
}
