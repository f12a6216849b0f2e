package cert

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/caddyserver/certmagic"
)

// webroot writes the tokens of HTTP-01 into the folder of another web server as they come into the storage, and takes them out as
// they go.
type webroot struct {
	certmagic.Storage
	folder string

	mu    sync.Mutex
	files map[string]string // by storage key
}

// token is what is stored for a proof that is on its way (RFC 8555 section 8.3).
type token struct {
	Type             string `json:"type"`
	Token            string `json:"token"`
	KeyAuthorization string `json:"keyAuthorization"`
}

func (w *webroot) Store(ctx context.Context, key string, value []byte) error {
	var t token
	if strings.Contains(key, "/challenge_tokens/") && json.Unmarshal(value, &t) == nil && plainToken(t.Token) {
		if err := openFolder(w.folder); err != nil {
			return err
		}
		path := filepath.Join(w.folder, t.Token)
		if err := os.WriteFile(path, []byte(t.KeyAuthorization), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
		w.mu.Lock()
		if w.files == nil {
			w.files = make(map[string]string)
		}
		w.files[key] = path
		w.mu.Unlock()
	}
	return w.Storage.Store(ctx, key, value)
}

func (w *webroot) Delete(ctx context.Context, key string) error {
	w.mu.Lock()
	path := w.files[key]
	delete(w.files, key)
	w.mu.Unlock()
	if path != "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return w.Storage.Delete(ctx, key)
}

// openFolder makes a folder, and those above it that are missing, for the other web server to read: a service of ours runs with a
// umask that lets nobody do so.
func openFolder(path string) error {
	var made []string
	for p := path; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || p == filepath.Dir(p) {
			break
		}
		made = append(made, p)
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for _, p := range made {
		if err := os.Chmod(p, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// plainToken: the authority chooses the name of the file, so only what RFC 8555 allows it (base64url) may be one.
func plainToken(t string) bool {
	return t != "" && len(t) <= 128 && !strings.ContainsFunc(t, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	})
}
