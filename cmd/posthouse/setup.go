package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/daemon"
	"github.com/posthouse-mail/posthouse/cmd/posthouse/internal/setup"
	"github.com/posthouse-mail/posthouse/deploy"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
	"github.com/posthouse-mail/posthouse/web/check"
)

const (
	defaultData = "/var/lib/posthouse"
	unitFile    = "/etc/systemd/system/posthouse.service"
	dropInFile  = "/etc/systemd/system/posthouse.service.d/webroot.conf"
	packageUnit = "/usr/lib/systemd/system/posthouse.service"
	packageBin  = "/usr/bin/posthouse"
	startWait   = time.Minute // for a house that was just started
)

// setupOptions is what the command line says.
type setupOptions struct {
	wish   setup.Wish
	dryRun bool
	yes    bool
	secret secret
	update updateOptions
}

func (p *program) setupCommand(o *options) *cobra.Command {
	var s setupOptions
	cmd := &cobra.Command{
		Use:   "setup YOU@YOURDOMAIN",
		Short: "Make a house for your domain: settings, data folder, keys, service, first account; and print its DNS records",
		Long: `Look at this machine, and make a house for your domain: settings file, data folder, keys, system user, systemd unit, your account. The DNS records
are printed on standard output as a zone fragment, what was seen and done on standard error. It can be run again: what is there stays as it
is, and what is different is shown. Without a terminal it asks nothing.`,
		Args: args(cobra.ExactArgs(1)),
		// --config and --data name two things here.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, argv []string) error {
			s.wish.Address = argv[0]
			s.wish.Config, s.wish.Data = o.config, o.data
			return p.setup(cmd.Context(), o, &s)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&s.dryRun, "dry-run", false, "change nothing: say what would be done, and print the records with keys made for the occasion")
	f.BoolVar(&s.yes, "yes", false, "ask nothing but the password")
	f.StringVar(&s.wish.Hostname, "hostname", "", "name of this host (default: its reverse name in the domain, or mail.DOMAIN)")
	f.StringSliceVar(&s.wish.Addresses, "address", nil, "public IP address of this host (default: those of its interfaces)")
	f.StringVar(&s.wish.Email, "email", "", "where the certificate authority writes to (default: your address)")
	f.BoolVar(&s.wish.NoACME, "no-acme", false, "get no certificates from an authority")
	f.StringVar(&s.wish.Directory, "acme-directory", "", "the authority's directory (default: Let's Encrypt's)")
	f.StringVar(&s.wish.Cert, "cert", "", "PEM file of a certificate chain that is there already")
	f.StringVar(&s.wish.Key, "key", "", "PEM file of its key")
	f.StringVar(&s.wish.Webroot, "webroot", "", "folder that another web server shows on port 80 for the house's names: proofs for certificates are written there")
	f.BoolVar(&s.wish.NoSystem, "no-system", false, "make no system user and no systemd unit")
	s.update.flags(cmd)
	s.secret.flags(cmd)
	return cmd
}

// setup looks, plans, asks and does.
func (p *program) setup(ctx context.Context, o *options, s *setupOptions) error {
	if s.wish.Config == "" {
		s.wish.Config = defaultConfig
	}
	if s.wish.Data == "" {
		s.wish.Data = defaultData
	}
	if _, err := setup.NewPlan(s.wish, setup.Machine{}); err != nil { // a mistake is told before anything is looked at
		return err
	}
	if err := folderThere(s.wish.Webroot); err != nil {
		return fmt.Errorf("--webroot: %w; name the folder that the other web server shows", err)
	}
	m, resolver := p.lookAtMachine(ctx, s)
	if resolver != nil {
		defer resolver.Close()
	}
	plan, err := setup.NewPlan(s.wish, m)
	if err != nil {
		return err
	}
	if !s.dryRun && !s.yes && s.wish.Hostname == "" {
		if name := p.question("Name of this host ["+string(plan.Host)+"]: ", ""); name != "" {
			s.wish.Hostname = name
			if plan, err = setup.NewPlan(s.wish, m); err != nil {
				return err
			}
		}
	}
	if err := p.tellNotes(m.Notes); err != nil {
		return err
	}
	c, err := config.Parse(plan.Config, []byte(plan.Settings))
	if err != nil {
		return err
	}
	if s.dryRun {
		return p.rehearse(plan, c)
	}
	if os.Geteuid() != 0 && plan.Config == defaultConfig {
		return errors.New("a house for this machine is made by root; to see what would be done: --dry-run; for a house of your own: --config FILE --data DIR")
	}
	if answer := p.question("Make all this? [y/N] ", "y"); !s.yes && !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return errors.New("nothing was changed")
	}
	own := *o
	own.config, own.data = plan.Config, ""
	return p.build(ctx, &own, s, buildPlan{plan, m, c, resolver})
}

