package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
)

// report is what rspamd answers to /checkv2, as far as we look at it.
type report struct {
	Action   string            `json:"action"`
	Score    float64           `json:"score"`
	Required float64           `json:"required_score"`
	Skipped  bool              `json:"is_skipped"`
	Symbols  map[string]symbol `json:"symbols"`
	Messages json.RawMessage   `json:"messages"` // an object; an empty one may be a list
	Milter   json.RawMessage   `json:"milter"`   // a milterBlock
	Error    string            `json:"error"`
}

type symbol struct {
	Score   float64         `json:"score"`
	Options json.RawMessage `json:"options"` // texts
}

// milterBlock is what it would tell a milter's client: fields to remove (which of that name, or a list of them; 0: all) and to add.
type milterBlock struct {
	Add    map[string]json.RawMessage `json:"add_headers"`
	Remove map[string]json.RawMessage `json:"remove_headers"`
}

var errNoReport = errors.New("the answer is no report of rspamd")

// parseRspamd reads an answer; its size is bounded by the caller.
func parseRspamd(text []byte) (*report, error) {
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoReport, err)
	}
	switch {
	case r.Error != "":
		return nil, fmt.Errorf("%w: %s", errNoReport, clean(r.Error, 200))
	case r.Action == "" && !r.Skipped:
		return nil, fmt.Errorf("%w: it names no action", errNoReport)
	}
	return &r, nil
}

// maxPoints is how far one helper can move a message.
const maxPoints = 50

// answer is the report in our words.
func (r *report) answer(o *Helper) answer {
	if r.Skipped && (r.Action == "" || r.Action == "no action") { // it also says so when it had no need to look further: GTUBE is refused
		return answer{told: "skipped by its settings"}
	}
	points := math.Max(-maxPoints, math.Min(maxPoints, r.Score*o.Weight))
	reasons := r.reasons()
	text := fmt.Sprintf("%s, %.1f of %.1f", clean(r.Action, 40), r.Score, r.Required)
	if reasons != "" {
		text += ": " + reasons
	}
	a := answer{told: text, edits: r.edits(), signals: []Signal{{Name: o.Name, Score: points, Text: text}}}
	switch r.Action {
	case "greylist": // a hint, and no command: it says so each time when it keeps no memory of its own
		a.doubtful = true
	case "add header", "rewrite subject":
		if o.Obey == ObeyAll {
			a.action = Junk
		}
	case "quarantine":
		if o.Obey != ObeyNone {
			a.action = Junk
		}
	case "soft reject":
		a.action, a.code, a.enhanced, a.text = Later, 451, [3]int{4, 7, 1}, r.message("Try again later")
	case "reject", "discard": // nothing that was taken is dropped
		if o.Obey != ObeyNone {
			a.action, a.code, a.enhanced, a.text, a.opinion = Refuse, 550, [3]int{5, 7, 1}, r.message("The message looks like junk"), true
		}
	}
	return a
}

// message is the text that it wants a sender to be told.
func (r *report) message(otherwise string) string {
	var m struct {
		SMTP string `json:"smtp_message"`
	}
	if json.Unmarshal(r.Messages, &m) != nil { // its form differs from version to version, and it is only words
		return otherwise
	}
	if text := ascii(clean(m.SMTP, 200)); text != "" {
		return text
	}
	return otherwise
}

// reasons are the symbols that weigh most.
func (r *report) reasons() string {
	names := make([]string, 0, len(r.Symbols))
	for name, s := range r.Symbols {
		if s.Score != 0 {
			names = append(names, name)
		}
	}
	weight := func(name string) float64 { return math.Abs(r.Symbols[name].Score) }
	sort.Slice(names, func(i, j int) bool {
		if a, b := weight(names[i]), weight(names[j]); a != b {
			return a > b
		}
		return names[i] < names[j]
	})
	var b strings.Builder
	for i, name := range names[:min(len(names), 12)] {
		if i > 0 {
			b.WriteString(", ")
		}
		s := r.Symbols[name]
		fmt.Fprintf(&b, "%s %.1f", clean(name, 60), s.Score)
		var options []string
		if json.Unmarshal(s.Options, &options) == nil && len(options) > 0 {
			fmt.Fprintf(&b, " (%s)", clean(strings.Join(options[:min(len(options), 3)], "; "), 80))
		}
	}
	if n := len(names) - 12; n > 0 {
		fmt.Fprintf(&b, " and %d more", n)
	}
	return b.String()
}

// edits are the changes of the header; what is no field is left out.
func (r *report) edits() []edit {
	var e edits
	var m milterBlock
	if json.Unmarshal(r.Milter, &m) != nil { // of another form, or not there
		return nil
	}
	for _, name := range sorted(m.Remove) {
		for _, index := range places(m.Remove[name]) {
			e.add(edit{op: editRemove, name: name, index: index})
		}
	}
	for _, name := range sorted(m.Add) {
		for _, v := range values(m.Add[name]) {
			e.add(edit{op: editInsert, name: name, value: " " + strings.TrimLeft(v, " \t")})
		}
	}
	return e.all
}

// places are numbers of fields, the last ones first, so that taking one out does not move those that are still to go.
func places(raw json.RawMessage) []int {
	var one int
	if json.Unmarshal(raw, &one) == nil {
		return []int{one}
	}
	var list []int
	if json.Unmarshal(raw, &list) != nil {
		return nil // of a form that nobody has described
	}
	slices.Sort(list)
	slices.Reverse(list)
	list = slices.Compact(list)
	return list[:min(len(list), maxEdits)]
}

// values are those of one name: a text, an object with the text in value, or a list of these.
func values(raw json.RawMessage) []string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []string{text}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	var all []string
	for _, one := range list[:min(len(list), maxEdits)] {
		var v struct {
			Value string `json:"value"`
		}
		if json.Unmarshal(one, &text) == nil {
			all = append(all, text)
		} else if json.Unmarshal(one, &v) == nil && v.Value != "" {
			all = append(all, v.Value)
		}
	}
	return all
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names[:min(len(names), maxEdits)]
}

// ascii keeps what a reply may hold (RFC 5321 section 4.2).
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r > '~' {
			return '?'
		}
		return r
	}, s)
}
