package live

import (
	"errors"

	"github.com/judemap/judemap"
)

// Stat reads the header of a segment or stream. Errors: those of [judemap.Stat].
func Stat(name string) (Header, error) {
	info, err := judemap.Stat(name)
	if err != nil {
		return Header{}, err
	}
	h := Header{File: info.File, Kind: info.Kind.String(), Version: info.Version, Capacity: info.Capacity, Writer: info.Writer,
		Slots: info.Slots, EveryFrame: info.EveryFrame, Readers: info.Readers}
	switch {
	case info.Err == nil:
		h.DType, h.Shape, h.Bytes = info.DType.String(), info.Shape, info.Bytes
	case errors.Is(info.Err, judemap.ErrEmpty):
		h.Problem = "empty"
	case errors.Is(info.Err, judemap.ErrWriterDied):
		h.Busy, h.Problem = true, "half written"
	case errors.Is(info.Err, judemap.ErrBusy):
		h.Busy, h.Problem = true, "being written"
	default:
		h.Problem = WhyNot(info.Err)
	}
	return h, nil
}
