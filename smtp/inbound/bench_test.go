package inbound

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/smtp"
)

// BenchmarkInbound: 20 clients of ours send 4 KB messages over loopback TCP to alice, each message durable before its 250.
func BenchmarkInbound(b *testing.B) {
	r := newRig(b)
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
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				errs <- err
				return
			}
			k := smtp.NewClient(nc, smtp.ClientOptions{Hostname: "load.test"})
			defer k.Close()
			if err := k.Hello(context.Background()); err != nil {
				errs <- err
				return
			}
			for range work {
				out, err := k.Send(context.Background(), e, strings.NewReader(text), int64(len(text)))
				if err == nil && out.Recipient(0, false).Code != 250 {
					err = fmt.Errorf("%v", out)
				}
				if err != nil {
					errs <- err
					return
				}
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
