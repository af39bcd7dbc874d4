package main

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/judemap/judemap"
	"github.com/judemap/judemap/internal/layout"
)

// streamHeaders are the bytes of a stream's header and of its slots', as they were at some time each: other processes may
// be changing them.
type streamHeaders struct {
	head  []byte
	slots [][]byte
}

func readStreamHeaders(s *judemap.Stream) (h streamHeaders, err error) {
	file, err := s.File()
	if err != nil {
		return h, err
	}
	defer file.Close()
	h.head = make([]byte, layout.StreamHeaderSize)
	if _, err := file.ReadAt(h.head, 0); err != nil {
		return h, fmt.Errorf("reading the stream's header: %w", err)
	}
	first, stride := h.u64(layout.StreamFirst), h.u64(layout.StreamStride)
	for i := range s.Slots() {
		slot := make([]byte, judemap.DataOffset)
		if _, err := file.ReadAt(slot, int64(first+uint64(i)*stride)); err != nil {
			return h, fmt.Errorf("reading the header of slot %d: %w", i, err)
		}
		h.slots = append(h.slots, slot)
	}
	return h, nil
}

func (h *streamHeaders) u32(offset int) uint32 { return binary.LittleEndian.Uint32(h.head[offset:]) }
func (h *streamHeaders) u64(offset int) uint64 { return binary.LittleEndian.Uint64(h.head[offset:]) }

// explain returns the fields of a stream's header.
func (h *streamHeaders) explain() []field {
	sequence, flags := h.u64(layout.Sequence), h.u32(layout.Flags)
	policy := "a slow reader skips frames"
	if flags&layout.FlagEveryFrame != 0 {
		policy = "every frame counts: the writer waits for the slowest reader"
	}
	magic := "not a stream's"
	if h.u32(layout.Magic) == layout.StreamMagicValue {
		magic = fmt.Sprintf("%q: a stream", h.head[layout.Magic:][:4])
	}
	waits := "no writer waits for a slot"
	if h.u32(layout.StreamWriterWaits) != 0 {
		waits = "a writer waits for a slot, or did when it ended"
	}
	readers := h.u64(layout.StreamReaders)
	u32 := func(offset int, name, meaning string) field {
		return field{offset, name, fmt.Sprint(h.u32(offset)), meaning}
	}
	u64 := func(offset int, name, meaning string) field {
		return field{offset, name, fmt.Sprint(h.u64(offset)), meaning}
	}
	fields := []field{
		u64(layout.Sequence, "sequence", fmt.Sprintf("version; frames: %d", layout.Commits(sequence))),
		{layout.Magic, "magic", fmt.Sprintf("0x%08X", h.u32(layout.Magic)), magic},
		{layout.Flags, "flags", fmt.Sprintf("0x%X", flags), policy + "; " + flagsText(flags)},
		u32(layout.Waiters, "waiters", "parked readers, in all processes"),
		u64(layout.Capacity, "capacity", "bytes of tensor that each slot has room for"),
		u32(layout.StreamSlots, "slots", fmt.Sprintf("of at most %d", judemap.MaxSlots)),
		u32(layout.StreamMostReaders, "most readers", "that it can have"),
		u64(layout.StreamFirst, "first", "bytes from the start to slot 0"),
		u64(layout.StreamStride, "stride", "bytes from a slot to the next"),
		{layout.StreamReaders, "readers", fmt.Sprintf("0x%X", readers), fmt.Sprintf("a bit for each that has its place: %d",
			bits.OnesCount64(readers))},
	}
	fields = append(fields, explainCreator(h.head, layout.StreamCreator)...)
	return append(fields,
		u32(layout.StreamReleased, "released", "the word that a writer parks on: one more for each wake"),
		u32(layout.StreamWriterWaits, "writer_waits", waits))
}

// slotStates returns what there is in each slot, and who holds it.
func (h *streamHeaders) slotStates() []slotState {
	states := make([]slotState, len(h.slots))
	for i, slot := range h.slots {
		s := &states[i]
		s.Slot, s.Offset = i, h.u64(layout.StreamFirst)+uint64(i)*h.u64(layout.StreamStride)
		s.Version, s.PinnedBy = binary.LittleEndian.Uint64(slot[layout.Sequence:]), []int{}
		if s.Version != 0 && !layout.InCommit(s.Version) {
			s.DType = judemap.DType(binary.LittleEndian.Uint32(slot[layout.DType:])).String()
			s.Shape = shapeIn(slot)
		}
		pins := binary.LittleEndian.Uint64(slot[layout.Pins:])
		for number := range judemap.MaxReaders {
			if pins>>number&1 != 0 {
				s.PinnedBy = append(s.PinnedBy, number)
			}
		}
	}
	return states
}
