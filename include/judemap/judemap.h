/* The C interface to the core: plain C, an opaque handle, error codes, no exceptions. C++ programs may prefer
 * segment.h, the class behind it.
 *
 * Pointers: a null handle, and a null pointer for a result that is asked for, give JM_ERR_ARGUMENT, or 0 from a
 * function that returns no status. Functions without a result do nothing.
 *
 * Fork: a child may read through the handles it has from its parent (jm_read, jm_read_into, their jm_try_ forms,
 * jm_valid) and free them; anything else is JM_ERR_FORKED. It holds no lock, and its end is not the parent's.
 *
 * Threads: every function may be called from any thread, with the one exception that jm_free must come last. Writes to
 * one handle are serialized inside. Of several handles on one shared segment, in one process or several, the first that
 * writes is the writer until it is retired or freed, or its process ends; the others get JM_ERR_WRITER_ACTIVE.
 *
 * Errors: a function that returns a jm_status changes nothing when it fails, unless it says otherwise; what was
 * committed before is still there. JM_ERR_SYSTEM leaves the system's reason in errno.
 */
#ifndef JUDEMAP_JUDEMAP_H
#define JUDEMAP_JUDEMAP_H

#include "judemap/layout.h"
#include "judemap/version.h"

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
  JM_ERR_ARGUMENT = 12,   /* a null pointer, or a call out of order */
  JM_ERR_NAME = 13,       /* a name that is empty, "." or "..", longer than 255 bytes, or has a slash */
  JM_ERR_READ_ONLY = 14,  /* a write to a segment that was opened with JM_READ_ONLY */
  JM_ERR_WRITER_ACTIVE = 15, /* another process, or another handle of this one, writes to the segment */
  JM_ERR_WRITER_DIED = 16,   /* the writing process died; in a read: in the middle of a commit */
  JM_ERR_TIMEOUT = 17,       /* nothing was committed in time */
  JM_ERR_FORKED = 18,        /* a forked child's copy of its parent's handle can be read, and nothing else */
  JM_ERR_NO_PROC = 19,       /* /proc is not there, by which a segment's file is named and opened anew */
  JM_ERR_NO_SLOT = 20,       /* readers hold all slots that could be written to; or have yet to take what is in them */
  JM_ERR_NO_PLACE = 21,      /* the stream has as many readers as it can have */
  JM_ERR_UNSUPPORTED = 22,   /* this machine can't do it */
  JM_ERR_CUDA = 23           /* the CUDA driver refused; `why` has the error's name and the call */
} jm_status;

/* What an errno value of the core means. The C library's numbers are its own: other languages on the same system may
 * have others for the same names, as Go has on Windows. */
typedef enum jm_reason {
  JM_REASON_OTHER = 0,          /* none of those below */
  JM_REASON_UNSUPPORTED = 1,    /* ENOSYS: this platform can't do it */
  JM_REASON_EXISTS = 2,         /* EEXIST: the name is taken */
  JM_REASON_NOT_EXIST = 3,      /* ENOENT: there is no such name */
  JM_REASON_ACCESS = 4,         /* EACCES: the file's permissions, or how the descriptor was opened, don't allow it */
  JM_REASON_NOT_PERMITTED = 5,  /* EPERM: no permission would allow it, as where the file is sealed */
  JM_REASON_NO_MEMORY = 6,      /* ENOMEM */
  JM_REASON_NO_SPACE = 7,       /* ENOSPC: no room where the file lies */
  JM_REASON_INVALID = 8,        /* EINVAL */
  JM_REASON_AGAIN = 9,          /* EAGAIN: not now */
  JM_REASON_BUSY = 10,          /* EBUSY */
  JM_REASON_LINK = 11,          /* ELOOP: the name is a symbolic link's */
  JM_REASON_DESCRIPTOR = 12,    /* EBADF: no open descriptor */
  JM_REASON_DESCRIPTORS = 13,   /* EMFILE: this process has as many descriptors as it may have */
  JM_REASON_INPUT_OUTPUT = 14,  /* EIO */
  JM_REASON_TOO_LARGE = 15,     /* EFBIG: larger than a file can be there */
  JM_REASON_NAME_TOO_LONG = 16, /* ENAMETOOLONG */
  JM_REASON_NOT_SUPPORTED = 17  /* ENOTSUP: this file, or its file system, can't do it */
} jm_reason;

/* One segment, mapped into this process. */
typedef struct jm_segment jm_segment;

/* What segments and streams have in common. It is a part of the handle that it comes from, and goes with it. */
typedef struct jm_mapping jm_mapping;

