package auth

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Directory is the keeper of identities; it stands on tables a and l of the shared database.
type Directory struct {
	options   Options
	separator string
	db        *kv.DB
	view      view
	log       *slog.Logger
	hasher    *hasher
	digests   *digests
	good      *remembered
	slow      *slowdown
	watchers  watchers
	expiries  expiries
	codes     codes
	party     *passkey.Party
	outside   *elsewhere // nil: all passwords are ours
	logins    *prometheus.CounterVec
}

// New works after db.Start as well as before.
func New(db *kv.DB, o Options) *Directory {
	if o.Now == nil {
		o.Now = time.Now
	}
	keyed := newDigests()
	d := &Directory{
		options: o, separator: cmp.Or(o.Separator, "+"), db: db,
		log:    cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		hasher: newHasher(), digests: keyed, slow: newSlowdown(), party: passkey.NewParty(o.Now),
		good: newRemembered(keyed, rememberFor), outside: newElsewhere(o.External, keyed),
		logins: o.Metrics.Counters("logins_total", "Login attempts, by service and result.", "service", "result"),
	}
	d.view.db, d.view.log = db, d.log
	db.Outline(kv.Outline{Whole: []kv.Table{tableAccounts, tableNames, tableTokens}})
	return d
}

// clear tells that a password may not cross this connection.
func (d *Directory) clear(c Client) bool {
	return c.TLS == nil && !(d.options.ClearLoopback && c.Remote.Unmap().IsLoopback())
}

// Mechanisms lists what may be offered to this client now, strongest first.
func (d *Directory) Mechanisms(c Client) []string {
	if d.clear(c) {
		return nil
	}
	out := append(d.mechanismsSCRAM(c), sasl.Plain, sasl.Login)
	if d.tokensInUse() {
		out = append(out, sasl.OAuthBearer, sasl.XOAuth2) // last: who picks the first that it knows goes on to use a password
	}
	if d.externalAt(c) {
		out = append(out, sasl.External)
	}
	return out
}

// tokensInUse tells whether a program could show a token at all. While none could, nobody sees the mechanisms: programs that find
// them take the house for one that wants a browser opened (ADR 33).
func (d *Directory) tokensInUse() bool {
	s, err := d.snapshot(context.Background())
	return err == nil && s.byPrograms
}

// Login checks a user name (any address of the account, login name, or bare local part) and a password. Wrong user and wrong
// password give the same answer after the same time.
func (d *Directory) Login(ctx context.Context, c Client, user, password string) (Identity, error) {
	return d.login(ctx, c, claim{user: user, password: password, mechanism: "password"})
}

// claim is what a client says of itself.
type claim struct {
	authzid, user, password, mechanism string
	strong                             bool // by a second factor already

	app         *appPassword // the one that was shown; nil: the account's own password
	certificate *opener      // that was shown instead; nil: none
}

func (d *Directory) login(ctx context.Context, c Client, m claim) (Identity, error) {
	id, err := d.prove(ctx, c, m)
	d.report(ctx, c, m, id, err)
	return id, err
}

