// Package passkeytest has a device with passkeys for tests: an authenticator and the browser in front of it, as far as a relying party sees them
// (WebAuthn sections 5 and 6). Its keys are ES256, its attestation is none.
package passkeytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"
)

// Device holds passkeys. The zero value of a switch is what a good device does.
type Device struct {
	T          testing.TB
	Origin     string // of the page that the browser shows
	Unverified bool   // the owner is not asked for
	Counts     bool   // uses are counted; most do not
	Keys       []*Key
}

// Key is one passkey.
type Key struct {
	ID      []byte
	Host    string
	Handle  []byte
	Private *ecdsa.PrivateKey
	Counter uint32
}

// question is what the house asks, of both kinds.
type question struct {
	Challenge string `json:"challenge"`
	Host      string `json:"rpId"`
	Party     struct {
		ID string `json:"id"`
	} `json:"rp"`
	User struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"user"`
	Allowed  []struct{ ID string } `json:"allowCredentials"`
	Excluded []struct{ ID string } `json:"excludeCredentials"`
}

func (d *Device) read(options []byte) (q question) {
	d.T.Helper()
	if err := json.Unmarshal(options, &q); err != nil {
		d.T.Fatalf("options %s: %v", options, err)
	}
	return q
}

// Flags of authenticator data (WebAuthn section 6.1).
const (
	present  = 1 << 0
	verified = 1 << 2
	attested = 1 << 6
)

func (d *Device) flags() byte {
	if d.Unverified {
		return present
	}
	return present | verified
}

// Make answers options of navigator.credentials.create; empty when the device has one of the passkeys that it must not have.
func (d *Device) Make(options []byte) string {
	d.T.Helper()
	q := d.read(options)
	for _, x := range q.Excluded {
		if d.find(decode(d.T, x.ID)) != nil {
			return ""
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		d.T.Fatal(err)
	}
	k := &Key{ID: make([]byte, 32), Host: q.Party.ID, Handle: decode(d.T, q.User.ID), Private: private}
	_, _ = rand.Read(k.ID)
	d.Keys = append(d.Keys, k)
	data := d.data(k, d.flags()|attested)
	data = append(data, make([]byte, 16)...) // AAGUID
	data = binary.BigEndian.AppendUint16(data, uint16(len(k.ID)))
	data = append(append(data, k.ID...), cose(d.T, private)...)
	// {"fmt": "none", "attStmt": {}, "authData": data} in CBOR (RFC 8949)
	object := []byte{0xa3}
	object = append(append(object, text("fmt")...), text("none")...)
	object = append(append(object, text("attStmt")...), 0xa0)
	object = append(append(object, text("authData")...), octets(data)...)
	return d.answer(k, map[string]any{
		"clientDataJSON": encode(d.client("webauthn.create", q.Challenge)), "attestationObject": encode(object), "transports": []string{"internal", "hybrid"},
	})
}

// Use answers options of navigator.credentials.get with the first passkey that fits; empty when none does.
func (d *Device) Use(options []byte) string {
	d.T.Helper()
	q := d.read(options)
	for _, k := range d.Keys {
		allowed := len(q.Allowed) == 0
		for _, x := range q.Allowed {
			allowed = allowed || string(decode(d.T, x.ID)) == string(k.ID)
		}
		if allowed && k.Host == q.Host {
			return d.Sign(k, q.Challenge)
		}
	}
	return ""
}

// Sign answers a challenge with a passkey.
func (d *Device) Sign(k *Key, challenge string) string {
	d.T.Helper()
	if d.Counts {
		k.Counter++
	}
	data := d.data(k, d.flags())
	client := d.client("webauthn.get", challenge)
	sum := sha256.Sum256(client)
	signed := sha256.Sum256(append(append([]byte{}, data...), sum[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, k.Private, signed[:])
	if err != nil {
		d.T.Fatal(err)
	}
	return d.answer(k, map[string]any{
		"clientDataJSON": encode(client), "authenticatorData": encode(data), "signature": encode(signature), "userHandle": encode(k.Handle),
	})
}

func (d *Device) find(id []byte) *Key {
	for _, k := range d.Keys {
		if string(k.ID) == string(id) {
			return k
		}
	}
	return nil
}

// data is authenticator data up to the counter.
func (d *Device) data(k *Key, flags byte) []byte {
	host := sha256.Sum256([]byte(k.Host))
	return binary.BigEndian.AppendUint32(append(host[:], flags), k.Counter)
}

func (d *Device) client(kind, challenge string) []byte {
	return d.json(map[string]any{"type": kind, "challenge": challenge, "origin": d.Origin, "crossOrigin": false})
}

func (d *Device) answer(k *Key, response map[string]any) string {
	return string(d.json(map[string]any{
		"id": encode(k.ID), "rawId": encode(k.ID), "type": "public-key", "authenticatorAttachment": "platform", "clientExtensionResults": map[string]any{}, "response": response,
	}))
}

func (d *Device) json(value any) []byte {
	b, err := json.Marshal(value)
	if err != nil {
		d.T.Fatal(err)
	}
	return b
}

// cose is a public key: {1: 2, 3: -7, -1: 1, -2: x, -3: y} (RFC 9053 section 7.1).
func cose(t testing.TB, k *ecdsa.PrivateKey) []byte {
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21}
	b = append(b, octets(point[1:33])...)
	return append(append(b, 0x22), octets(point[33:])...)
}

func text(s string) []byte { return append([]byte{0x60 | byte(len(s))}, s...) } // up to 23 octets

func octets(b []byte) []byte {
	return append([]byte{0x59, byte(len(b) >> 8), byte(len(b))}, b...)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
