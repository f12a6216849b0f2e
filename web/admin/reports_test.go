package admin

import (
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
)

// TestReportsByDomain: what is reported of a name below a domain is shown with the closest domain that is here.
func TestReportsByDomain(t *testing.T) {
	list := []dmarcbook.Received{{Domain: "one.test"}, {Domain: "news.one.test"}, {Domain: "a.mail.one.test"}, {Domain: "stranger.test"}}
	about := byDomain(list, []auth.Domain{{Name: "one.test"}, {Name: "mail.one.test"}})
	if len(about["one.test"]) != 2 || len(about["mail.one.test"]) != 1 || len(about) != 2 {
		t.Errorf("%v", about)
	}
}
