package api_test

import (
	"archive/zip"
	"bytes"
	"strings"
	"testing"
)

// TestMe: a program does for its account what the account's pages do, and for no other.
func TestMe(t *testing.T) {
	h := newRoom(t)
	alice := h.token("alice", "mail", "send", "account")
	h.want("GET /api/v1/me/names", alice, "", 200, "alice@mail.test")
	h.want("GET /api/v1/me/devices", alice, "", 200)
	h.want("DELETE /api/v1/me/devices/x", alice, "", 404)
	h.want("GET /api/v1/me/deleted/days", alice, "", 200, "[]")
	h.want("POST /api/v1/me/deleted/day", alice, `{"day":"2026-11-22","mailbox":"INBOX"}`, 200, `"total":0`)
	h.want("POST /api/v1/me/deleted/day", alice, `{"day":"yesterday","mailbox":"INBOX"}`, 400, "written like")
	h.want("POST /api/v1/me/undelete/day", alice, `{"day":"2026-11-22","mailbox":"INBOX"}`, 404)
	h.want("GET /api/v1/me/imports", alice, "", 200, "[]")
	h.want("POST /api/v1/me/imports", alice, `{"protocol":"imap","host":"127.0.0.1","user":"a","password":"b"}`, 400)
	h.want("POST /api/v1/me/imports", alice, `{"protocol":"imap","host":"imap.example.org","port":22,"user":"a","password":"b"}`, 400, "993 or 143")
	h.want("DELETE /api/v1/me/imports/none", alice, "", 404)
	h.want("DELETE /api/v1/me/outbox/x", alice, "", 400, "by its uid")
	h.want("DELETE /api/v1/me/outbox/1", alice, "", 409, "waits no more")
	h.want("POST /api/v1/me/outbox/1", alice, "", 409, "waits no more")
	h.want("GET /api/v1/me/spam/train", alice, "", 503) // nobody judges in this house
	h.want("GET /api/v1/me/export?form=doc", alice, "", 400)
	h.want("GET /api/v1/me/export?form=mbox", h.token("alice", "send"), "", 403)
	w := h.want("GET /api/v1/me/export?form=mbox", alice, "", 200)
	if z, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len())); err != nil || len(z.File) == 0 || w.Header().Get("Content-Type") != "application/zip" || !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment; filename=\"mail-") {
		t.Error(err, w.Header())
	}
}
