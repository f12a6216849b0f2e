// Package mtasts serves the policy that tells other hosts to insist on TLS (RFC 8461 section 3.3).
package mtasts

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// Path of the policy.
const Path = "/.well-known/mta-sts.txt"

// Room serves the policies of our domains, each at mta-sts.DOMAIN; policy makes the text, and gives an *admin.Error for a domain
// that is not ours. Others want it over TLS with a certificate of that name, which is theirs to check.
func Room(log *slog.Logger, policy func(ctx context.Context, domain string) (string, error)) page.Room {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return page.Room{Path: Path, Handler: page.Parse(nil, nil).Handle(log, func(w http.ResponseWriter, r *http.Request) error {
		host, _, _ := strings.Cut(strings.ToLower(r.Host), ":")
		domain, ok := strings.CutPrefix(strings.TrimSuffix(host, "."), "mta-sts.")
		if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
			return page.ErrMissing
		}
		text, err := policy(r.Context(), domain)
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = io.WriteString(w, text) // the host has gone: nobody to tell
		return nil
	})}
}

// Of is the policy as the verb that makes a domain's records makes it.
func Of(h *admin.House) func(context.Context, string) (string, error) {
	return func(ctx context.Context, domain string) (string, error) {
		r, err := h.DomainRecords(ctx, domain)
		return r.Policy, err
	}
}

// When gives the policy while stands is true: that the certificate of our mail host is one that others take. Whoever learns a policy
// without one sends us nothing for as long as he keeps it.
func When(stands func() bool, policy func(context.Context, string) (string, error)) func(context.Context, string) (string, error) {
	return func(ctx context.Context, domain string) (string, error) {
		if !stands() {
			return "", &page.Problem{Status: http.StatusServiceUnavailable, Title: "No policy now", Text: "This mail server has no certificate that others would take, so it asks nobody to insist on one."}
		}
		return policy(ctx, domain)
	}
}
