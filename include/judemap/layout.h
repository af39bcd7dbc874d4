/* The layout of a segment and of a stream, which all their readers and writers share. docs/layout.md has it as a table.
 *
 * There is one definition for all languages. C++ sees the shared words as std::atomic. C, and so cgo, sees plain
 * integers of the same size at the same place. C code must not touch the fields of a live segment itself, but call the
 * functions of judemap.h. All integers are little-endian. A mapping is this header followed by the tensor, row-major:
 *
 *   0 ... 63      sequence, alone on its cache line: readers poll it, and nothing else may evict it from their caches
 *   64 ... 191    metadata of the tensor
 *   192 ... 255   coordination between processes; zero in a private segment
 *   256 ...       the tensor
 *
 * A stream is a jm_stream_header followed by slots, each with the layout of a segment.
 */
#ifndef JUDEMAP_LAYOUT_H
#define JUDEMAP_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && defined(__ORDER_LITTLE_ENDIAN__)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "judemap: a segment is little-endian and is mapped as it is; this machine is big-endian and can't share one"
#endif
#elif !defined(_WIN32)
#error "judemap: the compiler does not tell the byte order; a segment needs a little-endian machine"
#endif

#define JM_DATA_OFFSET 256 /* bytes from the start of a segment to its data */
#define JM_MAX_DIMS 8      /* the largest rank */

/* The element types, one in each line: X(SUFFIX, number, name, bytes, C++ type). The numbers are the values of
 * jm_header.dtype; the Node addon has 0 to 8. The C++ types of the small floats are in float.h. dtypes in dtype.go is
 * the same table for Go, and a test compares the two. */
#define JM_DTYPES(X)                                              \
  X(FLOAT32, 0, "float32", 4, float)                              \
  X(FLOAT64, 1, "float64", 8, double)                             \
  X(INT32, 2, "int32", 4, std::int32_t)                           \
  X(INT64, 3, "int64", 8, std::int64_t)                           \
  X(UINT8, 4, "uint8", 1, std::uint8_t)                           \
  X(INT8, 5, "int8", 1, std::int8_t)                              \
  X(UINT16, 6, "uint16", 2, std::uint16_t)                        \
  X(INT16, 7, "int16", 2, std::int16_t)                           \
  X(BOOL, 8, "bool", 1, bool) /* one byte: 0 or 1 */              \
  X(FLOAT16, 9, "float16", 2, judemap::Float16)                   \
  X(BFLOAT16, 10, "bfloat16", 2, judemap::BFloat16)               \
  X(UINT32, 11, "uint32", 4, std::uint32_t)                       \
  X(UINT64, 12, "uint64", 8, std::uint64_t)                       \
  X(FLOAT8_E4M3FN, 13, "float8_e4m3fn", 1, judemap::Float8E4M3FN) \
  X(FLOAT8_E5M2, 14, "float8_e5m2", 1, judemap::Float8E5M2)       \
  X(COMPLEX64, 15, "complex64", 8, std::complex<float>) /* real, imaginary */

/* JM_FLOAT32 = 0, ... */
enum jm_dtype {
#define JM_DTYPE_CONSTANT(suffix, number, name, bytes, type) JM_##suffix = (number),
  JM_DTYPES(JM_DTYPE_CONSTANT)
#undef JM_DTYPE_CONSTANT
};

/* jm_header.magic of a segment that has the coordination block: "JUM1". */
#define JM_MAGIC 0x314D554Au

/* jm_header.magic of a stream's header: "JUS1". */
#define JM_STREAM_MAGIC 0x3153554Au

/* Bits of jm_header.flags. */
#define JM_FLAG_WRITERS_WAKE 1u /* every writer of this segment wakes parked readers, so a reader need not poll */
#define JM_FLAG_WRITER_ATTACHED                                                               \
  2u /* a process took the writer's lock and has not given it back: if nobody holds the lock, \
        that process died */
#define JM_FLAG_EVERY_FRAME 4u /* a stream whose writer waits for the slowest reader; else a slow one skips frames */

#ifdef __cplusplus
#include <atomic>
#define JM_ATOMIC(T) std::atomic<T>
#else
#define JM_ATOMIC(T) T
#endif

/* The first 256 bytes of a segment. */
struct jm_header {
  JM_ATOMIC(uint64_t) sequence; /* even: stable; odd: a commit is in progress; 0: nothing was ever written */
  uint8_t padding0[56];         /* the rest of cache line 0; zero */

  JM_ATOMIC(uint32_t) ndim;               /* number of dimensions, 0..8 */
  JM_ATOMIC(uint32_t) dtype;              /* enum jm_dtype */
  JM_ATOMIC(uint64_t) shape[JM_MAX_DIMS]; /* dimension sizes; entries at and past ndim are ignored, and stored as 0 */
  JM_ATOMIC(uint64_t) byte_length;        /* bytes of valid tensor data */
  uint8_t padding1[48];                   /* zero */

