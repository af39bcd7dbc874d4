/* The C interface to the core: plain C with opaque handles and status codes, without exceptions. C++ programs may
 * prefer the classes in segment.h and stream.h.
 *
 * Pointers: if a handle, or a pointer for a result, is NULL, a function returns JM_ERR_ARGUMENT; one that returns no
 * status returns 0 or does nothing.
 *
 * Fork: a forked child may use the handles of its parent only to read (jm_read, jm_read_into, jm_try_read,
 * jm_try_read_into, jm_valid), and may free them. Every other call returns JM_ERR_FORKED. The child does not hold the
 * writer's lock of its parent, and its end does not end the parent's writing.
 *
 * Threads: every function may be called from any thread at any time, except jm_free, which must be the last call with a
 * handle. Writes through one handle wait for each other. If several handles, of one process or several, have the same
 * shared segment open, the first that writes is the writer until it is retired or freed, or its process ends.
 * Meanwhile, writes through the others return JM_ERR_WRITER_ACTIVE.
 *
 * Errors: a function that fails changes nothing, unless its comment says otherwise; the tensor that was committed
 * before is still there. After JM_ERR_SYSTEM, errno has the reason.
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
  JM_ERR_EMPTY = 1,          /* nothing was ever written, or the last update was aborted */
  JM_ERR_BUSY = 2,           /* a commit is in progress; only the jm_try_ functions return this */
  JM_ERR_CLOSED = 3,         /* the segment, stream or reader was retired or closed */
  JM_ERR_CAPACITY = 4,       /* a capacity of 0 or too large, or a tensor larger than the segment's capacity */
  JM_ERR_SHAPE = 5,          /* rank above 8, a size that overflows, or data of another length */
  JM_ERR_DTYPE = 6,          /* an unknown element type */
  JM_ERR_RANGE = 7,          /* a fill value that the element type can't hold */
  JM_ERR_CORRUPT = 8,        /* the header contradicts itself; jm_corrupt_field names the field */
  JM_ERR_BUFFER = 9,         /* the buffer is smaller than the tensor, which has out->byte_length bytes */
  JM_ERR_PIN_DENIED = 10,    /* the system refused to lock the pages; errno says why; see `ulimit -l` */
  JM_ERR_SYSTEM = 11,        /* the system refused; errno says why */
  JM_ERR_ARGUMENT = 12,      /* a null pointer, or a call out of order */
  JM_ERR_NAME = 13,          /* a name that is empty, "." or "..", longer than 255 bytes, or has a slash */
  JM_ERR_READ_ONLY = 14,     /* a write to a segment that was opened with JM_READ_ONLY */
  JM_ERR_WRITER_ACTIVE = 15, /* another process, or another handle of this process, is the writer */
  JM_ERR_WRITER_DIED = 16,   /* the writing process died; from a read: in the middle of a commit */
  JM_ERR_TIMEOUT = 17,       /* nothing was committed in time */
  JM_ERR_FORKED = 18,        /* a forked child can only read through its parent's handle */
  JM_ERR_NO_PROC = 19,       /* /proc is not mounted; it is needed to name and reopen a segment's file */
  JM_ERR_NO_SLOT = 20,       /* no slot is free: readers hold them, or have not yet read them */
  JM_ERR_NO_PLACE = 21,      /* the stream has JM_STREAM_READERS readers, the most */
  JM_ERR_UNSUPPORTED = 22,   /* this machine can't do it */
  JM_ERR_CUDA = 23           /* the CUDA driver refused; `why` has the call and the driver's error */
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

/* What segments and streams have in common. It is a part of a segment or a stream, and is freed with it. mapping.h says
 * which calls must not run at the same time. */
typedef struct jm_mapping jm_mapping;

/* One consistent state of a segment, or a frame of a stream. */
typedef struct jm_tensor {
  uint64_t version; /* `sequence` at the time of the read: even, 2 more for each commit */
  uint32_t ndim;
  uint32_t dtype;              /* enum jm_dtype */
  uint64_t shape[JM_MAX_DIMS]; /* in elements; entries at and past ndim are 0 */
  uint64_t byte_length;        /* bytes at data */
  const void* data;            /* row-major; in the segment (until the next commit) or in the caller's buffer */
} jm_tensor;

/* Flags of the functions that make or open a segment. */
/* For jm_new, jm_create, jm_create_sealed: do not advise the system to use huge pages. Without this flag it is advised
 * for segments of 2 MiB and more. */
#define JM_NO_HUGE_PAGES 1u
#define JM_READ_ONLY 2u /* for jm_open: map without the right to write; waiting then polls */
/* For jm_create, jm_create_sealed: programs that do not wake readers, such as the Node addon, may write to the segment
 * too. Readers then poll. */
#define JM_FOREIGN_WRITERS 4u
/* For jm_create_sealed: the kernel never lets anybody but this handle write to the file or map it for writing. Readers
 * open it with JM_READ_ONLY. */
#define JM_SEAL_WRITES 8u

