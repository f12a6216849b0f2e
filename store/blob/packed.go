package blob

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/s2"
)

// A packed frame keeps lines of base64 as the octets they stand for, apart from the text around them, and each of the two
// compressed with S2 where that pays. To read it is a copy and not much more, where zstd's entropy coding costs more than all
// else that a FETCH does; and three octets for four letters is what entropy coding reaches too. All numbers are uvarints.
//
//	packed   forms | text stored | text raw | data stored | data raw | runs | a run ... | text | data
//	run      octets of text before it | lines | quads of a line<<2 | ending
//
// forms has formText and formData where text and data are compressed. Text behind the last run ends the frame.
const (
	formText byte = 1 << iota
	formData
)

// leastRun is the octets of base64 that are worth a run.
const leastRun = 256

// packedHeader is the most that stands before the runs.
const packedHeader = 1 + 5*binary.MaxVarintLen32

var errPacked = errors.New("blob: a packed frame contradicts itself")

// endings of a line of base64.
func endings() [3]string { return [3]string{"\r\n", "\n", ""} }

const endNone = 2

func endingOf(p []byte) int {
	switch {
	case len(p) >= 2 && p[0] == '\r' && p[1] == '\n':
		return 0
	case len(p) >= 1 && p[0] == '\n':
		return 1
	}
	return endNone
}

// packer takes one frame apart.
type packer struct {
	tables *base64Tables
	text   []byte
	data   []byte
	runs   []byte
	n      int // runs
}

// take finds the runs of src.
func (p *packer) take(src []byte) {
	from := 0 // of the text that is not taken yet
	for at := 0; at < len(src); {
		lines, quads, ending, n := p.run(src[at:])
		if lines == 0 {
			at += n
			continue
		}
		p.runs = binary.AppendUvarint(p.runs, uint64(at-from))
		p.runs = binary.AppendUvarint(p.runs, uint64(lines))
		p.runs = binary.AppendUvarint(p.runs, uint64(quads)<<2|uint64(ending))
		p.n++
		p.text = append(p.text, src[from:at]...)
		at += n
		from = at
	}
	if p.n > 0 {
		p.text = append(p.text, src[from:]...)
	}
}

// run takes lines of base64 of one length, n octets of src. No lines: they are text.
func (p *packer) run(src []byte) (lines, quads, ending, n int) {
	begin := len(p.data)
	p.data, quads = p.tables.decode(p.data, src)
	n = 4 * quads
	if ending = endingOf(src[n:]); quads > 0 && (ending != endNone || n >= leastRun) {
		lines, n = 1, n+len(endings()[ending])
		for ending != endNone && len(src)-n >= 4*quads {
			mark, more := len(p.data), 0
			p.data, more = p.tables.decode(p.data, src[n:n+4*quads])
			if more != quads || endingOf(src[n+4*quads:]) != ending {
				p.data = p.data[:mark]
				break
			}
			lines, n = lines+1, n+4*quads+len(endings()[ending])
		}
		if n >= leastRun {
			return lines, quads, ending, n
		}
	} else if i := bytes.IndexByte(src[n:], '\n'); i >= 0 {
		n += i + 1
	} else {
		n = len(src)
	}
	p.data = p.data[:begin]
	return 0, 0, 0, n
}

// pack returns src packed, in a buffer of the pool; or nil when that does not save a tenth.
func (c *codec) pack(src []byte) (packed, pooled []byte) {
	p := packer{tables: c.tables, data: c.pool.take(len(src) + 8), text: c.pool.take(len(src))}
	defer func() {
		c.pool.give(p.data)
		c.pool.give(p.text)
	}()
	p.take(src)
	text := p.text
	if p.n == 0 {
		text = src
	}
	room := packedHeader + len(p.runs)
	out := c.pool.take(room + s2.MaxEncodedLen(len(text)) + s2.MaxEncodedLen(len(p.data)))
	forms := byte(0)
	add := func(raw []byte, form byte) uint64 {
		at := len(out)
		n := len(s2.Encode(out[at:at:cap(out)], raw))
		if n <= len(raw)-len(raw)/10 && n < len(raw) {
			forms |= form
			out = out[:at+n]
		} else {
			out = append(out, raw...)
		}
		return uint64(len(out) - at)
	}
	out = out[:room]
	textStored := add(text, formText)
	dataStored := add(p.data, formData)

	var head [packedHeader]byte
	h := append(head[:0], forms)
	for _, n := range [...]uint64{textStored, uint64(len(text)), dataStored, uint64(len(p.data)), uint64(p.n)} {
		h = binary.AppendUvarint(h, n)
	}
	copy(out[room-len(p.runs):], p.runs)
	begin := room - len(p.runs) - len(h)
	copy(out[begin:], h)
	if len(out)-begin > len(src)-len(src)/10 {
		c.pool.give(out)
		return nil, nil
	}
	return out[begin:], out
}

