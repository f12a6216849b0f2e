package spam

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// long is a message of n octets in text and HTML, its words drawn from a vocabulary of 3,000.
func long(n int, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	text := func(n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteString(letters(rnd.IntN(3000)) + " ")
			if rnd.IntN(12) == 0 {
				b.WriteString("\n")
			}
		}
		return b.String()
	}
	head := "From: Bob <bob@example.net>\nTo: alice@example.org\nSubject: A long letter\nDate: Sun, 22 Nov 2026 11:00:00 +0000\nMessage-ID: <1@example.net>\nContent-Type: multipart/alternative; boundary=b\n\n"
	html := "<html><body><p>" + strings.ReplaceAll(text(n/2), "\n", "</p><p class=\"x\"><a href=\"https://www.example.net/read\">read</a> ") + "</p></body></html>"
	return wire(head + "--b\nContent-Type: text/plain\n\n" + text(n/3) + "\n--b\nContent-Type: text/html\n\n" + html + "\n--b--\n")
}

// BenchmarkVerdict is all that a message of 12 KB costs: looking, warm lists, the words of an account that was taught 400 messages.
func BenchmarkVerdict(b *testing.B) {
	z, err := dns.NewZone("2.0.0.127.bl.test. IN A 127.0.0.2", "test.dl.test. IN A 127.0.1.2")
	if err != nil {
		b.Fatal(err)
	}
	c := z.Client(dns.Options{})
	defer c.Close()
	j := judge(b, Options{Resolver: c, Lists: []List{list(b, blockList), list(b, "dl domain dl.test 127.0.1.2=4")}})
	for i := range 400 {
		learn(b, j, long(4000, uint64(i)), []Class{Good, Junk}[i%2])
	}
	tr, _ := j.Training(b.Context(), alice.Account)
	raw := long(12<<10, 1000)
	f := Facts{Remote: client, Hello: "mail.example.net", From: addr(b, "bob@example.net")}
	report := proven("example.net")
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		j.Verdict(b.Context(), look(b.Context(), j, f, report, raw), alice)
	}
	b.ReportMetric(float64(tr.Tokens), "tokens")
}

func BenchmarkLearn(b *testing.B) {
	j := judge(b, Options{})
	n := uint64(0)
	for b.Loop() {
		n++
		learn(b, j, fmt.Appendf(long(4000, n), "%d", n), Junk)
	}
}
