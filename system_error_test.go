//go:build cgo

package judemap

import (
	"errors"
	"io/fs"
	"math"
	"math/bits"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// What the system says reaches the caller under Go's names, on all platforms.
func TestSystemErrors(t *testing.T) {
	remove := func(name string) (*Segment, error) { return nil, Remove(name) }
	open := func(name string) (*Segment, error) { return Open(name) }
	create := func(capacity int) func(string) (*Segment, error) {
		return func(name string) (*Segment, error) { return Create(name, capacity) }
	}
	taken := uniqueName()
	s, err := Create(taken, 8)
	if errors.Is(err, ErrUnsupported) {
		for what, call := range map[string]func(string) (*Segment, error){"Open": open, "Remove": remove} {
			if _, err := call(taken); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), runtime.GOOS) {
				t.Errorf("%s: %v, want ErrUnsupported", what, err)
			}
		}
		t.Skip("SKIP: segments can't be shared here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(s.CloseWait(), Remove(taken)); err != nil {
			t.Error(err)
		}
	}()
	for _, test := range []struct {
		what  string
		call  func(string) (*Segment, error)
		name  string
		wants []error
	}{
		{"Create of a taken name", create(8), taken, []error{fs.ErrExist, syscall.EEXIST}},
		{"Open of no name", open, uniqueName(), []error{fs.ErrNotExist, syscall.ENOENT}},
		{"Remove of no name", remove, uniqueName(), []error{fs.ErrNotExist, syscall.ENOENT}},
		{"OpenFile of one for reading", func(string) (*Segment, error) {
			file, err := s.ReadOnlyFile()
			if err != nil {
				return nil, err
			}
			defer file.Close()
			return OpenFile(file)
		}, "", []error{fs.ErrPermission, syscall.EACCES}},
	} {
		_, err := test.call(test.name)
		for _, want := range test.wants {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", test.what, err, want)
			}
		}
	}
	if bits.UintSize == 64 {
		if _, err := New(math.MaxInt / 2); !errors.Is(err, syscall.ENOMEM) {
			t.Errorf("New with more than any machine has: %v, want ENOMEM", err)
		}
	}
}