/* A snapshot of a segment. */
typedef struct jm_tensor {
  uint64_t version; /* `sequence` when it was taken; even; +2 for each commit */
  uint32_t ndim;
  uint32_t dtype;              /* enum jm_dtype */
  uint64_t shape[JM_MAX_DIMS]; /* in elements; entries at and past ndim are 0 */
  uint64_t byte_length;        /* bytes at data */
  const void* data;            /* row-major; in the segment (until the next commit) or in the caller's buffer */
} jm_tensor;

/* Flags of the functions that make or open a segment. */
/* jm_new, jm_create, jm_create_sealed: don't advise huge pages, as is done for segments of 2 MiB and more. */
#define JM_NO_HUGE_PAGES 1u
#define JM_READ_ONLY 2u /* jm_open: map without the right to write; waiting then polls */
/* jm_create, jm_create_sealed: writers that don't wake readers (the Node addon) may write to it too: readers poll. */
#define JM_FOREIGN_WRITERS 4u
/* jm_create_sealed: the kernel refuses writing, and mapping for writing, to all but this handle, for ever. Readers open
 * it with JM_READ_ONLY. */
#define JM_SEAL_WRITES 8u

/* jm_new: who waits for a commit does it by means of the caller's own. Commits then wake nobody, which makes small ones
 * faster; jm_next polls. */
#define JM_NO_PARKING 16u

/* jm_new, jm_create, jm_create_sealed: all pages are made at once, by several threads, and as huge pages where the
 * system has them; else the first access makes each. */
#define JM_POPULATE 32u

/* jm_stream_new, jm_stream_create, jm_stream_create_sealed: no frame is lost: the writer waits for the slowest reader.
 * Else it waits for none, and a reader that is slow skips frames. */
#define JM_EVERY_FRAME 64u

/* How often a reading call tries by itself before it parks until a commit is over: looks at a sequence that is odd, and
 * copies that a commit tore. */
#define JM_BUSY_ATTEMPTS 256
#define JM_TORN_ATTEMPTS 4
/* For how long, in nanoseconds, a reading call gives way to a writer of its own handle that never pauses. Then it gets
 * a turn between two commits. */
#define JM_TURN_NANOSECONDS 10000000

/* The JUDEMAP_VERSION that the library was compiled with, owned by the library. It differs from the header's where a
 * program was compiled with one release and runs with another. */
const char* jm_library_version(void);

/* An English sentence for a status, never NULL, owned by the library. */
const char* jm_strerror(int status);

/* What an errno value that came with JM_ERR_SYSTEM or JM_ERR_PIN_DENIED means. */
jm_reason jm_errno_reason(int error);

/* Bytes of one element of a type; 0 if it is unknown. */
size_t jm_item_size(uint32_t dtype);

/* The name of a type, as in "float32", owned by the library; NULL if it is unknown. */
const char* jm_dtype_name(uint32_t dtype);

/* Bytes of memory that the machine has; 0 if that can't be told. */
uint64_t jm_physical_memory(void);

/* Makes a segment for `capacity` bytes of tensor in memory private to this process. The handle belongs to the caller,
 * who gives it to jm_free. Errors: JM_ERR_CAPACITY, JM_ERR_SYSTEM (ENOMEM), JM_ERR_ARGUMENT. */
jm_status jm_new(uint64_t capacity, uint32_t flags, jm_segment** out);

/* Makes a segment that other processes find by name, of 1 to 255 bytes without a slash; on Linux /dev/shm/NAME. `mode`
 * is the file's permissions, as in 0600; the umask does not apply. The memory is reserved at once. The segment appears
 * under its name only when it is ready. Errors: JM_ERR_NAME; JM_ERR_CAPACITY; JM_ERR_SYSTEM with EEXIST, ENOSPC, ENOSYS
 * (a platform that can't), ... */
jm_status jm_create(const char* name, uint64_t capacity, uint32_t mode, uint32_t flags, jm_segment** out);

/* Makes a segment without a name whose descriptor (jm_descriptor) can be passed to other processes, which can't change
 * its size. Its mode is 0600: a process of another user can use the descriptor that it is given, and not open the file
 * anew. Errors: those of jm_create but for the name's. */
jm_status jm_create_sealed(uint64_t capacity, uint32_t flags, jm_segment** out);

