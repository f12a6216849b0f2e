package mailauth

import (
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// ProvesPath tells whether the message came from the domain of its reverse path, so that a report to that path reaches who sent it:
// SPF passed for it, or it carries a good signature of that domain or of one above it. What is not proven may be forged.
func (r *Report) ProvesPath(from mail.Domain) bool {
	if from == "" {
		return false
	}
	domain := strings.ToLower(string(from))
	if r.SPF.Result == Pass && !r.SPF.Hello && strings.EqualFold(r.SPF.Domain, domain) {
		return true
	}
	for _, d := range r.DKIM {
		signer := strings.ToLower(d.Domain)
		if d.Result == Pass && !d.Testing && (signer == domain || strings.HasSuffix(domain, "."+signer) && strings.Contains(signer, ".")) {
			return true
		}
	}
	return false
}
