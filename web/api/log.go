package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// lineWait is how long one line may take to a reader that does not read; then he is given up.
const lineWait = time.Minute

// log is the log's levels, and its lines as they are written.
func (s *Server) log() {
	h := s.o.House
	list(s, "GET /v1/log", seen, "Shows the levels of the log.", h.LogLevels)
	take(s, "PUT /v1/log", everything, "Sets the level of the log, or of one part of it.", h.SetLogLevel)
	x := s.raw("GET /v1/log/lines", everything, "Gives the lines of the log as they are written.")
	x.asks("part", "array", "parts of the house").asks("account", "string", "only lines about it").asks("address", "string", "only lines about it")
	x.lines(logx.Line{}).by(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		f, err := h.FollowLog(r.Context(), admin.LogFilter{Parts: q["part"], Account: q.Get("account"), Address: q.Get("address")})
		if err != nil {
			s.answer(w, r, nil, err)
			return
		}
		defer f.Close()
		stream(w, r, f.Next)
	})
	x = s.raw("GET /v1/dialogues", everything, "Gives what mail programs and the house say to each other, without secrets.")
	x.asks("for", "string", "how long: 10m").asks("account", "string", "only its connections").asks("address", "string", "only connections from there")
	x.asks("bodies", "boolean", "messages too").lines(dialogue.Line{}).by(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		d, err := time.ParseDuration(q.Get("for"))
		if err != nil {
			s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: "for: " + err.Error()})
			return
		}
		t, err := h.Dialogues(r.Context(), admin.DialogueFilter{Account: q.Get("account"), Address: q.Get("address"), Bodies: q.Get("bodies") == "true", For: d})
		if err != nil {
			s.answer(w, r, nil, err)
			return
		}
		defer t.Close()
		ctx, stop := context.WithTimeout(r.Context(), d)
		defer stop()
		stream(w, r.WithContext(ctx), t.Next)
	})
}

// stream writes what next gives as JSON, a line each, until there is no more or the reader has gone.
func stream[T any](w http.ResponseWriter, r *http.Request, next func(context.Context) (T, bool)) {
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	if out.Flush() != nil {
		return
	}
	enc := json.NewEncoder(w)
	for {
		line, ok := next(r.Context())
		if !ok {
			return
		}
		if out.SetWriteDeadline(time.Now().Add(lineWait)) != nil || enc.Encode(line) != nil || out.Flush() != nil {
			return // the reader has gone
		}
	}
}

func (c *Client) LogLevels(ctx context.Context) (admin.LogLevels, error) {
	return call[admin.LogLevels](ctx, c, http.MethodGet, "/v1/log", nil)
}

func (c *Client) SetLogLevel(ctx context.Context, change admin.LogChange) (admin.LogLevels, error) {
	return call[admin.LogLevels](ctx, c, http.MethodPut, "/v1/log", change)
}

// FollowLog begins to read the log live; once it returns, no line that is wanted is missed.
func (c *Client) FollowLog(ctx context.Context, f admin.LogFilter) (*Stream[logx.Line], error) {
	q := url.Values{"part": f.Parts}
	q.Set("account", f.Account)
	q.Set("address", f.Address)
	return follow[logx.Line](ctx, c, "/v1/log/lines?"+q.Encode())
}

// Dialogues begins to read what connections say; once it returns, no connection that is wanted is missed.
func (c *Client) Dialogues(ctx context.Context, f admin.DialogueFilter) (*Stream[dialogue.Line], error) {
	q := url.Values{"for": {f.For.String()}, "bodies": {strconv.FormatBool(f.Bodies)}}
	q.Set("account", f.Account)
	q.Set("address", f.Address)
	return follow[dialogue.Line](ctx, c, "/v1/dialogues?"+q.Encode())
}

// Stream is what the house says as it happens. Each reads it.
type Stream[T any] struct {
	ctx  context.Context // of the request that the stream is the answer to
	body io.ReadCloser
}

func follow[T any](ctx context.Context, c *Client, path string) (*Stream[T], error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://posthouse"+path, nil)
	if err != nil {
		return nil, err
	}
	a, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the running house does not answer: %w", errors.Unwrap(err))
	}
	if a.StatusCode/100 != 2 {
		return nil, errors.Join(refusal(a), a.Body.Close())
	}
	return &Stream[T]{ctx: ctx, body: a.Body}, nil
}

// Each calls fn for each line until the context ends, the house has no more (nil), or fn fails; then the stream is closed.
func (s *Stream[T]) Each(fn func(T) error) (err error) {
	defer func() {
		if e := s.body.Close(); s.ctx.Err() == nil {
			err = errors.Join(err, e)
		}
	}()
	d := json.NewDecoder(bufio.NewReader(s.body))
	for {
		var line T
		switch err := d.Decode(&line); {
		case err == nil:
		case s.ctx.Err() != nil || errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("answer of the running house: %w", err)
		}
		if err := fn(line); err != nil {
			return err
		}
	}
}
