package live

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"time"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

// A Source is a segment or stream that somebody looks at for longer. It is not mapped: a program that is at it all day must
// not fault when somebody cuts the file short. Its methods are for one goroutine at a time, but for Version.
type Source struct {
	Stream bool

	name   string
	id     judemap.FileID
	file   *os.File
	buffer []byte // of the copies
}

// A Tensor is a copy of a tensor.
type Tensor struct {
	Version uint64
	Shape   []int
	DType   judemap.DType
	Data    []byte
}

// ErrTooLarge is what a tensor gets that has more bytes than may be copied.
var ErrTooLarge = errors.New("is too large to be copied for a look")

// ErrTorn is what a tensor gets that commits leave no time to copy.
var ErrTorn = errors.New("is being written all the time")

// errRemade is what a copy gets when the name is another file's by now. Same says that too.
var errRemade = errors.New("was removed, and made anew")

// errCutShort is what a read gets of a file that has become shorter than what it holds.
var errCutShort = fmt.Errorf("%w: the file was cut short", judemap.ErrCorrupt)

// Open opens a segment or stream to look at it. Errors: those of [judemap.Stat] and [judemap.Open].
func Open(name string) (*Source, error) {
	info, err := judemap.Stat(name) // before: should the name go to another file now, Same will say so
	if err != nil {
		return nil, err
	}
	s := &Source{Stream: info.Kind == judemap.KindStream, name: name, id: info.File}
	var mapped interface {
		ReadOnlyFile() (*os.File, error)
		CloseWait() error
	}
	if s.Stream {
		mapped, err = judemap.OpenStream(name, judemap.WithReadOnly())
	} else {
		mapped, err = judemap.Open(name, judemap.WithReadOnly())
	}
	if err != nil {
		return nil, err
	}
	defer mapped.CloseWait()
	s.file, err = mapped.ReadOnlyFile()
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close gives back what the Source has.
func (s *Source) Close() { s.file.Close() }

// Same says whether the name still is that of the file that s was opened with.
func (s *Source) Same(h *Header) bool { return s.id == h.File }

// Version returns the sequence as it is now, and an error if the file was cut short.
func (s *Source) Version() (uint64, error) {
	var word [8]byte
	if err := readAt(s.file, word[:], layout.Sequence); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(word[:]), nil
}

// Size returns the bytes of the file.
func (s *Source) Size() (int64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Copy returns a copy of the tensor, or of a stream's newest frame, and tries until it has one or ctx ends. The copy is good
// until the next one.
//
// Errors: those of [judemap.StatCopy], and what it has in Info.Err, but for [judemap.ErrBusy], which is tried again until ctx
// ends and then is [ErrTorn]; [ErrTooLarge] for a tensor of more than maxBytes; one that says so where the name is another
// file's by now.
func (s *Source) Copy(ctx context.Context, maxBytes int) (Tensor, error) {
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		info, err := judemap.StatCopy(s.name, s.buffer)
		fits := !errors.Is(info.Err, io.ErrShortBuffer)
		switch {
		case err != nil:
			return Tensor{}, err
		case info.File != s.id:
			return Tensor{}, errRemade
		case (info.Err == nil || !fits) && info.Bytes > int64(maxBytes):
			return Tensor{}, ErrTooLarge
		case !fits:
			s.buffer = make([]byte, info.Bytes)
			continue
		case info.Err == nil:
			return Tensor{info.Version, info.Shape, info.DType, s.buffer[:info.Bytes]}, nil
		case !errors.Is(info.Err, judemap.ErrBusy):
			return Tensor{}, info.Err
		}
		select {
		case <-ctx.Done():
			return Tensor{}, ErrTorn
		case <-time.After(pause):
		}
	}
}

// Headers returns the bytes of the header, and of a stream's slots' headers, as they were at some time each.
func (s *Source) Headers() (head []byte, slots [][]byte, err error) {
	if !s.Stream {
		head = make([]byte, judemap.DataOffset)
		return head, nil, readAt(s.file, head, 0)
	}
	head = make([]byte, layout.StreamHeaderSize)
	if err := readAt(s.file, head, 0); err != nil {
		return nil, nil, err
	}
	for i := range min(binary.LittleEndian.Uint32(head[layout.StreamSlots:]), judemap.MaxSlots) {
		slot := make([]byte, judemap.DataOffset)
		if err := readAt(s.file, slot, slotOffset(head, i)); err != nil {
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

// readAt reads all of buffer. That the file ends before is errCutShort.
func readAt(file io.ReaderAt, buffer []byte, offset int64) error {
	if offset < 0 {
		return fmt.Errorf("%w: the header has an offset that can't be", judemap.ErrCorrupt)
	}
	_, err := file.ReadAt(buffer, offset)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCutShort
	}
	return err
}
