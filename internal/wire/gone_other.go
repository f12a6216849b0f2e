//go:build !linux

package wire

// Gone tells whether the other side has closed its end, where the system can say so.
func (c *Conn) Gone() bool { return false }
