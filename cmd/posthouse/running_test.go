package main

import (
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
)

// startHouse runs a house on the folder until the test ends. Its DNS knows nobody.
func startHouse(t *testing.T, folder string) {
	t.Helper()
	startHouseWith(t, folder, func(*config.Config) {})
}

// startHouseWith is startHouse with other settings; it gives the file of the authority that the house's certificate is from.
func startHouseWith(t *testing.T, folder string, change func(*config.Config)) (authority string) {
	t.Helper()
	zone, err := dns.NewZone()
	if err != nil {
		t.Fatal(err)
	}
	zone.Fail("far.test")
	names, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := cert.NewAuthority("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pair, err := ca.WritePair(dir, "tls", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	authority = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(authority, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	any := []config.Address{{HostPort: "127.0.0.1:0"}}
	c := config.Default()
	c.Hostname, c.Data = "mx.one.test", folder
	c.Listen = config.Listen{SMTP: any, Submissions: any, IMAPS: any}
	c.Metrics.Listen = nil
	c.DNS.Servers = []netip.AddrPort{names.Addr()}
	c.TLS.Certificates = []config.Certificate{{Cert: pair.Certificate, Key: pair.Key}}
	change(c)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	d, err := daemon.New(ctx, daemon.Options{Config: c, Version: "v0", Logger: logx.New(io.Discard, logx.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := names.Close(); err != nil {
			t.Error(err)
		}
	})
	return authority
}
