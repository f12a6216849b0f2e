package auth_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// over is a client of a door behind TLS.
func over(door auth.Door, remote string) auth.Client {
	return auth.Client{Door: door, Remote: netip.MustParseAddr(remote), TLS: &tls.ConnectionState{}}
}

func TestLoginNames(t *testing.T) {
	h := newHouse(t, auth.Options{DefaultDomain: "one.test"})
	h.people("secret")
	if err := h.alias(false, "team@alpha.test", "alice@alpha.test"); err != nil {
		t.Fatal(err)
	}
	last := byte(0)
	for user, want := range map[string]mail.AccountID{
		"alice@alpha.test":         1,
		"ALICE@Alpha.Test":         1,
		"alice@one.test":           1,
		"alice.liddell@alpha.test": 1,
		"alice":                    1,
		"bobby":                    2,
		"BOBBY":                    2,
		"bob":                      2,
		"alice+x@alpha.test":       0,
		"team@alpha.test":          0,
		"nobody":                   0,
		"":                         0,
		"@":                        0,
		"alice@outside.test":       0,
	} {
		last++ // an address each, so that the wrong ones slow nobody down
		remote := netip.AddrFrom4([4]byte{192, 0, 2, last}).String()
		id, err := h.Login(t.Context(), over(auth.DoorIMAP, remote), user, "secret")
		if id.Account != want || (want == 0) != errors.Is(err, auth.ErrCredentials) {
			t.Errorf("%q: %+v %v, want %d", user, id, err, want)
		}
		if want == 1 && id.Main != addr(t, "Alice@alpha.test") {
			t.Errorf("%q: main address %s", user, id.Main)
		}
	}
}

func TestDoors(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	account, err := h.Account(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	account.Doors = auth.DoorIMAP
	h.must(func(tx *kv.Tx) error { return h.UpdateAccount(tx, account) })
	for door, want := range map[auth.Door]error{auth.DoorIMAP: nil, auth.DoorPOP3: auth.ErrDoorClosed, auth.DoorSubmission: auth.ErrDoorClosed, auth.DoorWeb: auth.ErrDoorClosed} {
		_, err := h.Login(t.Context(), over(door, "127.0.0.1"), "alice@alpha.test", "secret")
		wants(t, door.String(), err, want)
	}
	_, err = h.Login(t.Context(), over(auth.DoorPOP3, "127.0.0.1"), "alice@alpha.test", "guess")
	wants(t, "a closed door is no secret of the password", err, auth.ErrCredentials)
	account.Disabled = true
	h.must(func(tx *kv.Tx) error { return h.UpdateAccount(tx, account) })
	_, err = h.Login(t.Context(), over(auth.DoorIMAP, "127.0.0.1"), "alice@alpha.test", "secret")
	wants(t, "disabled", err, auth.ErrDoorClosed, "disabled")
	if r, err := h.Resolve(t.Context(), addr(t, "alice@alpha.test")); err != nil || len(r.Local) != 1 {
		t.Errorf("mail for a disabled account: %s %v", show(r), err)
	}
}

func TestClear(t *testing.T) {
	for _, c := range []struct {
		loopback bool
		remote   string
		tls      bool
		want     error
	}{
		{false, "127.0.0.1", false, auth.ErrNeedTLS},
		{true, "127.0.0.1", false, nil},
		{true, "::ffff:127.0.0.1", false, nil},
		{true, "::1", false, nil},
		{true, "192.0.2.1", false, auth.ErrNeedTLS},
		{false, "192.0.2.1", true, nil},
	} {
		h := newHouse(t, auth.Options{ClearLoopback: c.loopback})
		h.people("secret")
		client := auth.Client{Door: auth.DoorPOP3, Remote: netip.MustParseAddr(c.remote)}
		if c.tls {
			client.TLS = &tls.ConnectionState{}
		}
		_, err := h.Login(t.Context(), client, "alice@alpha.test", "secret")
		wants(t, c.remote, err, c.want)
		if got := len(h.Mechanisms(client)) > 0; got != (c.want == nil) {
			t.Errorf("%s: mechanisms %v", c.remote, h.Mechanisms(client))
		}
		_, err = h.SASL(t.Context(), client, "PLAIN", nil)
		wants(t, c.remote+" SASL", err, c.want)
	}
}

// A good login costs no hash for ten minutes, and none is good any more after the password changed.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, auth.Options{})
		h.people("secret")
		login := func(password string) (error, bool) {
			t.Helper()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := h.Login(t.Context(), over(auth.DoorIMAP, "127.0.0.1"), "alice@alpha.test", password)
			runtime.ReadMemStats(&after)
			return err, after.TotalAlloc-before.TotalAlloc > 10<<20
		}
		for i, c := range []struct {
			password string
			after    time.Duration
			want     error
			hashed   bool
		}{
			{"secret", 0, nil, true},
			{"secret", 9 * time.Minute, nil, false},
			{"guess", 0, auth.ErrCredentials, true},
			{"secret", 2 * time.Minute, nil, true},
		} {
			time.Sleep(c.after)
			if err, hashed := login(c.password); !errors.Is(err, c.want) || hashed != c.hashed {
				t.Errorf("step %d: %v, hashed %v", i, err, hashed)
			}
		}
		if err := h.SetPassword(t.Context(), 1, "changed"); err != nil {
			t.Fatal(err)
		}
		if err, _ := login("secret"); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("the old password: %v", err)
		}
		if err, _ := login("changed"); err != nil {
			t.Errorf("the new password: %v", err)
		}
	})
}