func (d *Directory) prove(ctx context.Context, c Client, m claim) (Identity, error) {
	if d.clear(c) {
		return Identity{}, ErrNeedTLS
	}
	s, err := d.snapshot(ctx)
	if err != nil {
		return Identity{}, err
	}
	who := d.find(s, m.user)
	try := d.attempt(c, m.user, who)
	if err := d.hold(ctx, try); err != nil {
		return Identity{}, err
	}
	if len(m.password) > maxPassword {
		m.password = m.password[:maxPassword] + "\x00" // fits nothing
	}
	prepared := sasl.Prepare(m.password)
	if m.app = d.app(who, m.password); m.app != nil && c.Door != DoorWeb {
		d.slow.succeeded(try, d.options.Now())
		d.keepAppKeys(ctx, who, m.app, m.password)
		return d.admit(s, c, who, m)
	}
	m.app = nil
	if d.keptElsewhere(who) {
		right, err := d.proveElsewhere(ctx, c, try, who, m.password)
		if err != nil {
			return Identity{}, err
		}
		if !right {
			return Identity{}, ErrCredentials
		}
		if !who.webOnly(c.Door) {
			d.slow.succeeded(try, d.options.Now())
		}
		return d.admit(s, c, who, m)
	}
	hash := ""
	if who != nil {
		hash = who.phc
	}
	wrong := d.digests.of("wrong", string(try.user[:]), hash, prepared)
	right := false
	if !d.slow.repeated(try, wrong, d.options.Now()) { // it costs no hash: that would be the cheapest way to keep the house busy
		if right, err = d.right(ctx, try, who, m.password); err != nil {
			return Identity{}, err
		}
	}
	if !right {
		d.slow.failed(try, wrong, d.options.Now())
		return Identity{}, ErrCredentials
	}
	if !who.webOnly(c.Door) { // whoever knows that password only is no acquaintance
		d.slow.succeeded(try, d.options.Now())
	}
	d.upgrade(ctx, who, prepared)
	d.keepKeys(ctx, who, prepared)
	return d.admit(s, c, who, m)
}

// right tells whether the password fits, from memory or by its hash.
func (d *Directory) right(ctx context.Context, try attempt, who *record, typed string) (bool, error) {
	prepared := sasl.Prepare(typed)
	var remembered digest
	if who != nil {
		remembered = d.good.key(who.ID, who.phc, prepared)
		if d.good.has(remembered, d.options.Now()) {
			return true, nil
		}
	}
	if err := d.hasher.enter(ctx); err != nil {
		return false, err
	}
	defer d.hasher.leave()
	// Many tries at once passed the first look together; those that failed meanwhile count for this one.
	if d.slow.wait(try, d.options.Now()) > maxHeld {
		return false, ErrSlowDown
	}
	hash := ""
	if who != nil {
		hash = who.phc
	}
	if !fits(hash, typed, prepared) {
		return false, nil
	}
	d.good.keep(remembered, d.options.Now())
	return true, nil
}

// admit is what comes after the proof: for whom the client acts (RFC 4422 section 3.4.1: only for itself), and the door.
func (d *Directory) admit(s *snapshot, c Client, who *record, m claim) (Identity, error) {
	switch {
	case m.authzid != "" && d.find(s, m.authzid) != who:
		return Identity{}, ErrCredentials
	case who.Disabled:
		return Identity{}, fmt.Errorf("%w: the account is disabled", ErrDoorClosed)
	case who.Doors&c.Door == 0:
		return Identity{}, ErrDoorClosed
	case m.certificate != nil && m.certificate.registered != nil && m.certificate.registered.Doors&c.Door == 0:
		return Identity{}, fmt.Errorf("%w: the certificate %q is not for it", ErrDoorClosed, m.certificate.registered.Name)
	case m.app == nil && m.certificate == nil && who.webOnly(c.Door):
		return Identity{}, fmt.Errorf("%w: the account's own password opens the web pages only, programs need an app password", ErrDoorClosed)
	case m.app != nil && m.app.Doors&c.Door == 0:
		return Identity{}, fmt.Errorf("%w: the app password %q is not for it", ErrDoorClosed, m.app.Name)
	}
	id := Identity{Account: who.ID, Main: who.Addresses[0], Mechanism: m.mechanism, proof: d.proof(who)}
	if m.certificate != nil {
		d.byCertificate(&id, c, m.certificate)
	}
	if m.app != nil {
		id.App, id.proof = m.app.ID, d.appProof(m.app)
		d.awaitEnd(expiry{account: who.ID, number: m.app.ID}, m.app.Expires)
		d.options.Uses.used(who.ID, m.app.ID, AppUse{At: d.options.Now(), Door: c.Door, Remote: c.Remote})
	}
	return id, nil
}

