package imap

import (
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/posthouse-mail/posthouse/store"
)

const (
	aheadLeast    = 4         // messages that make it pay
	aheadMessages = 8         // that one FETCH reads ahead
	aheadText     = 128 << 10 // of which texts up to this size are in memory; larger ones are only opened
	aheadFetches  = 16        // FETCHes that read ahead at once, two more pieces of a long text each; the others read as they write. In all 20 MB.
)

// ahead opens the messages of a page before their turn comes, in a goroutine beside the one that writes to the client, so
// that to unpack one message and to send another are done at the same time; neither waits while there is something to do.
type ahead struct {
	f    *fetcher
	list []numbered               // what is to be answered for
	ring [aheadMessages]aheadSlot // message i of the list stands in ring[i%aheadMessages]

	helped bool // this FETCH may have a helper, and the whole ring
	helper sync.WaitGroup

	mu      sync.Mutex
	moved   *sync.Cond // one waits at most: the helper for room, or the writer for the helper
	claimed int        // messages before it are opened, or being opened
	turn    int        // the message that is written now; its place in the ring is in use
	ended   bool
}

// numbered is a row with its sequence number.
type numbered struct {
	seq uint32
	*store.Message
}

// aheadSlot is one message that was opened, or could not be. While it is claimed it belongs to who claimed it.
type aheadSlot struct {
	open  openMessage
	err   error
	panic any  // with its stack
	done  bool // guarded by ahead.mu
}

// begin has the messages opened ahead when that pays; end must follow, and leave behind the last.
func (a *ahead) begin(f *fetcher, list []numbered) {
	a.f, a.list, a.claimed, a.turn, a.ended = f, list, 0, 0, false
	if a.moved == nil {
		a.moved = sync.NewCond(&a.mu)
	}
	if len(list) >= aheadLeast && !a.helped {
		select {
		case f.c.s.sessions.ahead <- struct{}{}:
			a.helped = true
		default:
		}
	}
	if a.helped {
		a.helper.Go(a.run)
	}
}

// end waits for the helper and closes what is open.
func (a *ahead) end() {
	a.mu.Lock()
	a.ended = true
	a.moved.Signal()
	a.mu.Unlock()
	a.helper.Wait()
	for i := range a.ring {
		a.ring[i].open.close()
	}
}

// leave makes room for another FETCH's helper, when the memory of the ring is in use no more.
func (a *ahead) leave() {
	if a.helped {
		<-a.f.c.s.sessions.ahead
	}
}

// slot is where message i stands: without a helper in one place, so that a FETCH needs the memory of one message.
func (a *ahead) slot(i int) *aheadSlot {
	if !a.helped {
		return &a.ring[0]
	}
	return &a.ring[i%aheadMessages]
}

// run opens messages until all are, or end is called.
func (a *ahead) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !a.ended && a.claimed < len(a.list) {
		if !a.next() {
			a.moved.Wait()
		}
	}
}

// next opens the first message that nobody has begun with, if there is room. a.mu is held, but not meanwhile.
func (a *ahead) next() bool {
	i := a.claimed
	if i == len(a.list) || i >= a.turn+aheadMessages {
		return false
	}
	a.claimed++
	s := a.slot(i)
	s.done = false
	a.mu.Unlock()
	s.load(a.f, a.list[i].Message)
	a.mu.Lock()
	s.done = true
	if a.turn == i {
		a.moved.Signal()
	}
	return true
}

// load opens a message. A panic is the connection's end, not all mail's: it goes on in the writer's goroutine.
func (s *aheadSlot) load(f *fetcher, m *store.Message) {
	defer func() {
		if r := recover(); r != nil {
			s.panic = fmt.Sprintf("%v\n%s", r, debug.Stack())
		}
	}()
	s.err = s.open.load(f, m)
}

// take is message i of the list, opened; the one before is closed. Every message is taken, in order. While the helper is at
// it, the next ones are opened here: to sleep and be woken takes longer than to open a small message.
func (a *ahead) take(i int) (*openMessage, error) {
	if i > 0 {
		a.slot(i - 1).open.close()
	}
	s := a.slot(i)
	a.mu.Lock()
	a.turn = i
	if a.claimed-i <= aheadMessages/2 { // not for every message, for the same reason
		a.moved.Signal()
	}
	for a.claimed <= i || !s.done {
		if !a.next() {
			a.moved.Wait()
		}
	}
	a.mu.Unlock()
	if s.panic != nil {
		panic(s.panic)
	}
	return &s.open, s.err
}