// A user who does not exist, one without a password, and a wrong password do the same work.
func TestSameWork(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	if _, err := h.account("", "", "empty@alpha.test"); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, user := range []string{"alice@alpha.test", "nobody@alpha.test", "empty@alpha.test", "someone@outside.test"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := h.Login(t.Context(), over(auth.DoorIMAP, "192.0.2.7"), user, "guess")
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used < 19<<20 || used > 25<<20 {
			t.Errorf("%s: %d bytes", user, used)
		}
		wants(t, user, err, auth.ErrCredentials)
		texts = append(texts, err.Error())
	}
	if len(slices.Compact(texts)) != 1 {
		t.Errorf("answers differ: %q", texts)
	}
}

func TestSlowDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, auth.Options{})
		h.people("secret")
		try := func(remote, user, password string) (time.Duration, error) {
			start := time.Now()
			_, err := h.Login(t.Context(), over(auth.DoorIMAP, remote), user, password)
			return time.Since(start), err
		}
		if _, err := try("2001:db8:1::1", "alice@alpha.test", "secret"); err != nil {
			t.Fatal(err)
		}
		// The same wrong password again and again is a forgotten phone.
		for range 30 {
			if took, err := try("192.0.2.1", "bob@alpha.test", "old password"); !errors.Is(err, auth.ErrCredentials) || took > 0 {
				t.Fatalf("repeated: %v after %v", err, took)
			}
		}
		// One who guesses is held back, longer each time, then refused.
		refused, held := 0, 0
		for i := range 12 {
			took, err := try("192.0.2.66", "alice@alpha.test", string(rune('a'+i)))
			if errors.Is(err, auth.ErrSlowDown) {
				refused++
			} else if took > 0 {
				held++
			}
		}
		if held == 0 || refused == 0 {
			t.Errorf("guessing: %d held, %d refused", held, refused)
		}
		if _, err := try("192.0.2.66", "bob@alpha.test", "secret"); !errors.Is(err, auth.ErrSlowDown) {
			t.Errorf("the guesser's address is not refused elsewhere: %v", err)
		}
		// The owner comes in from where he came before, and from the same network.
		if took, err := try("2001:db8:1::ffff", "alice@alpha.test", "secret"); err != nil || took > 0 {
			t.Errorf("the owner: %v after %v", err, took)
		}
		// Even from a new place he has to wait for seconds only.
		for i := range 30 {
			remote := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String()
			try(remote, "alice@alpha.test", "guess "+remote)
		}
		if took, err := try("203.0.113.1", "alice@alpha.test", "secret"); err != nil || took > 10*time.Second {
			t.Errorf("the owner at a new place: %v after %v", err, took)
		}
		// Users of a webmail on this machine do not hinder each other.
		for i := range 12 {
			try("127.0.0.1", "user"+string(rune('a'+i)), "guess")
		}
		if took, err := try("127.0.0.1", "bob@alpha.test", "secret"); err != nil || took > 0 {
			t.Errorf("beside others on loopback: %v after %v", err, took)
		}
		time.Sleep(2 * time.Hour)
		if took, err := try("192.0.2.66", "bob@alpha.test", "secret"); err != nil || took > 0 {
			t.Errorf("after two hours: %v after %v", err, took)
		}
	})
}

