package kv

import (
	"context"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// Snapshot writes the tables, as one consistent picture, into a new file at path, synced, and returns how far the log is in it:
// records from that LSN on are not.
func (db *DB) Snapshot(ctx context.Context, path string) (applied blob.LSN, err error) {
	panic("unbuilt")
}

// Roll ends the active log segment and returns its number: it and all before it are complete and never written again.
func (db *DB) Roll(ctx context.Context) (closed uint32, err error) { panic("unbuilt") }
