// These tests give every call that takes bytes from elsewhere random ones.

package judemap

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/judemap/judemap/internal/layout"
)

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
				tooLarge := bits.UintSize < 64 && errors.Is(err, ErrCapacity) // a dimension of an empty tensor
				if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrEmpty) && !tooLarge {
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

// FuzzOpen puts random bytes into a file and opens it: it is no segment, or every read of it gives an error or a tensor
// that lies within it, and a write mends it.
func FuzzOpen(f *testing.F) {
	block := func(dump []byte, magic, flags, waiters uint32, capacity uint64) []byte {
		dump = append(dump, make([]byte, 4096-len(dump))...)
		binary.LittleEndian.PutUint32(dump[192:], magic)
		binary.LittleEndian.PutUint32(dump[196:], flags)
		binary.LittleEndian.PutUint32(dump[200:], waiters)
		binary.LittleEndian.PutUint64(dump[208:], capacity)
		return dump
	}
	good := dumpOf(2, Uint8, []byte{5, 6})
	f.Add(good)
	f.Add(good[:256])
	f.Add(block(good, 0x314D554A, 1, 0, 1000))
	f.Add(block(good, 0x314D554A, 3, 7, 3840))
	f.Add(block(dumpOf(3, Uint8, []byte{5, 6}), 0x314D554A, 1, 1<<32-1, 3840))
	f.Add(dumpOf(3, Uint8, []byte{5, 6}))
	f.Add(block(dumpOf(3, Uint8, []byte{5, 6}), 0x314D554A, 0, 0, 3840))
	f.Add(block(dumpOf(2, Uint8, make([]byte, 3000)), 0x314D554A, 0, 0, 2000))
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := os.CreateTemp(temporaryMemory(), "judemap-fuzz-*")
		if err != nil {
			t.Skip(err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		if _, err := file.Write(content); err != nil {
			t.Skip(err)
		}
		s, err := OpenFile(file)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("OpenFile: %v", err)
			}
			return
		}
		defer s.CloseWait()
		if s.ByteCapacity() < 1 || s.ByteCapacity() > len(content)-DataOffset {
			t.Fatalf("capacity %d of a file of %d bytes", s.ByteCapacity(), len(content))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		for name, read := range reads {
			var got Tensor
			if wait := waits[name]; wait != nil {
				got, err = wait(ctx, s, 0)
			} else {
				got, err = read(s)
			}
			if err == nil && len(got.Data()) > s.ByteCapacity() {
				t.Errorf("%s: %d bytes, and the capacity is %d", name, len(got.Data()), s.ByteCapacity())
			}
			for _, b := range got.Data() { // all of it can be touched
				_ = b
			}
		}
		if err := s.Fill([]int{1}, Uint8, 7); err != nil {
			t.Fatal(err)
		}
		if s.Version() == 0 {
			return // the counter wrapped: the segment reads as new
		}
		if got, err := s.Read(); err != nil || string(got.Data()) != "\a" {
			t.Errorf("after a write: %v, %v", got.Data(), err)
		}
	})
}

// FuzzOpenStream puts random bytes over the words of a stream's file and opens it: it is no stream, or every call ends with
// its context and gives what lies in a slot, and a write mends it.
func FuzzOpenStream(f *testing.F) {
	const slots, capacity = 3, 500
	good := func(opts ...Option) []byte {
		s, err := NewStream(slots, capacity, append(opts, WithSealed())...)
		if err != nil {
			f.Skip(err)
		}
		defer s.Close()
		for i := range 4 {
			if err := s.Fill(context.Background(), []int{10}, Uint8, float64(i)); err != nil {
				f.Fatal(err)
			}
		}
		return append([]byte{}, streamMemory(s)...)
	}
	newest, every := good(), good(WithEveryFrame())
	word := func(of uint32) []byte { return binary.LittleEndian.AppendUint32(nil, of) }
	long := func(of uint64) []byte { return binary.LittleEndian.AppendUint64(nil, of) }
	f.Add(false, 0, []byte(nil), 0, []byte(nil))
	f.Add(true, layout.Sequence, long(7), layout.StreamTable, word(3))
	f.Add(false, layout.StreamSlots, word(4), layout.Capacity, long(1))
	f.Add(false, layout.StreamFirst, long(4096), layout.StreamStride, long(0))
	f.Add(true, layout.StreamReaders, long(math.MaxUint64), layout.StreamPlaces, long(1))
	f.Add(true, layout.StreamHeaderSize, long(9), layout.StreamHeaderSize+layout.Pins, long(1))
	f.Add(false, layout.StreamHeaderSize+4096, long(8), layout.StreamHeaderSize+2*4096, long(8))
	f.Add(false, layout.StreamHeaderSize+layout.NDim, word(9), layout.StreamHeaderSize+layout.ByteLength, long(501))
	f.Add(true, layout.Sequence, long(1<<63), layout.StreamHeaderSize, long(1<<63))
	f.Add(true, layout.Sequence, long(math.MaxUint64), layout.StreamHeaderSize, long(math.MaxUint64-1))
	f.Fuzz(func(t *testing.T, all bool, at int, bytes []byte, at2 int, bytes2 []byte) {
		content := append([]byte{}, newest...)
		if all {
			content = append([]byte{}, every...)
		}
		copy(content[uint(at)%uint(len(content)):], bytes)
		copy(content[uint(at2)%uint(len(content)):], bytes2)
		file, err := os.CreateTemp(temporaryMemory(), "judemap-fuzz-*")
		if err != nil {
			t.Skip(err)
		}
		defer os.Remove(file.Name())
		defer file.Close()
		if _, err := file.Write(content); err != nil {
			t.Skip(err)
		}
		s, err := OpenStreamFile(file)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("OpenStreamFile: %v", err)
			}
			return
		}
		defer s.CloseWait()
		if s.Slots() < 2 || s.Slots() > MaxSlots || s.ByteCapacity() < 1 || s.Slots()*(DataOffset+s.ByteCapacity()) > len(content) {
			t.Fatalf("%d slots of %d bytes in a file of %d", s.Slots(), s.ByteCapacity(), len(content))
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, _ = s.String(), s.Readers()
		for _, read := range []func() (Tensor, error){
			func() (Tensor, error) { return s.ReadCopy(ctx) },
			func() (Tensor, error) {
				r, err := s.Reader()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				return r.Next(ctx)
			},
		} {
			got, err := read()
			if err == nil && len(got.Data()) > s.ByteCapacity() {
				t.Errorf("%d bytes, and there is room for %d", len(got.Data()), s.ByteCapacity())
			}
			for _, b := range got.Data() { // all of it can be touched
				_ = b
			}
		}
		limited, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for range s.Slots() + 1 {
			if err := s.Fill(limited, []int{1}, Uint8, 6); err != nil {
				t.Fatal(err)
			}
		}
		r, err := s.Reader()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		before := s.Version()
		if err := s.Fill(limited, []int{1}, Uint8, 7); err != nil {
			t.Fatal(err)
		}
		if s.Version() < before || s.Version() < 2*uint64(s.Slots()+2) {
			return // the counter wrapped: the stream reads as new
		}
		if got, err := r.Next(limited); err != nil || string(got.Data()) != "\a" || got.Version() != s.Version() {
			t.Errorf("after a write: %v with %v, %v", got, got.Data(), err)
		}
	})
}