// Good logins from a place where somebody guesses too get through.
func TestSlowDownAtOnce(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			_, err := h.Login(t.Context(), over(auth.DoorIMAP, "192.0.2.9"), "alice@alpha.test", []string{"secret", "guess"}[i%2])
			if i%2 == 0 && err != nil {
				t.Errorf("a good login among others: %v", err)
			}
		})
	}
	wait.Wait()
}

// converse plays a go-sasl client against the directory.
func converse(h *house, c auth.Client, mechanism string, client gosasl.Client) (auth.Identity, error) {
	var got auth.Identity
	calls := 0
	server, err := h.SASL(h.t.Context(), c, mechanism, func(id auth.Identity) { got = id; calls++ })
	if err != nil {
		return got, err
	}
	_, response, err := client.Start()
	for done := false; err == nil; {
		var challenge []byte
		if challenge, done, err = server.Next(response); err != nil || done {
			break
		}
		response, err = client.Next(challenge)
	}
	if err == nil && calls != 1 {
		h.t.Errorf("%s: done was called %d times", mechanism, calls)
	}
	return got, err
}

// scramClient is xdg's client behind go-sasl's contract.
type scramClient struct{ *scram.ClientConversation }

func (s scramClient) Start() (string, []byte, error) {
	first, err := s.Step("")
	return "", []byte(first), err
}

func (s scramClient) Next(challenge []byte) ([]byte, error) {
	if s.Done() {
		return []byte{}, nil
	}
	reply, err := s.Step(string(challenge))
	return []byte(reply), err
}

func TestSASL(t *testing.T) {
	h := newHouse(t, auth.Options{SCRAM: true})
	h.people("secret")
	client := over(auth.DoorIMAP, "127.0.0.1")
	want := []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"}
	if got := h.Mechanisms(client); !slices.Equal(got, want) {
		t.Errorf("mechanisms: %v", got)
	}
	proof := func(user, password string) gosasl.Client {
		c, err := scram.SHA256.NewClient(user, password, "")
		if err != nil {
			t.Fatal(err)
		}
		return scramClient{c.NewConversation()}
	}
	for _, c := range []struct {
		mechanism string
		client    gosasl.Client
		want      error
	}{
		{"PLAIN", gosasl.NewPlainClient("", "alice@alpha.test", "secret"), nil},
		{"plain", gosasl.NewPlainClient("alice@one.test", "alice@alpha.test", "secret"), nil},
		{"PLAIN", gosasl.NewPlainClient("bob@alpha.test", "alice@alpha.test", "secret"), auth.ErrCredentials},
		{"PLAIN", gosasl.NewPlainClient("", "alice@alpha.test", "guess"), auth.ErrCredentials},
		{"LOGIN", gosasl.NewLoginClient("alice@alpha.test", "secret"), nil},
		{"SCRAM-SHA-256", proof("alice@alpha.test", "secret"), nil},
		{"SCRAM-SHA-256", proof("alice@alpha.test", "guess"), auth.ErrCredentials},
		{"SCRAM-SHA-256", proof("nobody@alpha.test", "secret"), auth.ErrCredentials},
		{"CRAM-MD5", gosasl.NewPlainClient("", "a", "b"), auth.ErrMechanism},
	} {
		id, err := converse(h, client, c.mechanism, c.client)
		wants(t, c.mechanism, err, c.want)
		if (id.Account == 1) != (c.want == nil) {
			t.Errorf("%s: %+v", c.mechanism, id)
		}
	}
	off := newHouse(t, auth.Options{})
	if _, err := off.SASL(t.Context(), client, "SCRAM-SHA-256", nil); !errors.Is(err, auth.ErrMechanism) {
		t.Errorf("SCRAM without its setting: %v", err)
	}
}