/* Opens a segment by its name, also one that the Node addon wrote. The file is read before it is mapped. Memory is
 * reserved for all of it, so that a file with holes can't fault its readers; JM_READ_ONLY, which can't reserve, refuses
 * such a file. *why, where `why` isn't NULL, gets a phrase for
 * JM_ERR_CORRUPT, owned by the library. Errors: JM_ERR_NAME; JM_ERR_CORRUPT if it is no segment; JM_ERR_CAPACITY if it
 * is too large to be addressed; JM_ERR_SYSTEM with ENOENT, EACCES, ENOSPC, ... */
jm_status jm_open(const char* name, uint32_t flags, jm_segment** out, const char** why);

/* Opens the segment behind a descriptor, which stays the caller's, for what the descriptor is open for. To write, this
 * process must have the right to open the file itself: the writer's lock takes an opening of its own. Errors: those of
 * jm_open; JM_ERR_SYSTEM with EACCES. */
jm_status jm_open_descriptor(int descriptor, uint32_t flags, jm_segment** out, const char** why);

/* A new descriptor of a shared segment's file, close-on-exec, for the caller to pass on and to close; open for reading,
 * and if `writable` isn't 0 for writing. Errors: JM_ERR_ARGUMENT for a segment of jm_new; JM_ERR_CLOSED;
 * JM_ERR_NO_PROC; JM_ERR_SYSTEM. */
jm_status jm_descriptor(jm_segment* segment, int writable, int* out);

/* The names of the segments and streams on this machine that this process may read and that bear the mark of one
 * (JM_MAGIC, JM_STREAM_MAGIC), in no order. No file is mapped, and only regular files are opened. POSIX record locks
 * (fcntl's F_SETLK): the system drops those that a process has on a file when it closes any descriptor of that file.
 * Files that this process has open when the list begins are therefore read through what is open. */
typedef struct jm_list jm_list;

/* Begins a list, the caller's, who gives it to jm_list_free. Errors: JM_ERR_ARGUMENT; JM_ERR_SYSTEM with ENOSYS (a
 * platform that can't), ENOMEM, ... */
jm_status jm_list_new(jm_list** out);

/* The next name, good until the next call with this list; NULL after the last. */
const char* jm_list_next(jm_list* list);

/* NULL is allowed. */
void jm_list_free(jm_list* list);

/* Takes a name away. Whoever has the segment open keeps it. Errors: JM_ERR_NAME; JM_ERR_SYSTEM with ENOENT, ... */
jm_status jm_remove(const char* name);

/* Gives the memory back but keeps the address range, which reads as zeros from here on: a reader that is in the middle
 * of a read, or looks at a view, finds zeros and faults nowhere. Waits for a write in progress. Idempotent. Errors:
 * JM_ERR_SYSTEM; with EBUSY all went but for the CUDA driver, which does not let go of the addresses: they stay taken
 * after jm_free too. */
jm_status jm_retire(jm_segment* segment);

/* Unmaps the segment and frees the handle. No other call may be running, and no view may be used after it.
 * NULL is allowed. */
void jm_free(jm_segment* segment);

/* Commits a copy of `length` bytes at `data` as a tensor of this shape (ndim entries, in elements; NULL is allowed when
 * ndim is 0) and type. `data` may lie in the segment itself. Errors: JM_ERR_DTYPE, JM_ERR_SHAPE, JM_ERR_CAPACITY,
 * JM_ERR_CLOSED. */
jm_status jm_write(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const void* data,
                   uint64_t length);

/* Commits a tensor whose every element is `value`: truncated toward zero for integers, the nearest for floats, the real
 * part for complex64; for bool 0 is false, and all else true, NaN too. Errors: those of jm_write, and JM_ERR_RANGE
 * where the type can't hold the value. */
jm_status jm_fill(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value);

/* Starts a write in place: *data gets the address of *length bytes for the caller to fill (they hold the previous
 * tensor's bytes). Until jm_commit or jm_abort ends it, on any thread, readers are told that the segment is busy, and
 * other writers wait. The thread must not call a blocking function of the same segment in between.
 * Errors: those of jm_write, and JM_ERR_ARGUMENT for a null `data` or `length`. */
jm_status jm_begin(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                   uint64_t* length);

/* Ends jm_begin: the tensor is there for readers. Errors: JM_ERR_ARGUMENT if none was begun. */
jm_status jm_commit(jm_segment* segment);

/* Ends jm_begin and gives the tensor up: readers get JM_ERR_EMPTY until the next commit. Errors: JM_ERR_ARGUMENT if
 * none was begun. */
jm_status jm_abort(jm_segment* segment);

