package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/web/check"
)

// updateOptions is where records are written by RFC 2136.
type updateOptions struct{ server, zone, key, hash, secretFile string }

func (u *updateOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&u.server, "dns-server", "", "write the records to this DNS server (RFC 2136), host:port")
	f.StringVar(&u.zone, "dns-zone", "", "the zone there (default: the domain)")
	f.StringVar(&u.key, "dns-key", "", "name of the key that signs updates (TSIG)")
	f.StringVar(&u.hash, "dns-hash", "", "its algorithm (default hmac-sha256)")
	f.StringVar(&u.secretFile, "dns-secret-file", "", "file whose first line is its secret, base64")
}

// publishRecords writes what is not there yet. What stands at a name already stays, and is named.
func (p *program) publishRecords(ctx context.Context, u updateOptions, domain string, r check.Records, resolver *dns.Client) error {
	to := &cert.DNSUpdate{Server: u.server, Key: u.key, Algorithm: u.hash}
	if u.secretFile != "" {
		text, err := os.ReadFile(u.secretFile)
		if err != nil {
			return fmt.Errorf("--dns-secret-file: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		to.Secret = strings.TrimSpace(line)
	}
	zone := u.zone
	if zone == "" {
		zone = domain
	}
	wrote, left, there := 0, 0, 0
	kinds := map[string]bool{} // written in this run: more of them go beside
	for _, x := range r.Records {
		line := strings.Replace(x.Line(), " IN ", " 3600 IN ", 1)
		kind := x.Name + " " + x.Type
		same, values, unseen := to.Standing(ctx, line)
		if same { // of a run before that did not come to its end: what is missing beside it is still written
			kinds[kind] = true
			there++
			continue
		}
		beside := kinds[kind]
		if strings.HasPrefix(x.Value, "v=spf1") { // other texts may stand at the same name
			if beside = !slices.ContainsFunc(values, isSPF) && (unseen == nil || !hasSPF(ctx, resolver, x.Name)); !beside {
				left++
				if err := p.note("left as it is: an SPF record of %s; wanted: %s", x.Name, x.Line()); err != nil {
					return err
				}
				continue
			}
		}
		switch err := to.Publish(ctx, zone, line, beside); {
		case err == nil:
			kinds[kind] = true
			wrote++
		case errors.Is(err, cert.ErrTaken):
			left++
			if err := p.note("left as it is: what stands at %s %s; wanted: %s", x.Name, x.Type, x.Line()); err != nil {
				return err
			}
		case strings.Contains(err.Error(), "is not in the zone"):
			left++
			if err := p.note("not written: %v", err); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%d of %d records are written, then: %w; run the same command again: it writes what is missing", wrote+there, len(r.Records), err)
		}
	}
	if there > 0 {
		if err := p.note("there already: %s", number(int64(there), "record")); err != nil {
			return err
		}
	}
	return p.note("written to %s: %s, and %d left as they are; posthouse check says whether all is well", u.server, number(int64(wrote), "record"), left)
}

// hasSPF: a name has an SPF record already.
func hasSPF(ctx context.Context, r *dns.Client, name string) bool {
	if r == nil {
		return false
	}
	texts, _, err := r.TXT(ctx, strings.TrimSuffix(name, "."))
	return err == nil && slices.ContainsFunc(texts, isSPF)
}

func isSPF(text string) bool { return strings.HasPrefix(strings.ToLower(text), "v=spf1") }
