package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/vfs"
)

// Setting is one setting with what it means.
type Setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"` // that the house works with, as it is written in the file
	Default string `json:"default"`
	File    string `json:"file,omitempty"` // the file has another value: it holds after a reload (live), or a restart
	What    string `json:"what"`
	Why     string `json:"why,omitempty"` // the reason of the default
	Form    string `json:"form"`          // how a value is written
	Live    bool   `json:"live,omitempty"`
}

// SettingsTable is a table of the settings file.
type SettingsTable struct {
	Name     string    `json:"name"`
	About    string    `json:"about"`
	Settings []Setting `json:"settings"`
}

// SettingsShown is all settings.
type SettingsShown struct {
	File   string          `json:"file,omitempty"`
	Wrong  string          `json:"wrong,omitempty"` // what is wrong in the file as it stands
	Tables []SettingsTable `json:"tables"`
}

// Settings tells every setting, its documentation, and where the file says something else than the house does.
func (h *House) Settings(context.Context) (SettingsShown, error) {
	s := h.machine.Settings
	if s.Now == nil {
		return SettingsShown{}, errNoHouse()
	}
	out := SettingsShown{File: s.File}
	inFile := map[string]string{}
	if s.File != "" {
		c, err := config.Load(s.File)
		if err != nil {
			out.Wrong = err.Error()
		} else {
			for _, x := range config.Describe(c) {
				inFile[x.Key] = x.Value
			}
		}
	}
	for _, x := range config.Describe(s.Now()) {
		if n := len(out.Tables); n == 0 || out.Tables[n-1].Name != x.Table {
			out.Tables = append(out.Tables, SettingsTable{Name: x.Table, About: x.About})
		}
		one := Setting{Key: x.Key, Value: x.Value, Default: x.Default, What: x.What, Why: x.Why, Form: x.Form, Live: h.isLive(x.Key)}
		if text, ok := inFile[x.Key]; ok && text != x.Value {
			one.File = text
			if text == "" {
				one.File = "none"
			}
		}
		table := &out.Tables[len(out.Tables)-1]
		table.Settings = append(table.Settings, one)
	}
	return out, nil
}

func (h *House) isLive(key string) bool {
	live := h.machine.Settings.Live
	whole, _, _ := strings.Cut(key, "[]")
	return live != nil && (live(key) || live(whole))
}

// SettingsFile is the text of the settings file.
type SettingsFile struct {
	Path    string `json:"path"`
	Text    string `json:"text"`
	Version string `json:"version"`
	Fixed   string `json:"fixed,omitempty"`  // why the house cannot write it; empty: it can
	Former  bool   `json:"former,omitempty"` // the text before the last change is kept
}

// SettingsText is a new text for it.
type SettingsText struct {
	Text string `json:"text"`
	If   string `json:"if,omitempty"` // only when the file still has this version
}

// maxSettings bounds the text; the house refuses larger files too.
const maxSettings = 1 << 20

// formerSettings is the name of the text before the last change, in the data folder.
const formerSettings = "settings.before.toml"

// SettingsFile shows it.
func (h *House) SettingsFile(context.Context) (SettingsFile, error) {
	path, err := h.settingsPath()
	if err != nil {
		return SettingsFile{}, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return SettingsFile{}, &Error{Unavailable, "the settings file cannot be read: " + err.Error(), err}
	}
	out := SettingsFile{Path: path, Text: string(text), Version: version(string(text)), Fixed: whyFixed(path)}
	if f := h.formerPath(); f != "" {
		_, err := os.Stat(f)
		out.Former = err == nil
	}
	return out, nil
}

func (h *House) settingsPath() (string, error) {
	file := h.machine.Settings.File
	if file == "" {
		return "", &Error{Class: Missing, Message: "this house was started without a settings file"}
	}
	path, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", &Error{Unavailable, "the settings file cannot be read: " + err.Error(), err}
	}
	return path, nil
}

func (h *House) formerPath() string {
	if h.machine.Settings.Data == "" {
		return ""
	}
	return filepath.Join(h.machine.Settings.Data, formerSettings)
}

// whyFixed tries whether a file could be put beside the settings: that is how a new text gets there whole.
func whyFixed(path string) string {
	f, err := os.CreateTemp(filepath.Dir(path), ".settings-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	switch {
	case err == nil:
		return ""
	case errors.Is(err, fs.ErrPermission):
		return "the user that the house runs as may not write into " + filepath.Dir(path)
	}
	return err.Error()
}