/* For jm_new: the caller wakes its readers itself. Commits then wake nobody, which makes small ones faster, and jm_next
 * polls. */
#define JM_NO_PARKING 16u

/* For jm_new, jm_create, jm_create_sealed: allocate all pages at once, with several threads, and as huge pages where
 * the system has them. Without this flag the first access to a page allocates it. */
#define JM_POPULATE 32u

/* For jm_stream_new, jm_stream_create, jm_stream_create_sealed: no frame is lost, because the writer waits for the
 * slowest reader. Without this flag the writer waits for no reader, and a slow reader skips frames. */
#define JM_EVERY_FRAME 64u

/* How often a reading call tries before it parks until a commit is over: how often it looks at a sequence that is odd,
 * and how many torn copies it makes. */
#define JM_BUSY_ATTEMPTS 256
#define JM_TORN_ATTEMPTS 4
/* For how long, in nanoseconds, a reading call waits for a writer of its own handle that never pauses. After that the
 * reader gets a turn between two commits. */
#define JM_TURN_NANOSECONDS 10000000

/* The JUDEMAP_VERSION that the library was compiled with, owned by the library. It differs from the header's where a
 * program was compiled with one release and runs with another. */
const char* jm_library_version(void);

/* An English sentence for a status. It is never NULL, and belongs to the library. */
const char* jm_strerror(int status);

/* What an errno value that came with JM_ERR_SYSTEM or JM_ERR_PIN_DENIED means. */
jm_reason jm_errno_reason(int error);

/* The size of one element in bytes; 0 if the type is unknown. */
size_t jm_item_size(uint32_t dtype);

/* The name of a type, such as "float32"; NULL if the type is unknown. It belongs to the library. */
const char* jm_dtype_name(uint32_t dtype);

/* How many bytes of memory the machine has; 0 if that is unknown. */
uint64_t jm_physical_memory(void);

/* Makes a segment with room for `capacity` bytes of tensor, in memory of this process alone. *out is the caller's, who
 * frees it with jm_free. Errors: JM_ERR_CAPACITY, JM_ERR_SYSTEM (ENOMEM), JM_ERR_ARGUMENT. */
jm_status jm_new(uint64_t capacity, uint32_t flags, jm_segment** out);

/* Makes a segment that other processes open by its name, which has 1 to 255 bytes and no slash; on Linux it is the file
 * /dev/shm/NAME. `mode` is the file's permissions, for example 0600; the umask does not apply. The memory is reserved
 * at once. The name appears only when the segment is complete. Errors: JM_ERR_NAME; JM_ERR_CAPACITY; JM_ERR_NO_PROC;
 * JM_ERR_SYSTEM with EEXIST, ENOSPC, ENOSYS (the platform can't share segments), ... */
jm_status jm_create(const char* name, uint64_t capacity, uint32_t mode, uint32_t flags, jm_segment** out);

/* Makes a segment without a name. jm_descriptor returns a descriptor of it to pass to other processes. No process can
 * change its size. Its mode is 0600: a process of another user can use the descriptor that it was given, but can't open
 * the file anew. Errors: those of jm_create, except those about the name. */
jm_status jm_create_sealed(uint64_t capacity, uint32_t flags, jm_segment** out);

/* Opens a segment by its name, also one that the Node addon made. The file is checked before it is mapped. Memory is
 * reserved for all of the file, because a page without memory would make readers fault; with JM_READ_ONLY nothing can
 * be reserved, and a file with such pages gives JM_ERR_CORRUPT. With JM_ERR_CORRUPT, *why is a phrase that says why the
 * file is no segment; it belongs to the library. `why` may be NULL. Errors: JM_ERR_NAME; JM_ERR_CORRUPT;
 * JM_ERR_CAPACITY if the segment is too large to be addressed; JM_ERR_SYSTEM with ENOENT, EACCES, ENOSPC, ... */
jm_status jm_open(const char* name, uint32_t flags, jm_segment** out, const char** why);

/* Opens the segment behind a descriptor, which stays the caller's. A descriptor for reading only needs JM_READ_ONLY. To
 * write, this process must have the right to open the file itself, because the writer's lock needs an open file
 * description of its own. Errors: those of jm_open; JM_ERR_SYSTEM with EACCES. */
jm_status jm_open_descriptor(int descriptor, uint32_t flags, jm_segment** out, const char** why);

/* Makes a new descriptor of a shared segment's file, which is the caller's to pass on and to close. It is
 * close-on-exec, and open for reading, or for reading and writing if `writable` isn't 0. Errors: JM_ERR_ARGUMENT for a
 * segment of jm_new; JM_ERR_CLOSED; JM_ERR_NO_PROC; JM_ERR_SYSTEM. */
jm_status jm_descriptor(jm_segment* segment, int writable, int* out);

/* A list of the names of the segments and streams on this machine that this process may read, in any order. It has the
 * files that begin with JM_MAGIC or JM_STREAM_MAGIC, and so no segment of the Node addon. No file is mapped, and only
 * regular files are opened. A process that closes any descriptor of a file loses its POSIX record locks (fcntl's
 * F_SETLK) on that file. Files that this process has open when the list begins are therefore read through the open
 * descriptors. */
