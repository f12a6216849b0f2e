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
	c := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount}}
	inherit(&c)
	return c
}
