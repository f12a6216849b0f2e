package admin

import "context"

// NewPassword changes an account's password; EndApps takes all its app passwords back too, which would go on to be good otherwise.
type NewPassword struct {
	Password string `json:"password"`
	EndApps  bool   `json:"end_app_passwords,omitempty"`
}

// ChangedPassword is what is left that opens the account beside the new password.
type ChangedPassword struct {
	Ended int           `json:"ended_app_passwords"`
	Left  []AppPassword `json:"app_passwords"`
}

// ChangePassword changes it. The password comes first: when something fails behind it, whoever asked sees which app passwords are left.
func (h *House) ChangePassword(ctx context.Context, user string, in NewPassword) (ChangedPassword, error) {
	if err := h.SetPassword(ctx, user, in.Password); err != nil {
		return ChangedPassword{}, err
	}
	var out ChangedPassword
	all, err := h.AppPasswords(ctx, user)
	if err != nil {
		return out, err
	}
	out.Left = all
	if !in.EndApps {
		return out, nil
	}
	for _, a := range all {
		if _, err := h.RemoveAppPassword(ctx, user, a.Number); err != nil {
			return out, err
		}
		out.Ended, out.Left = out.Ended+1, out.Left[1:]
	}
	return out, nil
}
