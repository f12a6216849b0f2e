package api

import (
	"context"
	"net/http"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// own is what the account whose token is shown may do with itself: what its pages can do, but for passwords, passkeys and tokens, which
// would make a token into more than it is.
func (s *Server) own() {
	h := s.o.House
	mine(s, "GET /v1/me", anyOwn, "Shows the account whose token it is, and what the token may do.", s.me)
	mine(s, "GET /v1/me/names", ownAccount, "Lists every name under which mail reaches the account.", h.MailNames)
	mine(s, "GET /v1/me/space", ownAccount, "Tells what takes how much, by mailbox.", h.Space)
	mine(s, "GET /v1/me/devices", ownAccount, "Lists what has logged in to the account, or tried to.", h.Devices)
	ofOwn(s, "DELETE /v1/me/devices/{id}", ownAccount, "Takes a device out of the list; it keeps nobody out.", h.ForgetDevice)
	mine(s, "GET /v1/me/masks", ownMasks, "Lists the account's masked addresses.", h.Masks)
	own(s, "POST /v1/me/masks", ownMasks, "Makes a masked address.", h.AddMask)
	own(s, "PATCH /v1/me/masks", ownMasks, "Switches a masked address on or off, removes it, or changes its note.", h.SetMask)
	mine(s, "GET /v1/me/forward", ownAccount, "Shows where the account's mail goes on to.", h.Forwarding)
	own(s, "PUT /v1/me/forward", ownAccount, "Sets where the account's mail goes on to.", h.SetForwarding)
	s.ownJunk()
	s.ownOutgoing()
	s.ownMailboxes()
}

// ownJunk is how the account's mail is judged.
func (s *Server) ownJunk() {
	h := s.o.House
	mine(s, "GET /v1/me/spam", ownAccount, "Shows the account's junk settings.", h.SpamSettings)
	own(s, "PATCH /v1/me/spam", ownAccount, "Changes the account's junk settings.", h.SetSpam)
	mine(s, "GET /v1/me/spam/refused", ownAccount, "Lists mail that was refused as junk, and why.", h.SpamRefused)
	mine(s, "GET /v1/me/spam/senders", ownAccount, "Lists the senders that the account lets in or keeps out.", h.SpamSenders)
	own(s, "PUT /v1/me/spam/senders", ownAccount, "Lets a sender in, or keeps him out.", h.SetSpamSender)
	ofOwn(s, "DELETE /v1/me/spam/senders/{id}", ownAccount, "Forgets what was said of a sender.", h.RemoveSpamSender)
	mine(s, "GET /v1/me/spam/train", ownAccount, "Tells how far the last learning from all mail is.", h.Training)
	mine(s, "POST /v1/me/spam/train", ownAccount, "Begins to learn from all mail of the account; it goes on by itself.", h.StartTraining)
}

// ownOutgoing is what the account sends, and what became of its messages.
func (s *Server) ownOutgoing() {
	h := s.o.House
	mine(s, "GET /v1/me/limits", ownAccount|ownSend, "Shows how much the account may send, and has sent.", h.AccountLimits)
	mine(s, "GET /v1/me/outbox", ownMail|ownSend, "Lists what waits in the account's Outbox.", h.Outbox)
	s.raw("POST /v1/me/outbox/{uid}", ownSend, "Lets a message go that waits in the Outbox.").gives(none{}).by(s.ofOutbox(h.SendWaiting))
	s.raw("DELETE /v1/me/outbox/{uid}", ownSend, "Takes a message back that waits in the Outbox: it is a draft then.").gives(none{}).by(s.ofOutbox(h.TakeBack))
	own(s, "POST /v1/me/stories", ownMail, "Finds messages that the account sent or that were for it.", h.OwnStories)
	own(s, "POST /v1/me/story", ownMail, "Tells what happened to one of them, as far as the account may know.", func(ctx context.Context, user string, in named) (admin.OwnTraced, error) {
		return h.OwnStory(ctx, user, in.ID)
	})
}

// ownMailboxes is mail that is there, was there, and comes from elsewhere.
func (s *Server) ownMailboxes() {
	h := s.o.House
	own(s, "POST /v1/me/deleted", ownMail, "Lists mail that was deleted and can be brought back.", h.Deleted)
	own(s, "POST /v1/me/undelete", ownMail, "Brings deleted mail back.", h.Undelete)
	mine(s, "GET /v1/me/deleted/days", ownMail, "Counts deleted mail that can be brought back, by day and mailbox.", h.DeletedGroups)
	own(s, "POST /v1/me/deleted/day", ownMail, "Lists what was deleted from a mailbox on a day.", h.DeletedOf)
	own(s, "POST /v1/me/undelete/day", ownMail, "Brings back what was deleted from a mailbox on a day.", h.UndeleteGroup)
	mine(s, "GET /v1/me/imports", ownMail, "Lists the imports of the account from other servers.", h.OwnPulls)
	own(s, "POST /v1/me/imports", ownMail, "Begins to bring mail from another server.", h.StartOwnPull)
	ofOwn(s, "DELETE /v1/me/imports/{id}", ownMail, "Ends an import; what it has brought stays.", h.StopOwnPull)
	s.raw("GET /v1/me/export", ownMail, "Gives the mail of the account as a zip file, made while it goes.").
		asks("form", "string", "mbox: a file for each mailbox; maildir: one for each message").asks("mailbox", "string", "only this one").gives("application/zip").by(s.exportZip)
}

// ofOwn routes a verb about one thing of the account whose token was shown: {id} of the path names it.
func ofOwn(s *Server, pattern string, scope auth.Scope, does string, fn func(ctx context.Context, user, id string) error) {
	s.raw(pattern, scope, does).gives(none{}).by(func(w http.ResponseWriter, r *http.Request) {
		user, err := ownerOf(r.Context())
		if err == nil {
			err = fn(r.Context(), user, r.PathValue("id"))
		}
		s.answer(w, r, none{}, err)
	})
}

// exportZip ends with the token, as all that lasts (door.go: while).
func (s *Server) exportZip(w http.ResponseWriter, r *http.Request) {
	user, err := ownerOf(r.Context())
	if err != nil {
		s.answer(w, r, nil, err)
		return
	}
	to := page.NewDownload(w, "application/zip")
	to.Name, to.Wait = "mail-"+time.Now().UTC().Format(time.DateOnly)+".zip", page.PartWait
	q := r.URL.Query()
	err = s.o.House.ExportZip(r.Context(), user, admin.ZipExport{Mailbox: q.Get("mailbox"), Form: q.Get("form")}, to)
	if err := to.End(err, func() { s.cut(r, err) }); err != nil {
		s.answer(w, r, nil, err)
	}
}

// Me is the account whose token is shown.
type Me struct {
	admin.Account
	Token  string   `json:"token"` // its name
	Scopes []string `json:"scopes"`
}

func (s *Server) me(ctx context.Context, user string) (Me, error) {
	a, err := s.o.House.Account(ctx, user)
	b, _ := bearerOf(ctx)
	return Me{Account: a, Token: b.Token.Name, Scopes: b.Token.Scopes.Names()}, err
}
