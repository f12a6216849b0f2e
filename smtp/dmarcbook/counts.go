package dmarcbook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	maxPending = 20_000  // rows between two flushes
	keepCounts = 4 * day // behind the end of their period: so long sending is tried
	hashSize   = 16
	maxSigners = 8
	maxWord    = 255 // octets of a name that came from a stranger
)

// Period is the time that one report is about.
type Period struct {
	Begin  time.Time
	Length time.Duration
}

// End is when it is over.
func (p Period) End() time.Time { return p.Begin.Add(p.Length) }

// PeriodAt is the period that a moment belongs to, for a domain that asks for a report every interval (ri, RFC 7489 section 6.3): a day in UTC,
// or a half or a quarter of it. Shorter ones would be a burden for both sides.
func PeriodAt(at time.Time, interval time.Duration) Period {
	length := day
	for length > 6*time.Hour && interval > 0 && interval <= length/2 {
		length /= 2
	}
	return Period{at.UTC().Truncate(length), length}
}

// prefix sorts by the end.
func (p Period) prefix() []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(max(p.End().Unix(), 0))), byte(p.Length/time.Hour))
}

const prefixSize = 9

func periodOf(key []byte) (p Period, domain string, row []byte, ok bool) {
	if len(key) <= prefixSize {
		return p, "", nil, false
	}
	p.Length = time.Duration(key[8]) * time.Hour
	p.Begin = time.Unix(int64(binary.BigEndian.Uint64(key)), 0).UTC().Add(-p.Length)
	name, row, ok := bytes.Cut(key[prefixSize:], []byte{0})
	return p, string(name), row, ok
}

// Policy is what a domain published (RFC 7489 section 6.3), as it was last seen in the period.
type Policy struct {
	Domain         string `json:"domain"`
	P              string `json:"p"`
	SP             string `json:"sp,omitempty"`
	NP             string `json:"np,omitempty"`
	StrictDKIM     bool   `json:"adkim,omitempty"`
	StrictSPF      bool   `json:"aspf,omitempty"`
	Testing        bool   `json:"t,omitempty"`
	Percent        int    `json:"pct"`
	FailureOptions string `json:"fo,omitempty"`
}

// Row is mail that is alike in all that a report tells.
type Row struct {
	Source       netip.Addr  `json:"ip"`
	Disposition  string      `json:"disposition"` // none, quarantine, reject
	DKIM         bool        `json:"dkim"`        // aligned and passed
	SPF          bool        `json:"spf"`
	Override     string      `json:"override,omitempty"`
	Comment      string      `json:"comment,omitempty"`
	HeaderFrom   string      `json:"header_from"`
	EnvelopeFrom string      `json:"envelope_from,omitempty"`
	EnvelopeTo   string      `json:"envelope_to,omitempty"`
	Signatures   []Signature `json:"signatures,omitempty"`
	SPFDomain    string      `json:"spf_domain,omitempty"`
	SPFHello     bool        `json:"spf_hello,omitempty"`
	SPFResult    string      `json:"spf_result,omitempty"`
	Count        int64       `json:"count"`
}

// Signature is what came of one DKIM signature.
type Signature struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector,omitempty"`
	Result   string `json:"result"`
}

// Message is one message to be counted.
type Message struct {
	Report      *mailauth.Report
	To          string // domain of a recipient
	Disposition string
	Override    string
	Comment     string
}

// header is the row of a domain and period itself, or of all domains of a period.
type header struct {
	Policy Policy `json:"policy"`
	Rows   int    `json:"rows"`
	Missed int64  `json:"missed,omitempty"` // messages that are in no row
}

type countKey struct {
	period Period
	domain string
	hash   [hashSize]byte
}

// pending is a row with the policy it was counted under.
type pending struct {
	row    Row
	policy Policy
}

// Count counts a message whose author's domain wants reports. It never waits.
func (b *Book) Count(m Message) {
	record := m.Report.DMARC.Record
	if record == nil || len(record.Aggregate) == 0 || len(record.Domain) > maxWord {
		return
	}
	row := rowOf(m)
	key := countKey{PeriodAt(b.o.Now(), time.Duration(record.ReportInterval)*time.Second), record.Domain, row.hash()}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.counts[key]
	if p == nil {
		if len(b.counts) >= maxPending {
			b.missed.Inc()
			return
		}
		p = &pending{row: row}
		b.counts[key] = p
	}
	p.row.Count++
	p.policy = policyOf(record)
}

