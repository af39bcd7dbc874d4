/* The bytes of a segment: what every reader and writer of one agrees on.
 *
 * One definition for all languages: C++ sees the shared words as std::atomic, C (and through it cgo) sees the plain
 * integers of the same size and place. C code must not touch the fields of a live segment itself; judemap.h has the
 * functions for it. All integers are little-endian. A mapping is this header followed by the tensor, row-major:
 *
 *   0 ... 63      sequence, alone on its cache line: readers poll it, and nothing else may evict it from their caches
 *   64 ... 191    metadata of the tensor
 *   192 ... 255   coordination between processes; zero in a private segment
 *   256 ...       the tensor
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

/* The element types, each in one line: X(SUFFIX, number, name, bytes, C++ type). The numbers are those of
 * jm_header.dtype; the addon has 0 to 8. The C++ types of the small floats are in float.h. dtypes in dtype.go is the
 * same table for Go, and a test compares them. */
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

/* Bits of jm_header.flags. */
#define JM_FLAG_WRITERS_WAKE 1u /* every writer of this segment wakes parked readers, so a reader need not poll */
#define JM_FLAG_WRITER_ATTACHED                                                               \
  2u /* a process took the writer's lock and has not given it back: if nobody holds the lock, \
        that process died */

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
#endif

#endif /* JUDEMAP_LAYOUT_H */
