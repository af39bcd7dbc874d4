package main

import (
	"encoding/binary"
	"fmt"

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

// inCommit says whether a slot is being written to, or its writer died in it.
func (h *streamHeaders) inCommit() bool {
	for _, slot := range h.slots {
		if inCommit(binary.LittleEndian.Uint64(slot[layout.Sequence:])) {
			return true
		}
	}
	return false
}
