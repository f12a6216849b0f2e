package auth

// Busy takes all cores that may hash; the returned func gives them back.
func (d *Directory) Busy() func() {
	for range cap(d.hasher.slots) {
		d.hasher.slots <- struct{}{}
	}
	return func() {
		for range cap(d.hasher.slots) {
			<-d.hasher.slots
		}
	}
}