// CheckSettings says what is wrong with a text, as a start of the house would; nil: nothing.
func (h *House) CheckSettings(_ context.Context, in SettingsText) error {
	path, err := h.settingsPath()
	if err != nil {
		return err
	}
	return h.checkSettings(path, in.Text)
}

func (h *House) checkSettings(path, text string) error {
	if len(text) > maxSettings || !utf8.ValidString(text) {
		return invalid("the text is larger than 1 MiB, or not UTF-8")
	}
	c, err := config.Parse(path, []byte(text))
	if err == nil && h.machine.Settings.Check != nil {
		err = h.machine.Settings.Check(path, c)
	}
	if err != nil {
		return &Error{Invalid, err.Error(), err}
	}
	return nil
}

// SetSettingsFile puts a new text into the file, when nothing is wrong with it. It holds after Reload, some of it after a restart only.
func (h *House) SetSettingsFile(ctx context.Context, in SettingsText) (SettingsFile, error) {
	in.Text = strings.ReplaceAll(in.Text, "\r\n", "\n") // a form's lines
	return h.writeSettings(ctx, in, "settings change")
}

// RestoreSettingsFile puts the text back that was there before the last change, and keeps the one that is there now in its place.
func (h *House) RestoreSettingsFile(ctx context.Context, in SettingsText) (SettingsFile, error) {
	if _, err := h.settingsPath(); err != nil {
		return SettingsFile{}, err
	}
	former := h.formerPath()
	if former == "" {
		return SettingsFile{}, errNoHouse()
	}
	text, err := os.ReadFile(former)
	if errors.Is(err, fs.ErrNotExist) {
		return SettingsFile{}, missing("no former text of the settings file is kept")
	}
	if err != nil {
		return SettingsFile{}, translate("settings", err)
	}
	in.Text = string(text)
	return h.writeSettings(ctx, in, "settings restore")
}

func (h *House) writeSettings(ctx context.Context, in SettingsText, verb string) (SettingsFile, error) {
	h.writing.Lock()
	defer h.writing.Unlock()
	is, err := h.SettingsFile(ctx)
	if err != nil {
		return SettingsFile{}, err
	}
	if err := unchanged("the settings file", in.If, is.Version); err != nil {
		return SettingsFile{}, err
	}
	if is.Fixed != "" {
		return SettingsFile{}, &Error{Class: Conflict, Message: "the settings file cannot be written: " + is.Fixed}
	}
	if err := h.checkSettings(is.Path, in.Text); err != nil {
		return SettingsFile{}, err
	}
	if in.Text == is.Text {
		return is, nil
	}
	if former := h.formerPath(); former != "" {
		if err := putFile(former, is.Text, 0o600); err != nil {
			return SettingsFile{}, &Error{Unavailable, "nothing was changed: the text that is there could not be kept: " + err.Error(), err}
		}
	}
	info, err := os.Stat(is.Path)
	if err != nil {
		return SettingsFile{}, translate("settings", err)
	}
	lines := linesChanged(is.Text, in.Text)
	err = h.noting(ctx, aboutHouse(verb, is.Path, ""), func() (string, error) {
		if err := putFile(is.Path, in.Text, info.Mode().Perm()); err != nil {
			return "", &Error{Unavailable, "nothing was changed: " + err.Error(), err}
		}
		return lines, nil
	})
	if err != nil {
		return SettingsFile{}, translate("settings", err)
	}
	h.done(ctx, verb, is.Path)
	return h.SettingsFile(ctx)
}

// linesChanged counts; what the lines say may be secret.
func linesChanged(was, is string) string {
	count := map[string]int{}
	for line := range strings.Lines(was) {
		count[line]--
	}
	for line := range strings.Lines(is) {
		count[line]++
	}
	more, less := 0, 0
	for _, n := range count {
		more, less = more+max(0, n), less+max(0, -n)
	}
	return fmt.Sprintf("%d lines are new, %d are gone", more, less)
}

// putFile replaces a file whole, so that a power cut leaves the old text or the new one. Its owner stays, where that may be set.
func putFile(path, text string, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".settings-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.WriteString(text); err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = keepOwner(f, path)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(path))
}