// Many exchanges that were begun together count one after the other, and a right proof among those that are too many looks
// like a wrong one.
func TestGuessingBySCRAM(t *testing.T) {
	h := newHouse(t, auth.Options{SCRAM: true})
	h.people("secret")
	client := over(auth.DoorIMAP, "192.0.2.66")
	const many = 30
	var servers [many]gosasl.Server
	var proofs [many][]byte
	for i := range many {
		password := fmt.Sprint("guess ", i)
		if i == many-1 {
			password = "secret"
		}
		c, err := scram.SHA256.NewClient("alice@alpha.test", password, "")
		if err != nil {
			t.Fatal(err)
		}
		if servers[i], err = h.SASL(t.Context(), client, "SCRAM-SHA-256", func(auth.Identity) { t.Error("logged in") }); err != nil {
			t.Fatal(err)
		}
		talk := scramClient{c.NewConversation()}
		_, first, err := talk.Start()
		if err != nil {
			t.Fatal(err)
		}
		challenge, _, err := servers[i].Next(first)
		if err != nil {
			t.Fatal(err)
		}
		if proofs[i], err = talk.Next(challenge); err != nil {
			t.Fatal(err)
		}
	}
	tried := 0
	for i := range many {
		_, _, err := servers[i].Next(proofs[i])
		switch {
		case errors.Is(err, auth.ErrCredentials):
			tried++
		case !errors.Is(err, auth.ErrSlowDown):
			t.Errorf("exchange %d: %v", i, err)
		}
		if _, done, err := servers[i].Next(nil); done || err == nil {
			t.Errorf("exchange %d goes on: %v", i, err)
		}
	}
	if tried > 10 {
		t.Errorf("%d guesses at once", tried)
	}
}

// The same wrong password again costs no hash: a forgotten phone, or somebody who wants to keep the house busy, is answered from
// memory. It is forgotten when the password changes.
func TestWrongAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, auth.Options{})
		h.people("secret")
		try := func(user string) error {
			_, err := h.Login(t.Context(), over(auth.DoorIMAP, "192.0.2.1"), user, "next secret")
			return err
		}
		for _, user := range []string{"alice@alpha.test", "nobody@alpha.test"} {
			wants(t, user, try(user), auth.ErrCredentials)
		}
		free := h.Busy()
		start := time.Now()
		for range 100 {
			wants(t, "again", try("Alice@alpha.test"), auth.ErrCredentials)
			wants(t, "again", try("NOBODY@alpha.test"), auth.ErrCredentials)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("waited %v for a core", took)
		}
		free()
		if err := h.SetPassword(t.Context(), 1, "next secret"); err != nil {
			t.Fatal(err)
		}
		wants(t, "the new password", try("alice@alpha.test"), nil)
	})
}

// When the setting is turned on later, the first plain login makes the keys.
func TestLateSCRAM(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	h.Directory = auth.New(h.db, auth.Options{SCRAM: true})
	client := over(auth.DoorIMAP, "127.0.0.1")
	prove := func() error {
		c, err := scram.SHA256.NewClient("alice@alpha.test", "secret", "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = converse(h, client, "SCRAM-SHA-256", scramClient{c.NewConversation()})
		return err
	}
	wants(t, "before", prove(), auth.ErrCredentials)
	if _, err := h.Login(t.Context(), client, "alice@alpha.test", "secret"); err != nil {
		t.Fatal(err)
	}
	wants(t, "after", prove(), nil)
}

func TestPasswordRules(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	long := string(make([]byte, 1025))
	for _, password := range []string{"", "a\nb", "a\x00", long} {
		wants(t, "rule", h.SetPassword(t.Context(), 1, password), auth.ErrPassword)
	}
	wants(t, "nobody", h.SetPassword(t.Context(), 9, "secret"), auth.ErrNoAccount)
	client := over(auth.DoorIMAP, "127.0.0.1")
	_, err := h.Login(t.Context(), client, "alice@alpha.test", "")
	wants(t, "an account without a password", err, auth.ErrCredentials)
	for _, password := range []string{"caf\u00e9 \U0001f511", "\x07bell"} {
		if err := h.SetPassword(t.Context(), 1, password); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Login(t.Context(), client, "alice@alpha.test", password); err != nil {
			t.Errorf("%q: %v", password, err)
		}
	}
	if err := h.SetPassword(t.Context(), 1, "caf\u00e9"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Login(t.Context(), client, "alice@alpha.test", "cafe\u0301"); err != nil {
		t.Errorf("the same password typed on another system: %v", err)
	}
}