typedef struct jm_list jm_list;

/* Begins a list. *out is the caller's, who frees it with jm_list_free. Errors: JM_ERR_ARGUMENT; JM_ERR_SYSTEM with
 * ENOSYS (the platform can't share segments), ENOMEM, ... */
jm_status jm_list_new(jm_list** out);

/* The next name, which is valid until the next call with this list; NULL after the last. */
const char* jm_list_next(jm_list* list);

/* NULL is allowed. */
void jm_list_free(jm_list* list);

/* Removes the name of a segment or a stream. Whoever has it open can go on using it. Errors: JM_ERR_NAME; JM_ERR_SYSTEM
 * with ENOENT, ... */
jm_status jm_remove(const char* name);

/* Gives the memory back but keeps the addresses, which read as zeros from then on: a thread that is reading, or using a
 * view, sees zeros and never faults. It waits for a write in progress. Calling it again does nothing. Errors:
 * JM_ERR_SYSTEM. With EBUSY the CUDA driver did not release the addresses; all else was given back, and the addresses
 * stay reserved, also after jm_free. */
jm_status jm_retire(jm_segment* segment);

/* Unmaps the segment and frees the handle. No other call with the handle may be running, and no view of it may be used
 * after this. NULL is allowed. */
void jm_free(jm_segment* segment);

/* Commits a copy of the `length` bytes at `data` as a tensor of this shape (ndim entries, in elements; NULL is allowed
 * if ndim is 0) and type. `data` may lie in the segment itself. Errors: JM_ERR_DTYPE, JM_ERR_SHAPE, JM_ERR_CAPACITY,
 * JM_ERR_CLOSED; in a shared segment JM_ERR_WRITER_ACTIVE, JM_ERR_READ_ONLY, JM_ERR_FORKED, and for the first write of
 * a handle JM_ERR_SYSTEM. */
jm_status jm_write(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const void* data,
                   uint64_t length);

/* Commits a tensor in which every element is `value`. Integer types take it truncated toward zero, floating-point types
 * the nearest number, and complex64 a number with this real part; bool is false for 0 and true for every other value,
 * also NaN. Errors: those of jm_write, and JM_ERR_RANGE if the type can't hold the value. */
jm_status jm_fill(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value);

/* Starts a write in place: *data is the address of *length bytes for the caller to fill, which still hold what was
 * there before. jm_commit or jm_abort, from any thread, ends it. Until then readers find the segment busy, and other
 * writers wait; this thread must not call a function that waits for the same segment. Errors: those of jm_write, and
 * JM_ERR_ARGUMENT if `data` or `length` is NULL. */
jm_status jm_begin(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                   uint64_t* length);

/* Ends what jm_begin started: readers now get the tensor. Errors: JM_ERR_ARGUMENT if nothing was begun. */
jm_status jm_commit(jm_segment* segment);

/* Ends what jm_begin started without a tensor: readers get JM_ERR_EMPTY until the next commit. Errors: JM_ERR_ARGUMENT
 * if nothing was begun. */
jm_status jm_abort(jm_segment* segment);

/* Reads the tensor without a copy: out->data points into the segment, and the next commit overwrites what is there.
 * Call jm_valid after using the data. jm_read waits until a commit in progress has ended. Errors: JM_ERR_EMPTY,
 * JM_ERR_CORRUPT (*out has what the header says), JM_ERR_WRITER_DIED, JM_ERR_CLOSED. */
jm_status jm_read(jm_segment* segment, jm_tensor* out);

/* Like jm_read, for the newest tensor with a version above `after`. It parks the thread until there is one, for at most
 * `timeout` nanoseconds (negative: without limit). Errors: JM_ERR_TIMEOUT; JM_ERR_WRITER_DIED if the writer died and
 * there is nothing newer, also if it died before the call, until another process writes; those of jm_read except
 * JM_ERR_EMPTY. */
jm_status jm_next(jm_segment* segment, uint64_t after, int64_t timeout, jm_tensor* out);

/* Like jm_read, but returns JM_ERR_BUSY instead of waiting for a commit in progress. */
jm_status jm_try_read(const jm_segment* segment, jm_tensor* out);

/* Returns 1 if no commit has begun since the tensor was read, and 0 otherwise. Only after 1 was all that the caller saw
 * in it one whole tensor. */
int jm_valid(const jm_segment* segment, const jm_tensor* tensor);

/* Copies the tensor into `buffer` of `size` bytes; the copy is never torn. out->data is then `buffer`. After an error
 * the buffer's bytes are unspecified. It waits until commits in progress have ended; a writer of this handle that never
 * pauses has to wait for the reader after JM_TURN_NANOSECONDS. Errors: those of jm_read, and JM_ERR_BUFFER. */
jm_status jm_read_into(jm_segment* segment, void* buffer, uint64_t size, jm_tensor* out);