/* A zero-copy snapshot: out->data points into the segment, and the next commit overwrites what is there. Ask jm_valid
 * after using it. Waits out a commit in progress. Errors: JM_ERR_EMPTY, JM_ERR_CORRUPT (*out has what the header says),
 * JM_ERR_WRITER_DIED, JM_ERR_CLOSED. */
jm_status jm_read(jm_segment* segment, jm_tensor* out);

/* jm_read for a tensor whose version is above `after`: parks the thread until there is one, for `timeout` nanoseconds
 * (negative: for ever). Errors: JM_ERR_TIMEOUT; JM_ERR_WRITER_DIED if the writer died and nothing newer is there (so
 * also when waiting begins, until another process writes); those of jm_read but JM_ERR_EMPTY. */
jm_status jm_next(jm_segment* segment, uint64_t after, int64_t timeout, jm_tensor* out);

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
 * "byte_length"; NULL if it could be true, and the sequence is what can't be: odd, while nobody is in a commit. Owned
 * by the library. */
const char* jm_corrupt_field(const jm_segment* segment, const jm_tensor* tensor);

/* The sequence: even when stable, odd while a commit is in progress, 0 before the first. */
uint64_t jm_version(const jm_segment* segment);

/* Who writes to a shared segment. */
typedef enum jm_writer {
  JM_WRITER_NONE = 0,  /* nobody, as far as can be told: the Node addon does not say */
  JM_WRITER_HERE = 1,  /* this handle */
  JM_WRITER_OTHER = 2, /* another handle, of this process or another */
  JM_WRITER_DIED = 3   /* a process that died without closing, and no other has taken over */
} jm_writer;
jm_writer jm_writer_state(const jm_segment* segment);

/* How often a waiting reader looks at a segment whose writers don't wake it, in nanoseconds; 1 ms at first. The nearest
 * from 50 us to a day is taken. */
void jm_set_poll(jm_segment* segment, int64_t nanoseconds);

/* How many threads copies and fills of 1 MiB and more may use, the caller's included; 1: only the caller's; 0, as at
 * first: as many as the process has processors, 4 at most. Before the first use of the segment. */
void jm_set_threads(jm_segment* segment, unsigned threads);

/* A parker waits for many segments at once, with a thread for 32 of them where the system can park one thread on
 * several words (Linux 5.16), else with a thread for each. The threads are the parker's own, for callers that sleep in
 * a poller (epoll, libuv): it makes a descriptor readable. Or they are the caller's, in jm_parker_wait. */
typedef struct jm_parker jm_parker;

/* Makes a parker. With `descriptor`, it has threads of its own; *descriptor, an eventfd, non-blocking and
 * close-on-exec, turns readable whenever jm_parker_next has something: read 8 bytes from it, then call jm_parker_next
 * until it returns 0. It is the caller's, who closes it after jm_parker_free. With NULL, the caller runs
 * jm_parker_wait. Errors: JM_ERR_ARGUMENT; JM_ERR_SYSTEM with EMFILE, ENOSYS (a platform that can't), ... */
jm_status jm_parker_new(jm_parker** out, int* descriptor);

/* A segment that a parker looks after, for as long as the watch is there. */
typedef struct jm_watch jm_watch;

/* Has a parker look after a segment. `token`, not 0 and of one watch each, is what the parker returns when a wait of
 * this watch is over. The segment must not be freed before the watch. *lane, where `lane` isn't NULL, gets the number
 * of the thread that watches it: lanes are numbered from 0 as they are needed, and stay. The watch is the caller's, who
 * gives it to jm_watch_free. Errors: JM_ERR_ARGUMENT; JM_ERR_FORKED; JM_ERR_SYSTEM with EAGAIN (no memory, or no
 * thread). */
jm_status jm_watch_new(jm_parker* parker, jm_segment* segment, uint64_t token, jm_watch** out, size_t* lane);

/* Begins a wait: when the sequence is no longer `seen`, the segment's writer died, or the segment was retired, the
 * parker returns the token, once. Errors: JM_ERR_BUSY if the sequence is another already, so that there is nothing to
 * wait for; JM_ERR_CLOSED; JM_ERR_ARGUMENT. */
jm_status jm_watch_arm(jm_watch* watch, uint64_t seen);

/* Ends a wait. Nothing happens if it is over; its token may then still be returned. */
void jm_watch_disarm(jm_watch* watch);

/* Ends a watch, and frees it: its token is not returned from here on. NULL is allowed. */
void jm_watch_free(jm_watch* watch);

