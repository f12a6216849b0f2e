package admin

import "context"

// SignedOut notes that an operator has ended sign-ins of an account at the web pages, which the web house keeps: which of them, in words.
func (h *House) SignedOut(ctx context.Context, user, which string) error {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err == nil {
		err = h.notedOf(ctx, "sign-ins end", a, which)
	}
	if err != nil {
		return translate(user, err)
	}
	h.done(ctx, "sign-ins end", user)
	return nil
}
