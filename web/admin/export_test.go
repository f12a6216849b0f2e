package admin

// LinesOf reads a directory file as apply does, and gives the lines where things stand.
func LinesOf(text string) (out []int) {
	for _, n := range linesOf([]byte(text)) {
		out = append(out, n)
	}
	_, _ = readDirectory(text) // an error is a good answer
	return out
}
