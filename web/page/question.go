package page

import (
	"encoding/json"
	"net/http"
)

// Question answers the script that speaks to devices with passkeys (assets/passkey.js): what to ask the device, or what is wrong in words.
func Question(w http.ResponseWriter, options json.RawMessage, wrong string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if wrong != "" {
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	_ = json.NewEncoder(w).Encode(struct { // the visitor has gone: nobody to tell
		Options json.RawMessage `json:"options,omitempty"`
		Wrong   string          `json:"wrong,omitempty"`
	}{options, wrong})
}
