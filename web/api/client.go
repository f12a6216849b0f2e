package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// ErrNotRunning: no house answers in the folder.
var ErrNotRunning = errors.New("api: no house runs on this data folder")

// Client speaks to the running house of one data folder.
type Client struct{ http *http.Client }

// Dial finds the running house of folder; ErrNotRunning when there is none.
func Dial(ctx context.Context, folder string) (*Client, error) {
	return connect(ctx, folder, func(ctx context.Context) (net.Conn, error) { return dial(ctx, folder) })
}

// DialMailbox finds a house by the socket that every user of the machine may open; only Submit works there.
func DialMailbox(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	return connect(ctx, path, func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "unix", path) })
}

func connect(ctx context.Context, what string, dial func(context.Context) (net.Conn, error)) (*Client, error) {
	c, err := dial(ctx)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, ErrNotRunning
		}
		return nil, fmt.Errorf("the house of %s: %w", what, err)
	}
	if err := c.Close(); err != nil {
		return nil, err
	}
	t := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}
	return &Client{http: &http.Client{Transport: t}}, nil
}

// call makes one request; in nil: without body.
func call[Out any](ctx context.Context, c *Client, method, path string, in any) (out Out, err error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return out, err
		}
		body = bytes.NewReader(text)
	}
	return send[Out](ctx, c, method, path, body)
}

// send makes one request with a body as it is.
func send[Out any](ctx context.Context, c *Client, method, path string, body io.Reader) (out Out, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://posthouse"+path, body)
	if err != nil {
		return out, err
	}
	a, err := c.http.Do(r)
	if err != nil {
		return out, fmt.Errorf("the running house does not answer: %w", errors.Unwrap(err))
	}
	defer func() { err = errors.Join(err, a.Body.Close()) }()
	if a.StatusCode/100 != 2 {
		return out, refusal(a)
	}
	if err := json.NewDecoder(a.Body).Decode(&out); err != nil {
		return out, fmt.Errorf("answer of the running house: %w", err)
	}
	return out, nil
}

// refusal is the admin.Error that the house gave.
func refusal(a *http.Response) error {
	var p problem
	if err := json.NewDecoder(io.LimitReader(a.Body, maxRequest)).Decode(&p); err != nil || p.Detail == "" {
		return fmt.Errorf("the running house answered %s", a.Status)
	}
	return &admin.Error{Class: p.Class, Message: p.Detail}
}

// none is the answer of verbs that give nothing.
type none = struct{}

func one(path, name string) string { return path + "/" + url.PathEscape(name) }

// The verbs of admin.House.

func (c *Client) AddDomain(ctx context.Context, d admin.Domain) (admin.Domain, error) {
	return call[admin.Domain](ctx, c, http.MethodPut, "/v1/domains", d)
}

func (c *Client) RemoveDomain(ctx context.Context, name string) error {
	_, err := call[none](ctx, c, http.MethodDelete, one("/v1/domains", name), nil)
	return err
}

func (c *Client) Domains(ctx context.Context) ([]admin.Domain, error) {
	return call[[]admin.Domain](ctx, c, http.MethodGet, "/v1/domains", nil)
}

func (c *Client) AddAccount(ctx context.Context, a admin.NewAccount) (admin.Account, error) {
	return call[admin.Account](ctx, c, http.MethodPost, "/v1/accounts", a)
}

func (c *Client) RemoveAccount(ctx context.Context, user string) error {
	_, err := call[none](ctx, c, http.MethodDelete, one("/v1/accounts", user), nil)
	return err
}

func (c *Client) SetPassword(ctx context.Context, user, secret string) error {
	_, err := call[none](ctx, c, http.MethodPut, one("/v1/accounts", user)+"/password", password{Password: secret})
	return err
}

func (c *Client) SetAccount(ctx context.Context, user string, change admin.Change) (admin.Account, error) {
	return call[admin.Account](ctx, c, http.MethodPatch, one("/v1/accounts", user), change)
}

func (c *Client) Account(ctx context.Context, user string) (admin.Account, error) {
	return call[admin.Account](ctx, c, http.MethodGet, one("/v1/accounts", user), nil)
}

func (c *Client) Accounts(ctx context.Context) ([]admin.Account, error) {
	return call[[]admin.Account](ctx, c, http.MethodGet, "/v1/accounts", nil)
}

func (c *Client) AddAlias(ctx context.Context, a admin.Alias) (admin.Alias, error) {
	return call[admin.Alias](ctx, c, http.MethodPut, "/v1/aliases", a)
}

func (c *Client) RemoveAlias(ctx context.Context, addr string) error {
	_, err := call[none](ctx, c, http.MethodDelete, one("/v1/aliases", addr), nil)
	return err
}

func (c *Client) Aliases(ctx context.Context) ([]admin.Alias, error) {
	return call[[]admin.Alias](ctx, c, http.MethodGet, "/v1/aliases", nil)
}

func (c *Client) Queue(ctx context.Context) ([]admin.QueueEntry, error) {
	return call[[]admin.QueueEntry](ctx, c, http.MethodGet, "/v1/queue", nil)
}

func (c *Client) QueueEntry(ctx context.Context, id string) ([]admin.QueueEntry, error) {
	return call[[]admin.QueueEntry](ctx, c, http.MethodGet, one("/v1/queue", id), nil)
}

func (c *Client) QueueAction(ctx context.Context, action string, ids []string) (int, error) {
	return call[int](ctx, c, http.MethodPost, one("/v1/queue", action), ids)
}

func (c *Client) CheckStore(ctx context.Context, r admin.CheckRequest) ([]admin.Finding, error) {
	return call[[]admin.Finding](ctx, c, http.MethodPost, "/v1/check", r)
}

// Status asks the house about itself.
func (c *Client) Status(ctx context.Context) (admin.Status, error) {
	return call[admin.Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Restart makes the house begin anew with the program that stands in its file now. It answers before the house ends.
func (c *Client) Restart(ctx context.Context) (admin.Restarting, error) {
	return call[admin.Restarting](ctx, c, http.MethodPost, "/v1/restart", nil)
}

// Reload makes the house read its settings again.
func (c *Client) Reload(ctx context.Context) (admin.Reloaded, error) {
	return call[admin.Reloaded](ctx, c, http.MethodPost, "/v1/reload", nil)
}

// Submit hands in a message; the receipt is the house's word that it is safe.
func (c *Client) Submit(ctx context.Context, m Message, body io.Reader) (string, error) {
	q := url.Values{"from": {m.From}, "to": m.Recipients, "name": {m.Name}, "user": {m.User}}
	if m.FromHeader {
		q.Set("header", "1")
	}
	r, err := send[receipt](ctx, c, http.MethodPost, "/v1/messages?"+q.Encode(), body)
	return r.Receipt, err
}