// buildPlan is what build works with.
type buildPlan struct {
	setup.Plan
	machine  setup.Machine
	config   *config.Config
	resolver *dns.Client
}

// folderThere: it is a folder, or none is named.
func folderThere(path string) error {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is no folder", path)
	}
	return err
}

// lookAtMachine sees it; the resolver is nil where there is none.
func (p *program) lookAtMachine(ctx context.Context, s *setupOptions) (setup.Machine, *dns.Client) {
	r, err := dns.New(dns.Options{Timeout: time.Second, Rounds: 1})
	if err != nil {
		r = nil
	}
	defaults := config.Default()
	return setup.Look(ctx, setup.Eyes{
		Addresses: daemon.PublicAddresses, Resolver: r, Probes: defaults.Checkup.Probes, ClockURL: daemon.ClockURL(defaults),
		Disk: func() (int64, error) { return freeNear(s.wish.Data) },
	}), r
}

// freeNear is the room where a folder is, or will be.
func freeNear(folder string) (int64, error) {
	for {
		free, err := vfs.OS{}.Free(folder)
		if above := filepath.Dir(folder); errors.Is(err, fs.ErrNotExist) && above != folder {
			folder = above
			continue
		}
		return free, err
	}
}

// question asks a person at a terminal; without one the answer is other.
func (p *program) question(prompt, other string) string {
	f, ok := p.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return other
	}
	fmt.Fprint(p.stderr, prompt)
	line, err := bufio.NewReader(io.LimitReader(f, 1<<12)).ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimSpace(line)
}

// note writes a line for people to stderr.
func (p *program) note(format string, a ...any) error {
	_, err := fmt.Fprintf(p.stderr, format+"\n", a...)
	return err
}

func (p *program) tellNotes(notes []check.Result) error {
	var err error
	for _, x := range notes {
		err = errors.Join(err, p.note("%-8s %-12s %s", stateWord(x.State), x.Check, x.Found))
		if x.Advice != "" && x.State != check.OK {
			err = errors.Join(err, p.note("%-8s %-12s -> %s", "", "", x.Advice))
		}
	}
	return err
}

// rehearse says what would be done.
func (p *program) rehearse(plan setup.Plan, c *config.Config) error {
	settings := setup.File{Path: plan.Config, Text: plan.Settings, Mode: 0o644}
	state, differs, err := settings.Look()
	switch {
	case err != nil:
		err = p.note("\n%s cannot be read: %v", plan.Config, err)
	case state == setup.Missing:
		err = p.note("\n%s would be written:\n%s", plan.Config, plan.Settings)
	case state == setup.Differs:
		err = p.note("\n%s is there and would stay; this is different (- there, + as it would be now):\n%s", plan.Config, differs)
	}
	if err != nil {
		return err
	}
	if err := p.note("would be made: data folder %s, DKIM key of %s, account %s (it may run the house from the web pages), user and service posthouse", plan.Data, plan.User.Domain, plan.User); err != nil {
		return err
	}
	if plan.DropIn != "" {
		if err := p.note("would be written, where systemd runs: %s:\n%s", dropInFile, plan.DropIn); err != nil {
			return err
		}
	}
	if plan.BehindWeb != "" {
		if err := p.note("\n%s", plan.BehindWeb); err != nil {
			return err
		}
	}
	r, err := plan.Occasion(daemon.Services(c), time.Now())
	if err != nil {
		return err
	}
	if err := p.note("these records are made with keys of the occasion; setup without --dry-run prints the ones to publish"); err != nil {
		return err
	}
	return p.sayRecords(r)
}

