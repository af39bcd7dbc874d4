package live

import (
	"errors"
	"fmt"
	"os"

	"github.com/judemap/judemap"
)

// A fileID tells a file from others that have or had its name.
type fileID struct{ device, inode uint64 }

// Stat reads the header of a segment or stream. It is opened and closed again.
func Stat(name string) (Header, error) {
	segment, err := judemap.Open(name, judemap.WithReadOnly())
	if err == nil {
		defer segment.CloseWait() // waits, so that the mappings of hundreds don't pile up
		return headerOfSegment(segment)
	}
	if !errors.Is(err, judemap.ErrCorrupt) { // which is what it says of a stream
		return Header{}, err
	}
	stream, streamErr := judemap.OpenStream(name, judemap.WithReadOnly())
	if streamErr != nil {
		return Header{}, fmt.Errorf("%w; %w", err, streamErr)
	}
	defer stream.CloseWait()
	return headerOfStream(stream)
}

func headerOfSegment(s *judemap.Segment) (Header, error) {
	h := Header{Kind: "segment", Version: s.Version(), Capacity: s.ByteCapacity(), Writer: s.Writer()}
	var err error
	if h.File, err = fileOf(s.File); err != nil {
		return h, err
	}
	t, err := s.TryRead()
	switch {
	case err == nil:
		h.DType, h.Shape, h.Bytes, h.Version = t.DType().String(), t.Shape(), len(t.Data()), t.Version()
	case errors.Is(err, judemap.ErrBusy):
		h.busy()
	case errors.Is(err, judemap.ErrEmpty):
		h.Problem = "empty"
	default:
		h.Problem = WhyNot(err)
	}
	return h, nil
}

func headerOfStream(s *judemap.Stream) (Header, error) {
	h := Header{Kind: "stream", Version: s.Version(), Capacity: s.ByteCapacity(), Writer: s.Writer(), Slots: s.Slots(),
		EveryFrame: s.EveryFrame(), Readers: s.Readers()}
	var err error
	if h.File, err = fileOf(s.File); err != nil {
		return h, err
	}
	for _, attr := range s.LogValue().Group() {
		switch attr.Key {
		case "dtype":
			h.DType = attr.Value.String()
		case "shape":
			h.Shape, _ = attr.Value.Any().([]int)
			dtype, _ := judemap.ParseDType(h.DType)
			h.Bytes = dtype.Size()
			for _, n := range h.Shape {
				h.Bytes *= n
			}
		}
	}
	switch {
	case h.DType != "":
	case h.Version == 0:
		h.Problem = "empty"
	default:
		h.busy()
	}
	return h, nil
}

// busy notes that there is a commit in the way of the tensor.
func (h *Header) busy() {
	h.Busy, h.Problem = true, "being written"
	if h.Writer == judemap.WriterDied {
		h.Problem = "half written"
	}
}

func fileOf(open func() (*os.File, error)) (fileID, error) {
	file, err := open()
	if err != nil {
		return fileID{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fileID{}, err
	}
	return idOf(info), nil
}
