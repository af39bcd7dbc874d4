//go:build cgo

package judemap

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/judemap/judemap/internal/layout"
)

// blockedDump is dumpOf with the block of a shared segment.
func blockedDump(sequence uint64, dtype DType, capacity uint64, data []byte) []byte {
	dump := dumpOf(sequence, dtype, data)
	binary.LittleEndian.PutUint32(dump[layout.Magic:], layout.MagicValue)
	binary.LittleEndian.PutUint32(dump[layout.Flags:], layout.FlagWritersWake)
	binary.LittleEndian.PutUint64(dump[layout.Capacity:], capacity)
	return dump
}

// namedStream makes a stream that has its name until the test ends.
func namedStream(t testing.TB, slots, capacity int, opts ...Option) *Stream {
	t.Helper()
	s, err := CreateStream(uniqueName(), slots, capacity, opts...)
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("SKIP: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.CloseWait(), Remove(s.Name())); err != nil {
			t.Error(err)
		}
	})
	return s
}
