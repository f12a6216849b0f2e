package kv

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/store/blob"
)

const childFolder = "POSTHOUSE_KV_TEST_FOLDER"

// TestKillChild is the process that TestKill kills: it prints the key of each delivery once it is acknowledged.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(childFolder)
	if dir == "" {
		return
	}
	db, err := startTest(Options{Dir: dir, SegmentSize: 200 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	out := bufio.NewWriter(os.Stdout)
	say := func(what, key string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(out, what, key)
		out.Flush()
	}
	m := newModel()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%d-%d/%d", os.Getpid(), g, i)
				if i%20 == 0 {
					b, err := large(db, key)
					if err == nil {
						_, err = db.Log(context.Background(), Record{Parts: []Part{{testKind, []byte(key)}}, Body: b})
					}
					if err != nil {
						t.Error(err)
						return
					}
				} else if err := m.deliver(db, key, uint32(g), i%3 == 0); err != nil {
					t.Error(err)
					return
				}
				say("acked", key)
			}
		})
	}
	wg.Wait()
}

// TestKill kills a process under load with SIGKILL, several times on one folder: what it has acknowledged is there once.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]bool{}
	for round := range 6 {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillChild$")
		child.Env = append(os.Environ(), childFolder+"="+dir)
		pipe, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(pipe)
		for n := 0; lines.Scan(); n++ {
			key, ok := strings.CutPrefix(lines.Text(), "acked ")
			if !ok {
				t.Fatalf("child: %s", lines.Text())
			}
			acked[key] = true
			if n == 30+round*17 {
				child.Process.Kill() // the rest of what it said is still read
			}
		}
		child.Wait()
	}
	db, err := startTest(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	there := 0
	if err := db.View(t.Context(), func(tx *Tx) error {
		for k := range tx.Scan("m", nil, nil) {
			if strings.HasPrefix(string(k), "twice-") {
				t.Errorf("%s", k)
			}
			if acked[string(k)] {
				there++
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if there != len(acked) || there < 200 {
		t.Fatalf("%d of %d acknowledged deliveries are there", there, len(acked))
	}
}

// large makes a body that goes to a segment of its own.
func large(db *DB, key string) (*blob.Body, error) {
	w, err := db.NewBody(context.Background(), 0)
	if err != nil {
		return nil, err
	}
	for range 30 {
		w.Write(make([]byte, 5000))
	}
	return w.Finish([]byte(key))
}