/* The token of a wait that is over, or 0 if there is none. */
uint64_t jm_parker_next(jm_parker* parker);

/* Parks the calling thread, the one of this lane, until a wait is over; stores up to `capacity` tokens, and returns
 * how many. 0: jm_parker_stop was called, or there is no such lane. */
size_t jm_parker_wait(jm_parker* parker, size_t lane, uint64_t* tokens, size_t capacity);

/* Makes every jm_parker_wait return 0, now and from now on. */
void jm_parker_stop(jm_parker* parker);

/* How many threads the parker has, or needs: the number of its lanes. */
size_t jm_parker_threads(jm_parker* parker);

/* Frees the parker, and ends its own threads. No jm_parker_wait may be running, and no watch be left.
 * NULL is allowed. */
void jm_parker_free(jm_parker* parker);

/* What a handle's writer did. */
typedef struct jm_stats {
  uint64_t commits; /* that ended, failed updates included */
  uint64_t wakes;   /* commits that found a reader parked, and woke it by a system call */
} jm_stats;

/* Fills *out. It costs the writer next to nothing. */
void jm_get_stats(const jm_segment* segment, jm_stats* out);

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

/* Registers the segment's memory with the CUDA driver, for a device by its number: cudaMemcpyAsync from it, by any
 * device, needs no staging copy then, and kernels see the memory at jm_device_address. It locks the pages, jm_pin or
 * not. The driver is loaded when this is first called. Registering again with the same device does nothing. jm_retire
 * and jm_free undo it; copies that the device makes must be over by then. A segment that was opened with JM_READ_ONLY
 * can be registered where the device can read only (CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED).
 *
 * `why`, of `size` bytes, gets what was wrong in words; NULL is allowed. Errors, after which all is as before:
 * JM_ERR_UNSUPPORTED if there is no driver, no device, or for JM_READ_ONLY; JM_ERR_CUDA for what the driver refuses, as
 * in "CUDA_ERROR_OUT_OF_MEMORY (2) from cuMemHostRegister_v2"; JM_ERR_ARGUMENT if it is registered with another device;
 * JM_ERR_CLOSED; JM_ERR_FORKED; JM_ERR_SYSTEM (ENOMEM). */
jm_status jm_register_cuda(jm_segment* segment, int device, char* why, size_t size);

/* Undoes jm_register_cuda; does nothing if the segment isn't registered. Errors: JM_ERR_CUDA; JM_ERR_FORKED. */
jm_status jm_unregister_cuda(jm_segment* segment, char* why, size_t size);

/* Where the device sees what is at `at`, an address in the segment such as a view's data (CUdeviceptr); 0 if the
 * segment isn't registered, or that is no address in it. */
uint64_t jm_device_address(const jm_segment* segment, const void* at);

/* ---- Streams --------------------------------------------------------------------------------------------------------
 *
 * A stream is a row of slots, each a segment to the byte. A frame is a tensor whose version is twice its number. A
 * reader holds a frame's slot from the time that it gets it until it gives it back, and so long it stays whole,
 * whatever the writer and other processes do. With at least two slots more than readers hold at a time, the writer
 * always finds one.
 *
 * What holds for the functions of segments, of threads, errors and forks, holds for these; a forked child can't read by
 * its parent's handles, and opens the stream anew. */

typedef struct jm_stream jm_stream;

/* One of a stream's readers: 64 at most, over all processes. A thread at a time may use it, but any may call
 * jm_reader_missed, and jm_reader_release, also beside the others. None may be in a call when jm_reader_close or
 * jm_reader_free begins. */
typedef struct jm_reader jm_reader;

/* jm_new, jm_create, jm_create_sealed, jm_open, jm_open_descriptor for streams of `slots` slots, from 2 to 256, with
 * room for `capacity` bytes each. Errors: theirs; JM_ERR_ARGUMENT for another number of slots, or JM_FOREIGN_WRITERS.
 */
jm_status jm_stream_new(uint32_t slots, uint64_t capacity, uint32_t flags, jm_stream** out);
jm_status jm_stream_create(const char* name, uint32_t slots, uint64_t capacity, uint32_t mode, uint32_t flags,
                           jm_stream** out);
jm_status jm_stream_create_sealed(uint32_t slots, uint64_t capacity, uint32_t flags, jm_stream** out);
jm_status jm_stream_open(const char* name, uint32_t flags, jm_stream** out, const char** why);
jm_status jm_stream_open_descriptor(int descriptor, uint32_t flags, jm_stream** out, const char** why);

