package queue

// heap orders tickets by due time, then by number: the older entry goes first. Each ticket knows its place, so that
// it can be taken out of the middle.
type heap struct{ t []*ticket }

func (h *heap) len() int       { return len(h.t) }
func (h *heap) first() *ticket { return h.t[0] }

func (h *heap) before(i, j int) bool {
	a, b := h.t[i], h.t[j]
	return a.due < b.due || a.due == b.due && a.number < b.number
}

func (h *heap) push(t *ticket) {
	t.pos, t.place = int32(len(h.t)), timed
	h.t = append(h.t, t)
	h.up(len(h.t) - 1)
}

func (h *heap) remove(t *ticket) {
	i, last := int(t.pos), len(h.t)-1
	h.swap(i, last)
	h.t[last] = nil
	h.t = h.t[:last]
	t.pos = -1
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h *heap) swap(i, j int) {
	h.t[i], h.t[j] = h.t[j], h.t[i]
	h.t[i].pos, h.t[j].pos = int32(i), int32(j)
}

func (h *heap) up(i int) {
	for i > 0 && h.before(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h *heap) down(i int) {
	for {
		least := i
		for _, c := range [2]int{2*i + 1, 2*i + 2} {
			if c < len(h.t) && h.before(c, least) {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