// build makes what is missing. The password is read first: whoever has none yet changed nothing.
func (p *program) build(ctx context.Context, o *options, s *setupOptions, b buildPlan) error {
	settings := setup.File{Path: b.Config, Text: b.Settings, Mode: 0o644}
	state, differs, err := settings.Look()
	if err != nil {
		return err
	}
	if state == setup.Differs {
		// Another hand has written it: what it says is true, and what it says wrongly is told before anything is made.
		if b.config, err = config.Load(b.Config); err != nil {
			return fmt.Errorf("%w\nnothing was changed: the settings file is there already, and stays as it is", err)
		}
		if l := b.config.Listen.HTTP; len(l) > 0 && l[0].IsLoopback() {
			b.PagesAt(l[0].HostPort)
		}
	}
	system := os.Geteuid() == 0 && !s.wish.NoSystem
	if system && state != setup.Missing { // a house that was made before and stands still: whether the account is there, it says
		if err := p.makeSystem(ctx, b); err != nil {
			return err
		}
	}
	password, err := p.passwordFor(ctx, o, s, b, state)
	if err != nil {
		return err
	}
	switch state {
	case setup.Missing:
		if err := settings.Write(); err != nil {
			return fmt.Errorf("settings file: %w", err)
		}
		err = p.note("written: %s", b.Config)
	case setup.Differs:
		err = p.note("%s is there and stays; this is different (- there, + as it would be now):\n%s", b.Config, differs)
	}
	if err != nil {
		return err
	}
	if system && state == setup.Missing {
		if err := p.makeSystem(ctx, b); err != nil {
			return err
		}
	}
	var records check.Records
	err = p.with(ctx, o, func(v verbs) error {
		records, err = p.settle(ctx, v, b, password)
		return err
	})
	var others *othersFolder
	if errors.As(err, &others) && system {
		return fmt.Errorf("%w; or start the house, and run the same command again: it goes on from here", err)
	}
	if err != nil {
		return err
	}
	if system && !b.machine.Systemd {
		if err := giveFolder(b.config.Data); err != nil {
			return err
		}
	}
	if b.BehindWeb != "" {
		if err := p.note("\n%s", b.BehindWeb); err != nil {
			return err
		}
	}
	if err := p.sayRecords(records); err != nil {
		return err
	}
	if s.update.server != "" {
		return p.publishRecords(ctx, s.update, string(b.User.Domain), records, b.resolver)
	}
	return p.note("publish the records above in the DNS of %s; then posthouse check says whether all is well", b.User.Domain)
}

// passwordFor reads the password of the account, where it is not there yet.
func (p *program) passwordFor(ctx context.Context, o *options, s *setupOptions, b buildPlan, settings setup.State) (string, error) {
	if settings != setup.Missing {
		there := false
		if err := p.with(ctx, o, func(v verbs) error {
			_, err := v.Account(ctx, b.User.String())
			there = err == nil
			return nil
		}); err == nil && there {
			return "", nil
		}
	}
	if !s.secret.stdin && s.secret.file == "" {
		if err := p.note("the password of %s:", b.User); err != nil {
			return "", err
		}
	}
	password, err := s.secret.read(p)
	if err == nil && password == "" {
		err = errors.New("the password is empty: nothing was changed")
	}
	return password, err
}

