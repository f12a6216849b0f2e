package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/check"
)

// maxClientChecks bounds how many tests of programs run at once: anybody may start one at a page.
const maxClientChecks = 4

// ClientCheck asks whether a mail program would work for an address.
type ClientCheck struct {
	Address string `json:"address"`
	Program string `json:"program,omitempty"` // check.ProgramNames; empty: any that takes what there is

	// Stranger: whoever asks is told nothing of the account. Password is tried where it is not empty, and counted as a login of From.
	Stranger bool        `json:"-"`
	Password string      `json:"-"`
	From     auth.Client `json:"-"`
}

// ClientReport is what came of it.
type ClientReport struct {
	Address  string       `json:"address"`
	Program  string       `json:"program"`
	Hostname string       `json:"hostname"`
	Works    bool         `json:"works"` // nothing is wrong; what could not be seen may be
	Steps    []check.Step `json:"steps"`
}

// CheckClient does what a mail program does for an address until it works, and says what fails and who can mend it.
func (h *House) CheckClient(ctx context.Context, in ClientCheck) (out ClientReport, err error) {
	a, err := address(in.Address)
	if err != nil {
		return out, err
	}
	if in.Program == "" {
		in.Program = check.Other
	}
	if !slices.Contains(check.ProgramNames(), in.Program) {
		return out, invalid(fmt.Sprintf("there is no program %q; we know %s", in.Program, strings.Join(check.ProgramNames(), ", ")))
	}
	ours, err := h.o.Directory.IsLocal(ctx, a.Domain)
	switch {
	case err != nil:
		return out, translate(in.Address, err)
	case !ours:
		return out, missing(string(a.Domain) + " is not a domain of this server")
	case h.o.Site.Hostname == "":
		return out, conflict("the house has no name here: write hostname into the settings file, and name that with --config")
	}
	open := h.world.Load()
	if open == nil || *open == nil {
		return out, &Error{Unavailable, "nobody can look at DNS here", nil}
	}
	if n := h.clientChecks.Add(1); n > maxClientChecks {
		h.clientChecks.Add(-1)
		return out, &Error{Unavailable, "others test their settings right now: try again in some seconds", nil}
	}
	defer h.clientChecks.Add(-1)
	out = ClientReport{Address: a.String(), Program: in.Program, Hostname: h.o.Site.Hostname}
	if out.Steps, err = h.clientSteps(ctx, a, in, *open); err != nil {
		return out, err
	}
	if !in.Stranger {
		out.Steps = append(out.Steps, h.accountStep(ctx, a))
	}
	if in.Password != "" {
		out.Steps = append(out.Steps, h.passwordSteps(ctx, a, in)...)
	}
	out.Works = !slices.ContainsFunc(out.Steps, func(s check.Step) bool { return s.State == check.Wrong })
	return out, ctx.Err()
}

func (h *House) clientSteps(ctx context.Context, a mail.Address, in ClientCheck, open func(context.Context) (World, error)) (steps []check.Step, err error) {
	d, err := h.wanted(ctx, string(a.Domain))
	if err != nil {
		return nil, err
	}
	w, err := open(ctx)
	if err != nil {
		return nil, &Error{Unavailable, "the world cannot be looked at: " + words(err.Error()), err}
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	w.Site, _ = h.site()
	return check.Client(ctx, check.ClientOptions{Options: w.Options, Program: in.Program, Address: a.String(), Domain: d, Doors: h.o.Site.Doors, Plain: h.o.Site.PlainPort}), nil
}

// accountStep looks at the account itself.
func (h *House) accountStep(ctx context.Context, a mail.Address) check.Step {
	s := check.Step{Step: "account", State: check.Wrong, Mends: check.Operator}
	who, err := h.o.Directory.FindAccount(ctx, a.String())
	switch {
	case errors.Is(err, auth.ErrNoAccount):
		s.Found, s.Advice = "there is no account with this address", "is the address written rightly? An alias, a list or a masked address is no user name"
		return s
	case err != nil:
		s.State, s.Found = check.Unseen, words(err.Error())
		return s
	}
	var shut []string
	for _, d := range []auth.Door{auth.DoorIMAP, auth.DoorPOP3, auth.DoorSubmission} {
		if who.Doors&d == 0 {
			shut = append(shut, d.String())
		}
	}
	switch {
	case who.Disabled:
		s.Found, s.Advice = "the account is suspended", "posthouse account set "+a.String()+" --disabled=false"
	case who.Doors&(auth.DoorIMAP|auth.DoorPOP3) == 0 || who.Doors&auth.DoorSubmission == 0:
		s.Found, s.Advice = "the account may not use "+strings.Join(shut, ", "), "posthouse account set "+a.String()+" --doors all"
	case who.Settings.WebOnly:
		s.State, s.Mends, s.Found, s.Advice = check.Warning, check.You, "the account's own password opens the web pages only", "make an app password for the program, and type that"
	default:
		s.State, s.Mends, s.Found = check.OK, "", "the account may receive and send"
		if len(shut) > 0 {
			s.Found += ", though not by " + strings.Join(shut, ", ")
		}
	}
	return s
}

// passwordSteps tries a password at the doors that the program would use. It is not sent anywhere: who keeps the accounts judges it here, as at each door.
func (h *House) passwordSteps(ctx context.Context, a mail.Address, in ClientCheck) []check.Step {
	receive := auth.DoorIMAP
	if !slices.ContainsFunc(h.o.Site.Doors, func(d check.Door) bool { return d.Protocol == "IMAP" }) {
		receive = auth.DoorPOP3
	}
	var all []check.Step
	for _, door := range []auth.Door{receive, auth.DoorSubmission} {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		in.From.Door = door
		_, err := h.o.Directory.Login(ctx, in.From, a.String(), in.Password)
		s := check.Step{Step: "password", State: check.Wrong, Mends: check.You}
		does := map[bool]string{true: "sending", false: "receiving"}[door == auth.DoorSubmission]
		switch {
		case err == nil:
			s.State, s.Mends, s.Found = check.OK, "", "the password is right for "+does
		case errors.Is(err, auth.ErrCredentials):
			s.Found, s.Advice = "address and password do not fit together", "type it once more; where programs need app passwords, make one at the page of your account"
			return append(all, s)
		case errors.Is(err, auth.ErrSlowDown):
			s.Found, s.Advice = "there were too many wrong passwords", "wait some minutes, and try again"
			return append(all, s)
		case errors.Is(err, auth.ErrLater): // why is for the log: whoever asks may be a stranger
			s.State, s.Found, s.Mends = check.Unseen, "the password could not be tried, because the server that knows it does not answer", check.Operator
			return append(all, s)
		case errors.Is(err, auth.ErrNeedTLS):
			s.Found, s.Advice = "the password was not tried, because others could read it on its way here", "open this page with https"
			return append(all, s)
		case errors.Is(err, auth.ErrDoorClosed):
			s.Found, s.Advice = "the password is right, and does not open the account for "+does, "make an app password for it at the page of your account; where that is refused, ask the operator"
		default:
			s.State, s.Found, s.Mends = check.Unseen, "the password could not be tried: "+words(err.Error()), check.Operator
		}
		all = append(all, s)
	}
	return all
}
