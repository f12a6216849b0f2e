package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/house"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

const (
	program      = "bin/posthouse" // of make build
	pageAccounts = 1000
	pageStories  = 100_000
	mostPage     = 50 * time.Millisecond
	mostFirst    = 100 << 10
	webPort      = 27_000 // of the house, before the port of a door
	owner        = "u1@" + house.Domain
)

// pages measures every page that links lead an operator and user to, in a house with many accounts and stories where his own account is
// large, and the weight of the first.
func (b *bench) pages() error {
	h := &house.House{Binary: program, Dir: filepath.Join(b.dir, "pages"), Base: webPort, Web: true, Extra: "[web]\nredirect = false\n[story]\nsize = \"1GiB\"\n"}
	if err := h.Setup(); err != nil {
		return err
	}
	if err := b.fill("pages/data"); err != nil {
		return err
	}
	if err := tellStories(h.Data()); err != nil {
		return err
	}
	if err := h.Start(); err != nil {
		return err
	}
	err := b.walk(h)
	return errors.Join(err, h.Stop())
}

func (b *bench) walk(h *house.House) error {
	ctx := context.Background()
	c, err := api.Dial(ctx, h.Data())
	if err != nil {
		return err
	}
	// The hash is of house.Password's kind; nobody signs in with it.
	const hash = "{SSHA256}Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmFzYWx0"
	for n := house.Users + 1; n <= pageAccounts; n++ {
		address := fmt.Sprintf("u%d@%s", n, house.Domain)
		if _, err := c.AddAccount(ctx, admin.NewAccount{Addresses: []string{address}, Name: fmt.Sprintf("Person %d", n), Hash: hash}); err != nil {
			return err
		}
		if _, err := c.AddAlias(ctx, admin.Alias{Address: fmt.Sprintf("a%d@%s", n, house.Domain), Members: []string{address}}); err != nil {
			return err
		}
	}
	if err := furnish(ctx, c, h.Target().Submission.Addr); err != nil {
		return err
	}
	yes := true
	if _, err := c.SetAccount(ctx, owner, admin.Change{Operator: &yes}); err != nil {
		return err
	}
	v, err := newVisitor(h.HTTP(), h.PID())
	if err != nil {
		return err
	}
	weight, err := v.first()
	if err != nil {
		return err
	}
	b.add(weight <= mostFirst, "the first page of the web with its assets", "at most 100 KB", "%.0f KB", float64(weight)/1024)
	if err := v.signIn(); err != nil {
		return err
	}
	return b.visit(v)
}

// visit follows every link once and takes the time of each page.
func (b *bench) visit(v *visitor) error {
	queue, seen, twins := append([]string{"/"}, searches()...), map[string]bool{"/": true}, map[string]int{}
	rooms := map[string]*slowest{}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		body, kind, err := v.get(path)
		if errors.Is(err, errNoPage) {
			b.add(false, "page "+path, "answers 200", "%v", err)
			continue
		}
		if err != nil {
			return err
		}
		if !strings.HasPrefix(kind, "text/html") {
			continue
		}
		took, err := v.cost(path)
		if err != nil {
			return err
		}
		room := "/" + strings.SplitN(path+"/", "/", 3)[1]
		if rooms[room] == nil {
			rooms[room] = &slowest{}
		}
		rooms[room].add(path, took)
		if took > mostPage {
			b.add(false, "page "+path, "at most 50 ms", "%.1f ms", took.Seconds()*1000)
		}
		for _, link := range linksOf(body) {
			if twin := twinOf(link); !seen[link] && twins[twin] < 2 {
				seen[link] = true
				twins[twin]++
				queue = append(queue, link)
			}
		}
	}
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		x := rooms[room]
		name := fmt.Sprintf("the slowest of %d pages in %s, %d accounts, %d stories, %d messages of one's own", x.pages, room, pageAccounts, pageStories, largeMessages)
		b.add(x.took <= mostPage, name, "at most 50 ms", "%.1f ms (%s)", x.took.Seconds()*1000, x.path)
	}
	return nil
}

// searches are pages that forms lead to: they look for what is nowhere, which takes the longest.
func searches() (all []string) {
	for _, path := range []string{
		"/account/messages?with=", "/account/messages?subject=", "/account/masks?find=", "/account/junk/senders?find=", "/admin/accounts?q=", "/admin/aliases?q=", "/admin/masks?q=", "/admin/queue?address=", "/admin/stories?q=",
	} {
		all = append(all, path+"nowhere")
	}
	return all
}

// slowest is the slowest page of a room.
type slowest struct {
	pages int
	took  time.Duration
	path  string
}

func (s *slowest) add(path string, took time.Duration) {
	if s.pages++; took > s.took {
		s.took, s.path = took, path
	}
}

var (
	hrefs     = regexp.MustCompile(`<a [^>]*href="([^"]*)"`)
	assets    = regexp.MustCompile(`(?:href|src)="(/[^"]*)"`)
	keyed     = regexp.MustCompile(`id="key">([^<]*)<`)
	secretly  = regexp.MustCompile(`name="secret" value="([^"]*)"`)
	errNoPage = errors.New("no such page")
)

// linksOf are the paths of this house that a page leads to.
func linksOf(body []byte) (all []string) {
	for _, m := range hrefs.FindAllSubmatch(body, -1) {
		link := html.UnescapeString(string(m[1]))
		if strings.HasPrefix(link, "/") {
			link, _, _ = strings.Cut(link, "#")
			all = append(all, link)
		}
	}
	return all
}

var who = regexp.MustCompile(`[0-9]|%40|@`)

// twinOf is a link without whom it is about.
func twinOf(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return link
	}
	parts := strings.Split(u.EscapedPath(), "/")
	for i, p := range parts {
		if who.MatchString(p) {
			parts[i] = "*"
		}
	}
	var names []string
	for name := range u.Query() {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(parts, "/") + "?" + strings.Join(names, "&")
}

