//go:build desktop

package desktop

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// marionette drives a program of Mozilla's from outside: messages of JSON over TCP, each behind its length and a colon. A command is
// [0, id, name, parameters], its answer [1, id, error, result].
type marionette struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	id   int
}

// dial connects and asks for a session in the program's own windows.
func dialMarionette(t *testing.T, address string) *marionette {
	t.Helper()
	m := &marionette{t: t}
	await(t, 60*time.Second, "Marionette", func() bool {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false
		}
		m.conn, m.in = conn, bufio.NewReader(conn)
		return true
	})
	t.Cleanup(func() { m.conn.Close() })
	if hello, err := m.read(); err != nil || !strings.Contains(string(hello), `"marionetteProtocol":3`) {
		t.Fatalf("not Marionette's third protocol: %s, %v", hello, err)
	}
	m.command("WebDriver:NewSession", map[string]any{})
	m.command("Marionette:SetContext", map[string]any{"value": "chrome"})
	return m
}

func (m *marionette) read() ([]byte, error) {
	if err := m.conn.SetReadDeadline(time.Now().Add(90 * time.Second)); err != nil {
		return nil, err
	}
	length, err := m.in.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		return nil, err
	}
	text := make([]byte, n)
	_, err = io.ReadFull(m.in, text)
	return text, err
}

// command asks for something and returns the result; it must succeed.
func (m *marionette) command(name string, parameters any) json.RawMessage {
	m.t.Helper()
	result, err := m.try(name, parameters)
	if err != nil {
		m.t.Fatalf("%s: %v", name, err)
	}
	return result
}

func (m *marionette) try(name string, parameters any) (json.RawMessage, error) {
	m.id++
	text, err := json.Marshal([]any{0, m.id, name, parameters})
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(m.conn, "%d:%s", len(text), text); err != nil {
		return nil, err
	}
	for {
		text, err := m.read()
		if err != nil {
			return nil, err
		}
		var answer []json.RawMessage
		if err := json.Unmarshal(text, &answer); err != nil || len(answer) != 4 {
			return nil, fmt.Errorf("answer %s: %w", text, err)
		}
		if string(answer[1]) != strconv.Itoa(m.id) {
			continue
		}
		if string(answer[2]) != "null" {
			var fault struct{ Error, Message string }
			_ = json.Unmarshal(answer[2], &fault) // what cannot be read is shown as it is
			return nil, fmt.Errorf("%s: %s", fault.Error, fault.Message)
		}
		return answer[3], nil
	}
}

// run runs a script in the main window, with args as its arguments, and puts what it returns into out (nil: nothing is wanted).
func (m *marionette) run(out any, script string, args ...any) {
	m.t.Helper()
	if err := m.script(out, script, args...); err != nil {
		m.t.Fatalf("%v in:\n%s", err, script)
	}
}

func (m *marionette) script(out any, script string, args ...any) error {
	if args == nil {
		args = []any{}
	}
	result, err := m.try("WebDriver:ExecuteScript", map[string]any{"script": script, "args": args, "sandbox": "system", "newSandbox": false, "scriptTimeout": 60_000})
	if err != nil || out == nil {
		return err
	}
	var v struct{ Value json.RawMessage }
	if err := json.Unmarshal(result, &v); err != nil {
		return err
	}
	return json.Unmarshal(v.Value, out)
}

// until waits until a script returns true.
func (m *marionette) until(what, script string, args ...any) {
	m.t.Helper()
	await(m.t, 60*time.Second, what, func() bool {
		yes := false
		return m.script(&yes, script, args...) == nil && yes
	})
}

// deep looks for the first element that a selector finds and that can be seen, in shadow trees too, where Thunderbird keeps its dialogs.
const deep = `const deep = (root, selector) => {
  for (const e of root.querySelectorAll(selector)) { if (e.checkVisibility()) { return e; } }
  for (const e of root.querySelectorAll("*")) {
    const found = e.openOrClosedShadowRoot && deep(e.openOrClosedShadowRoot, selector);
    if (found) { return found; }
  }
  return null;
};
`

// field is an element of the main window, waited for until it can be seen and used.
func (m *marionette) field(selector string) any {
	m.t.Helper()
	m.until(selector, deep+`const e = deep(document, arguments[0]); return !!e && !e.disabled`, selector)
	var element any
	m.run(&element, deep+`return deep(document, arguments[0])`, selector)
	return element
}

// sees waits until an element can be seen.
func (m *marionette) sees(selector string) {
	m.t.Helper()
	m.until(selector, deep+`return !!deep(document, arguments[0])`, selector)
}

// id is how the protocol names an element.
func elementID(element any) string {
	m, _ := element.(map[string]any)
	for _, v := range m {
		s, _ := v.(string)
		return s
	}
	return ""
}

// types sends keys to a field, as a keyboard would.
func (m *marionette) types(selector, text string) {
	m.t.Helper()
	m.command("WebDriver:ElementSendKeys", map[string]any{"id": elementID(m.field(selector)), "text": text})
}

// clicks clicks on an element, as a mouse would.
func (m *marionette) clicks(selector string) {
	m.t.Helper()
	m.command("WebDriver:ElementClick", map[string]any{"id": elementID(m.field(selector))})
}

// result is command for what answers with a value.
func (m *marionette) result(out any, name string, parameters any) {
	m.t.Helper()
	if parameters == nil {
		parameters = map[string]any{}
	}
	text := m.command(name, parameters)
	var v struct{ Value json.RawMessage }
	if json.Unmarshal(text, &v) == nil && v.Value != nil {
		text = v.Value
	}
	if err := json.Unmarshal(text, out); err != nil {
		m.t.Fatalf("%s: %v in %s", name, err, text)
	}
}

// picture keeps what the window shows in a file of the repository; those of the documents only when asked for.
func (m *marionette) picture(name string) {
	m.t.Helper()
	if strings.HasPrefix(name, "docs/") && os.Getenv("PICTURES") == "" {
		return
	}
	var text string
	m.result(&text, "WebDriver:TakeScreenshot", map[string]any{"full": true})
	file, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		m.t.Fatal(err)
	}
	keep(m.t, name, file)
}
