package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tableDevices of side.db: account u32 | what tells devices apart, hashed u64 -> Device as JSON.
const tableDevices kv.Table = "J"

// DeviceBook notes from where an account is used: a row for each device or program, not for each login. A program that comes every
// minute costs a look into memory; it is written when something is new, else now and then. A nil DeviceBook notes nothing.
type DeviceBook struct {
	side *kv.Side

	mu   sync.Mutex
	last map[deviceKey]noted // guarded by mu; bounded
}

// NewDeviceBook keeps it in side.db.
func NewDeviceBook(side *kv.Side) *DeviceBook {
	return &DeviceBook{side: side, last: make(map[deviceKey]noted)}
}

// Why a login failed.
const (
	FailedPassword    = "password"    // it was wrong
	FailedCertificate = "certificate" // likewise
	FailedDoor        = "door"        // the password was right, and may not be used there
	FailedCode        = "code"        // the password was right, the second factor was not given
)

// With what else than a password a device came in.
const (
	ProofCertificate = "certificate"
	ProofToken       = "token"
)

// Device is a device or program that logs in to an account, or tries to.
type Device struct {
	ID    uint64     `json:"-"` // names it in its account
	Door  Door       `json:"door"`
	App   uint32     `json:"app,omitempty"`   // the app password that it uses; 0: the account's own
	Name  string     `json:"name,omitempty"`  // what it calls itself
	Proof string     `json:"proof,omitempty"` // ProofCertificate, ProofToken; empty: a password
	First time.Time  `json:"first"`
	Seen  time.Time  `json:"seen,omitzero"` // the last login that was good; zero: there was none
	From  netip.Addr `json:"from,omitzero"` // of it

	Failed     time.Time  `json:"failed,omitzero"` // the last login that was not
	FailedFrom netip.Addr `json:"failed_from,omitzero"`
	FailedWhy  string     `json:"failed_why,omitempty"`
	Failures   int        `json:"failures,omitempty"` // since the last good one
}

// at is when something was last heard of it.
func (d *Device) at() time.Time {
	if d.Failed.After(d.Seen) {
		return d.Failed
	}
	return d.Seen
}

// Bounds of what is kept.
const (
	maxDevices    = 40 // of an account that were let in
	maxStrangers  = 20 // that never were
	deviceEvery   = 10 * time.Minute
	deviceSooner  = time.Minute // from another address
	maxDeviceName = 100
	deviceForgot  = 200 * 24 * time.Hour // without a word
	maxNoted      = 8192
	codeTime      = 10 * time.Minute // to give the code behind the password
)

// deviceKey is what the throttle knows a login by.
type deviceKey struct {
	account mail.AccountID
	door    Door
	app     uint32
	name    uint64 // hash
	network netip.Prefix
	why     string // empty: it was good
}

// noted is what was written of it.
type noted struct {
	at       time.Time
	from     netip.Addr
	failures int // since then
}

// deviceLogin is one that is told to the book.
type deviceLogin struct {
	Device
	account mail.AccountID
	at      time.Time
	remote  netip.Addr
	why     string
	count   int
}

// clientName is a name that tells one device from another: an address literal, or the name that everything has, does not.
func clientName(door Door, name string) string {
	name = strings.Map(func(c rune) rune {
		if !unicode.IsGraphic(c) { // control and direction characters, by which a stranger would write over what stands beside it
			return -1
		}
		return c
	}, strings.ToValidUTF8(name[:min(len(name), maxDeviceName)], ""))
	name = strings.TrimSpace(name)
	if door == DoorSubmission && (strings.HasPrefix(name, "[") || strings.EqualFold(name, "localhost") || strings.HasPrefix(strings.ToLower(name), "localhost.")) {
		return ""
	}
	return name
}

// kindOf is a name without the version behind it: an update makes no other device.
func kindOf(name string) string {
	if i := strings.LastIndexByte(name, ' '); i > 0 && strings.ContainsAny(name[i:], "0123456789") {
		return kindOf(name[:i])
	}
	return strings.ToLower(name)
}

func hash64(parts ...string) uint64 {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return binary.BigEndian.Uint64(sum[:])
}

// note tells of a login; it waits for nothing.
func (b *DeviceBook) note(l deviceLogin) {
	if b == nil {
		return
	}
	l.remote = l.remote.Unmap().WithZone("")
	l.Name = clientName(l.Door, l.Name)
	key := deviceKey{account: l.account, door: l.Door, app: l.App, name: hash64(kindOf(l.Name)), why: l.why}
	if l.why != "" || l.App == 0 && l.Name == "" {
		key.network = network(l.remote)
	}
	b.mu.Lock()
	old, known := b.last[key]
	every := deviceEvery
	switch {
	case l.Door == DoorWeb && l.why == "": // people come seldom, and it tells that the code was given
		every = 0
	case old.from != l.remote || l.why != "":
		every = deviceSooner
	}
	if since := l.at.Sub(old.at); known && since >= 0 && since < every {
		old.failures++
		b.last[key] = old
		b.mu.Unlock()
		return
	}
	if !known {
		makeRoom(b.last, maxNoted, func(o noted) bool { return l.at.Sub(o.at) > deviceEvery })
	}
	b.last[key] = noted{at: l.at, from: l.remote}
	b.mu.Unlock()
	l.count = 1 + old.failures
	b.side.Later(func(tx *kv.Tx) error { return l.write(tx) })
}