// find takes any address of an account, its login name, or a local part of the default domain.
func (d *Directory) find(s *snapshot, user string) *record {
	if !strings.Contains(user, "@") {
		if id, ok := s.logins[foldLogin(user)]; ok {
			return s.accounts[id]
		}
		if d.options.DefaultDomain == "" || user == "" {
			return nil
		}
		user += "@" + string(d.options.DefaultDomain)
	}
	a, err := mail.ParseAddress(user)
	if err != nil {
		return nil
	}
	a.Domain, _ = s.home(a.Domain)
	return s.accounts[s.owners[a.Key()]]
}

func (d *Directory) attempt(c Client, user string, who *record) attempt {
	try := attempt{address: network(c.Remote)}
	if who != nil {
		try.account = who.ID
		try.user = d.digests.of("account", string(accountKey(who.ID)))
		return try
	}
	try.user = d.digests.of("nobody", foldLogin(user))
	return try
}

// report counts and logs a login; a password is never part of it.
func (d *Directory) report(ctx context.Context, c Client, m claim, id Identity, err error) {
	result := "ok"
	switch {
	case err == nil:
	case errors.Is(err, ErrCredentials), errors.Is(err, ErrNoAccount), passkey.Wrong(err):
		result = "wrong"
	case errors.Is(err, ErrSlowDown):
		result = "slowed"
	case errors.Is(err, ErrDoorClosed):
		result = "closed"
	case errors.Is(err, ErrNeedTLS):
		result = "clear"
	case errors.Is(err, ErrLater):
		result = "later"
	default:
		result = "error"
	}
	d.logins.WithLabelValues(c.Door.String(), result).Inc()
	if !c.again {
		d.noteLogin(ctx, c, m, id, err)
	}
	attrs := []any{"door", c.Door.String(), "remote", c.Remote, "user", shorten(m.user), "mechanism", m.mechanism}
	if err != nil {
		d.log.WarnContext(ctx, logx.LoginRefused, append(attrs, "reason", err)...)
		return
	}
	if id.App != 0 {
		attrs = append(attrs, "app_password", id.App)
	}
	if id.Token != 0 {
		attrs = append(attrs, "token", id.Token)
	}
	if id.Certificate != 0 {
		attrs = append(attrs, "certificate", id.Certificate)
	}
	if d.options.LoggedIn != nil {
		d.options.LoggedIn(ctx, id.Account)
	}
	d.log.InfoContext(ctx, logx.LoginOK, append(attrs, "account", uint32(id.Account))...)
}

// shorten keeps a hostile user name from filling the log.
func shorten(user string) string {
	if len(user) > 100 {
		return user[:100]
	}
	return user
}

// SASL starts a mechanism; done is called once, with the identity, before the server's last Next returns.
func (d *Directory) SASL(ctx context.Context, c Client, mechanism string, done func(Identity)) (gosasl.Server, error) {
	if d.clear(c) {
		return nil, ErrNeedTLS
	}
	x := &exchange{d: d, ctx: ctx, client: c, done: done}
	check := func(authzid, user, password string) (err error) {
		x.identity, err = d.login(ctx, c, claim{authzid: authzid, user: user, password: password, mechanism: x.mechanism})
		return err
	}
	x.mechanism = strings.ToUpper(mechanism)
	plus := x.mechanism == sasl.ScramSHA256Plus
	switch {
	case x.mechanism == sasl.Plain:
		x.Server = sasl.NewPlain(check)
	case x.mechanism == sasl.Login:
		x.Server = sasl.NewLogin(check)
	case d.offersSCRAM() && (x.mechanism == sasl.ScramSHA256 || plus && c.TLS != nil):
		x.Server = sasl.NewSCRAM(sasl.SCRAM{
			Plus: plus, PlusOffered: c.TLS != nil, TLS: c.TLS, Leaf: d.leaf(c), Lookup: x.lookup, Finish: x.finish,
		})
	case x.mechanism == sasl.External && d.externalAt(c):
		x.Server = sasl.NewExternal(x.external)
	case x.mechanism == sasl.OAuthBearer && d.tokensInUse():
		x.Server = sasl.NewOAuthBearer(x.bearer)
	case x.mechanism == sasl.XOAuth2 && d.tokensInUse():
		x.Server = sasl.NewXOAuth2(x.bearer)
	default:
		return nil, ErrMechanism
	}
	return x, nil
}