/* jm_retire for a stream: its readers leave, and hold nothing more. */
jm_status jm_stream_retire(jm_stream* stream);

/* Unmaps the stream and frees the handle. Its readers must be freed before. NULL is allowed. */
void jm_stream_free(jm_stream* stream);

/* What a stream has in common with segments: writer, statistics, descriptors, pinning of memory, parking. */
jm_mapping* jm_stream_mapping(jm_stream* stream);

/* Slots; whether every frame counts; and the start of a slot, a segment's header with its data behind it: NULL if there
 * is no such slot. */
uint32_t jm_stream_slots(const jm_stream* stream);
int jm_stream_every_frame(const jm_stream* stream);
struct jm_header* jm_stream_slot(const jm_stream* stream, uint32_t index);

/* jm_register_cuda, jm_unregister_cuda and jm_device_address, for all slots at once. */
jm_status jm_stream_register_cuda(jm_stream* stream, int device, char* why, size_t size);
jm_status jm_stream_unregister_cuda(jm_stream* stream, char* why, size_t size);
uint64_t jm_stream_device_address(const jm_stream* stream, const void* at);

/* jm_write, jm_fill, jm_begin, jm_commit and jm_abort, for the next frame. Those that begin one wait for a slot, for
 * `timeout` nanoseconds at most (negative: for ever). After jm_stream_abort it is as if the frame had not been begun.
 * Errors: theirs; JM_ERR_NO_SLOT when the time is over. */
jm_status jm_stream_write(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const void* data,
                          uint64_t length, int64_t timeout);
jm_status jm_stream_fill(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value,
                         int64_t timeout);
jm_status jm_stream_begin(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                          uint64_t* length, int64_t timeout);
jm_status jm_stream_commit(jm_stream* stream);
jm_status jm_stream_abort(jm_stream* stream);

/* The newest frame whose version is above `after`, copied into `buffer` of `size` bytes: for who can't be a reader,
 * since it has the stream open with JM_READ_ONLY. Doesn't wait. Errors: JM_ERR_EMPTY; JM_ERR_BUSY, try again;
 * JM_ERR_BUFFER; JM_ERR_CORRUPT; JM_ERR_CLOSED. */
jm_status jm_stream_try_read_into(const jm_stream* stream, uint64_t after, void* buffer, uint64_t size, jm_tensor* out);

/* jm_stream_try_read_into without the copy: a view that a commit may overwrite at any time, to look at its metadata. */
jm_status jm_stream_try_read(const jm_stream* stream, uint64_t after, jm_tensor* out);

/* Who reads a stream. */
typedef struct jm_reader_info {
  uint32_t number;  /* its place, 0 to 63 */
  uint32_t process; /* its process id, as that process sees it */
  uint64_t cursor;  /* number of the frame that it wants next */
  uint32_t held;    /* slots that it holds */
  uint32_t dead;    /* 1: it died, and the writer has not needed its slots yet */
} jm_reader_info;

/* Fills `out`, which has room for JM_STREAM_READERS entries, and returns how many. Makes a system call for each. */
size_t jm_stream_readers(const jm_stream* stream, jm_reader_info* out);

/* Makes a reader that sees what is committed from now on; the caller's, who gives it to jm_reader_free. Errors:
 * JM_ERR_NO_PLACE; JM_ERR_READ_ONLY for a stream that was opened so; JM_ERR_CLOSED; JM_ERR_FORKED; JM_ERR_SYSTEM;
 * JM_ERR_ARGUMENT. */
jm_status jm_reader_new(jm_stream* stream, jm_reader** out);

/* Gives back what the reader holds, and its place. Calls with it do nothing then, or give JM_ERR_CLOSED. */
void jm_reader_close(jm_reader* reader);

/* jm_reader_close, and frees the reader. NULL is allowed. */
void jm_reader_free(jm_reader* reader);

/* Gives back the frame that the call before gave, unless it was kept, and waits for `timeout` nanoseconds (negative:
 * for ever) for the newest frame that the reader has not seen; in a stream where every frame counts, the next.
 * out->data is then whole until the next call, or as long as it is kept. Errors: JM_ERR_TIMEOUT; JM_ERR_WRITER_DIED if
 * the writer died and there is nothing more; JM_ERR_CORRUPT; JM_ERR_CLOSED; JM_ERR_FORKED. */
jm_status jm_reader_next(jm_reader* reader, int64_t timeout, jm_tensor* out);

/* Keeps a frame of jm_reader_next past the next call, until jm_reader_release. */
void jm_reader_keep(jm_reader* reader, const jm_tensor* frame);

