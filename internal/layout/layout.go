// Package layout has the places of the fields of a segment's and a stream's header, for the Go code that looks at headers
// as bytes.
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
	Creator    = 216 // who made it; a stream has it at StreamCreator
)

// In Creator.
const (
	CreatorStart   = 0  // uint64, when its process began, in the system's own unit
	CreatorTime    = 8  // uint64, nanoseconds since 1970
	CreatorProcess = 16 // uint32
	CreatorSpace   = 20 // uint32, where that process id means something
)

// MagicValue is what Magic holds in a segment that has the fields behind it: "JUM1".
const MagicValue = 0x314D554A

// Bits of Flags.
const (
	FlagWritersWake    = 1 // every writer wakes parked readers
	FlagWriterAttached = 2 // a writer has not given back its right to write; with no lock held, it died
)

// A stream begins with a header of its own: Sequence, Magic, Flags, Waiters and Capacity are where a segment has them.
const (
	StreamSlots       = 216  // uint32
	StreamMostReaders = 220  // uint32
	StreamFirst       = 224  // uint64, bytes from the start to slot 0
	StreamStride      = 232  // uint64, bytes from a slot to the next
	StreamReaders     = 256  // uint64, a bit for each reader that has its place
	StreamCreator     = 264  // as Creator
	StreamReleased    = 320  // uint32, what a writer without a slot parks on
	StreamWriterWaits = 324  // uint32
	StreamTable       = 1024 // [256]uint32: entry n % slots is the slot that has frame n
	StreamPlaces      = 4096 // the readers' places, of StreamPlaceSize bytes each
	StreamHeaderSize  = 8192

	StreamPlaceSize    = 64
	StreamPlaceCursor  = 0 // in a place: uint64, the frame that the reader wants next
	StreamPlaceProcess = 8 // uint32

	Pins = 216 // in a slot, which else is a segment: uint64, a bit for each reader that holds it
)

// StreamMagicValue is what Magic holds in a stream: "JUS1".
const StreamMagicValue = 0x3153554A

// FlagEveryFrame is a bit of a stream's Flags: its writer waits for the slowest reader.
const FlagEveryFrame = 4
