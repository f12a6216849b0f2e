package message

// DecodeWords and toUTF8: placeholders until decode.go stands.
func DecodeWords(s string) string        { return s }
func toUTF8(charset, text string) string { return text }