func policyOf(r *mailauth.PolicyRecord) Policy {
	return Policy{Domain: r.Domain, P: r.Policy, SP: r.Subdomains, NP: r.NonExistent, StrictDKIM: r.StrictDKIM, StrictSPF: r.StrictSPF,
		Testing: r.Testing, Percent: r.Percent, FailureOptions: word(r.FailureOptions)}
}

func rowOf(m Message) Row {
	r := m.Report
	row := Row{
		Source: r.Session.Remote.Unmap().WithZone(""), Disposition: m.Disposition, DKIM: r.DMARC.AlignedDKIM, SPF: r.DMARC.AlignedSPF,
		Override: m.Override, Comment: m.Comment, HeaderFrom: word(r.DMARC.Domain), EnvelopeFrom: word(string(r.Session.From.Domain)),
		EnvelopeTo: word(m.To), SPFDomain: word(r.SPF.Domain), SPFHello: r.SPF.Hello, SPFResult: string(r.SPF.Result),
	}
	for _, d := range r.DKIM[:min(len(r.DKIM), maxSigners)] {
		row.Signatures = append(row.Signatures, Signature{word(d.Domain), word(d.Selector), string(d.Result)})
	}
	return row
}

// word bounds a name of a stranger.
func word(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxWord)], "?")
}

// hash names the row whatever its count.
func (r Row) hash() (h [hashSize]byte) {
	r.Count = 0
	text, err := json.Marshal(r)
	if err != nil {
		return h
	}
	sum := sha256.Sum256(text)
	copy(h[:], sum[:])
	return h
}

// coarse is the row without what strangers choose freely, for a domain that has too many different ones.
func (r Row) coarse() Row {
	r.Signatures, r.HeaderFrom, r.EnvelopeFrom, r.EnvelopeTo, r.SPFDomain, r.Comment = nil, "", "", "", "", ""
	return r
}

// Flush writes down what was counted since the last one.
func (b *Book) Flush(ctx context.Context) {
	b.mu.Lock()
	counts := b.counts
	b.counts = map[countKey]*pending{}
	b.mu.Unlock()
	if len(counts) == 0 {
		return
	}
	var missed int64
	err := b.update(ctx, "counts", func(tx *kv.Tx) error {
		missed = 0
		w := writing{b: b, tx: tx, headers: map[string]*header{}}
		for key, p := range counts {
			missed += w.add(key, p)
		}
		return w.end()
	})
	if err == nil {
		b.missed.Add(float64(missed))
	}
}

// writing is one flush; headers are read and written once.
type writing struct {
	b       *Book
	tx      *kv.Tx
	headers map[string]*header
}

func (w *writing) header(key []byte) *header {
	h := w.headers[string(key)]
	if h == nil {
		h = &header{}
		if v := w.tx.Get(tabCounts, key); v != nil && json.Unmarshal(v, h) != nil {
			h = &header{}
		}
		w.headers[string(key)] = h
	}
	return h
}

func (w *writing) end() error {
	for key, h := range w.headers {
		text, err := json.Marshal(h)
		if err != nil {
			return err
		}
		w.tx.Put(tabCounts, []byte(key), text)
	}
	return nil
}

// add adds a row; what is beyond the limits is counted without its details, and beyond twice the limits as missed.
func (w *writing) add(key countKey, p *pending) (missed int64) {
	of := append(append(key.period.prefix(), key.domain...), 0)
	domain, all := w.header(of), w.header(key.period.prefix())
	domain.Policy = p.policy
	row, hash := p.row, key.hash
	for _, most := range []int{1, 2} {
		at := append(slices.Clone(of), hash[:]...)
		var was Row
		v := w.tx.Get(tabCounts, at)
		known := v != nil && json.Unmarshal(v, &was) == nil
		if known || domain.Rows < most*w.b.o.MaxRows && all.Rows < most*w.b.o.MaxTotal {
			if !known {
				domain.Rows, all.Rows = domain.Rows+1, all.Rows+1
			}
			r := row
			r.Count += was.Count
			text, err := json.Marshal(r)
			if err != nil {
				return row.Count
			}
			w.tx.Put(tabCounts, at, text)
			return 0
		}
		row = row.coarse()
		row.HeaderFrom = key.domain
		hash = row.hash()
	}
	domain.Missed += row.Count
	return row.Count
}

