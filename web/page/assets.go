package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed assets layout.html problem.html
var files embed.FS

// AssetPath is where the files of all pages stand.
const AssetPath = "/assets/"

// assets is the shared files by the name in their address, which has a hash of their contents: a browser may keep them for ever.
type assets struct {
	address map[string]string // "style.css" -> "/assets/style.1a2b3c4d.css"
	file    map[string][]byte // by address
}

// newAssets reads what is embedded: at start, so that a file that cannot be read is known then.
func newAssets() *assets {
	a := &assets{address: make(map[string]string), file: make(map[string][]byte)}
	entries, err := files.ReadDir("assets")
	if err != nil {
		panic(err) // the compiler put it there
	}
	for _, e := range entries {
		text, err := fs.ReadFile(files, path.Join("assets", e.Name()))
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(text)
		ext := path.Ext(e.Name())
		address := AssetPath + strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		a.address[e.Name()], a.file[address] = address, text
	}
	return a
}

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
}

// Assets serves them.
func (t *Templates) Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := t.assets.file[r.URL.Path]
		if !ok || r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", contentTypes[path.Ext(r.URL.Path)])
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(text) // the visitor has gone: nobody to tell
	})
}
