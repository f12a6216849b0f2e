package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Mask is an address that an account has made to give away: mail to it arrives like mail to the account until it is switched off.
type Mask struct {
	Address mail.Address
	Account mail.AccountID
	State   MaskState
	Note    string // what for
	Created time.Time
	Changed time.Time // of the state

	unknown []byte
}

// MaskState is where a mask stands.
type MaskState byte

const (
	MaskOn      MaskState = iota
	MaskOff               // refused as if it did not exist; its owner may switch it on again
	MaskRemoved           // for ever: nobody gets the address again
)

// Bounds of masks: an account has up to maxMasks that are on or off, and may make up to maxMasksMade in its life, because those that
// are removed stay taken.
const (
	maxMasks     = 1000
	maxMasksMade = 5000
	maxNote      = 200 // octets
)

func (m *Mask) fields() []field {
	return []field{amount(1, &m.State), text(2, &m.Note), moment(3, &m.Created), moment(4, &m.Changed)}
}

func (m Mask) encode() []byte {
	b := binary.BigEndian.AppendUint32([]byte{recordVersion, rowMask}, uint32(m.Account))
	b = appendAddresses(b, []mail.Address{m.Address})
	return appendFields(b, m.fields(), m.unknown)
}

// mask reads what encode wrote behind the kind.
func (d *decoder) mask() Mask {
	m := Mask{Account: mail.AccountID(d.fixed32())}
	if own := d.addresses(); len(own) == 1 {
		m.Address = own[0]
	}
	m.unknown = d.fields(m.fields())
	return m
}

// Masks lists an account's masks that are not removed, newest first.
func (d *Directory) Masks(ctx context.Context, id mail.AccountID) ([]Mask, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	if s.accounts[id] == nil {
		return nil, ErrNoAccount
	}
	var all []Mask
	for _, m := range s.masks {
		if m.Account == id && m.State != MaskRemoved {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b Mask) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.Address.Key(), b.Address.Key()))
	})
	return all, nil
}

// AllMasks lists those of all accounts that are not removed, by domain and local part.
func (d *Directory) AllMasks(ctx context.Context) ([]Mask, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	all := sorted(s.masks, func(m Mask) string { return string(m.Address.Domain) + " " + m.Address.Key() })
	return slices.DeleteFunc(all, func(m Mask) bool { return m.State == MaskRemoved }), nil
}

// NewMask makes a masked address for an account in a domain of ours, the account's main one when it is empty. The name is chosen by
// chance among a hundred million and more, so that nobody finds masks by trying.
func (d *Directory) NewMask(tx *kv.Tx, id mail.AccountID, domain mail.Domain, note string) (Mask, error) {
	r, err := findRecord(tx, id)
	if err != nil {
		return Mask{}, err
	}
	if err := checkNote(note); err != nil {
		return Mask{}, err
	}
	if domain, err = maskDomain(tx, r, domain); err != nil {
		return Mask{}, err
	}
	if err := d.countMask(tx, id); err != nil {
		return Mask{}, err
	}
	now := d.options.Now().UTC().Truncate(time.Second)
	for range 100 {
		local, err := maskName()
		if err != nil {
			return Mask{}, err
		}
		m := Mask{Address: mail.Address{Local: local, Domain: domain}, Account: id, Note: note, Created: now, Changed: now}
		found, err := findRow(tx, addressKey(m.Address))
		if err != nil || found.kind != 0 {
			continue // taken, if only by a row that cannot be read
		}
		tx.Put(tableNames, addressKey(m.Address), m.encode())
		tx.OnCommit(d.view.changed)
		return m, nil
	}
	return Mask{}, fmt.Errorf("%w: no name was free", ErrInvalid)
}

// maskDomain: masks stand in a domain where the account has an address, so that nobody takes names in the domains of others.
func maskDomain(tx *kv.Tx, r *record, domain mail.Domain) (mail.Domain, error) {
	if domain == "" {
		return r.Addresses[0].Domain, nil
	}
	home, err := homeOf(tx, mail.Address{Local: "x", Domain: domain})
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(r.Addresses, func(a mail.Address) bool { return a.Domain == home.Domain }) {
		return "", fmt.Errorf("%w: the account has no address in %s", ErrInvalid, domain)
	}
	return home.Domain, nil
}

// countMask notes that an account makes one more.
func (d *Directory) countMask(tx *kv.Tx, id mail.AccountID) error {
	live := 0
	for key, value := range tx.Scan(tableNames, nil, nil) {
		if len(value) < 6 || value[1] != rowMask || binary.BigEndian.Uint32(value[2:]) != uint32(id) {
			continue
		}
		if r, err := decodeRow(key, value); err == nil && r.mask.State != MaskRemoved {
			live++
		}
	}
	if live >= maxMasks {
		return fmt.Errorf("%w: an account has up to %d masked addresses: remove those that you do not need", ErrInvalid, maxMasks)
	}
	key := binary.BigEndian.AppendUint32([]byte{maskCount}, uint32(id))
	var made uint32
	if value := tx.Get(tableLists, key); len(value) == 4 {
		made = binary.BigEndian.Uint32(value)
	}
	if made >= maxMasksMade {
		return fmt.Errorf("%w: an account may make %d masked addresses in its life: switch one on again that it has", ErrInvalid, maxMasksMade)
	}
	tx.Put(tableLists, key, binary.BigEndian.AppendUint32(nil, made+1))
	return nil
}

func checkNote(note string) error {
	if len(note) > maxNote || strings.ContainsFunc(note, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("%w: a note has up to %d octets and no control characters", ErrInvalid, maxNote)
	}
	return nil
}

