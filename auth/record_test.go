package auth

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

func TestRecords(t *testing.T) {
	for _, r := range []*record{
		{Account: Account{ID: 1, Addresses: []mail.Address{{Local: "a", Domain: "b.test"}}, Created: time.Unix(1e9, 0).UTC()}},
		{
			Account: Account{ID: 4e9, Name: "Zoë", Addresses: []mail.Address{{Local: "a", Domain: "b.test"}, {Local: "\"x y\"@", Domain: "c.test"}}, Login: "zoe", Doors: DoorAll, Disabled: true, Created: time.Unix(-5, 0).UTC()},
			Secret:  Secret{phc: "$argon2id$", scram: &sasl.Credentials{Salt: []byte{0, 1}, Iterations: 16384, StoredKey: []byte{2}, ServerKey: []byte{3}}},
		},
	} {
		got, err := decodeAccount(r.ID, r.encode())
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v became %+v (%v)", r, got, err)
		}
		for n := range r.encode() {
			if _, err := decodeAccount(r.ID, r.encode()[:n]); err == nil {
				t.Errorf("the first %d octets are taken", n)
			}
		}
	}
}

// withApps is an account with two app passwords, the second of a newer program.
func withApps() *record {
	at := time.Unix(1.7e9, 0).UTC()
	return &record{
		Account: Account{ID: 9, Addresses: []mail.Address{{Local: "a", Domain: "b.test"}}, Created: at},
		Secret: Secret{phc: "$argon2id$", lastApp: 7, origin: "0123", factor: factor{secret: []byte("12345678901234567890"), step: 5, since: at, recovery: [][32]byte{{1}, {2}}}, apps: []appPassword{
			{AppPassword: AppPassword{ID: 3, Name: "Phone", Doors: DoorIMAP, Created: at, Expires: at.Add(time.Hour)}, sum: sumMade("x")},
			{
				AppPassword: AppPassword{ID: 7, Name: "Zoë's", Doors: DoorsApp, Created: at}, sum: sumMade("y"),
				scram:   []sasl.Credentials{{Salt: []byte{9}, Iterations: 1, StoredKey: []byte{8}, ServerKey: []byte{7}}, {Salt: []byte{9}, Iterations: 1, StoredKey: []byte{6}, ServerKey: []byte{5}}},
				unknown: []byte{99, 2, 'h', 'i'},
			},
		}},
	}
}

// TestAppRecords: app passwords come back with what a newer program added, and what is cut inside of them is no record.
func TestAppRecords(t *testing.T) {
	r := withApps()
	got, err := decodeAccount(r.ID, r.encode())
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v became %+v (%v)", r, got, err)
	}
	value := apps(60, &r.apps).get()
	read := 0
	for n := range value {
		var all []appPassword
		in := decoder{rest: value[:n]}
		if apps(60, &all).take(&in); !in.bad {
			read += len(all)
		}
	}
	if read != 1 { // the first alone
		t.Errorf("%d app passwords in what was cut", read)
	}
}

func FuzzRows(f *testing.F) {
	f.Add([]byte("a@b.test"), encodeOwner(rowAddress, 7))
	f.Add([]byte("x@b.test"), Alias{Address: mail.Address{Local: "x", Domain: "b.test"}, Members: []mail.Address{{Local: "a", Domain: "b.test"}}, SendAs: true}.encode())
	f.Add([]byte("@b.test"), Domain{Name: "b.test", CatchAll: mail.Address{Local: "a", Domain: "b.test"}}.encode())
	f.Add([]byte("zoe"), (&record{Account: Account{Addresses: []mail.Address{{Local: "a"}}}}).encode())
	f.Add([]byte("zoe"), withApps().encode())
	list := List{ID: 7, Address: mail.Address{Local: "dev", Domain: "b.test"}, Owners: []mail.Address{{Local: "a", Domain: "b.test"}}, Tag: "[dev]", MaxSize: 1 << 20, Posting: PostNamed}
	f.Add([]byte("dev@b.test"), list.encode())
	f.Add([]byte("plum.owl123@b.test"), Mask{Address: mail.Address{Local: "plum.owl123", Domain: "b.test"}, Account: 3, State: MaskOff, Note: "shop"}.encode())
	f.Add([]byte("member"), (&Member{Address: mail.Address{Local: "a", Domain: "b.test"}, State: MemberBounced, Bounces: 5, Said: "550 no"}).encode())
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if r, err := decodeRow(key, value); err == nil && r.kind == rowList {
			if again, err := decodeRow(key, r.list.encode()); err != nil || !bytes.Equal(again.list.encode(), r.list.encode()) {
				t.Errorf("%+v became %+v", r, again)
			}
		}
		if r, err := decodeRow(key, value); err == nil && r.kind == rowMask {
			if again, err := decodeRow(key, r.mask.encode()); err != nil || !bytes.Equal(again.mask.encode(), r.mask.encode()) {
				t.Errorf("%+v became %+v", r, again)
			}
		}
		if m, err := decodeMember(value); err == nil {
			if again, err := decodeMember(m.encode()); err != nil || !bytes.Equal(again.encode(), m.encode()) {
				t.Errorf("%+v became %+v", m, again)
			}
		}
		if r, err := decodeRow(key, value); err == nil && r.kind == rowAlias {
			if again, err := decodeRow(key, r.alias.encode()); err != nil || !reflect.DeepEqual(again, r) {
				t.Errorf("%+v became %+v", r, again)
			}
		}
		if r, err := decodeAccount(1, value); err == nil {
			if again, err := decodeAccount(1, r.encode()); err != nil || !bytes.Equal(again.encode(), r.encode()) {
				t.Errorf("%+v became %+v", r, again)
			}
		}
	})
}

func TestPHC(t *testing.T) {
	hash := newPHC("secret")
	if !verify(hash, "secret") || verify(hash, "guess") || verify("", "secret") || verify("$6$x$y", "secret") {
		t.Error("verify")
	}
	for _, bad := range []string{
		"", "x", "$argon2i$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=16$m=19456,t=2,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=99999999,t=2,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=19456,t=0,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=19456,t=2,p=0$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAA$AAAA",
		"$argon2id$v=19$m=19456,t=2,p=1$!!!!$!!!!",
	} {
		if _, err := parsePHC(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// Whatever comes, the tables keep their bounds.
func TestBounds(t *testing.T) {
	now := time.Unix(0, 0)
	s, keyed := newSlowdown(), newDigests()
	good := newRemembered(keyed, rememberFor)
	for i := range 3 * maxSlowEntries {
		a := attempt{address: network(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), user: keyed.of(fmt.Sprint(i)), account: mail.AccountID(i + 1)}
		s.failed(a, digest{}, now)
		s.succeeded(a, now)
		good.keep(a.user, now)
	}
	if len(s.byAddress) > maxSlowEntries || len(s.byAccount) > maxSlowEntries || len(s.known) > maxSlowEntries || len(good.good) > maxRemembered {
		t.Errorf("%d addresses, %d accounts, %d pairs, %d logins", len(s.byAddress), len(s.byAccount), len(s.known), len(good.good))
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1/32",
		"::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1":      "2001:db8::/64",
		"fe80::1%eth0":     "fe80::/64",
	} {
		if got := network(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for _, local := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.2"} {
		if (attempt{address: network(netip.MustParseAddr(local))}).counts() {
			t.Errorf("%s is counted", local)
		}
	}
	if network(netip.Addr{}).IsValid() {
		t.Error("no address became a network")
	}
}
