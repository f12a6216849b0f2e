package adminui

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// systemPage is how the machine does.
type systemPage struct {
	Status  admin.Status
	Up      time.Time
	Facts   []fact
	Doors   []doorLine
	Waiting []admin.WaitingDomain
	Days    []page.Chart
	Hours   []page.Chart
}

// fact is a number with its name.
type fact struct {
	Name, Value string
	Bad         bool
}

type doorLine struct {
	Name               string
	Open, All, Refused int64
}

func (m *room) system(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	v, err := m.o.House.Vitals(ctx)
	if err != nil {
		return err
	}
	d := systemPage{Status: admin.Status{Version: v.Version, Hostname: v.Hostname}, Up: v.Started, Facts: facts(v), Doors: doors(v), Waiting: v.Waiting}
	hours, err := m.o.House.History(ctx, admin.HistoryRequest{Hours: 48})
	if err != nil {
		return err
	}
	var names []string
	for _, s := range hours {
		names = append(names, s.Begin.Format("Jan 2 15h"))
	}
	bytes := func(v float64) string { return page.Size(int64(v)) }
	d.Hours = []page.Chart{
		{Title: "Mail in the last two days", Of: "Hour", Places: names, Series: []page.Series{
			{Name: "into mailboxes", Tone: page.ToneOne, Values: row(hours, "delivered")}, {Name: "sent", Tone: page.ToneTwo, Values: row(hours, "sent")}, {Name: "could not be sent", Tone: page.ToneBad, Values: row(hours, "failed")}}},
		{Title: "Waiting in the queue", Kind: page.Lines, Of: "Hour", Places: names, Series: []page.Series{{Name: "messages", Tone: page.ToneOne, Values: gaps(hours, "queue")}}},
		{Title: "Memory", Kind: page.Lines, Of: "Hour", Places: names, Show: bytes, Series: []page.Series{{Name: "in use", Tone: page.ToneTwo, Values: gaps(hours, "memory")}}},
		{Title: "Logins", Of: "Hour", Places: names, Series: []page.Series{
			{Name: "good", Tone: page.ToneGood, Values: row(hours, "logins_ok")}, {Name: "refused", Tone: page.ToneBad, Values: less(row(hours, "logins"), row(hours, "logins_ok"))}}},
	}
	days, err := m.o.House.History(ctx, admin.HistoryRequest{Days: 90})
	if err != nil {
		return err
	}
	d.Days = []page.Chart{
		{Title: "Disk in use", Kind: page.Lines, Of: "Day", Places: dayNames(days), Show: bytes, Series: []page.Series{{Name: "in use", Tone: page.ToneOne, Values: gaps(days, "disk_used")}, {Name: "mail", Tone: page.ToneTwo, Values: gaps(days, "mail_bytes")}}},
		{Title: "Mail by day", Of: "Day", Places: dayNames(days), Series: []page.Series{{Name: "into mailboxes", Tone: page.ToneOne, Values: row(days, "delivered")}, {Name: "sent", Tone: page.ToneTwo, Values: row(days, "sent")}}},
	}
	return m.show(w, r, page.View{Page: "system", Title: "The machine", Data: d})
}

// facts are the numbers that matter now.
func facts(v admin.Vitals) []fact {
	x := func(name string) float64 { return v.Values[name] }
	size := func(name string) string { return page.Size(int64(x(name))) }
	disk := fact{"Disk", size("disk_free_bytes") + " free of " + size("disk_size_bytes"), x("disk_state") > 0}
	switch x("disk_state") {
	case 1:
		disk.Value += ": little; deleted mail that is still kept is given up"
	case 2:
		disk.Value += ": so little that new mail is refused"
	}
	backup := fact{Name: "Last proven backup", Value: "none", Bad: true}
	if at := x("backup_verified_timestamp_seconds"); at > 0 {
		age := v.At.Sub(time.Unix(int64(at), 0))
		backup.Value, backup.Bad = page.Count(int(age/time.Hour), "hour", "hours")+" ago", age > 50*time.Hour
	}
	return []fact{
		disk, {Name: "Memory", Value: size("process_resident_memory_bytes")}, {Name: "Mail", Value: page.Count(int(x("store_messages")), "message", "messages") + ", " + size("store_messages_bytes")},
		{Name: "On disk", Value: size("store_segments_bytes") + " in " + page.Count(int(x("store_segments")), "file", "files")},
		{Name: "Deleted and kept", Value: page.Count(int(x("store_kept_messages")), "message", "messages") + ", " + size("store_kept_bytes")},
		{Name: "Queue", Value: page.Count(int(x("queue_entries")), "message", "messages") + ", " + page.Count(int(x("queue_entries_held")), "of them held", "of them held")},
		backup, {Name: "Faults of the program", Value: page.Count(int(x("panics_total")), "since the start", "since the start"), Bad: x("panics_total") > 0},
		{Name: "Mail set aside", Value: page.Count(int(x("store_set_aside_records")), "message", "messages"), Bad: x("store_set_aside_records") > 0},
	}
}

// doors are the connections by door.
func doors(v admin.Vitals) (all []doorLine) {
	for key, open := range v.Values {
		name, ok := strings.CutPrefix(key, "connections{service=")
		if !ok {
			continue
		}
		name = strings.TrimSuffix(name, "}")
		l := doorLine{Name: name, Open: int64(open), All: int64(v.Values["connections_total{service="+name+"}"])}
		for k, n := range v.Values {
			if strings.HasPrefix(k, "connections_refused_total{") && strings.Contains(k, "service="+name+"}") {
				l.Refused += int64(n)
			}
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b doorLine) int { return strings.Compare(a.Name, b.Name) })
	return all
}
