package live

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

// A Source is a segment or stream that somebody looks at for longer. Where its file can be read, on Linux, the file is not
// mapped: a program that is at it all day must not fault when somebody cuts the file short. Elsewhere that can't be done
// to a segment. Its methods are for one goroutine at a time, but for Version.
type Source struct {
	Stream bool

	file   *os.File // nil: it is mapped
	mapped mapped
	id     fileID
	copied *judemap.Segment // a segment of this process that has the last copy; nil: none
}

// mapped is a segment or stream that is mapped.
type mapped interface {
	Version() uint64
	ReadCopy(context.Context) (judemap.Tensor, error)
	ReadOnlyFile() (*os.File, error)
	CloseWait() error
}

// A Tensor is a copy of a tensor.
type Tensor struct {
	judemap.Tensor
	Version uint64 // that it was committed with; the copy itself has another one
}

// ErrTooLarge is what a tensor gets that has more bytes than may be copied.
var ErrTooLarge = errors.New("is too large to be copied for a look")

// ErrTorn is what an attempt at a copy gets that a commit came in between.
var ErrTorn = errors.New("is being written all the time")

// errCutShort is what a read gets of a file that has become shorter than what it holds.
var errCutShort = fmt.Errorf("%w: the file was cut short", judemap.ErrCorrupt)

// Open opens a segment or stream to look at it. Errors: those of [judemap.Open].
func Open(name string) (*Source, error) {
	s := &Source{id: idOf(name)} // before: should the name go to another file now, Same will say so
	segment, err := judemap.Open(name, judemap.WithReadOnly())
	s.mapped = segment
	if errors.Is(err, judemap.ErrCorrupt) { // which is what it says of a stream
		stream, streamErr := judemap.OpenStream(name, judemap.WithReadOnly())
		if streamErr != nil {
			return nil, fmt.Errorf("%w; %w", err, streamErr)
		}
		s.mapped, s.Stream = stream, true
	} else if err != nil {
		return nil, err
	}
	if runtime.GOOS != "linux" {
		return s, nil
	}
	defer s.mapped.CloseWait()
	if s.file, err = s.mapped.ReadOnlyFile(); err != nil {
		return nil, err
	}
	return s, nil
}

// Close gives back what the Source has.
func (s *Source) Close() {
	if s.copied != nil {
		s.copied.Close()
	}
	if s.file != nil {
		s.file.Close()
		return
	}
	_ = s.mapped.CloseWait()
}

// Same says whether the name still is that of the file that s was opened with.
func (s *Source) Same(h *Header) bool { return s.id == h.File }

// Version returns the sequence as it is now, and an error if the file was cut short.
func (s *Source) Version() (uint64, error) {
	if s.file == nil {
		return s.mapped.Version(), nil
	}
	var word [8]byte
	if err := readAt(s.file, word[:], layout.Sequence); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(word[:]), nil
}

// Headers returns the bytes of the header, and of a stream's slots' headers, as they were at some time each.
func (s *Source) Headers() (head []byte, slots [][]byte, err error) {
	file := s.file
	if file == nil {
		if file, err = s.mapped.ReadOnlyFile(); err != nil {
			return nil, nil, err
		}
		defer file.Close()
	}
	return headersIn(file, s.Stream)
}

