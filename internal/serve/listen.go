package serve

import (
	"net"
	"time"
)

// A phone that changes its network says no good-bye; its connection is found dead within ten minutes. Go's own 15 s would
// wake thousands of sleeping phones all day.
const keepAliveIdle, keepAliveInterval, keepAliveCount = 5 * time.Minute, time.Minute, 5

// ListenConfig makes listeners for services.
func ListenConfig() net.ListenConfig {
	c := net.ListenConfig{KeepAliveConfig: keepAlive()}
	inherit(&c)
	return c
}

func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount}
}

// Adopt gives a listener that another process made what ListenConfig gives: Go sets its own times on what such a one accepts.
func Adopt(l net.Listener) net.Listener { return adopted{l} }

type adopted struct{ net.Listener }

func (a adopted) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetKeepAliveConfig(keepAlive()) // a connection that is gone already is noticed by who reads it
	}
	return c, err
}