/* Makes one attempt at jm_read_into. JM_ERR_BUSY means that a commit was in progress or began during the copy. */
jm_status jm_try_read_into(const jm_segment* segment, void* buffer, uint64_t size, jm_tensor* out);

/* The name of the header's field for which a read returned JM_ERR_CORRUPT with this tensor: "ndim", "dtype", "shape" or
 * "byte_length". It is NULL if all of them are possible; what is wrong is then that `sequence` is odd while nobody is
 * in a commit. The name belongs to the library. */
const char* jm_corrupt_field(const jm_segment* segment, const jm_tensor* tensor);

/* The segment's sequence: even between commits, odd while a commit is in progress, 0 before the first commit. */
uint64_t jm_version(const jm_segment* segment);

/* Who the writer of a shared segment is. */
typedef enum jm_writer {
  JM_WRITER_NONE = 0,  /* no writer is known; the Node addon may write, which takes no lock */
  JM_WRITER_HERE = 1,  /* this handle */
  JM_WRITER_OTHER = 2, /* another handle, of this process or of another process */
  JM_WRITER_DIED = 3   /* a process that died before it closed, and no other has taken over */
} jm_writer;
jm_writer jm_writer_state(const jm_segment* segment);

/* Sets how often a waiting reader looks at a segment whose writers don't wake it, in nanoseconds. It is 1 ms at first.
 * The least is 50 us and the most a day; other values are taken as the nearer of the two. */
void jm_set_poll(jm_segment* segment, int64_t nanoseconds);

/* Sets how many threads a copy of 4 MiB or more, or a fill of 16 MiB or more, may use, the caller's included. 1 means
 * only the caller's. 0, as at first, means as many as the process has processors, but 4 at most. Call it before the
 * first use of the segment. */
void jm_set_threads(jm_segment* segment, unsigned threads);

/* A parker waits for many segments at once. It needs one thread for 32 of them where the system can park a thread on
 * several words (Linux 5.16), and otherwise one thread for each. The threads are either the parker's own or the
 * caller's. With threads of its own the parker makes a descriptor readable, for callers that wait in a poller (epoll,
 * libuv). Threads of the caller wait in jm_parker_wait. */
typedef struct jm_parker jm_parker;

/* Makes a parker. If `descriptor` isn't NULL, the parker has threads of its own, and *descriptor is an eventfd,
 * non-blocking and close-on-exec. It turns readable whenever jm_parker_next has a token: read 8 bytes from it, then
 * call jm_parker_next until it returns 0. The caller closes it after jm_parker_free. If `descriptor` is NULL, the
 * caller's threads call jm_parker_wait. Errors: JM_ERR_ARGUMENT; JM_ERR_SYSTEM with EMFILE, ENOSYS (the platform can't
 * do it), ... */
jm_status jm_parker_new(jm_parker** out, int* descriptor);

/* A watch: one segment that a parker waits for. It lasts until jm_watch_free. */
typedef struct jm_watch jm_watch;

/* Makes a watch for a segment. `token` is not 0 and belongs to this watch alone: the parker returns it when a wait of
 * the watch is over. *lane, if `lane` isn't NULL, is the number of the thread that waits. Lanes are numbered from 0 as
 * they are needed, and are not removed. The watch is the caller's, who frees it with jm_watch_free, and before the
 * segment. Errors: JM_ERR_ARGUMENT; JM_ERR_FORKED; JM_ERR_SYSTEM with EAGAIN (no memory, or no thread). */
jm_status jm_watch_new(jm_parker* parker, jm_segment* segment, uint64_t token, jm_watch** out, size_t* lane);

/* Begins a wait. When the sequence is no longer `seen`, the segment's writer died, or the segment was retired, the
 * parker returns the token, once. Errors: JM_ERR_BUSY if the sequence is no longer `seen` already, so that there is
 * nothing to wait for; JM_ERR_CLOSED; JM_ERR_ARGUMENT. */
jm_status jm_watch_arm(jm_watch* watch, uint64_t seen);

/* Ends a wait. It does nothing if the wait is over; its token may then still be returned. */
void jm_watch_disarm(jm_watch* watch);

/* Ends a watch, and frees it. Its token is not returned after this. NULL is allowed. */
void jm_watch_free(jm_watch* watch);

/* Returns the token of a wait that is over, or 0 if there is none. */
uint64_t jm_parker_next(jm_parker* parker);

/* Parks the calling thread until a wait of this lane is over. Stores up to `capacity` tokens, and returns how many. It
 * returns 0 after jm_parker_stop, or if there is no such lane. Only one thread may wait in each lane. */
size_t jm_parker_wait(jm_parker* parker, size_t lane, uint64_t* tokens, size_t capacity);

/* Makes every jm_parker_wait return 0, now and from now on. */
void jm_parker_stop(jm_parker* parker);

/* Returns how many threads the parker has or needs, which is the number of its lanes. */
size_t jm_parker_threads(jm_parker* parker);

/* Frees the parker, and ends its own threads. No jm_parker_wait may be running, and all watches must have been freed.
 * NULL is allowed. */
