package adminui

import "testing"

func TestSizes(t *testing.T) {
	for text, want := range map[string]uint64{
		"2 GiB": 2 << 30, "2gib": 2 << 30, "500 MB": 500e6, "1.5 TiB": 3 << 39, "1,5 G": 3 << 29, "7B": 7, "7 b": 7, "0 MiB": 0, "5M": 5 << 20, "1 K": 1 << 10, " 3 KB ": 3000,
	} {
		if n, ok := sizeOf(text); !ok || n != want {
			t.Errorf("%q is %d, %v", text, n, ok)
		}
	}
	for _, text := range []string{"", "much", "-1 GiB", "5", "1e9 B", "0x10 B", "NaN B", "inf B", "Infinity TiB", "9999999999 TiB", "5 PiB", "5 GiB 3", "1_000 B", "GiB"} {
		if n, ok := sizeOf(text); ok {
			t.Errorf("%q is taken as %d", text, n)
		}
	}
	for n, want := range map[uint64]string{0: "", 1: "1 B", 1 << 30: "1 GiB", 3000: "3 KB", 5e6: "5 MB", 1025: "1025 B", 3 << 39: "1536 GiB"} {
		got := sizeText(n)
		if back, ok := sizeOf(got); got != want || n > 0 && (!ok || back != n) {
			t.Errorf("%d is written %q and read %d", n, got, back)
		}
	}
}
