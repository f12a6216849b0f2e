package blob

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestRoll: what is logged after a roll stands in another segment; the closed one does not change; a log without records has none.
func TestRoll(t *testing.T) {
	fs := memFS(t)
	l, _ := openLog(t, testOptions(fs))
	if n, err := l.Roll(t.Context()); n != 0 || err != nil {
		t.Fatalf("roll of an empty log: %d, %v", n, err)
	}
	var before uint32
	for i := range 5 {
		it := appendBody(t, l, fmt.Sprint(i), nil, []byte("text"))
		if it.LSN.Segment() <= before {
			t.Fatalf("record %d stands in segment %d, closed was %d", i, it.LSN.Segment(), before)
		}
		n, err := l.Roll(t.Context())
		if err != nil || n != it.LSN.Segment() {
			t.Fatalf("roll: %d, %v; the record stands in %d", n, err, it.LSN.Segment())
		}
		if again, err := l.Roll(t.Context()); err != nil || again != n {
			t.Fatalf("a second roll: %d, %v", again, err)
		}
		before = n
	}
	l.Close()
	if _, err := l.Roll(t.Context()); !errors.Is(err, ErrClosed) {
		t.Fatalf("roll of a closed log: %v", err)
	}
	l, seen := openLog(t, testOptions(fs.Kill()))
	defer l.Close()
	if len(seen) != 5 {
		t.Fatalf("%d records after five rolls", len(seen))
	}
}

// TestRollGivesUp: a caller who leaves before the logger has come to it is not waited for.
func TestRollGivesUp(t *testing.T) {
	o := testOptions(memFS(t))
	held, release := make(chan struct{}), make(chan struct{})
	first := true
	o.Admit = func() error {
		if first {
			first = false
			close(held)
			<-release
		}
		return nil
	}
	l, _ := openLog(t, o)
	defer l.Close()
	done := make(chan error, 1)
	go func() { done <- l.Append(context.Background(), &Item{Meta: []byte("x")}) }()
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Roll(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("roll: %v", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestAhead: all numbers given after it are ahead, also after a start that finds nothing but an empty log segment there.
func TestAhead(t *testing.T) {
	fs := memFS(t)
	l, _ := openLog(t, testOptions(fs))
	last := appendBody(t, l, "a", nil, []byte("text")).LSN.Segment()
	for round := range 3 {
		if err := l.Ahead(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
		if round == 1 { // nothing logged since
			l.Close()
			fs = fs.Kill()
			l, _ = openLog(t, testOptions(fs))
		}
		small := appendBody(t, l, "b", nil, []byte("text"))
		large := appendBody(t, l, "c", nil, make([]byte, memoryBody+1))
		for _, n := range []uint32{small.LSN.Segment(), large.LSN.Segment(), large.Place.Segment()} {
			if n <= last+1000 {
				t.Fatalf("round %d: segment %d after %d and a step of 1000", round, n, last)
			}
		}
		last = max(small.LSN.Segment(), large.LSN.Segment(), large.Place.Segment())
	}
	if err := l.Ahead(t.Context(), 0xfffffff0); err == nil {
		t.Fatal("the numbers went round")
	}
	l.Close()
	l, seen := openLog(t, testOptions(fs.Kill()))
	defer l.Close()
	if len(seen) != 7 {
		t.Fatalf("%d records", len(seen))
	}
}

// TestNumbersOnce: the number of a body segment that was removed is never given again: a backup knows a segment by number and size, and an
// older copy of the tables may still name it.
func TestNumbersOnce(t *testing.T) {
	for _, how := range []string{"closed", "killed", "killed at the start"} {
		fs := memFS(t)
		given := map[uint32]bool{} // spares are made beside each other, so that numbers come in any order
		for round := range 5 {
			l, err := Open(t.Context(), testOptions(fs))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Replay(t.Context(), 0, func(Record) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if _, err := l.RemoveStray(func(uint32) bool { return false }); err != nil {
				t.Fatal(err)
			}
			if how == "killed at the start" && round%2 == 1 {
				fs = fs.Kill()
				l.Close()
				continue
			}
			if err := l.Start(); err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				appendBody(t, l, "a", nil, []byte("text"))
			}
			for range 3 {
				large := appendBody(t, l, "c", nil, make([]byte, memoryBody+1)).Place.Segment()
				if given[large] {
					t.Fatalf("%s, round %d: segment %d is given again", how, round, large)
				}
				given[large] = true
				if err := l.Drop(large); err != nil {
					t.Fatal(err)
				}
			}
			if how == "closed" {
				l.Close()
			}
			fs = fs.Kill()
			if how != "closed" {
				l.Close()
			}
		}
	}
}
