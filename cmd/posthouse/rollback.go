package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/api"
)

// rolledBack is what rollback did, or would do, for machines.
type rolledBack struct {
	From    uint32    `json:"from"`
	To      uint32    `json:"to"`
	Made    time.Time `json:"kept_since"`
	Kept    int       `json:"messages_kept"`
	Lost    int       `json:"messages_lost"`
	Changes uint64    `json:"changes_lost"`
	Unknown string    `json:"unknown,omitempty"`
	Aside   string    `json:"aside,omitempty"`
	Done    bool      `json:"done"`
}

func (p *program) rollbackCommand(o *options) *cobra.Command {
	var lose bool
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Give the data folder back its format of before the last upgrade",
		Long: `Gives a data folder that no house runs on the format, tables and mail that it had
before the last upgrade that changed its format. That state is kept for a week.

Mail that came into mailboxes since is kept. Everything else since is lost, and the
command says how much it is and does nothing, unless --lose is said: flags, moves,
deletions, drafts and mail that clients put there, accounts and passwords, and mail to
other hosts that still waits (let it leave first: posthouse queue retry --all). When
anything happened since, clients download their mailboxes again. What the newer
program had is put aside in the folder.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := o.settings()
			if err != nil {
				return err
			}
			if _, err := api.Dial(cmd.Context(), c.Data); err == nil {
				return fmt.Errorf("a house runs on %s: end it first, and start the older posthouse afterwards", c.Data)
			}
			if err := mayOpen(c.Data, true); err != nil {
				return err
			}
			r, err := kv.Rollback(cmd.Context(), kv.RollbackOptions{Dir: c.Data, Lose: lose, Keep: store.PartKinds})
			return p.sayRolledBack(o, r, err)
		},
	}
	cmd.Flags().BoolVar(&lose, "lose", false, "go back although what happened since is lost")
	return cmd
}

func (p *program) sayRolledBack(o *options, r kv.RolledBack, err error) error {
	loses := errors.Is(err, kv.ErrWouldLose)
	if err != nil && !loses {
		return err
	}
	if o.json {
		return errors.Join(writeJSON(p.stdout, rolledBack{r.From, r.To, r.Made, r.Kept, r.Lost, r.Changes, r.Unknown, r.Aside, !loses}), err)
	}
	lines := []string{fmt.Sprintf("format %d was kept on %s", r.To, moment(r.Made))}
	if r.Kept > 0 {
		lines = append(lines, fmt.Sprintf("%d messages came into mailboxes since: they are kept", r.Kept))
	}
	if r.Lost > 0 {
		lines = append(lines, fmt.Sprintf("%d messages were for other hosts, in whole or in part: what still waits of them is lost", r.Lost))
	}
	if r.Changes > 0 {
		lines = append(lines, fmt.Sprintf("%d other changes happened since (flags, moves, deletions, mail that clients put there, accounts): they are lost", r.Changes))
	}
	if r.Unknown != "" {
		lines = append(lines, "what happened since cannot be read: "+r.Unknown)
	}
	if !loses {
		if r.Kept+r.Lost > 0 || r.Changes > 0 || r.Unknown != "" {
			lines = append(lines, "every mailbox has a new UIDVALIDITY: clients download again")
		}
		lines = append(lines, fmt.Sprintf("the folder has format %d again: start the posthouse that you had then", r.To),
			"what the newer one had is in "+r.Aside+": remove it when you need it no more")
	}
	for _, line := range lines {
		if err := p.say("%s", line); err != nil {
			return err
		}
	}
	if loses {
		return errors.New("nothing was done: say --lose if this may be lost")
	}
	return nil
}
