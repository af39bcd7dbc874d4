package judemap

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// headerOf returns the header of a segment, up to byte_length.
func headerOf(sequence uint64, ndim, dtype uint32, byteLength uint64, shape ...uint64) []byte {
	h := binary.LittleEndian.AppendUint64(nil, sequence)
	h = append(h, make([]byte, 56)...)
	h = binary.LittleEndian.AppendUint32(h, ndim)
	h = binary.LittleEndian.AppendUint32(h, dtype)
	for i := range 8 {
		d := uint64(0)
		if i < len(shape) {
			d = shape[i]
		}
		h = binary.LittleEndian.AppendUint64(h, d)
	}
	return binary.LittleEndian.AppendUint64(h, byteLength)
}

// dumpOf returns a whole segment of one dimension, as a program without this package would write it.
func dumpOf(sequence uint64, dtype DType, data []byte) []byte {
	n := uint64(len(data))
	dump := headerOf(sequence, 1, uint32(dtype), n, n/uint64(dtype.Size()))
	dump = append(dump, make([]byte, DataOffset-len(dump))...)
	return append(dump, data...)
}

// FuzzHeader puts random bytes behind every read call: each gives a tensor that lies within the segment, or an error
// that says why not, and they agree.
func FuzzHeader(f *testing.F) {
	f.Add(headerOf(2, 1, uint32(Uint8), 16, 16))
	f.Add(headerOf(2, 0, uint32(Int32), 4))
	f.Add(headerOf(4, 0, 0, 0))
	f.Add(headerOf(0, 1, uint32(Uint8), 16, 16))
	f.Add(headerOf(1, 1, uint32(Uint8), 16, 16))
	f.Add(headerOf(2, 9, uint32(Uint8), 16, 16))
	f.Add(headerOf(2, 1, 9, 16, 16))
	f.Add(headerOf(2, 1, uint32(Int64), 4096, 512))
	f.Add(headerOf(2, 2, uint32(Int64), 0, math.MaxUint64, 0))
	f.Add(headerOf(2, 3, uint32(Int64), 0, 1<<62, 1<<62, 0))
	f.Add(headerOf(2, 2, uint32(Int64), 8, 1<<63, 1<<62))
	f.Add(headerOf(math.MaxUint64, 1, uint32(Uint8), 16, 16))
	s := newSegment(f, 1000)
	f.Fuzz(func(t *testing.T, header []byte) {
		clear(memory(s))
		copy(memory(s), header)
		want, wantErr := s.Read()
		for name, read := range reads {
			if errors.Is(wantErr, ErrEmpty) && (strings.HasPrefix(name, "Next") || name == "ReadWait" || name == "ReadCopyWait") {
				continue // these park
			}
			tensor, err := read(s)
			switch {
			case name == "TryRead" && err == ErrBusy:
				if s.Version()&1 == 0 {
					t.Errorf("%s: busy, with sequence %d", name, s.Version())
				}
				continue
			case err != nil:
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrEmpty) {
					t.Errorf("%s: %v", name, err)
				}
				if wantErr == nil || errors.Is(err, ErrCorrupt) != errors.Is(wantErr, ErrCorrupt) {
					t.Errorf("%s: %v, but Read: %v", name, err, wantErr)
				}
				continue
			case wantErr != nil:
				t.Errorf("%s: a tensor, but Read: %v", name, wantErr)
				continue
			}
			if diff := cmp.Diff(see(&want), see(&tensor)); diff != "" {
				t.Errorf("Read and %s differ (-Read +%s):\n%s", name, name, diff)
			}
			size := tensor.DType().Size()
			for _, n := range tensor.Shape() {
				size *= n
			}
			if size != len(tensor.Data()) || size > s.ByteCapacity() {
				t.Errorf("%s: shape %v of %v with %d bytes", name, tensor.Shape(), tensor.DType(), len(tensor.Data()))
			}
		}
		// Whatever the header was, the next write mends it.
		if err := s.Fill([]int{3}, Uint8, 7); err != nil {
			t.Fatal(err)
		}
		if s.Version() != 0 { // 2^64 commits on: the counter wrapped, and the segment reads as new
			if got, err := s.Read(); err != nil || string(got.Data()) != "\a\a\a" {
				t.Errorf("after a write: %v, %v", got.Data(), err)
			}
		}
	})
}

// FuzzWrite gives Write random shapes, types and lengths: it commits exactly what it was given, or nothing.
func FuzzWrite(f *testing.F) {
	f.Add(2, int64(2), int64(3), int64(0), uint32(Float32), 24)
	f.Add(9, int64(1), int64(1), int64(1), uint32(Uint8), 1)
	f.Add(3, int64(-1), int64(math.MinInt64), int64(1), uint32(Int16), 2)
	f.Add(3, int64(math.MaxInt64), int64(0), int64(math.MaxInt64), uint32(Int16), 0)
	f.Add(3, int64(1<<32), int64(1<<32), int64(1), uint32(Bool), 0)
	f.Add(1, int64(1001), int64(0), int64(0), uint32(Uint8), 1001)
	f.Add(0, int64(0), int64(0), int64(0), uint32(99), 4)
	s := newSegment(f, 1000)
	f.Fuzz(func(t *testing.T, rank int, a, b, c int64, dtype uint32, length int) {
		if rank < 0 || rank > 20 || length < 0 || length > 2000 {
			t.Skip()
		}
		shape := make([]int, rank)
		for i := range shape {
			shape[i] = int([]int64{a, b, c, 1}[min(i, 3)])
		}
		data := make([]byte, length)
		for i := range data {
			data[i] = byte(i + length)
		}
		if err := s.Fill([]int{5}, Uint8, 9); err != nil {
			t.Fatal(err)
		}
		before := string(memory(s))
		err := s.Write(shape, DType(dtype), data)
		if err != nil {
			if !errors.Is(err, ErrShape) && !errors.Is(err, ErrDType) && !errors.Is(err, ErrCapacity) {
				t.Errorf("Write: %v", err)
			}
			if string(memory(s)) != before {
				t.Errorf("a refused write changed the segment: %v", err)
			}
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		got, err := s.ReadCopyWait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := seen{shape, DType(dtype), data, s.Version(), true}
		if diff := cmp.Diff(want, see(&got)); diff != "" {
			t.Errorf("(-written +read):\n%s", diff)
		}
	})
}