// settle makes domain and account where they are missing, and gives the records to publish.
func (p *program) settle(ctx context.Context, v verbs, b buildPlan, password string) (r check.Records, err error) {
	domain, user := string(b.User.Domain), b.User.String()
	list, err := v.Domains(ctx)
	if err != nil {
		return r, err
	}
	there := false
	for _, d := range list {
		there = there || d.Name == domain
	}
	if !there {
		if _, err := v.AddDomain(ctx, admin.Domain{Name: domain}); err != nil {
			return r, err
		}
		err = p.note("made: domain %s and its DKIM key", domain)
	}
	if err != nil {
		return r, err
	}
	a, err := v.Account(ctx, user)
	var known *admin.Error
	if errors.As(err, &known) && known.Class == admin.Missing {
		if _, err = v.AddAccount(ctx, admin.NewAccount{Addresses: []string{user}, Password: password}); err != nil {
			return r, err
		}
		yes := true
		if a, err = v.SetAccount(ctx, user, admin.Change{Operator: &yes}); err != nil {
			return r, err
		}
		err = p.note("made: account %s, which may run the house from the web pages", a.Addresses[0])
	}
	if err != nil {
		return r, err
	}
	return v.DomainRecords(ctx, domain)
}

// sayRecords prints the zone fragment, and the policy as a comment.
func (p *program) sayRecords(r check.Records) error {
	return p.say("%s\n; the policy, served as %s:\n; %s", strings.TrimSuffix(r.Zone(), "\n"), r.PolicyURL,
		strings.ReplaceAll(strings.TrimSpace(r.Policy), "\r\n", "\n; "))
}

// makeSystem makes user and unit, and starts the house where systemd runs.
func (p *program) makeSystem(ctx context.Context, b buildPlan) error {
	do := setup.NewSystem()
	if _, err := user.Lookup("posthouse"); err != nil {
		if err := do.AddUser(ctx, b.config.Data); err != nil {
			return err
		}
		if err := p.note("made: system user posthouse"); err != nil {
			return err
		}
	}
	if _, err := os.Stat(packageUnit); err != nil {
		if err := p.writeUnit(b.Config); err != nil {
			return err
		}
	}
	if err := p.openWebroot(b); err != nil {
		return err
	}
	if !b.machine.Systemd {
		return p.note("systemd does not run here: start the house with posthouse serve --config %s, as the user posthouse", b.Config)
	}
	if err := do.Start(ctx); err != nil {
		return fmt.Errorf("%w; journalctl -u posthouse says why", err)
	}
	return waitForHouse(ctx, b.config.Data)
}

// openWebroot lets the service write proofs into the other web server's folder, and nothing else there.
func (p *program) openWebroot(b buildPlan) error {
	if b.DropIn == "" {
		return nil
	}
	uid, gid, err := houseUser()
	if err != nil {
		return err
	}
	made, err := setup.OpenWebroot(b.Webroot, uid, gid)
	if err != nil {
		return fmt.Errorf("--webroot: %w", err)
	}
	if made {
		if err := p.note("made: %s/%s, for the user posthouse to write", b.Webroot, setup.ChallengeFolder); err != nil {
			return err
		}
	}
	return p.install(setup.File{Path: dropInFile, Mode: 0o644, Text: b.DropIn})
}

// writeUnit installs the unit for this binary and this settings file.
func (p *program) writeUnit(settings string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return p.install(setup.File{Path: unitFile, Mode: 0o644, Text: strings.NewReplacer(packageBin, self, defaultConfig, settings).Replace(deploy.Unit())})
}

// install writes a file of systemd's where it is missing, and shows what is different in one that is there.
func (p *program) install(f setup.File) error {
	state, differs, err := f.Look()
	switch {
	case err != nil:
		return err
	case state == setup.Differs:
		return p.note("%s is there and stays; this is different (- there, + as it would be now):\n%s", f.Path, differs)
	case state == setup.Missing:
		if err := f.Write(); err != nil {
			return err
		}
		return p.note("written: %s", f.Path)
	}
	return nil
}

// waitForHouse waits until a house that was started answers.
func waitForHouse(ctx context.Context, data string) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	for {
		_, err := api.Dial(ctx, data)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the house was started and does not answer: %w; journalctl -u posthouse says why", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// giveFolder makes the data folder the system user's.
func giveFolder(folder string) error {
	uid, gid, err := houseUser()
	if err != nil {
		return err
	}
	return setup.GiveFolder(folder, uid, gid)
}

// houseUser is the system user's number, and its group's.
func houseUser() (uid, gid int, err error) {
	u, err := user.Lookup("posthouse")
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}
