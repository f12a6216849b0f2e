// Siege lets hostile clients at the serving binary, one kind after the other, while an honest user goes on sending and
// reading, and watches its memory, its connections and its goroutines: all must come back to where they were.
//
//	main.go     the order of things
//	attacks.go  the hostile clients
//	watch.go    the honest one, and what the server says of itself
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
)

func main() {
	binary := flag.String("binary", "bin/posthouse", "the server")
	base := flag.Int("base", 25000, "first port")
	each := flag.Duration("each", 12*time.Second, "length of each attack")
	only := flag.String("only", "", "only this attack")
	times := flag.Int("times", 1, "so many times the connections of each attack")
	flag.Parse()
	h := &house.House{Binary: *binary, Base: *base, Limits: limits, Extra: "[queue]\nretry = [\"1h\"]\n"}
	if err := run(&siege{house: h, each: *each, times: *times, only: *only}); err != nil {
		fmt.Fprintln(os.Stderr, "siege:", err)
		os.Exit(1)
	}
}

// limits let everything in from one address, and end the silent soon, so that it can be seen.
const limits = "connections = 8000\nconnections_per_address = 8000\nsmtp_connections = 2000\nsmtp_command_wait = \"30s\"\nsmtp_data_wait = \"30s\"\n"

func run(s *siege) error {
	dir, err := os.MkdirTemp("", "posthouse-siege-")
	if err != nil {
		return err
	}
	h := s.house
	h.Dir = dir
	if err := h.Setup(); err != nil {
		return err
	}
	if err := h.Start(); err != nil {
		return err
	}
	err = s.all()
	if err = errors.Join(err, h.Stop()); err != nil {
		return fmt.Errorf("%w (data kept in %s)", err, dir)
	}
	if err := h.Check(); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// siege is one house and those before its walls.
type siege struct {
	house *house.House
	each  time.Duration
	times int
	only  string
}

func (s *siege) all() error {
	if err := s.prepare(); err != nil {
		return err
	}
	before, err := s.read()
	if err != nil {
		return err
	}
	fmt.Printf("%-26s %7s %9s %9s %7s %7s %8s %8s\n", "attack", "conns", "RSS MB", "after MB", "gorout.", "after", "honest", "worst ms")
	var failed error
	for _, a := range attacks() {
		if s.only != "" && a.name != s.only {
			continue
		}
		if err := s.one(a, before); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", a.name, err))
			fmt.Println("   ", err)
		}
	}
	return failed
}

// one runs an attack with the honest user beside it, and waits until nothing of it is left.
func (s *siege) one(a attack, before state) error {
	h := newHonest(s.house)
	stop := make(chan struct{})
	var peak state
	var wg sync.WaitGroup
	wg.Go(func() { h.work(stop) })
	wg.Go(func() { peak = s.watch(stop) })
	e := &enemy{house: s.house, times: s.times, until: time.Now().Add(s.each)}
	a.run(e)
	time.Sleep(time.Until(e.until))
	close(stop)
	wg.Wait()
	e.leave()
	after, err := s.settle(before)
	fmt.Printf("%-26s %7.0f %9.1f %9.1f %7.0f %7.0f %8d %8d\n", a.name, peak.connections, peak.mb, after.mb, peak.goroutines, after.goroutines, h.served, h.worst.Milliseconds())
	switch {
	case err != nil:
		return err
	case h.err != nil:
		return fmt.Errorf("the honest user: %w", h.err)
	case h.served == 0:
		return errors.New("the honest user was not served")
	}
	return nil
}
