package imap

import "context"

// search answers SEARCH and UID SEARCH.
func (c *conn) search(ctx context.Context, r *request) error { return bad("SEARCH is not built yet") }