// write brings a login into the row of its device.
func (l *deviceLogin) write(tx *kv.Tx) error {
	all := devicesOf(tx, l.account)
	d := l.row(all)
	if d == nil {
		all = append(all, Device{ID: l.id(), Door: l.Door, App: l.App, Name: l.Name, First: l.at})
		d = &all[len(all)-1]
	}
	if l.Name != "" {
		d.Name = l.Name
	}
	if l.why == "" {
		all = l.absorb(tx, all, d)
		d.Seen, d.From, d.Failures, d.Proof = l.at, l.remote, 0, l.Proof
	} else {
		d.Failed, d.FailedFrom, d.FailedWhy, d.Failures = l.at, l.remote, l.why, d.Failures+l.count
	}
	value, err := json.Marshal(d)
	if err != nil {
		return err
	}
	tx.Put(tableDevices, deviceRow(l.account, d.ID), value)
	for _, id := range surplus(all, d.ID, l.at) {
		tx.Delete(tableDevices, deviceRow(l.account, id))
	}
	return nil
}

// absorb takes the row of a stranger along who was turned away at this door, from this network and under this name: it was this device,
// before it was let in for the first time. That the code did not come is forgotten when it came.
func (l *deviceLogin) absorb(tx *kv.Tx, all []Device, d *Device) []Device {
	if d.FailedWhy == FailedCode {
		d.Failed, d.FailedFrom, d.FailedWhy = time.Time{}, netip.Addr{}, ""
	}
	into := *d
	left := slices.DeleteFunc(slices.Clone(all), func(o Device) bool {
		same := o.ID != into.ID && o.Seen.IsZero() && o.Door == l.Door && network(o.FailedFrom) == network(l.remote) && kindOf(o.Name) == kindOf(l.Name)
		if !same || o.FailedWhy == FailedCode && l.at.Sub(o.Failed) >= codeTime {
			return false
		}
		if o.FailedWhy != FailedCode && o.Failed.After(into.Failed) {
			into.Failed, into.FailedFrom, into.FailedWhy = o.Failed, o.FailedFrom, o.FailedWhy
		}
		tx.Delete(tableDevices, deviceRow(l.account, o.ID))
		return true
	})
	*d = into
	return left
}

// id names a device by what it proves and says. Who says nothing is known by the network, and so is who proved nothing.
func (l *deviceLogin) id() uint64 {
	where := ""
	if l.why != "" || l.App == 0 && l.Name == "" {
		where = network(l.remote).String()
	}
	name := kindOf(l.Name)
	if l.why != "" {
		name = "?"
	}
	return hash64(string(rune(l.Door)), string(binary.BigEndian.AppendUint32(nil, l.App)), name, where)
}

// row is the device that a login belongs to; nil: a new one.
func (l *deviceLogin) row(all []Device) *Device {
	var best *Device
	id := l.id()
	for i := range all {
		d := &all[i]
		here := d.Door == l.Door && d.From.IsValid() && network(d.From) == network(l.remote)
		switch {
		case l.why == "" && d.ID == id:
			return d
		case l.why == "" && l.Name == "" && l.Door == DoorIMAP && d.App == l.App && here && (best == nil || d.Seen.After(best.Seen)):
			best = d // it says its name behind the login
		case l.why != "" && !d.Seen.IsZero() && here && (l.Name == "" || d.Name == "" || kindOf(d.Name) == kindOf(l.Name)) && (best == nil || d.Seen.After(best.Seen)):
			best = d // one that was let in before, from there: its password is another now
		}
	}
	if best != nil {
		return best
	}
	if i := slices.IndexFunc(all, func(d Device) bool { return d.ID == id }); i >= 0 {
		return &all[i]
	}
	return nil
}

// surplus is what is too old or too much.
func surplus(all []Device, but uint64, now time.Time) (gone []uint64) {
	slices.SortFunc(all, func(a, b Device) int { return b.at().Compare(a.at()) })
	let, strangers := 0, 0
	for i := range all {
		d := &all[i]
		n, most := &let, maxDevices
		if d.Seen.IsZero() {
			n, most = &strangers, maxStrangers
		}
		*n++
		if d.ID != but && (*n > most || now.Sub(d.at()) > deviceForgot) {
			gone = append(gone, d.ID)
		}
	}
	return gone
}

