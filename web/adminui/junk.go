package adminui

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/store/history"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// junkPage is how mail from outside is judged.
type junkPage struct {
	Span   span
	Charts []page.Chart
	Judged bool
	Lists  []admin.SpamList
	Away   string // why there is nothing to be told of lists
}

// span is the part that chooses it.
type span struct {
	Path, Domain string
	Days         []choice
}

// spans are the times that charts of days may show.
func spans(r *http.Request, usual int) (days int, all []choice) {
	days = usual
	for _, n := range []int{7, 30, 90, 365} {
		if r.URL.Query().Get("days") == strconv.Itoa(n) {
			days = n
		}
	}
	for _, c := range []struct {
		n    int
		text string
	}{{7, "a week"}, {30, "30 days"}, {90, "90 days"}, {365, "a year"}} {
		all = append(all, choice{strconv.Itoa(c.n), c.text, c.n == days})
	}
	return days, all
}

// dayNames are the names of spans below a chart.
func dayNames(all []history.Span) (names []string) {
	for _, s := range all {
		names = append(names, s.Begin.Format("Jan 2"))
	}
	return names
}

// row is one name of all spans.
func row(all []history.Span, name string) (values []float64) {
	for _, s := range all {
		values = append(values, s.Values[name])
	}
	return values
}

func (m *room) junk(w http.ResponseWriter, r *http.Request) error {
	days, choices := spans(r, 30)
	all, err := m.o.House.History(r.Context(), admin.HistoryRequest{Days: days})
	if err != nil {
		return err
	}
	names := dayNames(all)
	d := junkPage{Span: span{"/admin/junk", "", choices}, Charts: []page.Chart{
		{Title: "Mail from outside, by what it was taken for", Of: "Day", Places: names, Series: []page.Series{
			{Name: "good", Tone: page.ToneGood, Values: row(all, "good")}, {Name: "doubtful", Tone: page.ToneDoubt, Values: row(all, "doubtful")}, {Name: "junk", Tone: page.ToneBad, Values: row(all, "junk")}}},
		{Title: "Not taken at the door", Of: "Day", Places: names, Series: []page.Series{
			{Name: "refused", Tone: page.ToneBad, Values: row(all, "refused")}, {Name: "told to come again", Tone: page.ToneDoubt, Values: row(all, "again")}}},
		{Title: "Learned from what users did", Of: "Day", Places: names, Series: []page.Series{
			{Name: "good", Tone: page.ToneGood, Values: row(all, "learned_good")}, {Name: "junk", Tone: page.ToneBad, Values: row(all, "learned_junk")}}},
	}}
	d.Lists, d.Judged, err = m.o.House.SpamLists(r.Context())
	var verb *admin.Error
	if errors.As(err, &verb) && verb.Class == admin.Unavailable {
		d.Away, err = sentence(verb.Message), nil
	}
	if err != nil {
		return err
	}
	return m.show(w, r, page.View{Page: "junk", Title: "Junk", Data: d})
}

// whyPage is a verdict with all that led to it.
type whyPage struct {
	Message, Account string
	Found            *admin.SpamExplained
	Class            string
	Trouble          string
}

func (m *room) why(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	d := whyPage{Message: short(q.Get("message")), Account: short(q.Get("account"))}
	if d.Message != "" {
		found, err := m.o.House.ExplainSpam(r.Context(), admin.SpamQuestion{Message: d.Message, Account: d.Account})
		var verb *admin.Error
		switch {
		case err == nil:
			d.Found = &found
			d.Class = map[string]string{"good": "good mail", "doubtful": "doubtful", "junk": "junk", "refuse": "junk that is refused"}[found.Class]
		case errors.As(err, &verb) && verb.Class != admin.Internal:
			d.Trouble = sentence(verb.Message) // an answer to the question, as a verdict is
			if verb.Class == admin.Missing {
				d.Trouble = "No such message is in a mailbox here now. If it is there, name its account, and the message as MAILBOX/UID: Junk/17."
			}
		default:
			return err
		}
	}
	return m.show(w, r, page.View{Page: "why", Title: "Why was this junk?", Data: d})
}

