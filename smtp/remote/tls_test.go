package remote

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// policy is the same verdict for every host.
func policy(v tlspolicy.Verdict) Options {
	return Options{Policy: func(context.Context, string, string) (tlspolicy.Verdict, error) { return v, nil }}
}

func expired(tls.ConnectionState) error {
	return &tlspolicy.Error{Type: "certificate-expired", Reason: "the certificate expired on 1 May 2026"}
}

func good(tls.ConnectionState) error { return nil }

// inside is TLS up to the EHLO within.
func inside(name string, offers ...string) string {
	return hello(name, "STARTTLS") + "C: STARTTLS\nS: 220 go\nSTARTTLS\nC: EHLO mail.alpha.test\n" + offer(name, offers...)
}

// broken is TLS that we break off.
const broken = "C: STARTTLS\nS: 220 go\nBREAK2\n"

const second = "192.0.2.2:25"

func TestPolicies(t *testing.T) {
	refused := &tlspolicy.Error{Type: "validation-failure", Reason: "mx.beta.test is no host of the STS policy of beta.test"}
	enforced := tlspolicy.Verdict{Kind: tlspolicy.STS, Required: true, Verify: expired}
	onlyFirst := Options{Policy: func(_ context.Context, _, host string) (tlspolicy.Verdict, error) {
		v := tlspolicy.Verdict{Kind: tlspolicy.STS, Required: true, Verify: good}
		if host == "mx.beta.test" {
			v.Refused = refused
		}
		return v, nil
	}}
	unknown := Options{Policy: func(_ context.Context, _, host string) (tlspolicy.Verdict, error) {
		if host == "mx.beta.test" {
			return tlspolicy.Verdict{Kind: tlspolicy.None}, tlspolicy.ErrUnknown
		}
		return tlspolicy.Verdict{Kind: tlspolicy.None}, nil
	}}
	optional := "From: alice@alpha.test\r\nTLS-Required: no\r\n\r\nHello\r\n"
	for _, c := range []rule{
		{name: "enforced and expired", options: policy(enforced), scripts: map[string][]string{mx: {hello("mx", "STARTTLS") + broken}},
			want: []string{"later 0 4.7.5 : mx.beta.test [192.0.2.1]: TLS required by the domain's policy (MTA-STS): the certificate expired on 1 May 2026"}},
		{name: "the next host fulfils it", options: onlyFirst, zone: twoMX(), scripts: map[string][]string{second: {inside("second") + takes}},
			want: []string{"done"}, dialled: []string{second}},
		{name: "no host of the policy", options: onlyFirst, dialled: []string{},
			want: []string{"later 0 4.7.5 : mx.beta.test [192.0.2.1]: TLS required by the domain's policy (MTA-STS): mx.beta.test is no host"}},
		{name: "testing stops nothing", options: policy(tlspolicy.Verdict{Kind: tlspolicy.STS, Testing: true, Refused: refused, Verify: expired}),
			scripts: map[string][]string{mx: {inside("mx") + takes}}, want: []string{"done"}},
		{name: "testing, and no TLS", options: policy(tlspolicy.Verdict{Kind: tlspolicy.STS, Testing: true, Verify: expired}), scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		{name: "DNS does not tell: the next one", options: unknown, zone: twoMX(), scripts: map[string][]string{second: {hello("second") + takes}}, want: []string{"done"}, dialled: []string{second}},
		{name: "DNS does not tell", options: unknown, want: []string{"later 0 4.7.5 : the TLS policy for mx.beta.test cannot be found out"}, dialled: []string{}},
		{name: "TLS-Required: No over an expired certificate", options: policy(enforced), content: optional, scripts: map[string][]string{mx: {inside("mx") + takes}}, want: []string{"done"}},
		{name: "TLS-Required: No without TLS", options: policy(enforced), content: optional, scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		{name: "TLS-Required: No, and no host of the policy", options: onlyFirst, content: optional, scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		{name: "TLS-Required: No, and DNS does not tell", options: unknown, content: optional, scripts: map[string][]string{mx: {hello("mx") + takes}}, want: []string{"done"}},
		{name: "TLS-Required: No counts in the header only", options: policy(enforced), content: "Subject: x\r\n\r\nTLS-Required: No\r\n", scripts: map[string][]string{mx: {hello("mx")}}, want: []string{"later 0 4.7.5"}},
	} {
		t.Run(c.name, c.run)
	}
}

func TestRequireTLS(t *testing.T) {
	require := func(e *mail.Envelope) { e.RequireTLS = true }
	bounce := func(e *mail.Envelope) { e.RequireTLS, e.From = true, mail.Address{} }
	signed := policy(tlspolicy.Verdict{Kind: tlspolicy.None, Signed: true, Trusted: good})
	both := "C: MAIL FROM:<alice@alpha.test> REQUIRETLS\nS: 250 ok\nC: RCPT*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 250 2.0.0 taken\n"
	null := strings.ReplaceAll(both, "alice@alpha.test", "")
	for _, c := range []rule{
		{name: "kept", options: signed, change: require, scripts: map[string][]string{mx: {inside("mx", "REQUIRETLS") + both}}, want: []string{"done"}},
		{name: "not offered", options: signed, change: require, scripts: map[string][]string{mx: {inside("mx")}},
			want: []string{"never 0 5.7.30 : mx.beta.test [192.0.2.1]: TLS required by the sender (REQUIRETLS): it does not offer REQUIRETLS"}},
		{name: "offered in clear only", options: signed, change: require, scripts: map[string][]string{mx: {hello("mx", "REQUIRETLS")}}, want: []string{"never 0 5.7.10"}},
		{name: "the next host keeps it", options: signed, change: require, zone: twoMX(), scripts: map[string][]string{mx: {inside("mx")}, second: {inside("second", "REQUIRETLS") + both}},
			want: []string{"done"}, dialled: []string{mx, second}},
		{name: "the next host is down: it may keep it later", options: signed, change: require, zone: twoMX(), scripts: map[string][]string{mx: {inside("mx")}}, want: []string{"later 0 4."}},
		{name: "certificate of somebody else", options: policy(tlspolicy.Verdict{Kind: tlspolicy.None, Signed: true, Trusted: expired}), change: require,
			scripts: map[string][]string{mx: {hello("mx", "STARTTLS") + broken}}, want: []string{"never 0 5.7.10"}},
		{name: "nothing proves the host", options: policy(tlspolicy.Verdict{Kind: tlspolicy.None, Trusted: good}), change: require, want: []string{"never 0 5.7.10"}, dialled: []string{}},
		{name: "an STS policy proves it", options: policy(tlspolicy.Verdict{Kind: tlspolicy.STS, Testing: true, Trusted: good, Verify: good}), change: require,
			scripts: map[string][]string{mx: {inside("mx", "REQUIRETLS") + both}}, want: []string{"done"}},
		{name: "no policies here", change: require, want: []string{"never 0 5.7.10"}, dialled: []string{}},
		{name: "goes before TLS-Required: No", options: signed, change: require, content: "TLS-Required: No\r\n\r\n", scripts: map[string][]string{mx: {inside("mx")}}, want: []string{"never 0 5.7.30"}},
		{name: "a bounce goes on without", options: signed, change: bounce, scripts: map[string][]string{mx: {hello("mx") + strings.Replace(null, " REQUIRETLS", "", 1)}}, want: []string{"done"}},
		{name: "a bounce keeps it where it can", options: signed, change: bounce, scripts: map[string][]string{mx: {inside("mx", "REQUIRETLS") + null}}, want: []string{"done"}},
	} {
		t.Run(c.name, c.run)
	}
}

// What is seen of TLS is told once a connection, with its name in TLS reports.
func TestSightings(t *testing.T) {
	enforced := tlspolicy.Verdict{Kind: tlspolicy.STS, Required: true, Verify: good}
	testing1 := tlspolicy.Verdict{Kind: tlspolicy.STS, Testing: true, Verify: expired}
	for _, c := range []struct {
		name    string
		verdict tlspolicy.Verdict
		scripts []string
		opinion Opinion
		want    string
		result  string
	}{
		{"fulfilled", enforced, []string{inside("mx") + takes}, Opinion{}, "beta.test mx.beta.test 192.0.2.1 sts tls", "done"},
		{"testing", testing1, []string{inside("mx") + takes}, Opinion{}, "beta.test mx.beta.test 192.0.2.1 sts tls certificate-expired", "done"},
		{"not offered", enforced, []string{hello("mx")}, Opinion{}, "beta.test mx.beta.test 192.0.2.1 sts clear starttls-not-supported given up", "later"},
		{"opportunistic", tlspolicy.Verdict{Kind: tlspolicy.None}, []string{hello("mx", "STARTTLS") + "C: STARTTLS\nS: 220 go\nBREAK\n", hello("mx") + takes}, Opinion{},
			"beta.test mx.beta.test 192.0.2.1 no-policy-found clear validation-failure", "done"},
		{"remembered better", tlspolicy.Verdict{Kind: tlspolicy.None}, []string{hello("mx") + takes}, Opinion{Note: "it offered verified TLS until 3 May 2026"},
			"beta.test mx.beta.test 192.0.2.1 no-policy-found clear starttls-not-supported",
			"done relayed 250 2.0.0 mx.beta.test: 2.0.0 taken {[192.0.2.1] clear; it offered verified TLS until 3 May 2026}"},
		{"remembered better, and refused", tlspolicy.Verdict{Kind: tlspolicy.None}, []string{hello("mx")}, Opinion{Note: "it offered verified TLS until 3 May 2026", Delay: true},
			"beta.test mx.beta.test 192.0.2.1 no-policy-found clear starttls-not-supported",
			"later 0 4.7.5 : mx.beta.test [192.0.2.1]: it offered verified TLS until 3 May 2026; mail for it waits (remote.tls_memory)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var seen []string
				o := policy(c.verdict)
				o.Seen = func(_ context.Context, s Sighting) Opinion {
					text := fmt.Sprintf("%s %s %s %s clear", s.Domain, s.Host, s.Address, s.Verdict.Kind)
					if s.TLS != nil {
						text = strings.TrimSuffix(text, "clear") + "tls"
					}
					if s.Failure != nil {
						text += " " + s.Failure.Type
					}
					if s.Given {
						text += " given up"
					}
					seen = append(seen, text)
					return c.opinion
				}
				out := newOutside(t, o, oneMX(), map[string][]string{mx: c.scripts})
				got := out.carry(t, envelopeTo(t, "carol@beta.test"), message)
				if !strings.HasPrefix(got[0], c.result) || !slices.Equal(seen, []string{c.want}) {
					t.Errorf("got %s, saw %q, want %q", got, seen, c.want)
				}
			})
		})
	}
}

// A connection that one domain's policy let pass serves no other domain's.
func TestPolicyKeepsConnectionsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := policy(tlspolicy.Verdict{Kind: tlspolicy.STS, Required: true, Verify: good})
		to := func(a string) string { return strings.ReplaceAll(takes, "carol@beta.test", a) }
		out := newOutside(t, o, append(oneMX(), "gamma.test. MX 10 mx.beta.test."), map[string][]string{mx: {
			inside("mx") + takes + "" + takes, inside("mx") + to("dora@gamma.test")}})
		for _, a := range []string{"carol@beta.test", "carol@beta.test", "dora@gamma.test"} {
			if got := out.carry(t, envelopeTo(t, a), message); !strings.HasPrefix(got[0], "done") {
				t.Fatal(got)
			}
		}
	})
}

func TestTLSOptional(t *testing.T) {
	for text, want := range map[string]bool{
		"TLS-Required: No\r\n\r\n":               true,
		"Subject: x\r\ntls-required:NO \r\n\r\n": true,
		"Subject: x\r\n\r\nTLS-Required: No\r\n": false,
		"TLS-Required: yes\r\n\r\n":              false,
		"TLS-Required: No":                       true,
		"":                                       false,
	} {
		if got := tlsOptional(io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
