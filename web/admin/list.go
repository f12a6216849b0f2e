package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/list"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// List is a mailing list as the operator sees it.
type List struct {
	Address string    `json:"address"`
	Name    string    `json:"name,omitempty"`
	Owners  []string  `json:"owners"`
	Post    string    `json:"post"` // members, named, anyone
	Posters []string  `json:"posters,omitempty"`
	Replies string    `json:"replies"` // author, list
	Tag     string    `json:"tag,omitempty"`
	MaxSize int64     `json:"max_size,omitempty"` // 0: the house's limit
	Created time.Time `json:"created"`
	Members int       `json:"members"`
	Paused  int       `json:"paused,omitempty"`
	Version string    `json:"version,omitempty"` // of all of it with its members, for ListChange.If
}

// NewList is what a list is made of; Post and Replies empty: members, author.
type NewList struct {
	Address string   `json:"address"`
	Name    string   `json:"name,omitempty"`
	Owners  []string `json:"owners"`
	Post    string   `json:"post,omitempty"`
	Posters []string `json:"posters,omitempty"`
	Replies string   `json:"replies,omitempty"`
	Tag     string   `json:"tag,omitempty"`
	MaxSize int64    `json:"max_size,omitempty"`
}

// ListChange is what SetList changes; what is nil stays as it is.
type ListChange struct {
	Name    *string   `json:"name,omitempty"`
	Owners  *[]string `json:"owners,omitempty"`
	Post    *string   `json:"post,omitempty"`
	Posters *[]string `json:"posters,omitempty"`
	Replies *string   `json:"replies,omitempty"`
	Tag     *string   `json:"tag,omitempty"`
	MaxSize *int64    `json:"max_size,omitempty"`
	If      string    `json:"if,omitempty"` // the List.Version that is changed; another one by now: a Conflict (ErrChanged)
}

// ListMember is one member.
type ListMember struct {
	Address string     `json:"address"`
	State   string     `json:"state"` // active, paused, bounced
	Joined  time.Time  `json:"joined"`
	Since   time.Time  `json:"since"` // of the state
	Bounces int        `json:"bounces,omitempty"`
	Last    *time.Time `json:"last_bounce,omitempty"`
	Said    string     `json:"said,omitempty"` // by who refused its mail last
}

// ListDetail is a list with its members.
type ListDetail struct {
	List
	All []ListMember `json:"all"`
}

// MemberChange adds, removes, pauses or resumes members.
type MemberChange struct {
	Action  string   `json:"action"` // add, remove, pause, resume
	Members []string `json:"members"`
}

// Left says who left which list.
type Left struct {
	List   string `json:"list"`
	Member string `json:"member"`
}

func posting(s string) (auth.Posting, error) {
	switch s {
	case "", "members":
		return auth.PostMembers, nil
	case "named":
		return auth.PostNamed, nil
	case "anyone":
		return auth.PostAnyone, nil
	}
	return 0, invalid(fmt.Sprintf("%q does not say who may post: write members, named or anyone", s))
}

func replies(s string) (auth.Replies, error) {
	switch s {
	case "", "author":
		return auth.ReplyUntouched, nil
	case "list":
		return auth.ReplyList, nil
	}
	return 0, invalid(fmt.Sprintf("%q does not say where answers go: write author or list", s))
}

// AddList makes a list.
func (h *House) AddList(ctx context.Context, in NewList) (List, error) {
	a, err := address(in.Address)
	if err != nil {
		return List{}, err
	}
	switch _, err := h.o.Directory.List(ctx, a); {
	case err == nil:
		return List{}, conflict(in.Address + " is a list already: posthouse list settings changes it")
	case !errors.Is(err, auth.ErrNoAddress):
		return List{}, translate(in.Address, err)
	}
	l := auth.List{Address: a, MaxSize: in.MaxSize}
	c := ListChange{Name: &in.Name, Owners: &in.Owners, Post: &in.Post, Posters: &in.Posters, Replies: &in.Replies, Tag: &in.Tag}
	if l, err = changedList(l, c); err != nil {
		return List{}, err
	}
	err = h.change(ctx, &alteration{verb: "list add", on: h.aList(a), seen: NotThere, do: func(tx *kv.Tx) error {
		_, err := h.o.Directory.PutList(tx, l)
		return err
	}})
	if err != nil {
		return List{}, translate(in.Address, err)
	}
	h.done(ctx, "list add", a.String())
	return h.list(ctx, a)
}

// SetList changes the settings of a list.
func (h *House) SetList(ctx context.Context, name string, c ListChange) (List, error) {
	a, err := address(name)
	if err != nil {
		return List{}, err
	}
	err = h.change(ctx, &alteration{verb: "list settings", on: h.aList(a), seen: c.If, do: func(tx *kv.Tx) error {
		l, err := h.o.Directory.ListIn(tx, a) // here: what another has changed since stays
		if err == nil {
			l, err = changedList(l, c)
		}
		if err == nil {
			_, err = h.o.Directory.PutList(tx, l)
		}
		return err
	}})
	if err != nil {
		return List{}, translate(name, err)
	}
	h.done(ctx, "list settings", a.String())
	return h.list(ctx, a)
}

