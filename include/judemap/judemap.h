/* The C interface to the core: plain C, an opaque handle, error codes, no exceptions. C++ programs may prefer
 * segment.h, the class behind it.
 *
 * Threads: every function may be called from any thread, with the one exception that jm_free must come last. Writes to
 * one handle are serialized inside; a second *process* must not write to the same segment.
 *
 * Errors: a function that returns a jm_status changes nothing when it fails, unless it says otherwise; what was
 * committed before is still there. JM_ERR_SYSTEM leaves the system's reason in errno.
 */
#ifndef JUDEMAP_JUDEMAP_H
#define JUDEMAP_JUDEMAP_H

#include "judemap/layout.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a call ended. */
typedef enum jm_status {
  JM_OK = 0,
  JM_ERR_EMPTY = 1,       /* nothing was ever written, or the last update was given up */
  JM_ERR_BUSY = 2,        /* a commit is in progress; only the jm_try_ functions return this */
  JM_ERR_CLOSED = 3,      /* the segment was retired */
  JM_ERR_CAPACITY = 4,    /* a capacity of 0 or too large, or a tensor larger than the segment's capacity */
  JM_ERR_SHAPE = 5,       /* rank above 8, a product that overflows, or a data length that differs from it */
  JM_ERR_DTYPE = 6,       /* an unknown element type */
  JM_ERR_RANGE = 7,       /* a fill value that the element type can't hold */
  JM_ERR_CORRUPT = 8,     /* the header can't be true; jm_corrupt_field names the field */
  JM_ERR_BUFFER = 9,      /* the destination is smaller than the tensor; out->byte_length says how large it must be */
  JM_ERR_PIN_DENIED = 10, /* the system refused to lock the pages; errno says why; see `ulimit -l` */
  JM_ERR_SYSTEM = 11,     /* the system refused; errno says why */
  JM_ERR_ARGUMENT = 12    /* a null pointer, or a call out of order */
} jm_status;

/* One segment, mapped into this process. */
typedef struct jm_segment jm_segment;

/* A snapshot of a segment. */
typedef struct jm_tensor {
  uint64_t version; /* `sequence` when it was taken; even; +2 for each commit */
  uint32_t ndim;
  uint32_t dtype;              /* enum jm_dtype */
  uint64_t shape[JM_MAX_DIMS]; /* in elements; entries at and past ndim are 0 */
  uint64_t byte_length;        /* bytes at data */
  const void* data;            /* row-major; in the segment (until the next commit) or in the caller's buffer */
} jm_tensor;

/* Flags of jm_new. */
#define JM_NO_HUGE_PAGES 1u /* don't advise huge pages, which a segment of 2 MiB and more otherwise gets */

/* An English sentence for a status, never NULL, owned by the library. */
const char* jm_strerror(int status);

/* Bytes of one element of a type; 0 if it is unknown. */
size_t jm_item_size(uint32_t dtype);

/* Makes a segment for `capacity` bytes of tensor in memory private to this process. The handle belongs to the caller,
 * who gives it to jm_free. Errors: JM_ERR_CAPACITY, JM_ERR_SYSTEM (ENOMEM), JM_ERR_ARGUMENT. */
jm_status jm_new(uint64_t capacity, uint32_t flags, jm_segment** out);

/* Gives the memory back but keeps the address range, which reads as zeros from here on: a reader that is in the middle
 * of a read, or looks at a view, finds zeros and faults nowhere. Waits for a write in progress. Idempotent. */
jm_status jm_retire(jm_segment* segment);

/* Unmaps the segment and frees the handle. No other call may be running, and no view may be used after it.
 * NULL is allowed. */
void jm_free(jm_segment* segment);

/* Commits a copy of `length` bytes at `data` as a tensor of this shape (ndim entries, in elements; NULL is allowed when
 * ndim is 0) and type. `data` may lie in the segment itself. Errors: JM_ERR_DTYPE, JM_ERR_SHAPE, JM_ERR_CAPACITY,
 * JM_ERR_CLOSED. */
jm_status jm_write(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const void* data,
                   uint64_t length);

/* Commits a tensor whose every element is `value`, truncated toward zero for integers. Bool takes 0 and 1.
 * Errors: those of jm_write, and JM_ERR_RANGE where the type can't hold the value. */
jm_status jm_fill(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value);

/* Starts a write in place: *data gets the address of *length bytes for the caller to fill (they hold the previous
 * tensor's bytes). Until jm_commit or jm_abort ends it, on any thread, readers are told that the segment is busy, and
 * other writers wait. The thread must not call a blocking function of the same segment in between.
 * Errors: those of jm_write. */
jm_status jm_begin(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                   uint64_t* length);

/* Ends jm_begin: the tensor is there for readers. */
void jm_commit(jm_segment* segment);

/* Ends jm_begin and gives the tensor up: readers get JM_ERR_EMPTY until the next commit. */
void jm_abort(jm_segment* segment);

/* A zero-copy snapshot: out->data points into the segment, and the next commit overwrites what is there. Ask jm_valid
 * after using it. Waits out a commit in progress. Errors: JM_ERR_EMPTY, JM_ERR_CORRUPT (*out has what the header says),
 * JM_ERR_CLOSED. */
jm_status jm_read(jm_segment* segment, jm_tensor* out);

/* jm_read, with JM_ERR_BUSY in place of waiting. */
jm_status jm_try_read(const jm_segment* segment, jm_tensor* out);

/* Whether no commit has begun since the snapshot was taken; only then was what the caller saw in it whole. */
int jm_valid(const jm_segment* segment, const jm_tensor* tensor);

/* Copies the tensor into `buffer` of `size` bytes; never torn. out->data is `buffer`. On an error the buffer's bytes
 * are unspecified. Waits out commits in progress; a writer of this process that never pauses is held off after a few
 * attempts. Errors: those of jm_read, and JM_ERR_BUFFER. */
jm_status jm_read_into(jm_segment* segment, void* buffer, uint64_t size, jm_tensor* out);

/* One attempt at jm_read_into: JM_ERR_BUSY when a commit is in progress or came in between. */
jm_status jm_try_read_into(const jm_segment* segment, void* buffer, uint64_t size, jm_tensor* out);

/* The field of the header for which a read returned JM_ERR_CORRUPT with this tensor: "ndim", "dtype", "shape" or
 * "byte_length"; NULL if it could be true. Owned by the library. */
const char* jm_corrupt_field(const jm_segment* segment, const jm_tensor* tensor);

/* The sequence: even when stable, odd while a commit is in progress, 0 before the first. */
uint64_t jm_version(const jm_segment* segment);

/* Bytes of tensor that the segment was made for. */
uint64_t jm_capacity(const jm_segment* segment);

/* The start of the mapping: the header, with the data JM_DATA_OFFSET behind it, 256-byte aligned. */
struct jm_header* jm_base(const jm_segment* segment);

/* Locks the segment's pages in physical memory; idempotent. Errors: JM_ERR_PIN_DENIED (the segment works without it),
 * JM_ERR_CLOSED. */
jm_status jm_pin(jm_segment* segment);

/* Undoes jm_pin; does nothing if the segment isn't pinned. */
void jm_unpin(jm_segment* segment);

/* Whether the segment is pinned. */
int jm_is_pinned(const jm_segment* segment);

#ifdef __cplusplus
}
#endif

#endif /* JUDEMAP_JUDEMAP_H */
