package kv

const (
	arenaChunk = 256 << 10
	arenaKeep  = 16 // chunks kept for the next transaction
)

// arena holds the values of one write transaction. bbolt keeps a value's slice until the commit has copied it into its page, and a
// page of a mailbox is put again for every message of a batch: taken from the heap these copies were a quarter of all garbage.
type arena struct {
	chunks [][]byte
	used   int // chunks that are full
	at     int // in chunks[used]
}

// clone copies v; the copy is good until reset.
func (a *arena) clone(v []byte) []byte {
	if len(v) > arenaChunk/8 {
		return append([]byte{}, v...)
	}
	if a.used < len(a.chunks) && a.at+len(v) > arenaChunk {
		a.used, a.at = a.used+1, 0
	}
	if a.used == len(a.chunks) {
		a.chunks = append(a.chunks, make([]byte, arenaChunk))
	}
	out := a.chunks[a.used][a.at : a.at+len(v) : a.at+len(v)]
	copy(out, v)
	a.at += len(v)
	return out
}

// reset gives all copies up, after the transaction.
func (a *arena) reset() {
	if len(a.chunks) > arenaKeep {
		clear(a.chunks[arenaKeep:])
		a.chunks = a.chunks[:arenaKeep]
	}
	a.used, a.at = 0, 0
}
