package api

import (
	"net/http"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// The create call of addy.io: password managers that know it make masked addresses here, when they are told our address as its server.
// https://app.addy.io/docs/ says how it looks.

// AddyRequest is what they send. What is not for us (recipients, the form of the name) is passed over: the name is chosen here.
type AddyRequest struct {
	Domain       string   `json:"domain"`
	Description  string   `json:"description,omitempty"`
	Format       string   `json:"format,omitempty"`
	LocalPart    string   `json:"local_part,omitempty"`
	RecipientIDs []string `json:"recipient_ids,omitempty"`
}

// AddyAnswer is what they read: data.email.
type AddyAnswer struct {
	Data AddyAlias `json:"data"`
}

// AddyAlias is a masked address in addy.io's words.
type AddyAlias struct {
	ID          string `json:"id"`
	LocalPart   string `json:"local_part"`
	Domain      string `json:"domain"`
	Email       string `json:"email"`
	Active      bool   `json:"active"`
	Description string `json:"description"`
	CreatedAt   string `json:"created_at"`
	UpdatedAt   string `json:"updated_at"`
}

// addyTime is how addy.io writes a time.
const addyTime = "2006-01-02 15:04:05"

// maxNote is how much of a description is kept.
const maxNote = 200

func (s *Server) addy() {
	x := s.raw("POST /v1/aliases", ownMasks, "Makes a masked address as addy.io's API does, for password managers.").takes(AddyRequest{}).gives(AddyAnswer{})
	x.Status, x.plain, x.anySite = http.StatusCreated, true, true
	x.by(func(w http.ResponseWriter, r *http.Request) {
		out, err := s.addyCreate(w, r)
		s.answer(w, r, out, err)
	})
}

func (s *Server) addyCreate(w http.ResponseWriter, r *http.Request) (AddyAnswer, error) {
	user, err := ownerOf(r.Context())
	if err != nil {
		return AddyAnswer{}, err
	}
	var in AddyRequest
	if err := readLoose(w, r, &in); err != nil {
		return AddyAnswer{}, err
	}
	if in.Format == "custom" || in.LocalPart != "" {
		return AddyAnswer{}, &denied{status: http.StatusUnprocessableEntity, text: "the name of a masked address is chosen here, so that nobody can guess it: choose another format than custom"}
	}
	note := strings.Join(strings.Fields(in.Description), " ")
	for len(note) > maxNote {
		note = strings.ToValidUTF8(note[:maxNote], "")
	}
	m, err := s.o.House.AddMask(r.Context(), user, admin.NewMask{Domain: in.Domain, Note: note})
	if err != nil {
		return AddyAnswer{}, err
	}
	local, domain, _ := strings.Cut(m.Address, "@")
	at := m.Created.UTC().Format(addyTime)
	return AddyAnswer{AddyAlias{
		ID: m.Address, LocalPart: local, Domain: domain, Email: m.Address, Active: m.On, Description: m.Note, CreatedAt: at, UpdatedAt: at,
	}}, nil
}
