package admin

import "time"

// Vitals is how the house does at one moment: what `posthouse top` shows.
type Vitals struct {
	At       time.Time          `json:"at"`
	Version  string             `json:"version"`
	Hostname string             `json:"hostname"`
	Started  time.Time          `json:"started"`
	Values   map[string]float64 `json:"values"`            // metrics by name and labels, without the prefix: connections{service="imaps"}
	Waiting  []WaitingDomain    `json:"waiting,omitempty"` // domains for which most mail waits after an attempt; none while the queue is very long
}

// WaitingDomain is a domain whose hosts did not take mail yet.
type WaitingDomain struct {
	Domain  string    `json:"domain"`
	Entries int       `json:"entries"`
	Oldest  time.Time `json:"oldest"`
	Answer  string    `json:"answer,omitempty"` // the last
}
