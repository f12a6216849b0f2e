package admin

import (
	"context"
	"time"

	"github.com/posthouse-mail/posthouse/store/history"
)

// HistoryRequest asks what happened: in the last hours (at most 240), or in the last days (at most 400).
type HistoryRequest struct {
	Hours int `json:"hours,omitempty"`
	Days  int `json:"days,omitempty"` // 30 when neither is given
}

// History tells how much of everything happened, an hour or a day at a time, the oldest first. Days are those of UTC.
func (h *House) History(ctx context.Context, r HistoryRequest) ([]history.Span, error) {
	if r.Days == 0 && r.Hours == 0 {
		r.Days = 30
	}
	if r.Hours < 0 || r.Hours > 240 || r.Days < 0 || r.Days > 400 || r.Hours > 0 && r.Days > 0 {
		return nil, invalid("ask for 1 to 240 hours or 1 to 400 days")
	}
	if r.Hours > 0 {
		out, err := h.machine.History.Hours(ctx, h.now(), r.Hours)
		return out, translate("history", err)
	}
	out, err := h.machine.History.Days(ctx, h.now(), r.Days)
	return out, translate("history", err)
}

// day is the date of a moment, for sums by days.
func day(at time.Time) string { return at.UTC().Format(time.DateOnly) }
