package admin

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// Webhook is an address that is told of events.
type Webhook struct {
	ID      string    `json:"id"`
	URL     string    `json:"url"`
	Events  []string  `json:"events"`
	Private bool      `json:"private,omitempty"`
	Made    time.Time `json:"made"`
	Note    string    `json:"note,omitempty"` // what keeps it from being told what it asks for
	hook.State
}

// NewWebhook is what one is made of. Events may be named without what stands before their dot; none: all.
type NewWebhook struct {
	URL     string   `json:"url"`
	Events  []string `json:"events,omitempty"`
	Private bool     `json:"private,omitempty"` // it may be in a private network, on this host, and without TLS
}

// MadeWebhook is a new one with the secret of its signatures, which is told this once.
type MadeWebhook struct {
	Webhook
	Secret string `json:"secret"`
}

// WebhookTest is what came of a test.
type WebhookTest struct {
	Status int    `json:"status,omitempty"` // of the answer
	Error  string `json:"error,omitempty"`  // empty: it was taken
}

func (h *House) webhooks() (*hook.Book, error) {
	if h.o.Hooks == nil {
		return nil, &Error{Class: Unavailable, Message: "there are no webhooks here"}
	}
	return h.o.Hooks, nil
}

// AddWebhook makes one.
func (h *House) AddWebhook(ctx context.Context, in NewWebhook) (MadeWebhook, error) {
	b, err := h.webhooks()
	if err != nil {
		return MadeWebhook{}, err
	}
	events := hook.Events()
	if len(in.Events) > 0 {
		events = nil
		for _, name := range in.Events {
			events = append(events, eventName(name))
		}
	}
	made, err := b.Make(hook.Hook{URL: strings.TrimSpace(in.URL), Events: events, Private: in.Private})
	if err != nil {
		return MadeWebhook{}, hookError("webhook", err)
	}
	err = h.change(ctx, &alteration{
		verb: "webhook add", on: subject{kind: OfOther, object: hostOf(made.URL)}, note: "webhook " + made.ID + " for " + strings.Join(made.Events, ", "),
		do: func(tx *kv.Tx) error { return b.Put(tx, made) },
	})
	if err != nil {
		return MadeWebhook{}, hookError(made.ID, err)
	}
	h.done(ctx, "webhook add", made.ID)
	return MadeWebhook{showHook(b, made, hook.State{}), made.Secret}, nil
}

// RotateWebhook gives one a new secret. For a day the former one signs too: the other side changes in between, and misses nothing.
func (h *House) RotateWebhook(ctx context.Context, id string) (MadeWebhook, error) {
	b, err := h.webhooks()
	if err != nil {
		return MadeWebhook{}, err
	}
	var made hook.Hook
	c := &alteration{verb: "webhook rotate", on: subject{kind: OfOther}}
	c.do = func(tx *kv.Tx) (err error) {
		made, err = b.Rotate(tx, id)
		c.on.object, c.note = hostOf(made.URL), "webhook "+id+" has a new secret"
		return err
	}
	if err := h.change(ctx, c); err != nil {
		return MadeWebhook{}, hookError(id, err)
	}
	h.done(ctx, "webhook rotate", id)
	return MadeWebhook{showHook(b, made, b.States()[id]), made.Secret}, nil
}

// eventName completes the short name of an event.
func eventName(name string) string {
	for _, e := range hook.Events() {
		if _, short, _ := strings.Cut(e, "."); short == name {
			return e
		}
	}
	return name
}

// hostOf is the part of an address that is no secret: some have one in their path.
func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Host
	}
	return "webhook"
}

// Webhooks lists them.
func (h *House) Webhooks(ctx context.Context) ([]Webhook, error) {
	b, err := h.webhooks()
	if err != nil {
		return nil, err
	}
	all, err := b.Hooks(ctx)
	if err != nil {
		return nil, translate("webhooks", err)
	}
	states := b.States()
	out := make([]Webhook, 0, len(all))
	for _, x := range all {
		out = append(out, showHook(b, x, states[x.ID]))
	}
	return out, nil
}

func showHook(b *hook.Book, x hook.Hook, s hook.State) Webhook {
	out := Webhook{ID: x.ID, URL: x.URL, Events: x.Events, Private: x.Private, Made: x.Made, State: s}
	if b.Deaf() && slices.ContainsFunc(x.Events, func(e string) bool { return strings.HasPrefix(e, "message.") }) {
		out.Note = `no stories of messages are kept ([story] keep = "0s"): there are no events of messages`
	}
	return out
}

// RemoveWebhook takes one away with what waits for it.
func (h *House) RemoveWebhook(ctx context.Context, id string) error {
	b, err := h.webhooks()
	if err != nil {
		return err
	}
	c := &alteration{verb: "webhook remove", on: subject{kind: OfOther}}
	c.do = func(tx *kv.Tx) error {
		gone, err := b.Remove(tx, id)
		c.on.object, c.note = hostOf(gone.URL), "webhook "+id
		return err
	}
	if err := h.change(ctx, c); err != nil {
		return hookError(id, err)
	}
	h.done(ctx, "webhook remove", id)
	return nil
}

// TestWebhook sends one a test event now.
func (h *House) TestWebhook(ctx context.Context, id string) (WebhookTest, error) {
	b, err := h.webhooks()
	if err != nil {
		return WebhookTest{}, err
	}
	status, err := b.Test(ctx, id)
	if errors.Is(err, hook.ErrUnknown) {
		return WebhookTest{}, hookError(id, err)
	}
	out := WebhookTest{Status: status}
	if err != nil {
		out.Error = words(err.Error())
	}
	h.done(ctx, "webhook test", id)
	return out, nil
}

func hookError(what string, err error) error {
	switch {
	case errors.Is(err, hook.ErrInvalid):
		return &Error{Invalid, words(err.Error()), err}
	case errors.Is(err, hook.ErrUnknown):
		return &Error{Missing, "there is no webhook " + what + ": posthouse webhook list shows them", err}
	}
	return translate(what, err)
}
