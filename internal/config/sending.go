package config

// Sending is how much may leave the house. 0: no limit.
type Sending struct {
	MessagesHour   int  `toml:"messages_per_hour"`
	MessagesDay    int  `toml:"messages_per_day"`
	RecipientsHour int  `toml:"recipients_per_hour"`
	RecipientsDay  int  `toml:"recipients_per_day"`
	NewDay         int  `toml:"new_recipients_per_day"`
	SuspendAt      int  `toml:"suspend_at"`
	ProgramHour    int  `toml:"program_recipients_per_hour"`
	ProgramDay     int  `toml:"program_recipients_per_day"`
	ForwardHour    int  `toml:"forwards_per_hour"`
	ForwardDay     int  `toml:"forwards_per_day"`
	ForwardAllDay  int  `toml:"all_forwards_per_day"`
	ListHour       int  `toml:"list_posts_per_hour"`
	ListDay        int  `toml:"list_posts_per_day"`
	Suppress       bool `toml:"suppress"`
}

func defaultSending() Sending {
	return Sending{
		MessagesHour: 200, MessagesDay: 1000, RecipientsHour: 500, RecipientsDay: 2000, NewDay: 200, SuspendAt: 50,
		ProgramHour: 500, ProgramDay: 5000, ForwardHour: 200, ForwardDay: 1000, ForwardAllDay: 10_000, ListHour: 100, ListDay: 500, Suppress: true,
	}
}

func sendingFields() []Field {
	const count = `Write a whole number; 0: no limit.`
	return []Field{
		{"sending.messages_per_hour", "Messages that one account hands in within an hour, inside the house too", "A person with a full out tray writes one every minute; a program that guesses writes thousands.", count, ""},
		{"sending.messages_per_day", "The same within 24 hours", "Five times an hour's worth: nobody writes that much by hand.", count, ""},
		{"sending.recipients_per_hour", "Recipients outside that one account writes to within an hour, each counted for each message", "An invitation to a whole club fits. More is a newsletter: make it a list, or give the account limits of its own.", count, ""},
		{"sending.recipients_per_day", "The same within 24 hours", "About what the large providers give a person.", count, ""},
		{"sending.new_recipients_per_day", "Of these within 24 hours: to whom the account has never written before", "Junk goes to strangers, people write to people they know. A wedding's guests fit.", count, ""},
		{"sending.suspend_at", "So many first-time recipients within an hour, from a network where the account was never used before, look like a stolen password: the account is kept from sending until the postmaster lifts it (posthouse account send); 0: never", "Nobody writes to fifty strangers on the first day of a journey; a thief does in the first minute.", count, ""},
		{"sending.program_recipients_per_hour", "Recipients outside that one user of this machine (sendmail) or one device without a password writes to within an hour", "A shop's receipts, and not the mail of a broken web form.", count, ""},
		{"sending.program_recipients_per_day", "The same within 24 hours", "Ten times an hour's worth.", count, ""},
		{"sending.forwards_per_hour", "Messages that aliases and forwards pass on to one address outside within an hour; more wait at their senders (452)", "Who forwards floods is taken for their source.", count, ""},
		{"sending.forwards_per_day", "The same within 24 hours", "A busy mailbox gets a few hundred a day.", count, ""},
		{"sending.all_forwards_per_day", "The same to all addresses outside together", "An alias with many members must not become a cannon.", count, ""},
		{"sending.list_posts_per_hour", "Messages that one list posts within an hour; more wait at their senders (452)", "A lively discussion fits. Each is one for every member, so that whoever may post has a cannon.", count, ""},
		{"sending.list_posts_per_day", "The same within 24 hours", "Nobody reads more.", count, ""},
		{"sending.suppress", "Addresses outside that did not exist when they were tried are not tried again for a while (posthouse suppression)", "Large receivers count how often a host writes to nobody, and take it for a guesser.", "Write true or false.", ""},
	}
}

// ranges are the bounds of its numbers.
func (s *Sending) ranges() []number {
	const most = 1 << 40
	return []number{
		{"sending.messages_per_hour", int64(s.MessagesHour), 0, most}, {"sending.messages_per_day", int64(s.MessagesDay), 0, most},
		{"sending.recipients_per_hour", int64(s.RecipientsHour), 0, most}, {"sending.recipients_per_day", int64(s.RecipientsDay), 0, most},
		{"sending.new_recipients_per_day", int64(s.NewDay), 0, most}, {"sending.suspend_at", int64(s.SuspendAt), 0, most},
		{"sending.program_recipients_per_hour", int64(s.ProgramHour), 0, most}, {"sending.program_recipients_per_day", int64(s.ProgramDay), 0, most},
		{"sending.forwards_per_hour", int64(s.ForwardHour), 0, most}, {"sending.forwards_per_day", int64(s.ForwardDay), 0, most},
		{"sending.all_forwards_per_day", int64(s.ForwardAllDay), 0, most},
		{"sending.list_posts_per_hour", int64(s.ListHour), 0, most}, {"sending.list_posts_per_day", int64(s.ListDay), 0, most},
	}
}
