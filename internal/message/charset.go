package message

import (
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/transform"
)

// charsetOf finds the encoding of a charset name. Text of a charset that nobody knows is read as UTF-8 where
// it is valid, else as Windows-1252 (RFC 7103 section 8.2 wants what can be read to be readable).
func charsetOf(name string) (enc encoding.Encoding, known bool) {
	name = strings.ToLower(strings.TrimSpace(name))
	if i := strings.IndexByte(name, '*'); i >= 0 { // RFC 2231 section 5: language in an encoded word
		name = name[:i]
	}
	switch name {
	case "", "us-ascii", "ascii", "utf-8", "utf8", "unicode-1-1-utf-8":
		return nil, true
	case "cp932", "ms932":
		name = "shift_jis"
	case "cp949", "ks_c_5601-1987", "ms949":
		name = "euc-kr"
	case "cp936", "gb2312", "hz-gb-2312":
		name = "gb18030"
	}
	if enc, err := htmlindex.Get(name); err == nil {
		return enc, true
	}
	if enc, err := htmlindex.Get(strings.Replace(name, "cp", "windows-", 1)); err == nil && strings.HasPrefix(name, "cp") {
		return enc, true
	}
	if enc, err := ianaindex.MIME.Encoding(name); err == nil && enc != nil {
		return enc, true
	}
	return nil, false
}

// toUTF8 turns text of a charset into valid UTF-8.
func toUTF8(charset, text string) string {
	enc, _ := charsetOf(charset)
	if enc != nil {
		if out, err := enc.NewDecoder().String(text); err == nil {
			return strings.ToValidUTF8(out, "\uFFFD")
		}
	}
	if utf8.ValidString(text) {
		return text
	}
	out, err := charmap.Windows1252.NewDecoder().String(text)
	if err != nil {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	return out
}

// CharsetReader reads text of a charset as UTF-8. Nothing fails: what cannot be read becomes U+FFFD, and
// text of an unknown charset passes as it is, as far as it is valid UTF-8.
func CharsetReader(charset string, r io.Reader) io.Reader {
	enc, _ := charsetOf(charset)
	if enc == nil {
		return transform.NewReader(r, &asUTF8{})
	}
	return transform.NewReader(r, enc.NewDecoder())
}

// asUTF8 passes UTF-8; other octets are read as Windows-1252, since mail that says nothing or "us-ascii" is often that.
type asUTF8 struct{ transform.NopResetter }

func (*asUTF8) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if src[nSrc] < utf8.RuneSelf {
			n := asciiRun(src[nSrc:])
			k := copy(dst[nDst:], src[nSrc:nSrc+n])
			nDst, nSrc = nDst+k, nSrc+k
			if k < n {
				return nDst, nSrc, transform.ErrShortDst
			}
			continue
		}
		if !atEOF && !utf8.FullRune(src[nSrc:]) {
			return nDst, nSrc, transform.ErrShortSrc
		}
		r, size := utf8.DecodeRune(src[nSrc:])
		if r == utf8.RuneError && size == 1 {
			r = charmap.Windows1252.DecodeByte(src[nSrc])
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += size
	}
	return nDst, nSrc, nil
}

func asciiRun(b []byte) int {
	for i, c := range b {
		if c >= utf8.RuneSelf {
			return i
		}
	}
	return len(b)
}