// reportsPage is what other hosts tell of our domains.
type reportsPage struct {
	Domain string
	Span   span
	Charts []page.Chart
	DMARC  []dmarcLine
	TLS    []tlsLine
	Away   string
}

func (m *room) reports(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	days, choices := spans(r, 30)
	days = min(days, 90)
	d := reportsPage{Domain: short(q.Get("domain"))}
	d.Span = span{"/admin/reports", d.Domain, choices[:3]}
	all, err := m.o.House.ReportsSeen(r.Context(), admin.ReportsRequest{Domain: d.Domain, Days: days})
	var verb *admin.Error
	if errors.As(err, &verb) && verb.Class == admin.Unavailable {
		d.Away = sentence(verb.Message)
		return m.show(w, r, page.View{Page: "reports", Title: "Reports of other hosts", Data: d})
	}
	if err != nil {
		return err
	}
	var names []string
	values := make([][]float64, 5)
	for _, x := range all.Days {
		at, err := time.Parse(time.DateOnly, x.Day)
		if err != nil {
			return err
		}
		names = append(names, at.Format("Jan 2"))
		for i, n := range []int64{x.Passed, x.Failed, x.Refused, x.Good, x.Bad} {
			values[i] = append(values[i], float64(n))
		}
	}
	d.Charts = []page.Chart{
		{Title: "Mail in our domains' names (DMARC)", Of: "Day", Places: names, Series: []page.Series{
			{Name: "proven", Tone: page.ToneGood, Values: values[0]}, {Name: "not proven, let through", Tone: page.ToneDoubt, Values: values[1]}, {Name: "not proven, stopped", Tone: page.ToneBad, Values: values[2]}}},
		{Title: "Connections of others to us (TLS)", Of: "Day", Places: names, Series: []page.Series{
			{Name: "good", Tone: page.ToneGood, Values: values[3]}, {Name: "failed", Tone: page.ToneBad, Values: values[4]}}},
	}
	d.digests(all)
	return m.show(w, r, page.View{Page: "reports", Title: "Reports of other hosts", Data: d})
}

// dmarcLine and tlsLine are a domain's digests.
type dmarcLine struct {
	Name                             string
	Reports                          int
	Messages, Passed, Failed, Refuse int64
	Advice                           []string
	Sources                          []dmarcSource
}

type dmarcSource struct {
	Address, Advice string
	Count, Failed   int64
}

type tlsLine struct {
	Name      string
	Reports   int
	Good, Bad int64
	Advice    []string
}

// digests adds the tables below the charts: of one domain with its senders, of all domains with their sums.
func (d *reportsPage) digests(all admin.ReportsSeen) {
	for _, x := range all.DMARC {
		l := dmarcLine{Name: x.Domain, Reports: x.Reports, Messages: x.Messages, Passed: x.Passed, Failed: x.Failed, Refuse: x.Refused}
		if d.Domain != "" {
			l.Advice = x.Advice
			for _, s := range x.Sources[:min(len(x.Sources), perPage)] {
				l.Sources = append(l.Sources, dmarcSource{s.Address, s.Advice, s.Count, s.Failed})
			}
		}
		if x.Reports > 0 || d.Domain != "" {
			d.DMARC = append(d.DMARC, l)
		}
	}
	for _, x := range all.TLS {
		if x.Reports > 0 || d.Domain != "" {
			d.TLS = append(d.TLS, tlsLine{x.Domain, x.Reports, x.Good, x.Bad, x.Advice})
		}
	}
}

// gaps is row of a level: where nothing is known is a gap, and not nought.
func gaps(all []history.Span, name string) (values []float64) {
	for _, s := range all {
		v, ok := s.Values[name]
		if !ok {
			v = math.NaN()
		}
		values = append(values, v)
	}
	return values
}

// less is a without b.
func less(a, b []float64) []float64 {
	for i := range a {
		a[i] = max(0, a[i]-b[i])
	}
	return a
}
