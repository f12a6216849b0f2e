package serve

import (
	"net"
	"syscall"
	"testing"
)

// TestKeepAliveIsInherited: an accepted connection has what was set on the listener.
func TestKeepAliveIsInherited(t *testing.T) {
	config := ListenConfig()
	ln, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	read := func(level, option int) (value int) {
		if e := raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, option) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		return value
	}
	if on, idle := read(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE), read(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE); on == 0 || idle != 300 {
		t.Errorf("keep-alive %d, idle %d s", on, idle)
	}
}
