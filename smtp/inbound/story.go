package inbound

import (
	"strings"

	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/story"
)

// learned tells what the checks found.
func (s *session) learned(r *mailauth.Report) {
	s.Learned(story.Event{At: s.d.o.Now(), Step: story.Checked, Text: words(r)})
}

// words is a report as an operator reads it: each result with what it is about, and why where it is not a pass.
func words(r *mailauth.Report) string {
	var all []string
	add := func(check string, result mailauth.Result, about, why string) {
		text := check + " " + string(result)
		if about != "" {
			text += " (" + about + ")"
		}
		if result != mailauth.Pass && why != "" {
			text += ": " + why
		}
		all = append(all, text)
	}
	add("SPF", r.SPF.Result, r.SPF.Domain, r.SPF.Reason)
	for _, d := range r.DKIM {
		add("DKIM", d.Result, d.Domain, d.Reason)
	}
	if len(r.DKIM) == 0 {
		add("DKIM", mailauth.None, "", "")
	}
	if r.ARC.Result != mailauth.None && r.ARC.Result != "" {
		add("ARC", r.ARC.Result, strings.Join(r.ARC.Sealers, ", "), r.ARC.Reason)
	}
	add("DMARC", r.DMARC.Result, r.DMARC.Domain, r.DMARC.Reason)
	add("iprev", r.IPRev.Result, r.IPRev.Name, "")
	return strings.Join(all, "; ")
}
