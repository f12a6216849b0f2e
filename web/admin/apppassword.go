package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// AppPassword is a password for one program of an account.
type AppPassword struct {
	Number  uint32     `json:"number"`
	Name    string     `json:"name"`
	Doors   []string   `json:"doors"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
	Expired bool       `json:"expired,omitempty"`
	Last    *LastUse   `json:"last_used,omitempty"`
}

// LastUse is when, at which door and from where something was used last.
type LastUse struct {
	At   time.Time `json:"at"`
	Door string    `json:"door"`
	From string    `json:"from,omitempty"`
}

// NewAppPassword is what one is made of; Doors nil: all that it may open, Expires nil: never.
type NewAppPassword struct {
	Name    string     `json:"name"`
	Doors   []string   `json:"doors,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
}

// MadeAppPassword is a new one with the password, which is told this once.
type MadeAppPassword struct {
	AppPassword
	Password string `json:"password"`
}

// AddAppPassword makes an app password. These three are the user's own: a page calls them with the account that is signed in.
func (h *House) AddAppPassword(ctx context.Context, user string, in NewAppPassword) (MadeAppPassword, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return MadeAppPassword{}, translate(user, err)
	}
	app := auth.AppPassword{Name: in.Name, Doors: auth.DoorsApp}
	if len(in.Doors) > 0 {
		if app.Doors, err = parseDoors(in.Doors); err != nil {
			return MadeAppPassword{}, err
		}
	}
	if in.Expires != nil {
		app.Expires = *in.Expires
	}
	n, err := h.o.Directory.MakeApp(ctx, a.ID, app)
	if err != nil {
		return MadeAppPassword{}, translate(user, err)
	}
	c := &alteration{verb: "app password add", on: part(a, OfAccount)}
	c.do = func(tx *kv.Tx) (err error) {
		app, err = h.o.Directory.AddApp(tx, a.ID, n)
		c.note = fmt.Sprintf("app password %d for %s", app.ID, app.Name)
		return err
	}
	err = h.change(ctx, c)
	if err != nil {
		return MadeAppPassword{}, translate(user, err)
	}
	h.done(ctx, "app password add", fmt.Sprintf("%s number %d", user, app.ID))
	return MadeAppPassword{showApp(app, auth.AppUse{}), n.Password}, nil
}

// AppPasswords lists those of an account, oldest first.
func (h *House) AppPasswords(ctx context.Context, user string) ([]AppPassword, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	all, err := h.o.Directory.Apps(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	uses, err := h.o.Apps.Uses(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	out := make([]AppPassword, 0, len(all))
	for _, app := range all {
		out = append(out, showApp(app, uses[app.ID]))
	}
	return out, nil
}

// RemoveAppPassword revokes one; what was opened with it ends at once.
func (h *House) RemoveAppPassword(ctx context.Context, user string, number uint32) (AppPassword, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return AppPassword{}, translate(user, err)
	}
	var gone auth.AppPassword
	c := &alteration{verb: "app password remove", on: part(a, OfAccount)}
	c.do = func(tx *kv.Tx) (err error) {
		gone, err = h.o.Directory.RemoveApp(tx, a.ID, number)
		c.note = fmt.Sprintf("app password %d for %s", number, gone.Name)
		return err
	}
	err = h.change(ctx, c)
	if err != nil {
		return AppPassword{}, translate(user, err)
	}
	h.done(ctx, "app password remove", fmt.Sprintf("%s number %d", user, number))
	return showApp(gone, auth.AppUse{}), nil
}

func showApp(a auth.AppPassword, u auth.AppUse) AppPassword {
	out := AppPassword{Number: a.ID, Name: a.Name, Doors: doorNames(a.Doors), Created: a.Created}
	if !a.Expires.IsZero() {
		out.Expires, out.Expired = &a.Expires, !time.Now().Before(a.Expires)
	}
	if !u.At.IsZero() {
		out.Last = &LastUse{At: u.At, Door: u.Door.String()}
		if u.Remote.IsValid() {
			out.Last.From = u.Remote.String()
		}
	}
	return out
}
