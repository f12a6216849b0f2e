package inbound

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/junkbook"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// BenchmarkInbound: 20 clients of ours send 4 KB messages over loopback TCP to alice, each message durable before its 250; over one
// connection each, and over a new one for each message.
func BenchmarkInbound(b *testing.B) {
	b.Run("connection kept", func(b *testing.B) { inbound(b, newRig(b), false) })
	b.Run("new connection", func(b *testing.B) { inbound(b, newRig(b), true) })
	b.Run("judged", func(b *testing.B) {
		r := newRig(b)
		side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(b.TempDir(), "side.db")})
		if err != nil {
			b.Fatal(err)
		}
		defer side.Close()
		r.desk.o.Judge = spam.New(spam.Options{Side: side, Hostname: "mx.alpha.test"})
		r.desk.o.Wishes, r.desk.o.Loopback = Wishes{Book: junkbook.New(r.db, nil), Directory: r.desk.o.Directory}, true
		inbound(b, r, false)
	})
}

func inbound(b *testing.B, r *rig, anew bool) {
	r.desk.o.MaxSize = 1 << 20
	s := smtp.NewServer(smtp.Options{Hostname: "mx.alpha.test", Desk: r.desk})
	g := serve.New(serve.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g.Go(serve.Service{Name: "smtp", Listener: ln, Handler: s.Handle})
	text := "From: a@away.test\r\nTo: alice@alpha.test\r\nSubject: load\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 56)
	e := mail.Envelope{From: parse(b, "a@away.test"), Recipients: []mail.Recipient{{Address: parse(b, "alice@alpha.test")}}}
	var wg sync.WaitGroup
	work := make(chan struct{}, 100)
	errs := make(chan error, 20)
	for range 20 {
		wg.Go(func() {
			var k *smtp.Client
			var err error
			for range work {
				if k == nil {
					if k, err = connect(ln.Addr().String()); err != nil {
						errs <- err
						return
					}
				}
				out, err := k.Send(context.Background(), e, strings.NewReader(text), int64(len(text)))
				if err == nil && out.Recipient(0, false).Code != 250 {
					err = fmt.Errorf("%v", out)
				}
				if err != nil {
					errs <- err
					return
				}
				if anew {
					k.Quit(context.Background())
					k = nil
				}
			}
			if k != nil {
				k.Close()
			}
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		select {
		case work <- struct{}{}:
		case err := <-errs:
			b.Fatal(err)
		}
	}
	close(work)
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	force, cancel := context.WithCancel(context.Background())
	cancel()
	_ = g.Shutdown(force)
}

func connect(addr string) (*smtp.Client, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	k := smtp.NewClient(nc, smtp.ClientOptions{Hostname: "load.test"})
	return k, k.Hello(context.Background())
}