void jm_parker_free(jm_parker* parker);

/* What was written through one handle. */
typedef struct jm_stats {
  uint64_t commits; /* commits that ended, also those that jm_abort ended */
  uint64_t wakes;   /* commits that found a reader parked, and made a system call to wake it */
} jm_stats;

/* Fills *out. It does not slow the writer down. */
void jm_get_stats(const jm_segment* segment, jm_stats* out);

/* How many bytes of tensor the segment was made for. */
uint64_t jm_capacity(const jm_segment* segment);

/* The start of the mapping, which is the header. The data begins JM_DATA_OFFSET bytes after it, and is 256-byte
 * aligned. */
struct jm_header* jm_base(const jm_segment* segment);

/* Locks the segment's pages in physical memory. Calling it again does nothing. Errors: JM_ERR_PIN_DENIED, after which
 * the segment works as before; JM_ERR_CLOSED; JM_ERR_FORKED. */
jm_status jm_pin(jm_segment* segment);

/* Undoes jm_pin; does nothing if the segment isn't pinned. */
void jm_unpin(jm_segment* segment);

/* Returns 1 if the segment is pinned, and 0 otherwise. */
int jm_is_pinned(const jm_segment* segment);

/* Registers the segment's memory with the CUDA driver, for the device of this number. A cudaMemcpyAsync from it to any
 * device then needs no staging copy, and kernels can use the memory at jm_device_address. It locks the pages, whether
 * jm_pin did or not. The first call in a process loads the driver. Registering again with the same device does nothing.
 * jm_retire and jm_free unregister the memory; by then no device may use it any more. A segment that was opened with
 * JM_READ_ONLY can be registered only with a device that supports that
 * (CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED).
 *
 * `why`, of `size` bytes, gets a text that says what went wrong; NULL is allowed. Errors, after which all is as before:
 * JM_ERR_UNSUPPORTED if there is no driver or no device, or the device does not support memory opened with
 * JM_READ_ONLY; JM_ERR_CUDA if the driver refuses, with a text such as "CUDA_ERROR_OUT_OF_MEMORY (2) from
 * cuMemHostRegister_v2"; JM_ERR_ARGUMENT if the segment is registered with another device; JM_ERR_CLOSED;
 * JM_ERR_FORKED; JM_ERR_SYSTEM (ENOMEM). */
jm_status jm_register_cuda(jm_segment* segment, int device, char* why, size_t size);

/* Undoes jm_register_cuda. It does nothing if the segment isn't registered. Errors: JM_ERR_CUDA; JM_ERR_FORKED. */
jm_status jm_unregister_cuda(jm_segment* segment, char* why, size_t size);

/* Returns the device's address (CUdeviceptr) for the address `at` in the segment, such as a view's data. It returns 0
 * if the segment isn't registered, or `at` is not in it. */
uint64_t jm_device_address(const jm_segment* segment, const void* at);

/* ---- Streams --------------------------------------------------------------------------------------------------------
 *
 * A stream has several slots, each with the layout of a segment. A frame is a tensor in a slot; its version is twice
 * its number. A reader holds the slot of a frame from the time that it gets the frame until it gives it back. As long
 * as it holds the slot the frame stays whole, whatever the writer and other processes do. With at least two slots more
 * than all readers hold at a time, the writer always finds a free one.
 *
 * What is said above of pointers, threads, errors and forks holds for streams too, with one exception: a forked child
 * can't read through its parent's handle, and has to open the stream anew. */

typedef struct jm_stream jm_stream;

/* A reader of a stream. A stream has at most 64, over all processes. Only one thread at a time may use a reader, but
 * any thread may call jm_reader_missed and jm_reader_release while another uses it. When jm_reader_close or
 * jm_reader_free is called no other call with the reader may be running. */
typedef struct jm_reader jm_reader;

/* Like jm_new, jm_create, jm_create_sealed, jm_open and jm_open_descriptor, for a stream of `slots` slots, from 2 to
 * 256, each with room for `capacity` bytes. Errors: those of these functions; JM_ERR_ARGUMENT for another number of
 * slots, or for JM_FOREIGN_WRITERS.
 */
jm_status jm_stream_new(uint32_t slots, uint64_t capacity, uint32_t flags, jm_stream** out);
jm_status jm_stream_create(const char* name, uint32_t slots, uint64_t capacity, uint32_t mode, uint32_t flags,
                           jm_stream** out);
jm_status jm_stream_create_sealed(uint32_t slots, uint64_t capacity, uint32_t flags, jm_stream** out);
jm_status jm_stream_open(const char* name, uint32_t flags, jm_stream** out, const char** why);
jm_status jm_stream_open_descriptor(int descriptor, uint32_t flags, jm_stream** out, const char** why);

/* Like jm_retire. The readers of this handle leave the stream, and no longer hold any frame. */
jm_status jm_stream_retire(jm_stream* stream);

/* Unmaps the stream and frees the handle. Free all its readers before. NULL is allowed. */
void jm_stream_free(jm_stream* stream);