// visitor is a browser without eyes.
type visitor struct {
	base   string
	pid    int // of the house
	client *http.Client
}

func newVisitor(base string, pid int) (*visitor, error) {
	jar, err := cookiejar.New(nil)
	return &visitor{base: base, pid: pid, client: &http.Client{Jar: jar, Timeout: time.Minute}}, err
}

func (v *visitor) get(path string) (body []byte, kind string, err error) {
	res, err := v.client.Get(v.base + path)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	kind = res.Header.Get("Content-Type")
	if strings.HasPrefix(kind, "text/event-stream") {
		return nil, kind, nil
	}
	if body, err = io.ReadAll(res.Body); err != nil {
		return nil, "", err
	}
	if res.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%w: %s: %s", errNoPage, path, res.Status)
	}
	return body, kind, nil
}

func (v *visitor) post(path string, form url.Values) ([]byte, error) {
	res, err := v.client.PostForm(v.base+path, form)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("POST %s: %s", path, res.Status)
	}
	return body, err
}

// first is the weight of the first page with everything that it loads.
func (v *visitor) first() (int, error) {
	body, _, err := v.get("/")
	if err != nil {
		return 0, err
	}
	weight, seen := len(body), map[string]bool{}
	for _, m := range assets.FindAllSubmatch(body, -1) {
		path := string(m[1])
		if seen[path] || !strings.Contains(path, ".") {
			continue
		}
		seen[path] = true
		asset, _, err := v.get(path)
		if err != nil {
			return 0, err
		}
		weight += len(asset)
	}
	return weight, nil
}

// signIn comes in as the operator, with a second factor made for it.
func (v *visitor) signIn() error {
	if _, err := v.post("/sign-in", url.Values{"user": {owner}, "password": {house.Password}}); err != nil {
		return err
	}
	body, _, err := v.get("/account/second-factor")
	if err != nil {
		return err
	}
	secret := secretly.FindSubmatch(body)
	if secret == nil || keyed.Find(body) == nil {
		return errors.New("no secret on the page of the second factor")
	}
	code, err := authenticator(string(secret[1]))
	if err != nil {
		return err
	}
	body, err = v.post("/account/second-factor", url.Values{"secret": {string(secret[1])}, "code": {code}, "password": {house.Password}})
	if err == nil && !bytes.Contains(body, []byte("Recovery codes")) {
		err = errors.New("the second factor was not taken")
	}
	return err
}

// authenticator is the code of now (RFC 6238).
func authenticator(secret string) (string, error) {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30)))
	sum := mac.Sum(nil)
	at := sum[19] & 15
	return fmt.Sprintf("%06d", (binary.BigEndian.Uint32(sum[at:])&0x7fffffff)%1_000_000), nil
}

// tellStories writes stories of the last days into a house that does not run.
func tellStories(folder string) (err error) {
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(folder, "side.db"), Pending: pageStories * 3})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, side.Close()) }()
	book := story.New(story.Options{Side: side, Limit: 1 << 30})
	begin := time.Now().Add(-10 * 24 * time.Hour)
	for i := range pageStories {
		at := begin.Add(time.Duration(i) * 8 * time.Second)
		whose := 1 + i%pageAccounts
		if i%largeStories == 0 {
			whose = 1
		}
		to := fmt.Sprintf("u%d@%s", whose, house.Domain)
		book.Begin(story.Message{
			ID: fmt.Sprintf("bench%08x", i), At: at, Direction: story.In, From: fmt.Sprintf("s%d@far%d.test", i%977, i%89), To: []string{to},
			MessageID: fmt.Sprintf("<%d@far.test>", i), Subject: fmt.Sprintf("Story %d of the bench", i), Size: 4096, Client: "mx.far.test [192.0.2.1]", TLS: "TLS 1.3",
			Recipients: 1, Owners: []uint32{uint32(whose)},
		}, story.Event{At: at, Step: story.Checked, Text: "spf=pass dkim=pass dmarc=pass"}, story.Event{At: at, Step: story.Delivered, Who: to, Mailbox: "INBOX", Status: "2.1.5", Text: "delivered to the mailbox"})
		if i%5000 == 0 {
			if err := side.Flush(context.Background()); err != nil {
				return err
			}
		}
	}
	return side.Flush(context.Background())
}

// dryRun is what a stranger types first.
func (b *bench) dryRun() error {
	took, err := best(3, func() error {
		out, err := exec.Command(program, "setup", "--dry-run", "you@example.org").CombinedOutput()
		if err == nil && !bytes.Contains(out, []byte("v=DKIM1")) {
			err = errors.New("no records are printed")
		}
		if err != nil {
			return fmt.Errorf("setup --dry-run: %w: %s", err, out)
		}
		return nil
	})
	b.add(took <= 5*time.Second, "setup --dry-run", "at most 5 s", "%.2f s", took.Seconds())
	return err
}

// serving is how long the program needs from its start to the first greeting, over a folder that was closed in order.
func (b *bench) serving(folder string) error {
	h := &house.House{Binary: program, Dir: filepath.Join(b.dir, "serving"), Base: webPort, Folder: folder}
	if err := h.Write(); err != nil {
		return err
	}
	least := time.Hour
	for range 3 {
		begin := time.Now()
		if err := h.Start(); err != nil {
			return err
		}
		least = min(least, time.Since(begin))
		if err := h.Stop(); err != nil {
			return err
		}
	}
	b.add(least <= time.Second, fmt.Sprintf("start of the program to the first greeting, %d messages", b.grown), "at most 1 s", "%.2f s", least.Seconds())
	return nil
}
