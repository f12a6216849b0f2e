package auth_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// asking is a house that asks for certificates at each door.
func asking(t *testing.T, o auth.Options) *house {
	t.Helper()
	if o.ClientCertificates.Doors == 0 {
		o.ClientCertificates.Doors = auth.DoorsApp
	}
	h := newHouse(t, o)
	h.people("a password")
	return h
}

// shows is a client that has shown a certificate.
func shows(door auth.Door, c ...tls.Certificate) auth.Client {
	client := over(door, "192.0.2.7")
	for _, one := range c {
		client.TLS.PeerCertificates = append(client.TLS.PeerCertificates, one.Leaf)
	}
	return client
}

func (h *house) external(c auth.Client, authzid string) (id auth.Identity, err error) {
	m, err := h.SASL(h.t.Context(), c, "external", func(got auth.Identity) { id = got })
	if err != nil {
		return id, err
	}
	_, _, err = m.Next([]byte(authzid))
	return id, err
}

func (h *house) register(id mail.AccountID, c tls.Certificate, want auth.Certificate) (made auth.Certificate, err error) {
	if want.Name == "" {
		want.Name = "notebook"
	}
	if want.Doors == 0 {
		want.Doors = auth.DoorsApp
	}
	err = h.update(func(tx *kv.Tx) (err error) {
		made, err = h.AddCertificate(tx, id, want, c.Leaf)
		return err
	})
	return made, err
}

// TestExternal: a registered certificate opens its account, its doors, and nothing else; it is offered to who has shown one.
func TestExternal(t *testing.T) {
	h := asking(t, auth.Options{})
	alice, other := authtest.Certificate(t, nil, nil), authtest.Certificate(t, nil, nil)
	made, err := h.register(1, alice, auth.Certificate{Doors: auth.DoorIMAP | auth.DoorSubmission})
	if err != nil || made.ID != 1 || made.Key != sha256.Sum256(alice.Leaf.RawSubjectPublicKeyInfo) || !made.Expires.Equal(alice.Leaf.NotAfter) || made.Subject != "CN=a program" {
		t.Fatalf("%+v, %v", made, err)
	}
	for authzid, want := range map[string]error{
		"": nil, "alice@alpha.test": nil, "Alice.Liddell@one.test": nil, "bob@alpha.test": auth.ErrCredentials, "nobody@alpha.test": auth.ErrCredentials,
	} {
		id, err := h.external(shows(auth.DoorIMAP, alice), authzid)
		if !errors.Is(err, want) || want == nil && (err != nil || id.Account != 1 || id.Certificate != 1 || id.Mechanism != "EXTERNAL") {
			t.Errorf("%q: %+v, %v", authzid, id, err)
		}
		if want != nil && id.Account != 0 {
			t.Errorf("%q: an identity of who was refused", authzid)
		}
	}
	for what, c := range map[string]struct {
		client auth.Client
		want   error
	}{
		"another door":        {shows(auth.DoorPOP3, alice), auth.ErrDoorClosed},
		"not registered":      {shows(auth.DoorIMAP, other), auth.ErrCredentials},
		"behind another":      {shows(auth.DoorIMAP, other, alice), auth.ErrCredentials},
		"none shown":          {shows(auth.DoorIMAP), auth.ErrMechanism},
		"the pages never ask": {shows(auth.DoorWeb, alice), auth.ErrMechanism},
		"nothing without TLS": {auth.Client{Door: auth.DoorIMAP, Remote: over(auth.DoorIMAP, "127.0.0.1").Remote}, auth.ErrNeedTLS},
	} {
		if _, err := h.external(c.client, ""); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		offered := slices.Contains(h.Mechanisms(c.client), "EXTERNAL")
		if want := c.want != auth.ErrMechanism && c.want != auth.ErrNeedTLS; offered != want {
			t.Errorf("%s: offered %v", what, offered)
		}
	}
}

