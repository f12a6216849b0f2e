package auth

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// AccountSettings is what is set for one account. The zero value of each means that it is as the house has it.
//
// To add one: a field here, a line with the next free tag in fields, and a line in TestSettings. A tag is never used twice, and
// keeps its kind (amount, text, addresses) for ever; a record without it reads as zero, a record with a tag that this program
// does not know keeps it. What is not allowed is refused in check.
type AccountSettings struct {
	// Forward is where mail for the account goes on to; with Keep a copy stays in its mailboxes.
	Forward []mail.Address
	Keep    bool

	// SendOff says why the account may send nothing; empty: it may. SendOffSince is since when, in Unix seconds.
	SendOff      string
	SendOffSince int64
	Limits       SendLimits

	// JunkOff: nobody judges its mail. JunkLine is the score from which it is junk, in tenths.
	JunkOff  bool
	JunkLine int32

	// Hold is how long each message of the account waits in its Outbox before it is sent; below 0: not at all. SentCopy: 1, what it sends
	// is put into Sent; -1, it is not.
	Hold     time.Duration
	SentCopy int8

	// Operator: it may run the house from the web pages (50).
	Operator bool
	// WebOnly: its own password opens the web pages and nothing else; programs need app passwords.
	WebOnly bool

	unknown []byte // fields of a newer program, as they stand
}

func (s *AccountSettings) fields() []field {
	return append([]field{
		addresses(1, &s.Forward),
		flag(2, &s.Keep),
		flag(10, &s.JunkOff),
		amount(11, &s.JunkLine),
		amount(20, &s.Hold),
		amount(21, &s.SentCopy),
		text(30, &s.SendOff),
		amount(31, &s.SendOffSince),
		flag(50, &s.Operator),
		flag(51, &s.WebOnly),
	}, s.Limits.fields()...)
}

// SendLimits is how much may be sent. Each: 0 is as the house has it, below 0 no limit.
type SendLimits struct {
	MessagesHour, MessagesDay     int64
	RecipientsHour, RecipientsDay int64
	NewDay                        int64 // recipients outside to whom the account has never written
}

func (l *SendLimits) fields() []field {
	return []field{
		amount(32, &l.MessagesHour), amount(33, &l.MessagesDay), amount(34, &l.RecipientsHour), amount(35, &l.RecipientsDay), amount(36, &l.NewDay),
	}
}

// DomainSettings is what is set for one domain, like AccountSettings.
type DomainSettings struct {
	Limits SendLimits // of all its accounts together

	unknown []byte
}

func (s *DomainSettings) fields() []field { return s.Limits.fields() }

// Settings is what is set for an account; shared, not to be changed. It costs no transaction.
func (d *Directory) Settings(ctx context.Context, id mail.AccountID) (AccountSettings, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return AccountSettings{}, err
	}
	r := s.accounts[id]
	if r == nil {
		return AccountSettings{}, ErrNoAccount
	}
	return r.Settings, nil
}

// DomainSettings is what is set for a domain, or for the one that it is an alias of; shared, not to be changed.
func (d *Directory) DomainSettings(ctx context.Context, name mail.Domain) (DomainSettings, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return DomainSettings{}, err
	}
	home, ours := s.home(name)
	if !ours {
		return DomainSettings{}, ErrNoDomain
	}
	return s.domains[home].Settings, nil
}

// Configure changes the settings of an account, as they are in the transaction.
func (d *Directory) Configure(tx *kv.Tx, id mail.AccountID, change func(*AccountSettings) error) error {
	r, err := findRecord(tx, id)
	if err != nil {
		return err
	}
	if err := change(&r.Settings); err != nil {
		return err
	}
	d.putRecord(tx, r)
	return nil
}

// ConfigureDomain changes the settings of a domain, as they are in the transaction.
func (d *Directory) ConfigureDomain(tx *kv.Tx, name mail.Domain, change func(*DomainSettings) error) error {
	found, err := findRow(tx, domainKey(name))
	if err != nil {
		return err
	}
	if found.kind != rowDomain {
		return fmt.Errorf("%w: %s", ErrNoDomain, name)
	}
	if err := change(&found.domain.Settings); err != nil {
		return err
	}
	tx.Put(tableNames, domainKey(name), found.domain.encode())
	tx.OnCommit(d.view.changed)
	return nil
}

// field is one setting of a record: its tag, and what becomes of its value. A zero value is not written.
type field struct {
	tag  uint64
	get  func() []byte // nil: zero
	take func(value *decoder)
}

// amount is a whole number of any kind: counts, durations, enumerations.
func amount[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32](tag uint64, at *T) field {
	return field{tag,
		func() []byte {
			if *at == 0 {
				return nil
			}
			return binary.AppendVarint(nil, int64(*at))
		},
		func(in *decoder) {
			n := in.number()
			*at = T(n)
			in.bad = in.bad || int64(*at) != n
		}}
}

func flag(tag uint64, at *bool) field {
	return field{tag,
		func() []byte {
			if !*at {
				return nil
			}
			return []byte{1}
		},
		func(in *decoder) { *at = in.octet() == 1 }}
}

func text(tag uint64, at *string) field {
	return field{tag,
		func() []byte { return []byte(*at) },
		func(in *decoder) { *at = string(in.take(uint64(len(in.rest)))) }}
}

func addresses(tag uint64, at *[]mail.Address) field {
	return field{tag,
		func() []byte {
			if len(*at) == 0 {
				return nil
			}
			return appendAddresses(nil, *at)
		},
		func(in *decoder) { *at = in.addresses() }}
}

// appendFields writes settings behind a record: tag, length, value, ascending; then what is not known here.
func appendFields(b []byte, all []field, unknown []byte) []byte {
	slices.SortFunc(all, func(x, y field) int { return cmp.Compare(x.tag, y.tag) })
	for _, f := range all {
		if value := f.get(); len(value) > 0 {
			b = appendText(binary.AppendUvarint(b, f.tag), string(value))
		}
	}
	return append(b, unknown...)
}

// fields reads what appendFields wrote, to the end, and returns what is not known here. What is left of a value that was read is a
// misfit, like a value that is cut short.
func (d *decoder) fields(all []field) (unknown []byte) {
	for !d.bad && len(d.rest) > 0 {
		begin := d.rest
		tag, value := d.count(), decoder{}
		value.rest = d.take(d.count())
		if d.bad {
			return nil
		}
		i := slices.IndexFunc(all, func(f field) bool { return f.tag == tag })
		if i < 0 {
			unknown = append(unknown, begin[:len(begin)-len(d.rest)]...)
			continue
		}
		all[i].take(&value)
		d.bad = d.bad || value.bad || len(value.rest) > 0
	}
	return unknown
}