/* Returns what a stream has in common with segments, for the jm_mapping_ functions: writer, statistics, descriptor,
 * pinning, waiting. */
jm_mapping* jm_stream_mapping(jm_stream* stream);

/* The number of slots; whether the stream was made with JM_EVERY_FRAME; and the start of a slot, which is a segment's
 * header with the data behind it, or NULL if there is no such slot. */
uint32_t jm_stream_slots(const jm_stream* stream);
int jm_stream_every_frame(const jm_stream* stream);
struct jm_header* jm_stream_slot(const jm_stream* stream, uint32_t index);

/* Like jm_register_cuda, jm_unregister_cuda and jm_device_address, for all slots at once. */
jm_status jm_stream_register_cuda(jm_stream* stream, int device, char* why, size_t size);
jm_status jm_stream_unregister_cuda(jm_stream* stream, char* why, size_t size);
uint64_t jm_stream_device_address(const jm_stream* stream, const void* at);

/* Like jm_write, jm_fill, jm_begin, jm_commit and jm_abort, for the next frame. The first three wait for a free slot,
 * for at most `timeout` nanoseconds (negative: without limit). After jm_stream_abort no reader sees that the frame was
 * begun. Errors: those of these functions; JM_ERR_NO_SLOT after the timeout. */
jm_status jm_stream_write(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, const void* data,
                          uint64_t length, int64_t timeout);
jm_status jm_stream_fill(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value,
                         int64_t timeout);
jm_status jm_stream_begin(jm_stream* stream, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                          uint64_t* length, int64_t timeout);
jm_status jm_stream_commit(jm_stream* stream);
jm_status jm_stream_abort(jm_stream* stream);

/* Copies the newest frame with a version above `after` into `buffer` of `size` bytes. It needs no reader, and so also
 * works for a stream that was opened with JM_READ_ONLY. It does not wait. Errors: JM_ERR_EMPTY if there is no such
 * frame; JM_ERR_BUSY if a commit came in between, so try again; JM_ERR_BUFFER; JM_ERR_CORRUPT; JM_ERR_CLOSED. */
jm_status jm_stream_try_read_into(const jm_stream* stream, uint64_t after, void* buffer, uint64_t size, jm_tensor* out);

/* Like jm_stream_try_read_into, without the copy: a view, which a commit may overwrite at any time. It is for a look at
 * the metadata. */
jm_status jm_stream_try_read(const jm_stream* stream, uint64_t after, jm_tensor* out);

/* One reader of a stream. */
typedef struct jm_reader_info {
  uint32_t number;  /* its place, 0 to 63 */
  uint32_t process; /* its process id, in the PID namespace of that process */
  uint64_t cursor;  /* number of the frame that it reads next; 0: it joins, and may begin after the next commit */
  uint32_t held;    /* how many slots it holds */
  uint32_t dead;    /* 1: its process died, and no writer has taken its slots back yet */
} jm_reader_info;

/* Describes all readers in `out`, which has room for JM_STREAM_READERS entries, and returns how many there are. It
 * makes a system call for each. */
size_t jm_stream_readers(const jm_stream* stream, jm_reader_info* out);

/* Makes a reader, which gets the frames that are committed from now on. *out is the caller's, who frees it with
 * jm_reader_free. Errors: JM_ERR_NO_PLACE; JM_ERR_READ_ONLY if the stream was opened with JM_READ_ONLY; JM_ERR_CLOSED;
 * JM_ERR_FORKED; JM_ERR_SYSTEM; JM_ERR_ARGUMENT. */
jm_status jm_reader_new(jm_stream* stream, jm_reader** out);

/* Gives back all frames that the reader holds, and its place in the stream. Later calls with the reader do nothing, or
 * return JM_ERR_CLOSED. */
void jm_reader_close(jm_reader* reader);

/* Does what jm_reader_close does, and frees the reader. NULL is allowed. */
void jm_reader_free(jm_reader* reader);

/* Gives back the frame that the previous call returned, unless jm_reader_keep keeps it. Then it returns the newest
 * frame that the reader has not seen, or with JM_EVERY_FRAME the frame after the last one; it waits for that for at
 * most `timeout` nanoseconds (negative: without limit). out->data stays whole until the next call, or as long as the
 * frame is kept. Errors: JM_ERR_TIMEOUT; JM_ERR_WRITER_DIED if the writer died and there is nothing newer;
 * JM_ERR_CORRUPT; JM_ERR_CLOSED; JM_ERR_FORKED. */
jm_status jm_reader_next(jm_reader* reader, int64_t timeout, jm_tensor* out);

/* Keeps a frame of jm_reader_next past the next call, until jm_reader_release. */
void jm_reader_keep(jm_reader* reader, const jm_tensor* frame);

/* Gives a frame back. It does nothing if the frame was given back already. */
void jm_reader_release(jm_reader* reader, const jm_tensor* frame);

/* Returns how many of the frames committed since the reader was made it has skipped. */
uint64_t jm_reader_missed(const jm_reader* reader);