/* Gives a frame back. Nothing happens if it was given back already. */
void jm_reader_release(jm_reader* reader, const jm_tensor* frame);

/* Frames that were committed since the reader was made, and that it skipped. */
uint64_t jm_reader_missed(const jm_reader* reader);

/* For how long, in nanoseconds, those that wait spin before they park: readers for a commit, writers for a slot. 0 at
 * first. It takes a processor meanwhile, and saves the system calls on both sides. */
void jm_mapping_set_spin(jm_mapping* mapping, int64_t nanoseconds);

/* ---- Looking without opening ----------------------------------------------------------------------------------------
 *
 * What a header says, read from the file: nothing is mapped, so that a file which another process cuts short at that
 * moment is an error, and no fault. */

typedef enum jm_kind { JM_KIND_SEGMENT = 1, JM_KIND_STREAM = 2 } jm_kind;

typedef struct jm_info {
  uint32_t kind;          /* enum jm_kind */
  uint32_t marked;        /* 1: it bears the mark of one (JM_MAGIC, JM_STREAM_MAGIC); 0: as the Node addon makes them */
  uint32_t flags;         /* JM_FLAG_...; 0 without the mark, as waiters is */
  uint32_t waiters;       /* parked readers, of all processes */
  uint32_t writer;        /* enum jm_writer; a handle of this process is JM_WRITER_OTHER too */
  uint32_t tensor_status; /* JM_OK: `tensor` is there. Else JM_ERR_EMPTY; JM_ERR_BUSY, for commits left no time to look;
                             JM_ERR_WRITER_DIED, in the middle of a commit; JM_ERR_CORRUPT */
  uint64_t file_bytes;    /* size of the file */
  uint64_t capacity;      /* bytes of tensor; in a stream, of each slot */
  uint64_t sequence;      /* the version, odd while a commit is in progress */
  jm_tensor tensor;       /* of a stream the newest frame; data is NULL. With JM_ERR_CORRUPT what the header says */
  const char* corrupt;    /* then: the field that can't be true, "ndim", "dtype", "shape", "byte_length", or of a stream
                             "table" or "sequence" too; owned by the library. Else NULL */

  /* Of a stream; else 0. */
  uint32_t slots;
  uint32_t readers; /* entries of `reader` that are filled in */
  jm_reader_info reader[JM_STREAM_READERS];
} jm_info;

/* Fills *out for the segment or stream of that name, which this process must have the right to read. While commits
 * follow each other so fast that none of the looks falls between two, a tensor is one whose metadata two looks in turn
 * have found. `why`, of `size` bytes, gets what is wrong in words with JM_ERR_CORRUPT; NULL is allowed. POSIX record
 * locks of this process on the file (fcntl's F_SETLK) are dropped, as when any file is closed.
 *
 * Errors: JM_ERR_NAME; JM_ERR_CORRUPT if it is neither; JM_ERR_ARGUMENT; JM_ERR_SYSTEM with ENOENT, EACCES, ELOOP (a
 * symbolic link), ENOSYS (a platform that can't), ... After an error *out is zero, but for file_bytes with
 * JM_ERR_CORRUPT. */
jm_status jm_stat(const char* name, jm_info* out, char* why, size_t size);

/* ---- The protocol alone ---------------------------------------------------------------------------------------------
 *
 * For callers that have locks and waiting of their own, such as other languages' runtimes. They use these on a handle
 * of jm_new, jm_create, ..., with the functions above that take a const handle, jm_try_..., jm_set_..., jm_watch_...
 * and jm_free, and no others. protocol.h says what must not run beside what. Errors are those of the functions above
 * that have the same name behind jm_. */

jm_status jm_protocol_write(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                            const uint8_t* data, uint64_t length);
jm_status jm_protocol_fill(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value);
jm_status jm_protocol_begin(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                            uint64_t* length);
jm_status jm_protocol_commit(jm_segment* segment);
jm_status jm_protocol_abort(jm_segment* segment);

/* jm_try_read and jm_try_read_into, which leave out->data as it is. */
jm_status jm_protocol_try_read(const jm_segment* segment, jm_tensor* out);
jm_status jm_protocol_try_read_into(const jm_segment* segment, uint8_t* buffer, uint64_t size, jm_tensor* out);

/* What segments and streams have in common; mapping.h says what must not run beside what. It is a part of the handle
 * that it came from, and goes with it. */
typedef struct jm_mapping jm_mapping;
jm_mapping* jm_segment_mapping(jm_segment* segment);

