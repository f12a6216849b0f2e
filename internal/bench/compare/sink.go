package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// sinkPort is the port of the three mail hosts; each has an address of its own on loopback.
const sinkPort = 28600

// sink is one mail host: Postfix's smtp-sink, which counts what it takes.
type sink struct {
	address string // 127.0.0.x
	cmd     *exec.Cmd
	done    chan struct{} // its output has ended

	mu    sync.Mutex
	taken int       // messages
	last  time.Time // when the last of them was
}

// startSink runs smtp-sink on an address with more arguments.
func startSink(address string, args ...string) (*sink, error) {
	s := &sink{address: address, done: make(chan struct{})}
	// A host takes as many connections as come: who opens them shall have a limit.
	args = append([]string{"-4", "-c", "-u", "nobody", "-m", "2000"}, args...)
	s.cmd = exec.Command("smtp-sink", append(args, fmt.Sprintf("%s:%d", address, sinkPort), "1024")...)
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(out)
		lines.Split(func(data []byte, end bool) (int, []byte, error) { // its lines end in CR
			if i := slices.Index(data, '\r'); i >= 0 {
				return i + 1, data[:i], nil
			}
			return 0, nil, nil
		})
		for lines.Scan() {
			s.count(lines.Text())
		}
	}()
	return s, nil
}

// count reads "sess=1 quit=1 mesg=2".
func (s *sink) count(line string) {
	_, rest, _ := strings.Cut(line, "mesg=")
	var n int
	fmt.Sscan(rest, &n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.taken {
		s.taken, s.last = n, time.Now()
	}
}

func (s *sink) state() (taken int, last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken, s.last
}

func (s *sink) stop() {
	s.cmd.Process.Kill()
	<-s.done
	s.cmd.Wait()
}

// connections counts the established connections at the sink, as the kernel lists them.
func (s *sink) connections() (n int) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return 0
	}
	defer f.Close()
	var a, b, c, d byte
	fmt.Sscanf(s.address, "%d.%d.%d.%d", &a, &b, &c, &d)
	local := fmt.Sprintf(" %02X%02X%02X%02X:%04X ", d, c, b, a, sinkPort)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		_, rest, ok := strings.Cut(lines.Text(), ":") // behind the row's number
		if ok && strings.HasPrefix(rest, local) && len(rest) > len(local)+16 && rest[len(local)+14:len(local)+16] == "01" {
			n++
		}
	}
	return n
}
