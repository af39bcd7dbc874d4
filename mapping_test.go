package judemap

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The memory of a Segment that was never closed goes with the Segment, and that of a view with the view.
func TestUnreachable(t *testing.T) {
	var last Tensor
	for i := range 200 {
		s, err := New(64 << 20)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Fill([]int{1 << 20}, Uint8, float64(i)); err != nil {
			t.Fatal(err)
		}
		if last, err = s.Read(); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			runtime.GC()
		}
	}
	runtime.GC()
	if d := last.Data(); d[0] != 199 || !last.Valid() {
		t.Errorf("the view of an unreachable Segment: %d, valid %v", d[0], last.Valid())
	}
}

// Segments that nobody closes, made as fast as can be, don't pile up: their mappings and descriptors are given back by
// collections that nothing else would bring about. JUDEMAP_FORGOTTEN is how many.
func TestForgotten(t *testing.T) {
	rounds := 20000
	if text := os.Getenv("JUDEMAP_FORGOTTEN"); text != "" {
		rounds = number(text)
	}
	if runtime.GOOS != "linux" {
		t.Skip("SKIP: mappings and descriptors are counted in /proc")
	}
	if !isChild(t) { // in a process of its own: other tests leave garbage too
		out, err := child(t, t.Name()).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "rounds") {
				t.Log(strings.TrimSpace(line))
			}
		}
		return
	}
	mappings := func() int {
		text, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "\n")
	}
	for _, test := range []struct {
		name             string
		make             func(i int) (*Segment, error)
		close            func(*Segment) error
		rounds           int
		files, addresses int // at most
	}{
		{"closed", func(int) (*Segment, error) { return New(1, WithSealed()) }, (*Segment).Close, rounds / 7, 100, 5000},
		{"closed and waited for", func(int) (*Segment, error) { return New(1) }, (*Segment).CloseWait, rounds / 7, 100, 5000},
		{"forgotten", func(i int) (*Segment, error) {
			if i%10 == 0 {
				return New(1, WithSealed())
			}
			return New(1)
		}, nil, rounds, 2000, 5000},
		{"sealed, forgotten", func(int) (*Segment, error) { return New(1, WithSealed()) }, nil, rounds / 4, 1000, 5000},
	} {
		began := time.Now()
		files, addresses := 0, 0
		for i := range test.rounds {
			s, err := test.make(i)
			if err != nil {
				t.Fatalf("%s, round %d: %v", test.name, i, err)
			}
			if err := s.Fill(nil, Uint8, 1); err != nil {
				t.Fatalf("%s, round %d: %v", test.name, i, err)
			}
			if test.close != nil {
				if err := test.close(s); err != nil {
					t.Fatal(err)
				}
			}
			if i%(test.rounds/8) == test.rounds/8-1 { // seldom: to look takes memory, which brings a collection about
				files, addresses = max(files, count(t, "/proc/self/fd")), max(addresses, mappings())
			}
		}
		if files > test.files || addresses > test.addresses {
			t.Errorf("%s: up to %d descriptors and %d mappings, want at most %d and %d", test.name, files, addresses,
				test.files, test.addresses)
		}
		t.Logf("%s: %d rounds in %v, at most %d descriptors and %d mappings", test.name, test.rounds, time.Since(began),
			files, addresses)
	}
}
