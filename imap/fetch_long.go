package imap

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/posthouse-mail/posthouse/store"
)

// longText reads a text that is too long to be in memory at once, a piece ahead of who writes it: to unpack one piece and to
// send another are done at the same time.
type longText struct {
	body   *store.Body
	pieces chan longPiece // has room for both pieces of memory
	free   chan []byte    // the memory that is not in use, of two
	stop   chan struct{}
	reader sync.WaitGroup
	taken  []byte // what next gave out last
}

// longPiece is the next octets, or why there are none.
type longPiece struct {
	b     []byte
	err   error
	panic any // with its stack
}

var errLongText = errors.New("imap: read past the end of a text")

// begin reads n octets of body from an offset on; end must follow, before body is closed.
func (l *longText) begin(body *store.Body, from, n int64) {
	if l.free == nil {
		l.free = make(chan []byte, 2)
		l.free <- make([]byte, aheadText)
		l.free <- make([]byte, aheadText)
	}
	l.body, l.pieces, l.stop = body, make(chan longPiece, 2), make(chan struct{})
	l.reader.Go(func() { l.run(from, n) })
}

func (l *longText) run(from, n int64) {
	defer close(l.pieces)
	for n > 0 {
		var room []byte
		select {
		case room = <-l.free:
		case <-l.stop:
			return
		}
		p := l.read(room, from, n)
		l.pieces <- p
		if p.err != nil || p.panic != nil {
			return
		}
		from, n = from+int64(len(p.b)), n-int64(len(p.b))
	}
}

// read reads one piece: to the end of what is packed together, so that it is unpacked where it is read to.
func (l *longText) read(room []byte, from, n int64) (p longPiece) {
	p.b = room
	defer func() {
		if r := recover(); r != nil {
			p.panic = fmt.Sprintf("%v\n%s", r, debug.Stack())
		}
	}()
	p.b = room[:min(max(l.body.Run(from), 1), n, int64(len(room)))]
	p.err = readWhole(l.body, p.b, from)
	return p
}

// next is the next piece; it is the caller's until it asks again.
func (l *longText) next() ([]byte, error) {
	l.giveBack()
	p, ok := <-l.pieces
	if !ok {
		return nil, errLongText
	}
	l.taken = p.b
	if p.panic != nil {
		panic(p.panic)
	}
	return p.b, p.err
}

func (l *longText) giveBack() {
	if l.taken != nil {
		l.free <- l.taken[:cap(l.taken)]
		l.taken = nil
	}
}

// end waits until nothing is read any more.
func (l *longText) end() {
	close(l.stop)
	l.reader.Wait()
	l.giveBack()
	for p := range l.pieces {
		l.free <- p.b[:cap(p.b)]
	}
}