/* Sets for how long, in nanoseconds, a waiting call spins before it parks: a reader for a commit, a writer for a slot.
 * It is 0 at first. Spinning keeps a processor busy, and saves both sides a system call. */
void jm_mapping_set_spin(jm_mapping* mapping, int64_t nanoseconds);

/* ---- Looking without opening ----------------------------------------------------------------------------------------
 *
 * What a header says, read from the file: nothing is mapped, so that a file which another process cuts short at that
 * moment is an error, and no fault. */

typedef enum jm_kind { JM_KIND_SEGMENT = 1, JM_KIND_STREAM = 2 } jm_kind;

/* Whether somebody is there. */
typedef enum jm_presence {
  JM_PRESENCE_UNKNOWN = 0,
  JM_PRESENT = 1,
  JM_GONE = 2 /* nobody, for certain */
} jm_presence;

/* Tells a file from all others that there are: its device and inode, on Windows the serial number of the volume and the
 * file's index there. Another may get the same when this one was removed and nobody has it open. */
typedef struct jm_file_id {
  uint64_t device;
  uint64_t index;
} jm_file_id;

typedef struct jm_info {
  uint32_t kind;          /* enum jm_kind */
  uint32_t marked;        /* 1: it bears the mark of one (JM_MAGIC, JM_STREAM_MAGIC); 0: as the Node addon makes them */
  uint32_t flags;         /* JM_FLAG_...; 0 without the mark, as waiters is */
  uint32_t waiters;       /* parked readers, of all processes */
  uint32_t writer;        /* enum jm_writer; a handle of this process is JM_WRITER_OTHER too */
  uint32_t tensor_status; /* JM_OK: `tensor` is there. Else JM_ERR_EMPTY; JM_ERR_BUSY, for commits left no time to look;
                             JM_ERR_WRITER_DIED, in the middle of a commit; JM_ERR_CORRUPT; and see jm_stat_copy */
  jm_file_id file;        /* tells it from another file that gets the name later */
  uint64_t file_bytes;    /* size of the file */
  uint64_t capacity;      /* bytes of tensor; in a stream, of each slot */
  uint64_t sequence;      /* the version, odd while a commit is in progress */
  jm_tensor tensor;       /* of a stream the newest frame; data is NULL. With JM_ERR_CORRUPT what the header says */
  const char* corrupt;    /* then: the field that can't be true, "ndim", "dtype", "shape", "byte_length", or of a stream
                             "table" or "sequence" too; owned by the library. Else NULL */

  uint32_t holders; /* enum jm_presence: processes that have it open. JM_GONE means that none has it by a handle; others
                       may have mapped the file by themselves, and where that is to be expected, without the mark and
                       without JM_FLAG_WRITERS_WAKE, it is JM_PRESENCE_UNKNOWN */
  uint32_t creator_presence; /* enum jm_presence: the process that made it. JM_PRESENCE_UNKNOWN also where that is one
                                of another PID namespace, or the system hides it */
  struct jm_creator creator; /* 0 where it does not say */

  /* Of a stream; else 0. */
  uint32_t slots;
  uint32_t readers; /* entries of `reader` that are filled in */
  jm_reader_info reader[JM_STREAM_READERS];
} jm_info;

/* Fills *out for the segment or stream of that name, which this process must have the right to read. While commits
 * follow each other so fast that no look falls between two, a tensor is one whose metadata several looks in turn have
 * found. `why`, of `size` bytes, gets what is wrong in words with JM_ERR_CORRUPT; NULL is allowed. POSIX record
 * locks of this process on the file (fcntl's F_SETLK) are dropped, as when any file is closed.
 *
 * Errors: JM_ERR_NAME; JM_ERR_CORRUPT if it is neither; JM_ERR_ARGUMENT; JM_ERR_SYSTEM with ENOENT, EACCES, ELOOP (a
 * symbolic link), ENOSYS (a platform that can't), ... After an error *out is zero, but for file_bytes with
 * JM_ERR_CORRUPT. */
jm_status jm_stat(const char* name, jm_info* out, char* why, size_t size);

/* As jm_stat, and it copies the bytes of the tensor, or of a stream's newest frame, to `data`, where there is room for
 * `capacity` bytes; NULL is allowed if that is 0. They are read from the file, which is not mapped. They and
 * out->tensor are of one commit if out->tensor_status is JM_OK; else what is at `data` means nothing. Besides what
 * jm_stat says, out->tensor_status is JM_ERR_BUFFER if the tensor has more than `capacity` bytes: out->tensor is
 * there, and says how many. It is JM_ERR_BUSY, as for want of time to look, also if a commit came in between each of
 * JM_TORN_ATTEMPTS copies.
 *
 * Errors: those of jm_stat. */
jm_status jm_stat_copy(const char* name, void* data, size_t capacity, jm_info* out, char* why, size_t size);

