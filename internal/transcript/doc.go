// Package transcript runs dialogue files against a server: the manual of a
// protocol door, and its test.
//
// A file holds one or more dialogues. Each begins with a line "== its name" and
// gets a house of its own. "#" begins a comment. The other lines are steps:
//
//	S: 220 mx.test {{*}}        the server's next line, CRLF not shown
//	C: EHLO client              a line to send, CRLF added; C lines that follow each other go out in one write
//	CX: "half a line"           Go string syntax, sent as it is, no CRLF added
//	SX: "bare \r in it"         the server's next line in Go string syntax
//	S2: / C2: / CX2: / SX2:     the same for a second client (any letters or digits), which connects when first named
//	S: {{...}}                  any number of lines, up to one that matches the next S line
//	TLS:                        the client starts its TLS handshake now
//	CLOSED:                     the server must have closed the connection (nothing more comes)
//	CLOSE:                      the client closes its connection without a word
//	SLEEP: 29m                  for dialogues that run inside a synctest bubble only
//	RUN: name arguments         calls a hook of the test
//
// In S lines {{*}} stands for any text, {{name}} takes what stands there the first time (at least one character) and must be the
// same from then on; in C, CX and RUN lines {{name}} is replaced by it. With -update the S lines that differ are written anew.
package transcript