  JM_ATOMIC(uint32_t) magic;    /* JM_MAGIC, or 0: a plain segment without this block */
  JM_ATOMIC(uint32_t) flags;    /* JM_FLAG_... */
  JM_ATOMIC(uint32_t) waiters;  /* parked readers, over all processes */
  uint32_t padding2;            /* zero */
  JM_ATOMIC(uint64_t) capacity; /* bytes of tensor that the creator asked for */
  uint8_t later[40];            /* zero; for later use */
};

#define JM_STREAM_SLOTS 256   /* the most slots */
#define JM_STREAM_READERS 64  /* the most readers; each has a bit in a slot's word of pins */
#define JM_STREAM_HEADER 8192 /* bytes of a stream's header */

/* The part of a stream's header that lies in jm_header.later. The creator sets it, and it never changes after that. */
struct jm_stream_block {
  uint32_t slots;   /* 2..JM_STREAM_SLOTS */
  uint32_t readers; /* JM_STREAM_READERS */
  uint64_t first; /* bytes from the start of the stream to slot 0: JM_STREAM_HEADER, rounded up to the creator's page */
  uint64_t stride; /* bytes from a slot to the next: a slot's header and capacity, rounded up likewise */
  uint8_t zero[16];
};

/* A reader's place in a stream. Only the reader writes to it. Each place has a cache line of its own. */
struct jm_place {
  JM_ATOMIC(uint64_t)
  cursor; /* number of the frame that the reader reads next; it has read or skipped those before; 0: it joins */
  JM_ATOMIC(uint32_t) process; /* the reader's process id, for people to read */
  uint8_t zero[52];
};

/* The first 8192 bytes of a stream. The first 256 of them are a jm_header whose words mean the same, with these
 * exceptions: sequence is twice the number of the frame that was committed last, and never odd; the metadata is zero;
 * capacity is that of each slot. */
struct jm_stream_header {
  JM_ATOMIC(uint64_t) sequence;
  uint8_t padding0[56];
  uint8_t no_tensor[128];
  JM_ATOMIC(uint32_t) magic; /* JM_STREAM_MAGIC */
  JM_ATOMIC(uint32_t) flags;
  JM_ATOMIC(uint32_t) waiters;
  uint32_t padding1;
  JM_ATOMIC(uint64_t) capacity;
  struct jm_stream_block block;

  JM_ATOMIC(uint64_t) readers; /* bit r is 1: there is a reader r */
  uint8_t padding2[56];

  /* The words by which a writer waits for a reader to give a slot back. */
  JM_ATOMIC(uint32_t) released;     /* the word that the writer parks on; each wake adds 1 */
  JM_ATOMIC(uint32_t) writer_waits; /* 1: a reader that gives a slot back sets this to 0 and wakes the writer */
  uint8_t padding3[56];

  uint8_t padding4[640];

  JM_ATOMIC(uint32_t) table[JM_STREAM_SLOTS]; /* entry n % slots: the slot of frame n, for the last `slots` frames */
  uint8_t padding5[2048];

  struct jm_place places[JM_STREAM_READERS];
};

/* The offset of a slot's word of pins, which lies in jm_header.later. Bit r is 1 while reader r holds the slot. */
#define JM_PINS_OFFSET 216

/* Where a segment's header, or a stream's, says by which events Windows wakes the threads of other processes. The bytes
 * are zero where nobody has parked yet, and on other systems. */
#define JM_EVENTS_OFFSET 240

struct jm_events {
  JM_ATOMIC(uint64_t) key;           /* a random number, a part of the events' names; 0: there are none yet */
  JM_ATOMIC(uint32_t) generation[2]; /* for sequence, and a stream's released: one more for each wake */
};

/* Who made a segment or stream that has the mark, and when: set by the creator, and then fixed. A segment has it in the
 * bytes that jm_header keeps for later use; a stream, which has its block there, behind its first cache lines. */
struct jm_creator {
  uint64_t
      start;     /* when its process began, in the system's own unit: Linux, clock ticks since the boot; 0: not known */
  uint64_t time; /* when it was made, in nanoseconds since 1970 */
  uint32_t process; /* the process id; 0: it does not say */
  uint32_t
      space; /* where that id means something: Linux, the inode of the PID namespace; 0: everywhere, or not known */
};
#define JM_CREATOR_OFFSET 216
#define JM_STREAM_CREATOR_OFFSET 264

#ifdef __cplusplus
static_assert(std::atomic<uint32_t>::is_always_lock_free && std::atomic<uint64_t>::is_always_lock_free,
              "judemap: 32- and 64-bit atomics must be lock-free: a lock inside one process does not order another");