func (d *Directory) leaf(c Client) *x509.Certificate {
	if d.options.Leaf == nil || c.TLS == nil {
		return nil
	}
	return d.options.Leaf(c.TLS.ServerName)
}

// exchange is a mechanism on its way.
type exchange struct {
	gosasl.Server
	d         *Directory
	ctx       context.Context // of the login; the mechanism's contract has none
	client    Client
	mechanism string
	done      func(Identity)

	identity Identity
	shot     *snapshot // SCRAM: what Lookup saw
	who      *record
	user     string
	keys     []*appPassword // SCRAM: of which password the keys at that index are; nil: the account's own
}

// Next brings the errors of a mechanism to those of a login.
func (x *exchange) Next(response []byte) ([]byte, bool, error) {
	if err := x.late(); err != nil {
		return nil, false, err
	}
	challenge, done, err := x.Server.Next(response)
	if errors.Is(err, sasl.ErrFailed) {
		try := x.d.attempt(x.client, x.user, x.who)
		x.d.slow.failed(try, digest{}, x.d.options.Now())
		err = ErrCredentials
		x.d.report(x.ctx, x.client, claim{user: x.user, mechanism: x.mechanism}, Identity{}, err)
	}
	if done {
		x.done(x.identity)
	}
	return challenge, done, err
}

// external is the proof by the certificate of the connection.
func (x *exchange) external(authzid string) (err error) {
	x.identity, err = x.d.loginExternal(x.ctx, x.client, authzid)
	return err
}

// bearer is the proof by a token.
func (x *exchange) bearer(user, token string) error {
	b, err := x.d.LoginToken(x.ctx, x.client, user, token, x.mechanism)
	x.identity = b.Identity
	return err
}

// late ends an exchange before its proof is looked at: many that were begun together passed hold together, and those that failed
// meanwhile count for this one.
func (x *exchange) late() error {
	if x.shot == nil || x.identity.Account != 0 || x.d.slow.wait(x.d.attempt(x.client, x.user, x.who), x.d.options.Now()) <= maxHeld {
		return nil
	}
	x.d.report(x.ctx, x.client, claim{user: x.user, mechanism: x.mechanism}, Identity{}, ErrSlowDown)
	return ErrSlowDown
}

// lookup finds the SCRAM keys of a user; who has none gets keys that fit nothing.
func (x *exchange) lookup(user string) ([]sasl.Credentials, error) {
	s, err := x.d.snapshot(x.ctx)
	if err != nil {
		return nil, err
	}
	x.shot, x.user, x.who = s, user, x.d.find(s, user)
	if err := x.d.hold(x.ctx, x.d.attempt(x.client, user, x.who)); err != nil {
		x.d.report(x.ctx, x.client, claim{user: user, mechanism: x.mechanism}, Identity{}, err)
		return nil, err
	}
	name := foldLogin(user)
	if x.who != nil { // the same salt under each of its names
		name = x.who.Addresses[0].Key()
	}
	secret := x.d.db.Secret()
	fake := sasl.Fake(secret[:], name)
	var all []sasl.Credentials
	if x.who != nil {
		all, x.keys = x.who.allKeys(x.client.Door, x.d.options.Now())
		if salt := x.who.salt(); salt != "" {
			fake.Salt, fake.Iterations = []byte(salt), x.who.basis().Iterations
		}
	}
	// The work is the same for nobody, for who has one password, and for who has some more.
	for len(all) < tried {
		all = append(all, fake)
	}
	return all, nil
}

// tried is how many keys each SCRAM proof is compared with at least: a few microseconds each.
const tried = 1 + 2*8

