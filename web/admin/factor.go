package admin

import (
	"context"
	"errors"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// SecondFactor is what the web asks for besides the password.
type SecondFactor struct {
	On       bool       `json:"on"`
	Since    *time.Time `json:"since,omitempty"`
	Recovery int        `json:"recovery_codes,omitempty"` // that are left
	// Authenticator: its codes are asked for. Passkeys is how many there are, which do instead; without an authenticator one of them is asked for.
	Authenticator bool `json:"authenticator,omitempty"`
	Passkeys      int  `json:"passkeys,omitempty"`
}

// Authenticator is one that begins to count: its secret, and a code of it that proves that it works.
type Authenticator struct {
	Secret string
	Code   string
}

// SecondFactor shows what an account has.
func (h *House) SecondFactor(ctx context.Context, user string) (SecondFactor, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return SecondFactor{}, translate(user, err)
	}
	f, err := h.o.Directory.SecondFactor(ctx, a.ID)
	if err != nil {
		return SecondFactor{}, translate(user, err)
	}
	out := SecondFactor{On: f.On, Recovery: f.Recovery, Authenticator: f.Authenticator, Passkeys: f.Passkeys}
	if f.On {
		out.Since = &f.Since
	}
	return out, nil
}

// StartSecondFactor begins to ask for codes; it returns the recovery codes. Only the account's own page calls it: nobody else has the
// authenticator.
func (h *House) StartSecondFactor(ctx context.Context, user string, in Authenticator) ([]string, error) {
	return h.recovery(ctx, "second factor start", user, func(tx *kv.Tx, a auth.Account) ([]string, error) {
		return h.o.Directory.SetFactor(tx, a.ID, in.Secret, in.Code)
	})
}

// RenewRecoveryCodes makes new ones; the old are void.
func (h *House) RenewRecoveryCodes(ctx context.Context, user string) ([]string, error) {
	return h.recovery(ctx, "second factor codes", user, func(tx *kv.Tx, a auth.Account) ([]string, error) {
		return h.o.Directory.RenewRecovery(tx, a.ID)
	})
}

func (h *House) recovery(ctx context.Context, verb, user string, change func(*kv.Tx, auth.Account) ([]string, error)) ([]string, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	var codes []string
	err = h.change(ctx, &alteration{verb: verb, on: part(a, OfAccount), note: verb, do: func(tx *kv.Tx) (err error) {
		codes, err = change(tx, a)
		return err
	}})
	switch {
	case errors.Is(err, auth.ErrCode):
		return nil, &Error{Invalid, "the code does not fit: wait for the next one, and see that the clock of the device is right", err}
	case err != nil:
		return nil, translate(user, err)
	}
	h.done(ctx, verb, user)
	return codes, nil
}

// RemoveSecondFactor ends it, for who has lost his device.
func (h *House) RemoveSecondFactor(ctx context.Context, user string) (SecondFactor, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return SecondFactor{}, translate(user, err)
	}
	err = h.change(ctx, &alteration{verb: "second factor remove", on: part(a, OfAccount), note: "second factor removed", do: func(tx *kv.Tx) error {
		return h.o.Directory.RemoveFactor(tx, a.ID)
	}})
	if err != nil {
		return SecondFactor{}, translate(user, err)
	}
	h.done(ctx, "second factor remove", user)
	return SecondFactor{}, nil
}
