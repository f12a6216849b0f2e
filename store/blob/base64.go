package blob

import "encoding/binary"

// alphabet of base64 (RFC 4648 section 4, RFC 2045 section 6.8).
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// base64Tables turn 12 bits into two letters and letters into bits. A frame is read far more often than it is written, and
// encoding/base64 takes 1.6 times as long for a line.
type base64Tables struct {
	pair   [4096]uint16   // two letters, the first in the lower octet
	letter [4][256]uint32 // the bits of a letter at each place of a quad; notLetter for other octets
}

const notLetter = 1 << 31

func newBase64Tables() *base64Tables {
	t := &base64Tables{}
	for i := range t.pair {
		t.pair[i] = uint16(alphabet[i>>6]) | uint16(alphabet[i&63])<<8
	}
	for place := range t.letter {
		for c := range t.letter[place] {
			t.letter[place][c] = notLetter
		}
		for v := range len(alphabet) {
			t.letter[place][alphabet[v]] = uint32(v) << (18 - 6*place)
		}
	}
	return t
}

// encode fills line, whose length is a multiple of 4, with the letters of data, three octets for each four.
func (t *base64Tables) encode(line, data []byte) {
	for len(data) >= 8 && len(line) >= 8 {
		v := binary.BigEndian.Uint64(data)
		letters := uint64(t.pair[v>>52]) | uint64(t.pair[v>>40&0xfff])<<16 | uint64(t.pair[v>>28&0xfff])<<32 | uint64(t.pair[v>>16&0xfff])<<48
		binary.LittleEndian.PutUint64(line, letters)
		data, line = data[6:], line[8:]
	}
	for len(data) >= 3 && len(line) >= 4 {
		v := uint(data[0])<<16 | uint(data[1])<<8 | uint(data[2])
		binary.LittleEndian.PutUint32(line, uint32(t.pair[v>>12])|uint32(t.pair[v&0xfff])<<16)
		data, line = data[3:], line[4:]
	}
}

// decode appends what the quads of letters at the beginning of p stand for, and says how many they are. Padding is no letter,
// so that every quad has one form only. data has room for it, and for 8 octets more.
func (t *base64Tables) decode(data, p []byte) (_ []byte, quads int) {
	out, n := data[len(data):cap(data)], 0
	for len(p) >= 8 {
		a := t.letter[0][p[0]] | t.letter[1][p[1]] | t.letter[2][p[2]] | t.letter[3][p[3]]
		b := t.letter[0][p[4]] | t.letter[1][p[5]] | t.letter[2][p[6]] | t.letter[3][p[7]]
		if (a|b)&notLetter != 0 {
			break
		}
		binary.BigEndian.PutUint64(out[n:], uint64(a)<<40|uint64(b)<<16)
		p, n = p[8:], n+6
	}
	for len(p) >= 4 {
		a := t.letter[0][p[0]] | t.letter[1][p[1]] | t.letter[2][p[2]] | t.letter[3][p[3]]
		if a&notLetter != 0 {
			break
		}
		out[n], out[n+1], out[n+2] = byte(a>>16), byte(a>>8), byte(a)
		p, n = p[4:], n+3
	}
	return data[:len(data)+n], n / 3
}