// allKeys are the SCRAM keys of all passwords of an account that may be used at a door, and whose each is.
func (r *record) allKeys(door Door, now time.Time) (keys []sasl.Credentials, of []*appPassword) {
	salt := r.salt()
	if r.scram != nil {
		keys, of = append(keys, *r.scram), append(of, nil)
	}
	for i := range r.apps {
		a := &r.apps[i]
		for _, c := range a.scram {
			if door != DoorWeb && !a.expired(now) && string(c.Salt) == salt {
				keys, of = append(keys, c), append(of, a)
			}
		}
	}
	return keys, of
}

func (x *exchange) finish(authzid, user string, which int) (err error) {
	if which >= len(x.keys) {
		return ErrCredentials // cannot be: nothing fits a fake
	}
	m := claim{authzid: authzid, user: user, mechanism: x.mechanism, app: x.keys[which]}
	if m.app != nil || !x.who.webOnly(x.client.Door) {
		x.d.slow.succeeded(x.d.attempt(x.client, user, x.who), x.d.options.Now())
	}
	x.identity, err = x.d.admit(x.shot, x.client, x.who, m)
	x.d.report(x.ctx, x.client, m, x.identity, err)
	return err
}

// SetPassword hashes outside of the transaction (it costs 19 MiB and tens of milliseconds) and forgets remembered logins.
func (d *Directory) SetPassword(ctx context.Context, id mail.AccountID, password string) error {
	secret, err := d.NewPassword(ctx, id, password)
	if err != nil {
		return err
	}
	return d.db.Update(ctx, func(tx *kv.Tx) error { return d.SetSecret(tx, id, secret) })
}

// NewPassword hashes a password for an account that is there, for SetSecret.
func (d *Directory) NewPassword(ctx context.Context, id mail.AccountID, password string) (Secret, error) {
	if err := checkPassword(password); err != nil {
		return Secret{}, err
	}
	s, err := d.snapshot(ctx)
	if err != nil {
		return Secret{}, err
	}
	if err := d.notElsewhere(s.accounts[id]); err != nil {
		return Secret{}, err
	}
	basis := sasl.NewBasis()
	if who := s.accounts[id]; who != nil && slices.ContainsFunc(who.apps, func(a appPassword) bool { return len(a.scram) > 0 }) {
		basis = who.basis() // the keys of its app passwords go on to fit
	}
	return d.hash(ctx, password, basis)
}

// keepKeys makes the SCRAM keys of an account whose password came in plain, when the
// setting was turned on after it was set. That it fails is no reason to refuse the login.
func (d *Directory) keepKeys(ctx context.Context, who *record, prepared string) {
	if !d.options.SCRAM || who.scram != nil {
		return
	}
	keys, err := sasl.DeriveWith(prepared, who.basis())
	if err != nil {
		return
	}
	_ = d.db.Update(ctx, func(tx *kv.Tx) error {
		now, err := findRecord(tx, who.ID)
		if err != nil || now.phc != who.phc || now.salt() != "" && now.salt() != string(keys.Salt) { // changed meanwhile
			return err
		}
		now.scram = &keys
		d.putRecord(tx, now)
		return nil
	})
}

// keepAppKeys makes the SCRAM keys of an app password that was made before the setting was turned on.
func (d *Directory) keepAppKeys(ctx context.Context, who *record, app *appPassword, typed string) {
	if !d.options.SCRAM || len(app.scram) > 0 && string(app.scram[0].Salt) == who.salt() {
		return
	}
	plain, _ := plainMade(typed)
	keys, err := deriveApp(plain, who.basis())
	if err != nil {
		return
	}
	_ = d.db.Update(ctx, func(tx *kv.Tx) error {
		now, err := findRecord(tx, who.ID)
		if err != nil {
			return err
		}
		own := now.findApp(app.ID)
		if own == nil || now.salt() != "" && now.salt() != string(keys[0].Salt) { // changed meanwhile
			return nil
		}
		own.scram = keys
		d.putRecord(tx, now)
		return nil
	})
}
