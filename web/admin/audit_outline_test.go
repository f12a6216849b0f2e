package admin

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// TestAuditOutline: what repair has when all tables are lost is the number that is not given twice, and the newest entries.
func TestAuditOutline(t *testing.T) {
	_, db := storetest.New(t)
	h := &House{o: Options{DB: db}}
	h.SetAudit(time.Hour)
	ctx := context.Background()
	if err := db.Update(ctx, func(tx *kv.Tx) error {
		for range auditOutline + 20 {
			if _, err := h.note(ctx, tx, AuditEntry{Verb: "test"}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var numbers []uint64
	if err := db.View(ctx, func(tx *kv.Tx) error {
		return outlineAudit().Rows(tx, func(table kv.Table, key, value []byte) error {
			if n := binary.BigEndian.Uint64(key); n == 0 {
				if table != tableAudit || binary.BigEndian.Uint64(value) != auditOutline+20 {
					t.Errorf("the last number is %x", value)
				}
			}
			numbers = append(numbers, binary.BigEndian.Uint64(key))
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	if len(numbers) != auditOutline+1 || numbers[1] != auditOutline+20 || numbers[auditOutline] != 21 {
		t.Errorf("%d rows, from %d to %d", len(numbers), numbers[1], numbers[len(numbers)-1])
	}
}