static_assert(sizeof(std::atomic<uint32_t>) == 4 && sizeof(std::atomic<uint64_t>) == 8,
              "judemap: an atomic word must be as large as the word, or other languages can't map the header");
static_assert(alignof(jm_header) == 8, "judemap: the header is aligned like its widest word");
static_assert(offsetof(jm_header, sequence) == 0, "layout: sequence");
static_assert(offsetof(jm_header, padding0) == 8, "layout: the rest of cache line 0");
static_assert(offsetof(jm_header, ndim) == 64, "layout: ndim");
static_assert(offsetof(jm_header, dtype) == 68, "layout: dtype");
static_assert(offsetof(jm_header, shape) == 72, "layout: shape");
static_assert(sizeof(jm_header::shape) == 64, "layout: shape has 8 entries of 8 bytes");
static_assert(offsetof(jm_header, byte_length) == 136, "layout: byte_length");
static_assert(offsetof(jm_header, padding1) == 144, "layout: the rest of the metadata");
static_assert(offsetof(jm_header, magic) == 192, "layout: magic");
static_assert(offsetof(jm_header, flags) == 196, "layout: flags");
static_assert(offsetof(jm_header, waiters) == 200, "layout: waiters");
static_assert(offsetof(jm_header, padding2) == 204, "layout: zero after waiters");
static_assert(offsetof(jm_header, capacity) == 208, "layout: capacity");
static_assert(offsetof(jm_header, later) == 216, "layout: for later use");
static_assert(sizeof(jm_header) == JM_DATA_OFFSET, "layout: the data starts right behind the header");

static_assert(sizeof(jm_stream_block) == sizeof(jm_header::later), "layout: the block of a stream");
static_assert(sizeof(jm_place) == 64, "layout: a place is a cache line");
static_assert(offsetof(jm_stream_header, sequence) == offsetof(jm_header, sequence), "layout: stream, sequence");
static_assert(offsetof(jm_stream_header, magic) == offsetof(jm_header, magic), "layout: stream, magic");
static_assert(offsetof(jm_stream_header, flags) == offsetof(jm_header, flags), "layout: stream, flags");
static_assert(offsetof(jm_stream_header, waiters) == offsetof(jm_header, waiters), "layout: stream, waiters");
static_assert(offsetof(jm_stream_header, capacity) == offsetof(jm_header, capacity), "layout: stream, capacity");
static_assert(offsetof(jm_stream_header, block) == offsetof(jm_header, later), "layout: stream, block");
static_assert(offsetof(jm_stream_block, slots) == 0, "layout: stream, slots at 216");
static_assert(offsetof(jm_stream_block, readers) == 4, "layout: stream, most readers at 220");
static_assert(offsetof(jm_stream_block, first) == 8, "layout: stream, first at 224");
static_assert(offsetof(jm_stream_block, stride) == 16, "layout: stream, stride at 232");
static_assert(offsetof(jm_stream_header, readers) == 256, "layout: stream, readers");
static_assert(offsetof(jm_stream_header, released) == 320, "layout: stream, released");
static_assert(offsetof(jm_stream_header, writer_waits) == 324, "layout: stream, writer_waits");
static_assert(offsetof(jm_stream_header, table) == 1024, "layout: stream, table");
static_assert(offsetof(jm_stream_header, places) == 4096, "layout: stream, places");
static_assert(offsetof(jm_place, cursor) == 0 && offsetof(jm_place, process) == 8, "layout: stream, a place");
static_assert(sizeof(jm_stream_header) == JM_STREAM_HEADER, "layout: stream, header");
static_assert(JM_EVENTS_OFFSET + sizeof(jm_events) == JM_DATA_OFFSET, "layout: events");
static_assert(JM_EVENTS_OFFSET >= offsetof(jm_header, later), "layout: events, in bytes for later use");
static_assert(JM_EVENTS_OFFSET == offsetof(jm_stream_header, block) + offsetof(jm_stream_block, zero),
              "layout: stream, events");
static_assert(sizeof(jm_creator) == 24 && alignof(jm_creator) <= 8, "layout: a creator");
static_assert(offsetof(jm_creator, start) == 0 && offsetof(jm_creator, time) == 8, "layout: a creator, its times");
static_assert(offsetof(jm_creator, process) == 16 && offsetof(jm_creator, space) == 20,
              "layout: a creator, its number");
static_assert(JM_CREATOR_OFFSET == offsetof(jm_header, later), "layout: the creator of a segment");
static_assert(JM_STREAM_CREATOR_OFFSET == offsetof(jm_stream_header, padding2) &&
                  sizeof(jm_creator) <= sizeof(jm_stream_header::padding2),
              "layout: the creator of a stream");
static_assert(JM_PINS_OFFSET == offsetof(jm_header, later), "layout: a slot's pins");
#endif

#endif /* JUDEMAP_LAYOUT_H */
