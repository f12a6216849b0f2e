package pull

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// decodeName turns a name of the server into UTF-8. What is no modified UTF-7 is taken as it stands: some servers send UTF-8
// without being asked, and some forget to encode an ampersand.
func decodeName(raw string, utf8Names bool) string {
	if !utf8Names {
		if name, ok := syntax.DecodeName(raw); ok {
			return name
		}
	}
	return strings.ToValidUTF8(raw, "_")
}

// levels parts a name by the server's delimiter and makes it one of ours; a "/" inside of a level and what a name here cannot
// hold becomes "_".
func levels(name, delimiter string) string {
	parts := []string{name}
	if delimiter != "" {
		parts = strings.Split(name, delimiter)
	}
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
	for i, s := range parts {
		parts[i] = strings.Map(func(r rune) rune {
			if r == '/' || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == utf8.RuneError {
				return '_'
			}
			return r
		}, s)
	}
	return strings.Join(parts, "/")
}

// wildcard reports whether a name matches a pattern of RFC 9051 section 6.3.9: "*" any text, "%" any text of one level.
func wildcard(pattern, name string) bool {
	for pattern != "" {
		switch c := pattern[0]; {
		case c == '*' || c == '%':
			pattern = strings.TrimLeft(pattern, "*%"[strings.IndexByte("*%", c):strings.IndexByte("*%", c)+1])
			for i := 0; i <= len(name); i++ {
				if wildcard(pattern, name[i:]) {
					return true
				}
				if i < len(name) && c == '%' && name[i] == '/' {
					return false
				}
			}
			return false
		case name == "" || name[0] != c:
			return false
		}
		pattern, name = pattern[1:], name[1:]
	}
	return name == ""
}

// chosen reports whether the patterns want a folder: one of those without "!" matches (none: all do), none of the others.
func chosen(patterns []string, name string) bool {
	want, asked := false, false
	for _, p := range patterns {
		if not, ok := strings.CutPrefix(p, "!"); ok {
			if wildcard(not, name) {
				return false
			}
			continue
		}
		asked = true
		want = want || wildcard(p, name) || strings.EqualFold(p, store.Inbox) && name == store.Inbox
	}
	return want || !asked
}

// useOf is the special use that an attribute says (RFC 6154 section 2, RFC 8457).
func useOf(attribute string) store.SpecialUse {
	switch strings.ToLower(attribute) {
	case `\all`, `\allmail`:
		return store.UseAll
	case `\archive`:
		return store.UseArchive
	case `\drafts`:
		return store.UseDrafts
	case `\flagged`, `\starred`:
		return store.UseFlagged
	case `\junk`, `\spam`:
		return store.UseJunk
	case `\sent`:
		return store.UseSent
	case `\trash`:
		return store.UseTrash
	case `\important`:
		return store.UseImportant
	}
	return 0
}

// wellKnownUse is the special use that a folder's name tells where the server says nothing: the names that Exchange, Courier,
// cPanel, Thunderbird, Apple Mail and big providers give, in some languages. Only folders of the top level are meant.
func wellKnownUse(name string) store.SpecialUse {
	switch strings.ToLower(name) {
	case "sent", "sent items", "sent messages", "sent mail", "sent-mail", "outbox sent", "gesendet", "gesendete objekte", "gesendete elemente",
		"éléments envoyés", "messages envoyés", "envoyés", "enviados", "elementos enviados", "posta inviata", "inviata", "verzonden", "verzonden items", "wysłane":
		return store.UseSent
	case "drafts", "draft", "entwürfe", "brouillons", "borradores", "bozze", "concepten", "rascunhos":
		return store.UseDrafts
	case "trash", "deleted items", "deleted messages", "deleted", "papierkorb", "gelöschte objekte", "gelöschte elemente", "corbeille", "éléments supprimés",
		"papelera", "elementos eliminados", "cestino", "prullenbak", "lixeira", "kosz":
		return store.UseTrash
	case "junk", "junk e-mail", "junk email", "junk mail", "spam", "bulk mail", "bulk", "spamverdacht", "werbung", "courrier indésirable", "correo no deseado", "ongewenste e-mail":
		return store.UseJunk
	case "archive", "archives", "archiv", "archivo", "archivio", "archief":
		return store.UseArchive
	}
	return 0
}