/* Blocks the thread until the sequence is no longer `seen`, jm_mapping_wake is called, `timeout` nanoseconds have
 * passed (negative: no matter), or it is time to look up; the caller then looks, and calls again. Errors:
 * JM_ERR_WRITER_DIED if the writer died and the sequence is still `seen`; JM_ERR_CLOSED; JM_ERR_FORKED. */
jm_status jm_mapping_park(jm_mapping* mapping, uint64_t seen, int64_t timeout);

/* Wakes the threads that are parked on the sequence, of all processes. */
void jm_mapping_wake(jm_mapping* mapping);

/* As the functions without _mapping that have the same name. */
jm_writer jm_mapping_writer_state(const jm_mapping* mapping);
void jm_mapping_set_poll(jm_mapping* mapping, int64_t nanoseconds);
void jm_mapping_set_threads(jm_mapping* mapping, unsigned threads);
void jm_mapping_get_stats(const jm_mapping* mapping, jm_stats* out);
uint64_t jm_mapping_capacity(const jm_mapping* mapping);
jm_status jm_mapping_descriptor(jm_mapping* mapping, int writable, int* out);
jm_status jm_mapping_watch_new(jm_parker* parker, jm_mapping* mapping, uint64_t token, jm_watch** out, size_t* lane);

/* The header's start. */
struct jm_header* jm_mapping_base(const jm_mapping* mapping);

/* Gives the memory of an ended handle back, as jm_retire does. Errors: JM_ERR_SYSTEM, with EBUSY as there. */
jm_status jm_mapping_retire(jm_mapping* mapping);

/* Locks the pages in physical memory, and lets them go. Errors: JM_ERR_PIN_DENIED, JM_ERR_FORKED. */
jm_status jm_mapping_pin(jm_mapping* mapping);
void jm_mapping_unpin(jm_mapping* mapping);

/* As the functions without _mapping that have the same name. */
jm_status jm_mapping_register_cuda(jm_mapping* mapping, int device, char* why, size_t size);
jm_status jm_mapping_unregister_cuda(jm_mapping* mapping, char* why, size_t size);
uint64_t jm_mapping_device_address(const jm_mapping* mapping, const void* at);

/* Streams: one attempt each, with JM_ERR_NO_SLOT where there is no slot, JM_ERR_EMPTY where there is no frame
 * (out->version is then the sequence to park on) and JM_ERR_BUSY where a commit came in between. stream_protocol.h has
 * the rest. A jm_reader of these is used with no other function of jm_reader_... but jm_reader_missed. */
jm_status jm_stream_protocol_write(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                                   const uint8_t* data, uint64_t length);
jm_status jm_stream_protocol_fill(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                                  double value);
jm_status jm_stream_protocol_begin(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                                   uint64_t* length);
jm_status jm_stream_protocol_commit(jm_stream* stream);
jm_status jm_stream_protocol_abort(jm_stream* stream);
jm_status jm_stream_protocol_announce(jm_stream* stream, uint32_t* seen);
jm_status jm_stream_protocol_park(jm_stream* stream, uint32_t seen, int64_t timeout);
void jm_stream_protocol_wake(jm_stream* stream);
void jm_stream_protocol_close(jm_stream* stream);
jm_status jm_reader_protocol_join(jm_stream* stream, jm_reader** out);
/* Gives back `before`, if it isn't NULL, first. */
jm_status jm_reader_protocol_take(jm_reader* reader, const jm_tensor* before, jm_tensor* out);
void jm_reader_protocol_release(jm_reader* reader, const jm_tensor* frame);
/* Gives the place back. jm_reader_protocol_free then frees it. */
void jm_reader_protocol_leave(jm_reader* reader);
void jm_reader_protocol_free(jm_reader* reader);
/* For each slot the version that the reader holds there, or 0. Atomic words. */
const uint64_t* jm_reader_protocol_held(const jm_reader* reader);

/* Ends the handle for other processes: gives back the right to write and the descriptors, and wakes whoever is parked
 * on it. jm_mapping_retire comes after it. */
void jm_protocol_close(jm_segment* segment);

/* The bytes that a tensor takes. Errors: JM_ERR_DTYPE; JM_ERR_SHAPE; JM_ERR_ARGUMENT. */
jm_status jm_tensor_bytes(const uint64_t* shape, uint32_t ndim, uint32_t dtype, uint64_t* bytes);

#ifdef __cplusplus
}
#endif

#endif /* JUDEMAP_JUDEMAP_H */
