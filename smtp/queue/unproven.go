package queue

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/story"
)

// A stranger's mail whose sender is not proven (mail.Envelope.Unproven) may be forged: a report to the sender would be junk for
// somebody who never heard of the message (backscatter; RFC 5321 section 6.2 lets us be silent there). Its failure stands in the
// message's story and in the log, and the postmaster here gets the message back.

// Most messages of a day that the postmaster hears of, and once only for each recipient: a forward that is refused each time
// must not bury him.
const postmasterHears = 20

// postmaster counts what he was told.
type postmaster struct {
	mu   sync.Mutex
	day  int64
	told map[string]bool // addresses; at most postmasterHears
}

// allow reports whether he hears of a message that failed for these recipients.
func (p *postmaster) allow(all []reported, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if day := now.Unix() / 86400; day != p.day || p.told == nil {
		p.day, p.told = day, map[string]bool{}
	}
	if len(p.told) >= postmasterHears {
		return false
	}
	fresh := false
	for _, r := range all {
		key := r.Address.Key()
		if !p.told[key] && len(p.told) < postmasterHears {
			fresh, p.told[key] = true, true
		}
	}
	return fresh
}

// forget takes allow back: what was for him could not be written, and is tried again.
func (p *postmaster) forget(all []reported) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range all {
		delete(p.told, r.Address.Key())
	}
}

// tellUnreported says that nobody was told.
func (q *Queue) tellUnreported(ctx context.Context, a *attempt) {
	q.count.silent.Inc()
	q.log.InfoContext(ctx, logx.QueueUnreported, "id", a.before.id, "number", a.number, "from", a.before.from.String())
	q.o.Story.Tell(a.before.id, story.Event{At: q.o.Now(), Step: story.Unreported,
		Text: "nothing proves that the mail came from its sender: it was not told"})
}

// claimed is the sender that the message claims: where it was forwarded, its envelope has another one.
func (r *report) claimed() mail.Address {
	if a, err := mail.ParseAddress(strings.Trim(r.original.field("Return-Path"), " <>")); err == nil {
		return a
	}
	return r.to
}

// named is whom the report is for, as its To field says it.
func (r *report) named() string {
	if r.to.Domain == "" {
		return r.to.String() + "@" + r.hostname
	}
	return r.to.String()
}

func (r *report) unprovenOpening() string {
	return "A message from <" + clean(r.unproven.String()) + "> could not be delivered.\n" +
		"Its sender was not told: neither SPF nor DKIM proves that it came from there, and a\n" +
		"report to a forged sender is junk. You get the message instead, once a day for each\naddress. It was for:"
}

// forged: the message was taken from a stranger, and its own results (RFC 8601) do not prove its Return-Path.
func (r *report) forged() bool {
	host, results, ok := strings.Cut(r.original.field("Authentication-Results"), ";")
	if !ok || !strings.EqualFold(strings.TrimSpace(host), r.hostname) {
		return false // none of ours: one of our own people sent it, or a program that we trust
	}
	from := string(r.to.Domain)
	for result := range strings.SplitSeq(results, ";") {
		word := strings.Fields(result)
		if len(word) == 0 {
			continue
		}
		for _, w := range word[1:] {
			key, value, _ := strings.Cut(w, "=")
			_, domain, at := strings.Cut(value, "@")
			if !at {
				domain = value
			}
			domain = strings.ToLower(strings.Trim(domain, `"<>`))
			switch {
			case word[0] == "spf=pass" && key == "smtp.mailfrom" && domain == from,
				word[0] == "dkim=pass" && key == "header.d" && (domain == from || strings.HasSuffix(from, "."+domain)):
				return false
			}
		}
	}
	return true
}