func changedList(l auth.List, c ListChange) (auth.List, error) {
	var err error
	if c.Name != nil {
		l.Name = *c.Name
	}
	if c.Owners != nil {
		if l.Owners, err = addresses(*c.Owners); err != nil {
			return l, err
		}
	}
	if c.Post != nil {
		if l.Posting, err = posting(*c.Post); err != nil {
			return l, err
		}
	}
	if c.Posters != nil {
		if l.Posters, err = addresses(*c.Posters); err != nil {
			return l, err
		}
	}
	if c.Replies != nil {
		if l.Replies, err = replies(*c.Replies); err != nil {
			return l, err
		}
	}
	if c.Tag != nil {
		l.Tag = *c.Tag
	}
	if c.MaxSize != nil {
		l.MaxSize = *c.MaxSize
	}
	return l, nil
}

func (h *House) findList(ctx context.Context, name string) (auth.List, error) {
	a, err := address(name)
	if err != nil {
		return auth.List{}, err
	}
	l, err := h.o.Directory.List(ctx, a)
	return l, translate(name, err)
}

// RemoveList removes a list with its members.
func (h *House) RemoveList(ctx context.Context, name string) error {
	l, err := h.findList(ctx, name)
	if err != nil {
		return err
	}
	err = h.change(ctx, &alteration{verb: "list remove", on: h.aList(l.Address), do: func(tx *kv.Tx) error { return h.o.Directory.RemoveList(tx, l.Address) }})
	if err != nil {
		return translate(name, err)
	}
	h.done(ctx, "list remove", l.Address.String())
	return nil
}

// Lists lists all.
func (h *House) Lists(ctx context.Context) ([]List, error) {
	all, err := h.o.Directory.Lists(ctx)
	if err != nil {
		return nil, translate("lists", err)
	}
	out := make([]List, 0, len(all))
	for _, l := range all {
		d, err := h.detail(ctx, l)
		if err != nil {
			return nil, err
		}
		out = append(out, d.List)
	}
	return out, nil
}

// List shows one with its members.
func (h *House) List(ctx context.Context, name string) (ListDetail, error) {
	l, err := h.findList(ctx, name)
	if err != nil {
		return ListDetail{}, err
	}
	return h.detail(ctx, l)
}

func (h *House) list(ctx context.Context, a mail.Address) (List, error) {
	d, err := h.List(ctx, a.String())
	return d.List, err
}

func (h *House) detail(ctx context.Context, l auth.List) (ListDetail, error) {
	members, err := h.o.Directory.Members(ctx, l.ID)
	if err != nil {
		return ListDetail{}, translate(l.Address.String(), err)
	}
	out := ListDetail{All: make([]ListMember, 0, len(members)), List: List{
		Address: l.Address.String(), Name: l.Name, Owners: texts(l.Owners), Post: postWord(l.Posting), Posters: texts(l.Posters), Replies: replyWord(l.Replies),
		Tag: l.Tag, MaxSize: l.MaxSize, Created: l.Created, Members: len(members), Version: version(stateOfList(l, members)),
	}}
	for _, m := range members {
		one := ListMember{Address: m.Address.String(), State: m.State.String(), Joined: m.Joined, Since: m.Since, Bounces: m.Bounces, Said: m.Said}
		if !m.Last.IsZero() {
			one.Last = &m.Last
		}
		if m.State != auth.MemberActive {
			out.Paused++
		}
		out.All = append(out.All, one)
	}
	return out, nil
}

// ChangeMembers adds, removes, pauses or resumes members of a list, all of them or none.
func (h *House) ChangeMembers(ctx context.Context, name string, c MemberChange) (ListDetail, error) {
	l, err := h.findList(ctx, name)
	if err != nil {
		return ListDetail{}, err
	}
	who, err := addresses(c.Members)
	if err != nil {
		return ListDetail{}, err
	}
	if len(who) == 0 {
		return ListDetail{}, invalid("name the members")
	}
	d := h.o.Directory
	err = h.change(ctx, &alteration{verb: "list members " + c.Action, on: h.aList(l.Address), do: func(tx *kv.Tx) error {
		switch c.Action {
		case "add":
			_, err := d.AddMembers(tx, l.Address, who)
			return err
		case "remove":
			return d.RemoveMembers(tx, l.Address, who)
		case "pause", "resume":
			state := map[string]auth.MemberState{"pause": auth.MemberPaused, "resume": auth.MemberActive}[c.Action]
			for _, a := range who {
				if err := d.SetMember(tx, l.Address, a, state); err != nil {
					return err
				}
			}
			return nil
		}
		return invalid(fmt.Sprintf("%q is nothing that can be done to members: write add, remove, pause or resume", c.Action))
	}})
	if err != nil {
		return ListDetail{}, translate(name, err)
	}
	h.done(ctx, "list members "+c.Action, l.Address.String())
	return h.detail(ctx, l)
}

// Unsubscribe takes a member out of a list by the link in his copy (RFC 8058). The link is the proof: nobody logs in for it.
func (h *House) Unsubscribe(ctx context.Context, link string) (Left, error) {
	l, member, err := list.NewTokens(h.o.DB.Secret()).Leaver(ctx, h.o.Directory, link)
	if err == nil {
		ctx = As(ctx, Actor{Name: member.String(), Door: DoorLink, Remote: ActorOf(ctx).Remote})
		err = h.change(ctx, &alteration{verb: "list leave", on: h.aList(l.Address), do: func(tx *kv.Tx) error {
			return h.o.Directory.RemoveMembers(tx, l.Address, []mail.Address{member})
		}})
	}
	if errors.Is(err, list.ErrLink) || errors.Is(err, auth.ErrNoAddress) {
		return Left{}, missing("this link is not good any more: its member has left the list already, or the link was cut short")
	}
	if err != nil {
		return Left{}, translate("list", err)
	}
	h.done(ctx, "list leave", l.Address.String()+" "+member.String())
	return Left{List: l.Address.String(), Member: member.String()}, nil
}
