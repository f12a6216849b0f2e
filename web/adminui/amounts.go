package adminui

import (
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

func bytesField() field {
	return field{Name: "bytes", Label: "Space", Hint: "Such as 2 GiB or 500 MiB. Empty: no limit."}
}

func messagesField() field {
	return field{Name: "messages", Label: "Messages", Hint: "A number. Empty: no limit."}
}

// unit is one of octets.
type unit struct {
	name string
	size uint64
}

// units are those that a size may be written in, the largest first.
func units() []unit {
	return []unit{{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1}}
}

// sizeText is a number of octets as a field shows it, exactly; 0, no limit, is empty.
func sizeText(n uint64) string {
	for _, u := range units() {
		if n > 0 && n%u.size == 0 {
			return strconv.FormatUint(n/u.size, 10) + " " + u.name
		}
	}
	return ""
}

// sizeOf reads a number of octets: "2 GiB", "500MB", "1.5 TiB", "5 G".
func sizeOf(text string) (n uint64, ok bool) {
	text = strings.TrimSpace(text)
	digits := strings.TrimRight(text, "BKMGTIbkmgti ")
	name := strings.ToUpper(strings.TrimSpace(text[len(digits):]))
	v, err := strconv.ParseFloat(strings.Replace(digits, ",", ".", 1), 64)
	if err != nil || v < 0 || strings.ContainsAny(digits, "eExXpP_+") {
		return 0, false
	}
	for _, u := range units() {
		if name == strings.ToUpper(u.name) || name == u.name[:1] {
			v *= float64(u.size)
			return uint64(v), v < 1<<62
		}
	}
	return 0, false
}

func countText(n uint64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// amountOf reads the fields "bytes" and "messages".
func amountOf(f *page.Form) (a admin.Amount) {
	if v := f.Value("bytes"); v != "" {
		n, ok := sizeOf(v)
		if !ok {
			f.Reject("bytes", "This is no size: write a number and MiB, GiB or TiB.")
		}
		a.Bytes = n
	}
	if v := f.Value("messages"); v != "" {
		n, err := strconv.ParseUint(v, 10, 40)
		if err != nil {
			f.Reject("messages", "This is no number, or too large.")
		}
		a.Messages = n
	}
	return a
}

// limitWords are the limits of sending, in the order in which they are shown.
func limitWords() [][2]string {
	return [][2]string{
		{"messages_per_hour", "Messages in an hour"}, {"messages_per_day", "Messages in a day"},
		{"recipients_per_hour", "Recipients in an hour"}, {"recipients_per_day", "Recipients in a day"},
		{"new_recipients_per_day", "Recipients never written to before, in a day"},
	}
}

func limitNames() (names []string) {
	for _, x := range limitWords() {
		names = append(names, x[0])
	}
	return names
}

// limitTexts puts the limits that are set for it alone into the values of a form.
func limitTexts(values map[string]string, s admin.Sending) {
	for _, x := range s.Limits {
		switch {
		case !x.Own:
			values[x.Name] = ""
		case x.Most == 0:
			values[x.Name] = "none"
		default:
			values[x.Name] = strconv.FormatInt(x.Most, 10)
		}
	}
}

// limitFields are the fields for them.
func limitFields(f *page.Form, s admin.Sending, empty string) []field {
	var all []field
	for _, w := range limitWords() {
		for _, x := range s.Limits {
			if x.Name == w[0] {
				all = append(all, field{Name: w[0], Label: w[1], Hint: strconv.FormatInt(x.Used, 10) + " used. " + empty})
			}
		}
	}
	return of(f, all...)
}

// limitsOf reads them.
func limitsOf(f *page.Form) admin.SendChange {
	c := admin.SendChange{}
	for _, name := range limitNames() {
		switch v := strings.ToLower(f.Value(name)); v {
		case "":
			c[name] = admin.LimitDefault
		case "none":
			c[name] = admin.LimitNone
		default:
			n, err := strconv.ParseInt(v, 10, 40)
			if err != nil || n <= 0 {
				f.Reject(name, "Write a number, or none.")
			}
			c[name] = n
		}
	}
	return c
}