// TestExternalOff: a house that asks for none takes none, whatever a client shows.
func TestExternalOff(t *testing.T) {
	h := newHouse(t, auth.Options{ClientCertificates: auth.ClientCertificates{Doors: auth.DoorSubmission}})
	h.people("a password")
	c := authtest.Certificate(t, nil, nil)
	if _, err := h.register(1, c, auth.Certificate{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.external(shows(auth.DoorIMAP, c), ""); !errors.Is(err, auth.ErrMechanism) || slices.Contains(h.Mechanisms(shows(auth.DoorIMAP, c)), "EXTERNAL") {
		t.Error(err)
	}
	if _, err := h.external(shows(auth.DoorSubmission, c), ""); err != nil {
		t.Error(err)
	}
}

// TestCertificateMistakes: what cannot be registered, and why.
func TestCertificateMistakes(t *testing.T) {
	h := asking(t, auth.Options{})
	good, past := authtest.Certificate(t, nil, nil), authtest.Certificate(t, nil, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	authority := authtest.Authority(t)
	made := authtest.Certificate(t, &authority, nil)
	if _, err := h.register(2, made, auth.Certificate{}); err != nil {
		t.Fatal("whoever signed it does not matter:", err)
	}
	intermediate := authtest.Certificate(t, &authority, func(c *x509.Certificate) { c.IsCA = true })
	for what, c := range map[string]struct {
		shown tls.Certificate
		want  auth.Certificate
		says  string
	}{
		"expired":         {past, auth.Certificate{}, "has expired on"},
		"an authority":    {intermediate, auth.Certificate{}, "of an authority"},
		"no name":         {good, auth.Certificate{Name: " "}, "name of a certificate"},
		"a line break":    {good, auth.Certificate{Name: "a\nb"}, "name of a certificate"},
		"the pages":       {good, auth.Certificate{Doors: auth.DoorWeb}, "imap, pop3 or submission"},
		"ended":           {good, auth.Certificate{Expires: time.Now().Add(-time.Hour)}, "passed already"},
		"somebody else's": {made, auth.Certificate{}, "another account has registered"},
	} {
		if _, err := h.register(1, c.shown, c.want); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, text := range map[string]string{
		"no certificate in it": "hello", "there is a private key in it": authtest.PEM(good) + authtest.KeyPEM(t, good),
		"cannot be read": "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", "octets at most": strings.Repeat("a", 70<<10),
	} {
		if _, err := auth.ParseCertificate([]byte(text)); !errors.Is(err, auth.ErrInvalid) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if c, err := auth.ParseCertificate([]byte("text before\n" + authtest.PEM(good) + authtest.PEM(authority))); err != nil || !c.Equal(good.Leaf) {
		t.Errorf("a chain: %v", err)
	}
	for i := range auth.MaxCertificates + 1 {
		if _, err := h.register(1, authtest.Certificate(t, nil, nil), auth.Certificate{}); (err == nil) != (i < auth.MaxCertificates) {
			t.Fatalf("number %d: %v", i+1, err)
		}
	}
}

// TestCertificateRenewed: the same key with another certificate keeps its number; its certificate of before is as good until it ends.
func TestCertificateRenewed(t *testing.T) {
	h := asking(t, auth.Options{})
	first := authtest.Certificate(t, nil, nil)
	renewed := authtest.CertificateOf(t, first.PrivateKey.(*ecdsa.PrivateKey), nil, func(c *x509.Certificate) { c.NotAfter = c.NotAfter.AddDate(1, 0, 0) })
	if _, err := h.register(1, first, auth.Certificate{}); err != nil {
		t.Fatal(err)
	}
	made, err := h.register(1, renewed, auth.Certificate{Name: "renewed"})
	all, err2 := h.Certificates(t.Context(), 1)
	if errors.Join(err, err2) != nil || made.ID != 1 || len(all) != 1 || all[0].Name != "renewed" || !all[0].Expires.Equal(renewed.Leaf.NotAfter) {
		t.Errorf("%+v, %v, %v", all, err, err2)
	}
	for _, c := range []tls.Certificate{first, renewed} {
		if _, err := h.external(shows(auth.DoorIMAP, c), ""); err != nil {
			t.Error(err)
		}
	}
}

// TestCertificateStands: what it opened ends with it, with its door and with its account, and not with a new password.
func TestCertificateStands(t *testing.T) {
	h := asking(t, auth.Options{})
	c := authtest.Certificate(t, nil, nil)
	if _, err := h.register(1, c, auth.Certificate{}); err != nil {
		t.Fatal(err)
	}
	id, err := h.external(shows(auth.DoorIMAP, c), "")
	if err != nil {
		t.Fatal(err)
	}
	standing := func(want error) {
		t.Helper()
		if err := h.Standing(t.Context(), id, auth.DoorIMAP); !errors.Is(err, want) {
			t.Errorf("%v, not %v", err, want)
		}
	}
	standing(nil)
	if err := h.SetPassword(t.Context(), 1, "another password"); err != nil {
		t.Fatal(err)
	}
	standing(nil)
	h.must(func(tx *kv.Tx) error {
		return h.Configure(tx, 1, func(s *auth.AccountSettings) error { s.WebOnly = true; return nil })
	})
	standing(nil)
	if _, err := h.external(shows(auth.DoorIMAP, c), ""); err != nil {
		t.Error("it is a program's own, as an app password is:", err)
	}
	if _, err := h.register(1, c, auth.Certificate{Doors: auth.DoorPOP3}); err != nil {
		t.Fatal(err)
	}
	standing(auth.ErrDoorClosed)
	rung := 0
	defer h.Watch(func(mail.AccountID) { rung++ })()
	h.must(func(tx *kv.Tx) error { _, err := h.RemoveCertificate(tx, 1, 1); return err })
	standing(auth.ErrCredentials)
	if rung == 0 {
		t.Error("nobody was told")
	}
	if err := h.update(func(tx *kv.Tx) error { _, err := h.RemoveCertificate(tx, 1, 1); return err }); !errors.Is(err, auth.ErrNoCertificate) {
		t.Error(err)
	}
	if made, err := h.register(1, c, auth.Certificate{}); err != nil || made.ID != 2 {
		t.Errorf("a number is given once: %+v, %v", made, err)
	}
}

// TestCertificateExpires: at its end nothing opens any more, and those that are open are rung for.
func TestCertificateExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := asking(t, auth.Options{})
		c := authtest.Certificate(t, nil, nil)
		if _, err := h.register(1, c, auth.Certificate{Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		id, err := h.external(shows(auth.DoorIMAP, c), "")
		if err != nil {
			t.Fatal(err)
		}
		rung := 0
		defer h.Watch(func(mail.AccountID) { rung++ })()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if err := h.Standing(t.Context(), id, auth.DoorIMAP); !errors.Is(err, auth.ErrCredentials) || rung != 1 {
			t.Errorf("%v, rung %d times", err, rung)
		}
		if _, err := h.external(shows(auth.DoorIMAP, c), ""); !errors.Is(err, auth.ErrCredentials) || !strings.Contains(err.Error(), "expired") {
			t.Error(err)
		}
	})
}

// TestAuthority: what the house's own authority made opens the account that it names.
func TestAuthority(t *testing.T) {
	authority, stranger := authtest.Authority(t), authtest.Authority(t)
	pool := x509.NewCertPool()
	pool.AddCert(authority.Leaf)
	between := authtest.Certificate(t, &authority, func(c *x509.Certificate) { c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil })
	var refused [sha256.Size]byte
	h := asking(t, auth.Options{ClientCertificates: auth.ClientCertificates{Doors: auth.DoorsApp, Authority: pool, Refused: func(key [sha256.Size]byte) bool { return key == refused }}})
	names := func(all ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.EmailAddresses = all }
	}
	alice := authtest.Certificate(t, &authority, names("alice@one.test"))
	both := authtest.Certificate(t, &authority, names("alice@alpha.test", "bob@alpha.test", "carol@gamma.test"))
	for what, c := range map[string]struct {
		client  auth.Client
		authzid string
		want    mail.AccountID // 0: nobody
	}{
		"hers":                     {shows(auth.DoorIMAP, alice), "", 1},
		"hers, at another door":    {shows(auth.DoorSubmission, alice), "", 1},
		"for somebody else":        {shows(auth.DoorIMAP, alice), "bob@alpha.test", 0},
		"through an intermediate":  {shows(auth.DoorIMAP, authtest.Certificate(t, &between, names("bob@alpha.test")), between), "", 2},
		"without the intermediate": {shows(auth.DoorIMAP, authtest.Certificate(t, &between, names("bob@alpha.test"))), "", 0},
		"of another authority":     {shows(auth.DoorIMAP, authtest.Certificate(t, &stranger, names("alice@alpha.test"))), "", 0},
		"signed by itself":         {shows(auth.DoorIMAP, authtest.Certificate(t, nil, names("alice@alpha.test"))), "", 0},
		"a login name":             {shows(auth.DoorIMAP, authtest.Certificate(t, &authority, names("bobby"))), "", 0},
		"nobody of ours":           {shows(auth.DoorIMAP, authtest.Certificate(t, &authority, names("carol@gamma.test"))), "", 0},
		"only in the subject":      {shows(auth.DoorIMAP, authtest.Certificate(t, &authority, func(c *x509.Certificate) { c.Subject.CommonName = "alice@alpha.test" })), "", 0},
		"not for clients": {shows(auth.DoorIMAP, authtest.Certificate(t, &authority, func(c *x509.Certificate) {
			c.EmailAddresses, c.ExtKeyUsage = []string{"alice@alpha.test"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), "", 0},
		"expired": {shows(auth.DoorIMAP, authtest.Certificate(t, &authority, func(c *x509.Certificate) {
			c.EmailAddresses, c.NotAfter = []string{"alice@alpha.test"}, time.Now().Add(-time.Minute)
		})), "", 0},
		"two, and does not say whom": {shows(auth.DoorIMAP, both), "", 0},
		"two, and says whom":         {shows(auth.DoorIMAP, both), "bob@alpha.test", 2},
		"two, and says a third":      {shows(auth.DoorIMAP, both), "carol@gamma.test", 0},
	} {
		c.client.Remote = netip.AddrFrom4([4]byte{192, 0, 2, byte(len(what))}) // nobody is held up for the mistakes of another
		if id, err := h.external(c.client, c.authzid); id.Account != c.want || (err == nil) != (c.want != 0) || err != nil && !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("%s: %+v, %v", what, id, err)
		}
	}
	id, err := h.external(shows(auth.DoorIMAP, alice), "")
	if err != nil || h.Standing(t.Context(), id, auth.DoorIMAP) != nil {
		t.Fatal(err)
	}
	refused = sha256.Sum256(alice.Leaf.RawSubjectPublicKeyInfo)
	if err := h.Standing(t.Context(), id, auth.DoorIMAP); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("a refused one stands: %v", err)
	}
	if _, err := h.external(shows(auth.DoorIMAP, alice), ""); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("a refused one opens: %v", err)
	}
}

// TestCertificateUse: the last use is noted, where and when; it goes with the account.
func TestCertificateUse(t *testing.T) {
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	book, devices := auth.NewCertificateBook(side), auth.NewDeviceBook(side)
	h := asking(t, auth.Options{CertificateUses: book, Devices: devices})
	c := authtest.Certificate(t, nil, nil)
	if _, err := h.register(1, c, auth.Certificate{}); err != nil {
		t.Fatal(err)
	}
	_, err = h.external(shows(auth.DoorIMAP, c), "")
	_, wrong := h.external(shows(auth.DoorPOP3, authtest.Certificate(t, nil, nil)), "bob@alpha.test")
	if !errors.Is(wrong, auth.ErrCredentials) || errors.Join(err, side.Flush(t.Context())) != nil {
		t.Fatal(err, wrong)
	}
	all, err := book.Uses(t.Context(), 1)
	if u := all[1]; err != nil || u.Door != auth.DoorIMAP || u.Remote.String() != "192.0.2.7" {
		t.Errorf("%+v, %v", all, err)
	}
	if seen, err := devices.Devices(t.Context(), 1); err != nil || len(seen) != 1 || seen[0].Proof != auth.ProofCertificate {
		t.Errorf("%+v, %v", seen, err)
	}
	if seen, err := devices.Devices(t.Context(), 2); err != nil || len(seen) != 1 || seen[0].FailedWhy != auth.FailedCertificate {
		t.Errorf("%+v, %v", seen, err)
	}
	h.must(func(tx *kv.Tx) error { return h.RemoveAccount(tx, 1) })
	if err := side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err := book.Uses(t.Context(), 1); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := h.register(2, c, auth.Certificate{}); err != nil {
		t.Error("the key is free again:", err)
	}
}