// named tells what a client calls itself that was let in a moment ago without a name.
func (b *DeviceBook) named(l deviceLogin) {
	if b == nil {
		return
	}
	l.remote, l.Name = l.remote.Unmap().WithZone(""), clientName(l.Door, l.Name)
	if l.Name == "" {
		return
	}
	nameless := l
	nameless.Name = ""
	b.mu.Lock()
	key := deviceKey{account: l.account, door: l.Door, app: l.App, name: hash64(kindOf(l.Name))}
	old, known := b.last[key]
	if since := l.at.Sub(old.at); known && since >= 0 && since < deviceEvery && old.from == l.remote {
		b.mu.Unlock()
		return
	}
	if !known {
		makeRoom(b.last, maxNoted, func(o noted) bool { return l.at.Sub(o.at) > deviceEvery })
	}
	b.last[key] = noted{at: l.at, from: l.remote}
	b.mu.Unlock()
	b.side.Later(func(tx *kv.Tx) error {
		all := devicesOf(tx, l.account)
		if i := slices.IndexFunc(all, func(d Device) bool { return d.ID == nameless.id() }); i >= 0 && l.at.Sub(all[i].Seen) < codeTime {
			tx.Delete(tableDevices, deviceRow(l.account, all[i].ID))
		}
		return l.write(tx)
	})
}

// Devices lists what has logged in to an account, or tried to, in the last months; the last first.
func (b *DeviceBook) Devices(ctx context.Context, id mail.AccountID) (all []Device, err error) {
	if b == nil {
		return nil, nil
	}
	err = b.side.View(ctx, func(tx *kv.Tx) error {
		all = devicesOf(tx, id)
		return nil
	})
	slices.SortFunc(all, func(a, b Device) int {
		return cmp.Or(b.at().Compare(a.at()), cmp.Compare(a.Door, b.Door), strings.Compare(a.Name, b.Name))
	})
	return all, err
}

// Forget drops the row of one device.
func (b *DeviceBook) Forget(ctx context.Context, id mail.AccountID, device uint64) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	for key := range b.last { // that it is written when it comes again
		if key.account == id {
			delete(b.last, key)
		}
	}
	b.mu.Unlock()
	return b.side.Update(ctx, func(tx *kv.Tx) error {
		tx.Delete(tableDevices, deviceRow(id, device))
		return nil
	})
}

// forget drops all of an account that goes.
func (b *DeviceBook) forget(id mail.AccountID) {
	if b == nil {
		return
	}
	b.side.Later(func(tx *kv.Tx) error {
		for _, d := range devicesOf(tx, id) {
			tx.Delete(tableDevices, deviceRow(id, d.ID))
		}
		return nil
	})
}

func devicesOf(tx *kv.Tx, id mail.AccountID) []Device {
	var all []Device
	for key, value := range tx.Scan(tableDevices, deviceRow(id, 0), deviceRow(id+1, 0)) {
		var d Device
		if len(key) != 12 || json.Unmarshal(value, &d) != nil {
			continue
		}
		d.ID = binary.BigEndian.Uint64(key[4:])
		all = append(all, d)
	}
	return all
}

func deviceRow(id mail.AccountID, device uint64) []byte {
	return binary.BigEndian.AppendUint64(accountKey(id), device)
}

// by is what else than a password an identity was proved with.
func (i Identity) by() string {
	switch {
	case i.Certificate != 0 || i.issued != nil:
		return ProofCertificate
	case i.Token != 0:
		return ProofToken
	}
	return ""
}

// noteLogin tells the book of a login at a door. At the web's, a good one is told by Entered: there may be a second factor.
func (d *Directory) noteLogin(ctx context.Context, c Client, m claim, id Identity, err error) {
	if d.options.Devices == nil {
		return
	}
	l := deviceLogin{Device: Device{Door: c.Door, App: id.App, Name: c.Name, Proof: id.by()}, account: id.Account, at: d.options.Now().UTC(), remote: c.Remote}
	switch {
	case err == nil && c.Door != DoorWeb:
	case err == nil:
		second, err := d.SecondFactor(ctx, id.Account)
		if err != nil || !second.On || m.mechanism == byPasskey || m.strong {
			return // nothing else is asked for
		}
		l.why = FailedCode
	case errors.Is(err, ErrCredentials) && m.mechanism == sasl.External:
		l.why = FailedCertificate
	case errors.Is(err, ErrCredentials):
		l.why = FailedPassword
	case errors.Is(err, ErrDoorClosed):
		l.why = FailedDoor
	default:
		return
	}
	if l.account == 0 {
		s, err := d.snapshot(ctx)
		if err != nil {
			return
		}
		who := d.find(s, m.user)
		if who == nil {
			return
		}
		l.account = who.ID
	}
	d.options.Devices.note(l)
}

// Entered tells that somebody has come in at the web's door with all that was asked for.
func (d *Directory) Entered(id Identity, c Client) {
	d.options.Devices.note(deviceLogin{Device: Device{Door: c.Door, Name: c.Name}, account: id.Account, at: d.options.Now().UTC(), remote: c.Remote})
}

// Named tells what a client that has logged in calls itself.
func (d *Directory) Named(id Identity, c Client) {
	d.options.Devices.named(deviceLogin{Device: Device{Door: c.Door, App: id.App, Name: c.Name, Proof: id.by()}, account: id.Account, at: d.options.Now().UTC(), remote: c.Remote})
}
