package daemon

import (
	"fmt"
	"strconv"

	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/smtp/scan"
)

// scanners are the programs that look at messages, from the settings; passwords and authorities are read now.
func scanners(list []config.Scanner) ([]scan.Helper, error) {
	var all []scan.Helper
	for i, s := range list {
		h := scan.Helper{
			Name: s.Name, Kind: scan.Kind(s.Kind), Address: s.Address, Timeout: s.Timeout.Duration, Failure: scan.Failure(s.OnFailure), Obey: scan.Obey(s.Obey),
			Weight: s.Weight, MaxSize: int64(s.MaxSize), Connections: s.Connections, TLS: s.TLS,
		}
		for _, way := range s.On {
			h.On = append(h.On, scan.Way(way))
		}
		var err error
		key := "scanners." + strconv.Itoa(i)
		if h.Password, err = secretOf(s.PasswordFile); err != nil {
			return nil, fmt.Errorf("%s.password_file: %w", key, err)
		}
		if s.CAFile != "" {
			if h.Roots, err = cert.Roots(s.CAFile); err != nil {
				return nil, fmt.Errorf("%s.ca_file: %w", key, err)
			}
		}
		all = append(all, h)
	}
	return all, nil
}

// openScanners makes ready to ask the programs that look at messages, for connections from now on.
func (d *Daemon) openScanners(c *config.Config) error {
	helpers, err := scanners(c.Scanners)
	if err != nil {
		return err
	}
	p, err := scan.New(scan.Options{Logger: d.part(logx.PartJunk), Metrics: d.metrics, Hostname: c.Hostname, Helpers: helpers})
	if err != nil {
		return fmt.Errorf("scanners: %w", err)
	}
	d.scanners.Swap(p).Close()
	return nil
}