// uvarints reads as many numbers as to has.
func uvarints(p []byte, to ...*uint64) ([]byte, error) {
	for _, v := range to {
		n := 0
		if *v, n = binary.Uvarint(p); n <= 0 {
			return nil, errPacked
		}
		p = p[n:]
	}
	return p, nil
}

// unpack fills dst with the frame's raw octets; so many they must be.
func (c *codec) unpack(dst, stored []byte) error {
	var text, textRaw, data, dataRaw, n uint64
	if len(stored) == 0 {
		return errPacked
	}
	runs, err := uvarints(stored[1:], &text, &textRaw, &data, &dataRaw, &n)
	switch {
	case err != nil:
		return err
	case max(text, data, textRaw, dataRaw) > frameMax || int(text+data) > len(runs) || int(textRaw) > len(dst):
		return errPacked
	}
	runs, rest := runs[:len(runs)-int(text+data)], runs[len(runs)-int(text+data):]
	// The text is put where it ends, and moves to its place while the lines between come in front of it: there is room, as they
	// are all that is missing.
	if err := expand(dst[len(dst)-int(textRaw):], rest[:text], stored[0]&formText != 0); err != nil {
		return err
	}
	raw := rest[text:]
	if stored[0]&formData != 0 {
		scratch := c.pool.take(int(dataRaw))
		defer c.pool.give(scratch)
		raw = scratch[:dataRaw]
		if err := expand(raw, rest[text:], true); err != nil {
			return err
		}
	} else if data != dataRaw {
		return errPacked
	}
	return c.weave(dst, raw, runs, weaving{text: len(dst) - int(textRaw), runs: n})
}

// expand fills raw with what form stands for.
func expand(raw, form []byte, compressed bool) error {
	if !compressed {
		if len(form) != len(raw) {
			return errPacked
		}
		copy(raw, form)
		return nil
	}
	if n, err := s2.DecodedLen(form); err != nil || n != len(raw) {
		return errPacked
	}
	_, err := s2.Decode(raw[:len(raw):len(raw)], form)
	return err
}

// weaving is where weave stands.
type weaving struct {
	out  int // octets that are in their place
	text int // where the text begins that is not
	runs uint64
}

// weave puts the lines that data stands for between the text, which is the end of dst.
func (c *codec) weave(dst, data, runs []byte, w weaving) error {
	var err error
	for range w.runs {
		var before, lines, form uint64
		if runs, err = uvarints(runs, &before, &lines, &form); err != nil {
			return err
		}
		quads, ending := form>>2, form&3
		if before > uint64(len(dst)-w.text) || lines > frameMax || quads > frameMax || quads == 0 || ending > endNone {
			return errPacked
		}
		w.out += copy(dst[w.out:], dst[w.text:w.text+int(before)])
		w.text += int(before)
		end := endings()[ending]
		if lines*(4*quads+uint64(len(end))) > uint64(w.text-w.out) || lines*quads*3 > uint64(len(data)) {
			return errPacked
		}
		for range lines {
			c.tables.encode(dst[w.out:w.out+int(4*quads)], data)
			w.out += int(4 * quads)
			w.out += copy(dst[w.out:], end)
			data = data[3*quads:]
		}
	}
	if w.out != w.text || len(runs) > 0 || len(data) > 0 {
		return errPacked
	}
	return nil
}