// Size returns the bytes of the file.
func (s *Source) Size() (int64, error) {
	file := s.file
	if file == nil {
		var err error
		if file, err = s.mapped.ReadOnlyFile(); err != nil {
			return 0, err
		}
		defer file.Close()
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func headersIn(file io.ReaderAt, stream bool) (head []byte, slots [][]byte, err error) {
	if !stream {
		head = make([]byte, judemap.DataOffset)
		return head, nil, readAt(file, head, 0)
	}
	head = make([]byte, layout.StreamHeaderSize)
	if err := readAt(file, head, 0); err != nil {
		return nil, nil, err
	}
	for i := range min(binary.LittleEndian.Uint32(head[layout.StreamSlots:]), judemap.MaxSlots) {
		slot := make([]byte, judemap.DataOffset)
		if err := readAt(file, slot, slotOffset(head, i)); err != nil {
			return nil, nil, err
		}
		slots = append(slots, slot)
	}
	return head, slots, nil
}

// slotOffset returns where a slot begins, by a stream's header; -1 if that can't be.
func slotOffset(head []byte, slot uint32) int64 {
	first, stride := binary.LittleEndian.Uint64(head[layout.StreamFirst:]), binary.LittleEndian.Uint64(head[layout.StreamStride:])
	high, low := bits.Mul64(stride, uint64(slot))
	sum, carry := bits.Add64(first, low, 0)
	if high != 0 || carry != 0 || sum > 1<<62 {
		return -1
	}
	return int64(sum)
}

// Copy returns a copy of the tensor, or of a stream's newest frame, and tries until it has one or ctx ends. The copy is good
// until the next one, or Close.
//
// Errors: [judemap.ErrEmpty]; [judemap.ErrCorrupt], also if the file was cut short; [ErrTooLarge] for a tensor of more than
// maxBytes; if ctx ends, one that says what the tensor is doing.
func (s *Source) Copy(ctx context.Context, maxBytes int) (Tensor, error) {
	if s.file == nil {
		t, err := s.mapped.ReadCopy(ctx)
		if errors.Is(err, judemap.ErrCapacity) || err == nil && len(t.Data()) > maxBytes {
			return Tensor{}, ErrTooLarge
		}
		return Tensor{t, t.Version()}, err
	}
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		t, err := s.tryCopy(maxBytes)
		if !errors.Is(err, ErrTorn) {
			return t, err
		}
		select {
		case <-ctx.Done():
			return t, err
		case <-time.After(pause):
		}
	}
}

// tryCopy makes one attempt, which gets ErrTorn if a commit came in between.
func (s *Source) tryCopy(maxBytes int) (Tensor, error) {
	offset := int64(0)
	if s.Stream {
		head := make([]byte, layout.StreamHeaderSize)
		if err := readAt(s.file, head, 0); err != nil {
			return Tensor{}, err
		}
		slots := uint64(binary.LittleEndian.Uint32(head[layout.StreamSlots:]))
		frame := binary.LittleEndian.Uint64(head[layout.Sequence:]) / 2
		switch {
		case frame == 0:
			return Tensor{}, judemap.ErrEmpty
		case slots == 0 || slots > judemap.MaxSlots:
			return Tensor{}, fmt.Errorf("%w: it has %d slots", judemap.ErrCorrupt, slots)
		}
		slot := binary.LittleEndian.Uint32(head[layout.StreamTable+4*(frame%slots):])
		if uint64(slot) >= slots {
			return Tensor{}, fmt.Errorf("%w: frame %d is in slot %d of %d", judemap.ErrCorrupt, frame, slot, slots)
		}
		offset = slotOffset(head, slot)
	}
	header := make([]byte, judemap.DataOffset)
	if err := readAt(s.file, header, offset); err != nil {
		return Tensor{}, err
	}
	sequence := binary.LittleEndian.Uint64(header[layout.Sequence:])
	switch {
	case sequence == 0 && s.Stream:
		return Tensor{}, ErrTorn // it was emptied since
	case sequence == 0:
		return Tensor{}, judemap.ErrEmpty
	case sequence%2 != 0:
		return Tensor{}, ErrTorn
	}
	// It may be half of one tensor's metadata and half of another's: what is wrong then is known when it is known to be whole.
	shape, dtype, wrong := metadataIn(header)
	length := 0
	if wrong == nil {
		length = int(binary.LittleEndian.Uint64(header[layout.ByteLength:]))
		if length > maxBytes {
			return Tensor{}, ErrTooLarge
		}
	}
	if wrong == nil && (s.copied == nil || s.copied.ByteCapacity() < length) {
		if s.copied != nil {
			s.copied.Close()
			s.copied = nil
		}
		var err error
		if s.copied, err = judemap.New(max(1, length)); err != nil {
			return Tensor{}, err
		}
	}
	whole := func() error {
		// A read that came before must not be made after it. The system's calls and this are no place where a processor
		// would turn them round.
		fence.Add(1)
		var word [8]byte
		if err := readAt(s.file, word[:], offset+layout.Sequence); err != nil {
			return err
		}
		if binary.LittleEndian.Uint64(word[:]) != sequence {
			return ErrTorn
		}
		return wrong
	}
	if wrong != nil {
		return Tensor{}, whole()
	}
	err := s.copied.Update(shape, dtype, func(data []byte) error {
		if err := readAt(s.file, data, offset+judemap.DataOffset); err != nil {
			return err
		}
		return whole()
	})
	if err != nil {
		return Tensor{}, err
	}
	t, err := s.copied.Read()
	return Tensor{t, sequence}, err
}

var fence atomic.Uint32

// metadataIn returns the shape and type in a header, or what is wrong with them: ErrEmpty if there is no tensor.
func metadataIn(header []byte) (shape []int, dtype judemap.DType, wrong error) {
	dims := binary.LittleEndian.Uint32(header[layout.NDim:])
	dtype = judemap.DType(binary.LittleEndian.Uint32(header[layout.DType:]))
	length := binary.LittleEndian.Uint64(header[layout.ByteLength:])
	switch {
	case dims == 0 && length == 0: // as an Update that failed leaves it
		return nil, 0, judemap.ErrEmpty
	case dims > judemap.MaxDims:
		return nil, 0, fmt.Errorf("%w: %d dimensions", judemap.ErrCorrupt, dims)
	case dtype.Size() == 0:
		return nil, 0, fmt.Errorf("%w: element type %d", judemap.ErrCorrupt, dtype)
	}
	bytes, overflow, empty := uint64(dtype.Size()), false, false
	for i := range dims {
		n := binary.LittleEndian.Uint64(header[layout.Shape+8*i:])
		if n > math.MaxInt {
			return nil, 0, fmt.Errorf("%w: dimension %d is %d", judemap.ErrCorrupt, i, n)
		}
		high, low := bits.Mul64(bytes, n)
		bytes, overflow, empty = low, overflow || high != 0, empty || n == 0
		shape = append(shape, int(n))
	}
	if empty {
		bytes, overflow = 0, false
	}
	if overflow || bytes != length || bytes > math.MaxInt {
		return nil, 0, fmt.Errorf("%w: %d bytes for %v elements of %v", judemap.ErrCorrupt, length, shape, dtype)
	}
	return shape, dtype, nil
}

// readAt reads all of buffer. That the file ends before is errCutShort.
func readAt(file io.ReaderAt, buffer []byte, offset int64) error {
	if offset < 0 {
		return fmt.Errorf("%w: the header has an offset that can't be", judemap.ErrCorrupt)
	}
	if len(buffer) == 0 {
		return nil
	}
	_, err := file.ReadAt(buffer, offset)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutShort
	}
	return err
}
