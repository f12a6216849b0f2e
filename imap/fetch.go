package imap

import "context"

// fetch answers FETCH and UID FETCH.
func (c *conn) fetch(ctx context.Context, r *request) error { return bad("FETCH is not built yet") }
