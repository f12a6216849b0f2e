// Package storetest gives tests a real store in a temporary folder, checked whole when the test ends.
package storetest

import (
	"testing"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// New returns a started store; its cleanup runs the full consistency check and closes it.
// register is called between kv.Open and Start, for owners of other part kinds.
func New(t testing.TB, register ...func(db *kv.DB, s *store.Store)) (*store.Store, *kv.DB) {
	panic("unbuilt")
}