// Domain is what is to be reported to one domain about one period.
type Domain struct {
	Name   string // where the record stands
	Period Period
	Policy Policy
	Rows   []Row
	Missed int64 // messages that are in no row
}

// Owed names the domains whose periods are over, a page at a time: those behind the key after; next is "" at the end.
func (b *Book) Owed(ctx context.Context, after string, most int) (page []Domain, next string, err error) {
	end := binary.BigEndian.AppendUint64(nil, uint64(max(b.o.Now().Unix(), 0))+1)
	err = b.o.Side.View(ctx, func(tx *kv.Tx) error {
		from := []byte(after)
		for { // each domain has one header and many rows behind it: hop from header to header
			hopped := false
			for key, v := range tx.Scan(tabCounts, from, end) {
				p, name, row, ok := periodOf(key)
				if !ok {
					continue // of all domains
				}
				from = append(append(append(p.prefix(), name...), 0), bytes.Repeat([]byte{0xff}, hashSize+1)...)
				var h header
				if len(row) == 0 && json.Unmarshal(v, &h) == nil {
					page = append(page, Domain{Name: name, Period: p, Policy: h.Policy, Missed: h.Missed})
				}
				hopped = true
				break
			}
			if !hopped || len(page) == most {
				if hopped {
					next = string(from)
				}
				return nil
			}
		}
	})
	return page, next, err
}

// Read reads the rows of a domain that Owed named; those of most mail come first.
func (b *Book) Read(ctx context.Context, d *Domain) error {
	rows := map[[hashSize]byte]Row{}
	err := b.o.Side.View(ctx, func(tx *kv.Tx) error {
		d.Rows = d.Rows[:0]
		of := append(append(d.Period.prefix(), d.Name...), 0)
		for key, v := range tx.Scan(tabCounts, append(slices.Clone(of), 0), append(slices.Clone(of[:len(of)-1]), 1)) {
			var r Row
			if len(key) == len(of)+hashSize && json.Unmarshal(v, &r) == nil {
				rows[[hashSize]byte(key[len(of):])] = r
			}
		}
		return nil
	})
	d.Rows = slices.SortedFunc(maps.Values(rows), func(a, b Row) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		if c := a.Source.Compare(b.Source); c != 0 {
			return c
		}
		x, y := a.hash(), b.hash()
		return bytes.Compare(x[:], y[:])
	})
	return err
}

// Reported removes what was counted for a domain and period: its report is on its way, or nobody wants one.
func (b *Book) Reported(ctx context.Context, d Domain) error {
	return b.update(ctx, "reported", func(tx *kv.Tx) error {
		of := append(append(d.Period.prefix(), d.Name...), 0)
		var gone [][]byte
		for key := range tx.Scan(tabCounts, of, append(slices.Clone(of[:len(of)-1]), 1)) {
			gone = append(gone, bytes.Clone(key))
		}
		for _, key := range gone {
			tx.Delete(tabCounts, key)
		}
		return nil
	})
}

func forgetCounts(tx *kv.Tx, now time.Time) {
	var gone [][]byte
	end := binary.BigEndian.AppendUint64(nil, uint64(max(now.Add(-keepCounts).Unix(), 0)))
	for key := range tx.Scan(tabCounts, nil, end) {
		gone = append(gone, bytes.Clone(key))
	}
	future := binary.BigEndian.AppendUint64(nil, uint64(max(now.Add(2*day).Unix(), 0))) // of a clock that ran ahead
	for key := range tx.Scan(tabCounts, future, nil) {
		gone = append(gone, bytes.Clone(key))
	}
	drop(tx, tabCounts, gone)
}
