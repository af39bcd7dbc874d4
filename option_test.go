package judemap

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Every option with every call: it takes effect, or the call refuses it and names both.
func TestOptionsAndCalls(t *testing.T) {
	shared := named(t, 64) // skips where there is no sharing
	file, err := shared.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	name := uniqueName()
	defer func() { _ = Remove(name) }()
	calls := []struct {
		name string
		call func(...Option) (*Segment, error)
	}{
		{"New", func(opts ...Option) (*Segment, error) { return New(64, opts...) }},
		{"New, sealed", func(opts ...Option) (*Segment, error) { return New(64, append(opts, WithSealed())...) }},
		{"Create", func(opts ...Option) (*Segment, error) { return Create(name, 64, opts...) }},
		{"OpenOrCreate", func(opts ...Option) (*Segment, error) { return OpenOrCreate(name, 64, opts...) }},
		{"Open", func(opts ...Option) (*Segment, error) { return Open(shared.Name(), opts...) }},
		{"OpenFile", func(opts ...Option) (*Segment, error) { return OpenFile(file, opts...) }},
	}
	for _, test := range []struct {
		name   string
		option Option
		takes  string // which calls take it, in their order above
	}{
		{"WithHugePages", WithHugePages(false), "yyyynn"},
		{"WithPopulate", WithPopulate(), "yyyynn"},
		{"WithMode", WithMode(0o640), "nnyynn"},
		{"WithReadOnly", WithReadOnly(), "nnnnyy"},
		{"WithSealed", WithSealed(), "yynnnn"},
		{"WithSealedWrites", WithSealedWrites(), "yynnnn"},
		{"WithForeignWriters", WithForeignWriters(), "nyyynn"},
		{"WithPollInterval", WithPollInterval(time.Second), "nyyyyy"},
		{"WithMaxBytes", WithMaxBytes(1), "yyyyyy"},
		{"WithThreads", WithThreads(1), "yyyyyy"},
		{"the zero Option", Option{}, "yyyyyy"},
	} {
		for i, call := range calls {
			s, err := call.call(test.option)
			sealed := call.name == "New, sealed" || strings.HasPrefix(test.name, "WithSealed")
			if sealed && errors.Is(err, ErrUnsupported) {
				continue // nothing keeps writers away on Windows, and macOS has no seals
			}
			checkOption(t, call.name, test.name, test.takes[i] == 'y', s, err)
			_ = Remove(name)
		}
	}
	// A call that refuses an option leaves nothing behind.
	if _, err := Create(name, 64, WithReadOnly()); err == nil {
		t.Error("Create takes WithReadOnly")
	}
	if _, err := os.Stat(filepath.Join(sharedMemory(), name)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused Create left %v", err)
	}
}

// A copy has at most the bytes that WithMaxBytes says, whatever the segment claims to hold; what needs no copy is not
// concerned.
func TestMaxBytes(t *testing.T) {
	ctx := context.Background()
	s := newSegment(t, 1000, WithMaxBytes(100))
	if err := s.Fill([]int{100}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadCopy(ctx); err != nil {
		t.Errorf("as much as it may: %v", err)
	}
	if err := s.Fill([]int{101}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	copies := map[string]func() error{
		"ReadCopy":     func() error { _, err := s.ReadCopy(ctx); return err },
		"ReadCopyWait": func() error { _, err := s.ReadCopyWait(ctx); return err },
		"View, always too late": func() error {
			return View(ctx, s, func([]int, []uint8) error { return s.Fill([]int{101}, Uint8, 1) })
		},
	}
	for name, call := range copies {
		err := call()
		if !errors.Is(err, ErrCapacity) || !strings.Contains(err.Error(), "101") || !strings.Contains(err.Error(), "100 ") {
			t.Errorf("%s: %v, want ErrCapacity with both numbers", name, err)
		}
	}
	for name, call := range map[string]func() error{
		"Read":     func() error { _, err := s.Read(); return err },
		"ReadInto": func() error { _, err := s.ReadInto(make([]byte, 101)); return err },
		"NextInto": func() error { _, err := s.NextInto(ctx, 0, make([]byte, 101)); return err },
		"View":     func() error { return View(ctx, s, func([]int, []uint8) error { return nil }) },
	} {
		if err := call(); err != nil {
			t.Errorf("%s, which makes no copy of its own: %v", name, err)
		}
	}
	for _, n := range []int{0, -1} { // taken as 1
		s := newSegment(t, 8, WithMaxBytes(n))
		if err := s.Fill([]int{2}, Uint8, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReadCopy(ctx); !errors.Is(err, ErrCapacity) || !strings.Contains(err.Error(), "1 ") {
			t.Errorf("WithMaxBytes(%d): %v", n, err)
		}
	}
}

// The default is a quarter of the machine's memory, or of GOMEMLIMIT.
func TestMaxBytesDefault(t *testing.T) {
	if total := procKiB(t, "/proc/meminfo", "MemTotal"); int64(newSegment(t, 1).maxBytes) > int64(total)<<10/4+4096 {
		t.Errorf("%d bytes may be copied, and the machine has %d KiB", newSegment(t, 1).maxBytes, total)
	}
	const limit = 256 << 20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	s := newSegment(t, limit/4+1)
	if err := s.Fill([]int{limit/4 + 1}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadCopy(context.Background()); !errors.Is(err, ErrCapacity) || !strings.Contains(err.Error(), strconv.Itoa(limit/4)) {
		t.Errorf("beyond a quarter of GOMEMLIMIT: %v", err)
	}
	if err := s.Fill([]int{limit / 4}, Uint8, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadCopy(context.Background()); err != nil {
		t.Errorf("a quarter of GOMEMLIMIT: %v", err)
	}
}

// Options that apply to the same thing: the last one counts.
func TestLastOptionCounts(t *testing.T) {
	o, err := newOptions(callCreate, []Option{WithMode(0o777), WithMode(0o640), WithMaxBytes(5), WithMaxBytes(7)})
	if err != nil || o.mode != 0o640 || o.maxBytes != 7 {
		t.Errorf("%+v, %v", o, err)
	}
	var names []string
	for _, c := range []calls{callNew, callNewSealed, callCreate, callOpen, callOpenFile, callOpenOrCreate} {
		names = append(names, c.String())
	}
	if slices.Sort(names); len(slices.Compact(names)) != 6 {
		t.Errorf("calls are named %v", names)
	}
}
