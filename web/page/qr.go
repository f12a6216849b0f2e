package page

import (
	"fmt"
	"html/template"
	"strings"

	"rsc.io/qr"
)

// QR is a QR code of a text as a picture in the page; label says what is in it, for those who do not see it.
func QR(text, label string) (template.HTML, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "", err
	}
	const border = 4 // modules that stay white around it (ISO/IEC 18004 section 5.3.8)
	size := code.Size + 2*border
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="qr" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="`,
		size, size, 5*size, 5*size, template.HTMLEscapeString(label), size, size)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1H%dz", from+border, y+border, x-from, from+border)
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()), nil
}
