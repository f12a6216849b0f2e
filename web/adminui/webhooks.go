package adminui

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/hook"
	"github.com/posthouse-mail/posthouse/web/page"
)

// webhooksPage is the programs elsewhere that are told of events.
type webhooksPage struct {
	All    []webhookLine
	Fields []field
	Events []field
	Fault  string // of the events
}

type webhookLine struct {
	admin.Webhook
	Words []string // its events
}

// webhookSecret is a secret that is shown this once.
type webhookSecret struct{ Where, Secret, Text string }

// webhookRoutes is the pages about webhooks.
func (m *room) webhookRoutes() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /admin/webhooks":         m.webhooks,
		"POST /admin/webhooks":        m.addWebhook,
		"POST /admin/webhooks/test":   m.testWebhook,
		"GET /admin/webhooks/secret":  m.askRotateWebhook,
		"POST /admin/webhooks/secret": m.rotateWebhook,
		"GET /admin/webhooks/remove":  m.askRemoveWebhook,
		"POST /admin/webhooks/remove": m.removeWebhook,
	}
}

// eventWords is what a webhook is told of, for people.
func eventWords(event string) string {
	return map[string]string{
		hook.Received: "Mail came in", hook.Delivered: "Mail of ours was delivered", hook.Delayed: "Mail of ours is late", hook.Bounced: "Mail of ours was given up",
		hook.Complaint: "A recipient called mail of ours junk", hook.Suspended: "An account was kept from sending",
	}[event]
}

func (m *room) webhooks(w http.ResponseWriter, r *http.Request) error {
	all := map[string]string{}
	for _, e := range hook.Events() {
		all[e] = "1"
	}
	return m.showWebhooks(w, r, page.Filled(all))
}

func (m *room) showWebhooks(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	all, err := m.o.House.Webhooks(r.Context())
	if err != nil {
		return err
	}
	var d webhooksPage
	for _, x := range all {
		line := webhookLine{Webhook: x}
		for _, e := range x.Events {
			line.Words = append(line.Words, eventWords(e))
		}
		if x.Error != "" {
			line.Error = sentence(x.Error)
		}
		if x.Note != "" {
			line.Note = sentence(x.Note)
		}
		d.All = append(d.All, line)
	}
	d.Fields = of(f, field{Name: "url", Label: "Address of the program", Hint: "https://HOST/PATH. It gets a POST for each event, signed as Standard Webhooks says.", Need: true},
		field{Kind: "box", Name: "private", Label: "It may be in a private network, on this host, and without TLS"})
	for _, e := range hook.Events() {
		d.Events = append(d.Events, of(f, field{Kind: "box", Name: e, Label: eventWords(e)})...)
	}
	d.Fault = f.Fault("events")
	return m.show(w, r, page.View{Page: "webhooks", Title: "Webhooks", Status: statusOf(f), Form: f, Data: d})
}

func (m *room) addWebhook(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, append([]string{"url", "private"}, hook.Events()...)...)
	if err != nil {
		return err
	}
	in := admin.NewWebhook{URL: f.Value("url"), Private: f.Is("private")}
	for _, e := range hook.Events() {
		if f.Is(e) {
			in.Events = append(in.Events, e)
		}
	}
	if len(in.Events) == 0 {
		f.Reject("events", "Choose at least one.")
		return m.showWebhooks(w, r, f)
	}
	made, err := m.o.House.AddWebhook(r.Context(), in)
	if err = refused(f, "url", err); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showWebhooks(w, r, f)
	}
	return m.showWebhookSecret(w, r, "The webhook is there", made, "")
}

func (m *room) showWebhookSecret(w http.ResponseWriter, r *http.Request, title string, made admin.MadeWebhook, text string) error {
	return m.show(w, r, page.View{Page: "webhook-secret", Title: title, Data: webhookSecret{hostOf(made.URL), made.Secret, text}})
}

// hostOf is where a webhook leads, without what may be a secret in its path.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

// webhookOf is the one that a page is about.
func (m *room) webhookOf(r *http.Request, id string) (admin.Webhook, error) {
	all, err := m.o.House.Webhooks(r.Context())
	if err != nil {
		return admin.Webhook{}, err
	}
	i := slices.IndexFunc(all, func(x admin.Webhook) bool { return x.ID == id })
	if i < 0 {
		return admin.Webhook{}, page.ErrMissing
	}
	return all[i], nil
}

// testWebhook sends a test event, and says what came of it on the page itself.
func (m *room) testWebhook(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "id")
	if err != nil {
		return err
	}
	x, err := m.webhookOf(r, f.Value("id"))
	if err != nil {
		return err
	}
	out, err := m.o.House.TestWebhook(r.Context(), x.ID)
	if err != nil {
		return err
	}
	if out.Error == "" {
		page.Done(w, r, "/admin/webhooks", "webhook-tested")
		return nil
	}
	f.Reject("", "The test did not arrive at "+hostOf(x.URL)+": "+strings.TrimSpace(sentence(out.Error)))
	return m.showWebhooks(w, r, f)
}

func (m *room) askRotateWebhook(w http.ResponseWriter, r *http.Request) error {
	x, err := m.webhookOf(r, r.URL.Query().Get("id"))
	if err != nil {
		return err
	}
	return m.ask(w, r, "A new secret for "+hostOf(x.URL), nil, ask{
		Text:   "The webhook gets a new secret, which is shown once. For a day the one that it has now signs too, so that nothing is missed until the program knows the new one.",
		Action: "/admin/webhooks/secret", Button: "Make a new secret", Back: "/admin/webhooks", Fields: []field{hidden("id", x.ID)},
	})
}

func (m *room) rotateWebhook(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "id")
	if err != nil {
		return err
	}
	made, err := m.o.House.RotateWebhook(r.Context(), f.Value("id"))
	if err != nil {
		return err
	}
	return m.showWebhookSecret(w, r, "The new secret", made, "The former one signs too for a day: give the program the new one until then.")
}

func (m *room) askRemoveWebhook(w http.ResponseWriter, r *http.Request) error {
	x, err := m.webhookOf(r, r.URL.Query().Get("id"))
	if err != nil {
		return err
	}
	return m.ask(w, r, "Remove the webhook to "+hostOf(x.URL), nil, ask{
		Text:   "The program is told nothing any more, and what waits for it is dropped. Its secret cannot be had back.",
		Action: "/admin/webhooks/remove", Button: "Remove it", Back: "/admin/webhooks", Fields: []field{hidden("id", x.ID)},
	})
}

func (m *room) removeWebhook(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "id")
	if err != nil {
		return err
	}
	if err := m.o.House.RemoveWebhook(r.Context(), f.Value("id")); err != nil {
		return err
	}
	page.Done(w, r, "/admin/webhooks", "webhook-removed")
	return nil
}
