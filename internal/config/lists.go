package config

import (
	"fmt"
	"net/url"
)

// Lists is what all lists have in common.
type Lists struct {
	URL        string `toml:"url"`
	BounceDays int    `toml:"bounce_days"`
}

func (k *checker) lists() {
	if k.c.Lists.URL == "" {
		return
	}
	u, err := url.Parse(k.c.Lists.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		k.fail("lists.url", fmt.Sprintf("%q is no https address that something can be put behind", k.c.Lists.URL), remedyFor("lists.url"))
	}
}
