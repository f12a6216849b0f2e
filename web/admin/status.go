package admin

import "time"

// Status is what a running house says of itself.
type Status struct {
	Version   string     `json:"version"`
	Hostname  string     `json:"hostname"`
	Data      string     `json:"data"`
	PID       int        `json:"pid"`
	Started   time.Time  `json:"started"`
	Ready     bool       `json:"ready"`
	Listeners []Listener `json:"listeners"`
	Accounts  int        `json:"accounts"`
	Queue     int        `json:"queue"`

	SendingOff []string `json:"sending_off,omitempty"` // accounts that may not send
}

// Listener is one open door.
type Listener struct {
	Service string `json:"service"`
	Address string `json:"address"`
}

// Restarting is a house that is about to begin anew.
type Restarting struct {
	Program string    `json:"program"` // its file
	Started time.Time `json:"started"` // of the one that ends
}

// Reloaded is what a reload came to.
type Reloaded struct {
	Changed []string `json:"changed"`           // settings that hold now
	Waiting []string `json:"waiting,omitempty"` // settings that changed in the file and need a restart
}