// SetMask changes the state of an account's own mask and, when it is not nil, its note. A removed one stays removed. Another
// account's mask is ErrNoAddress, like one that never was.
func (d *Directory) SetMask(tx *kv.Tx, id mail.AccountID, a mail.Address, state MaskState, note *string) (Mask, error) {
	home, err := homeOf(tx, a)
	if err != nil {
		return Mask{}, err
	}
	found, err := findRow(tx, addressKey(home))
	if err != nil {
		return Mask{}, err
	}
	if found.kind != rowMask || found.mask.Account != id || found.mask.State == MaskRemoved {
		return Mask{}, fmt.Errorf("%w: %s is no masked address of this account", ErrNoAddress, a)
	}
	m := found.mask
	if state > MaskRemoved {
		return Mask{}, fmt.Errorf("%w: unknown state", ErrInvalid)
	}
	if note != nil {
		if err := checkNote(*note); err != nil {
			return Mask{}, err
		}
		m.Note = *note
	}
	if m.State != state {
		m.State, m.Changed = state, d.options.Now().UTC().Truncate(time.Second)
	}
	if state == MaskRemoved {
		if err := d.forget(tx, []mail.Address{m.Address}); err != nil {
			return Mask{}, err
		}
		m.Note = ""
	}
	tx.Put(tableNames, addressKey(m.Address), m.encode())
	tx.OnCommit(d.view.changed)
	return m, nil
}

// masksOf are an account's masks that are not removed.
func masksOf(tx *kv.Tx, id mail.AccountID) (all []Mask) {
	for key, value := range tx.Scan(tableNames, nil, nil) {
		if r, err := decodeRow(key, value); err == nil && r.kind == rowMask && r.mask.Account == id && r.mask.State != MaskRemoved {
			all = append(all, r.mask)
		}
	}
	return all
}

// buryMasks removes all masks of an account that goes away; their names stay taken.
func buryMasks(tx *kv.Tx, id mail.AccountID, all []Mask) {
	for _, m := range all {
		m.State, m.Note = MaskRemoved, ""
		tx.Put(tableNames, addressKey(m.Address), m.encode())
	}
	tx.Delete(tableLists, binary.BigEndian.AppendUint32([]byte{maskCount}, uint32(id)))
}

// maskName is two words and three digits: word.word123. No name that means something at a domain looks like that.
func maskName() (string, error) {
	words := strings.Fields(maskWords)
	pick := func(n int) (int, error) {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
		if err != nil {
			return 0, err
		}
		return int(i.Int64()), nil
	}
	a, err := pick(len(words))
	if err != nil {
		return "", err
	}
	b, err := pick(len(words))
	if err != nil {
		return "", err
	}
	n, err := pick(900)
	return fmt.Sprintf("%s.%s%d", words[a], words[b], 100+n), err
}

// maskWords are plain nouns and adjectives that are easy to read out and offend nobody.
const maskWords = `
acorn agile alder almond amber anchor apple apricot april arrow ash aspen atlas august aurora autumn azure
badge balsa bamboo banjo barley basil basket bay beacon bean bear beaver beech bell berry birch bison blue boat bold bonnet
book boulder brave breeze brick bridge bright bronze brook brush bubble bucket button
cabin cactus calm camel candle canoe canyon carbon castle cedar cello chalk cherry chest chime cider cinder circle citrus clay
clear cliff cloud clover coast cobalt cocoa comet copper coral cotton cradle crane crayon creek cricket crimson crisp crystal
cube cumin curious current cypress
daisy dapple dawn delta denim desert dew dolphin dove dragon drift drum dune dusk
eager eagle early earth east easy echo elder ember emerald engine evening
fable falcon fawn feather fern fiddle field fig finch fir flag flame flint flora flute foal forest fossil fountain fox fresh frost
galaxy garden garlic gentle ginger glacier glass globe gold granite grape grass green grove guitar
hammer happy harbor harp harvest hazel heather heron hickory hill hive holly honey horizon humble
ice indigo iris iron island ivory ivy
jade jasmine jolly journal juniper jupiter
kayak kelp kettle kind kite kiwi
lagoon lake lamp lantern larch lark laurel lava lavender leaf lemon lentil lilac lily lime linden linen lion little lively lodge
lotus lucky lunar
magnet maple marble march marigold marsh meadow mellow melon merry meteor midnight mild mill mint mirror mist modest monday moon
morning moss mountain mulberry music mustard
narrow nectar nest nettle nickel noble noon north nutmeg
oak oasis oat ocean olive onyx opal orange orbit orchard orchid otter owl oxide oyster
paddle palm panda paper parsley patient peach pearl pebble pecan pepper pine pilot planet plum polar pond poplar poppy prairie
prism proud pumpkin purple puzzle
quail quartz quick quiet quill quince
rabbit radish rain raven red reed ribbon ridge ripple river robin rocket rose rowan ruby rustic rye
saddle saffron sage sail salmon sand sandal sapphire scarlet season sequoia sesame shadow shell shore silent silver simple sky
slate snow solar solid south sparrow spice spring spruce square star steady steam stone storm summer sunny swan sweet swift
sycamore
table tango teal temple thistle thunder thyme tiger timber toast topaz torch trail travel tulip tundra turnip turtle twig
umber union upland
valley vanilla velvet venus verse village vine violet violin vivid
wagon walnut warm water wave wheat whistle white wild willow wind window winter wise wolf wonder wool wren
yarn yellow yonder
zebra zenith zephyr zinc`