/* ---- The protocol alone ---------------------------------------------------------------------------------------------
 *
 * For callers with locks and waiting of their own, such as the runtimes of other languages. On a handle of jm_new,
 * jm_create, ... they use these functions and, of those above, only the ones that take a const handle, jm_try_...,
 * jm_set_..., jm_watch_... and jm_free. protocol.h says which calls must not run at the same time. The errors are those
 * of the functions above with the same name after jm_. */

jm_status jm_protocol_write(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype,
                            const uint8_t* data, uint64_t length);
jm_status jm_protocol_fill(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, double value);
jm_status jm_protocol_begin(jm_segment* segment, const uint64_t* shape, uint32_t ndim, uint32_t dtype, void** data,
                            uint64_t* length);
jm_status jm_protocol_commit(jm_segment* segment);
jm_status jm_protocol_abort(jm_segment* segment);

/* Like jm_try_read and jm_try_read_into, but they do not set out->data. */
jm_status jm_protocol_try_read(const jm_segment* segment, jm_tensor* out);
jm_status jm_protocol_try_read_into(const jm_segment* segment, uint8_t* buffer, uint64_t size, jm_tensor* out);

/* The mapping of a segment. */
jm_mapping* jm_segment_mapping(jm_segment* segment);

/* Blocks the thread until the sequence is no longer `seen`, jm_mapping_wake is called, `timeout` nanoseconds have
 * passed (negative: without limit), or some time has passed after which the caller has to look again. In every case the
 * caller looks at the sequence, and calls again if it has to. Errors: JM_ERR_WRITER_DIED if the writer died and the
 * sequence is still `seen`; JM_ERR_CLOSED; JM_ERR_FORKED. */
jm_status jm_mapping_park(jm_mapping* mapping, uint64_t seen, int64_t timeout);

/* Wakes the threads of all processes that are parked on the sequence. */
void jm_mapping_wake(jm_mapping* mapping);

/* Like the functions of the same name without _mapping. */
jm_writer jm_mapping_writer_state(const jm_mapping* mapping);
void jm_mapping_set_poll(jm_mapping* mapping, int64_t nanoseconds);
void jm_mapping_set_threads(jm_mapping* mapping, unsigned threads);
void jm_mapping_get_stats(const jm_mapping* mapping, jm_stats* out);
uint64_t jm_mapping_capacity(const jm_mapping* mapping);
jm_status jm_mapping_descriptor(jm_mapping* mapping, int writable, int* out);
jm_status jm_mapping_watch_new(jm_parker* parker, jm_mapping* mapping, uint64_t token, jm_watch** out, size_t* lane);

/* The start of the header. */
struct jm_header* jm_mapping_base(const jm_mapping* mapping);

/* Gives the memory of a closed handle back, as jm_retire does. Errors: JM_ERR_SYSTEM; with EBUSY as for jm_retire. */
jm_status jm_mapping_retire(jm_mapping* mapping);

/* Locks the pages in physical memory, and unlocks them. Errors: JM_ERR_PIN_DENIED, JM_ERR_FORKED. */
jm_status jm_mapping_pin(jm_mapping* mapping);
void jm_mapping_unpin(jm_mapping* mapping);

/* Like the functions of the same name without _mapping. */
jm_status jm_mapping_register_cuda(jm_mapping* mapping, int device, char* why, size_t size);
jm_status jm_mapping_unregister_cuda(jm_mapping* mapping, char* why, size_t size);
uint64_t jm_mapping_device_address(const jm_mapping* mapping, const void* at);

/* Streams. Each function makes one attempt. It returns JM_ERR_NO_SLOT if no slot can be written to, JM_ERR_EMPTY if
 * there is no frame (out->version is then the sequence to park on), and JM_ERR_BUSY if a commit came in between.
 * stream_protocol.h says more. Use a jm_reader of jm_reader_protocol_join with these functions and jm_reader_missed
 * only. */
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
/* First gives back `before`, if that isn't NULL. */
jm_status jm_reader_protocol_take(jm_reader* reader, const jm_tensor* before, jm_tensor* out);
void jm_reader_protocol_release(jm_reader* reader, const jm_tensor* frame);
/* Gives the reader's place in the stream back. After that jm_reader_protocol_free frees the reader. */
void jm_reader_protocol_leave(jm_reader* reader);
void jm_reader_protocol_free(jm_reader* reader);
/* For each slot the version that the reader holds there, or 0. The words are atomic. */
const uint64_t* jm_reader_protocol_held(const jm_reader* reader);

/* Ends the handle as other processes see it: gives back the right to write and the descriptors, and wakes all threads
 * that are parked on it. Call jm_mapping_retire after it. */
void jm_protocol_close(jm_segment* segment);

/* Computes how many bytes a tensor takes. Errors: JM_ERR_DTYPE; JM_ERR_SHAPE; JM_ERR_ARGUMENT. */
jm_status jm_tensor_bytes(const uint64_t* shape, uint32_t ndim, uint32_t dtype, uint64_t* bytes);

#ifdef __cplusplus
}
#endif

#endif /* JUDEMAP_JUDEMAP_H */
