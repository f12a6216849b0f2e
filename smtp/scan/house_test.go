package scan

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
)

const (
	testHeader = "From: zoe@away.test\r\nSubject: hello\r\n there\r\nX-Old: 1\r\n"
	testBody   = "one\r\n.two\r\n"
)

func testMessage() *Message {
	to := []mail.Address{{Local: "alice", Domain: "alpha.test"}, {Local: "bob", Domain: "alpha.test"}}
	return &Message{ID: "Q1", Remote: netip.MustParseAddrPort("192.0.2.7:4711"), Name: "mx.away.test", Hello: "mx.away.test", TLS: "TLSv1.3", Cipher: "TLS_AES_128_GCM_SHA256",
		From: mail.Address{Local: "zoe", Domain: "away.test"}, To: to, Header: []byte(testHeader), Body: strings.NewReader(testBody), Size: int64(len(testBody))}
}

// rig is a panel of one helper, its log and its metrics.
type rig struct {
	*Panel
	log     bytes.Buffer
	metrics *metrics.Set
}

func newRig(t testing.TB, h Helper) *rig {
	t.Helper()
	r := &rig{metrics: metrics.New()}
	if h.Address == "" {
		h.Address = "127.0.0.1:1"
	}
	var err error
	r.Panel, err = New(Options{Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Metrics: r.metrics, Hostname: "mx.alpha.test", Helpers: []Helper{h}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// count is the value of a metric with the helper's label.
func (r *rig) count(t *testing.T, name, answer string) float64 {
	t.Helper()
	all, err := r.metrics.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != metrics.Prefix+name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if answer == "" || l.GetName() == "answer" && l.GetValue() == answer {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	return 0
}

// behind is a Dial that leads to a function instead of a program; it ends when the other side hangs up.
func behind(serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			serve(theirs)
		}()
		return ours, nil
	}
}

// deaf takes everything and says nothing.
func deaf(c net.Conn) { io.Copy(io.Discard, c) }
