package store

import (
	"fmt"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// errNoRoom is a full disk to whoever asks: the rest of it is for what makes room again.
var errNoRoom = fmt.Errorf("store: the disk is nearly full: %w", kv.ErrFull)

// SetFull refuses new mail, before the disk is full, until it is called again: Reserve, Append and Import answer kv.ErrFull. What was
// accepted already, flags, moves and removals go on.
func (s *Store) SetFull(full bool) { s.full.Store(full) }

// Room is nil while new mail is taken. Desks that reserve nothing for a message ask it.
func (s *Store) Room() error {
	if s.full.Load() {
		return errNoRoom
	}
	return nil
}
