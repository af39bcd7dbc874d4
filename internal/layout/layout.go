// Package layout has the places of a segment's header fields, for the Go code that looks at headers as bytes.
// include/judemap/layout.h is their owner; the package judemap checks at compile time that both agree.
package layout

// Bytes from the start of a segment.
const (
	Sequence   = 0   // uint64
	NDim       = 64  // uint32
	DType      = 68  // uint32
	Shape      = 72  // [8]uint64
	ByteLength = 136 // uint64
	Magic      = 192 // uint32
	Flags      = 196 // uint32
	Waiters    = 200 // uint32
	Capacity   = 208 // uint64
)

// MagicValue is what Magic holds in a segment that has the fields behind it: "JUM1".
const MagicValue = 0x314D554A

// Bits of Flags.
const (
	FlagWritersWake    = 1 // every writer wakes parked readers
	FlagWriterAttached = 2 // a writer has not given back its right to write; with no lock held, it died
)
