/* A stand-in for the CUDA driver, for machines without a GPU: built as libcuda.so.1 into a folder that a test puts into
 * LD_LIBRARY_PATH. It holds the calls to the rules of the driver's interface, and what is asynchronous there is over
 * here when the call returns. The names and types are those of the driver's library. Linux.
 *
 * JUDEMAP_CUDA_LOG     a file that gets a line for each call: its name and result, and what there is after it: contexts
 *                      that are retained, ranges that are registered, the thread's current contexts; then the device
 *                      that was asked for, a range's bytes and flags, or the first word of a range that goes
 * JUDEMAP_CUDA_FAIL    NAME=CODE: that call has this error and does nothing
 * JUDEMAP_CUDA_READ_ONLY  0: devices can't register what is mapped read-only
 * JUDEMAP_CUDA_FLIP    set: what is copied back from a device has a wrong bit
 *
 * With WITHOUT_POINTERS it lacks cuMemHostGetDevicePointer_v2, and with WITHOUT_NAMES cuGetErrorName. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEVICES = 2, RANGES = 64, DEPTH = 8 };
enum {
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  ALREADY_REGISTERED = 712,
  NOT_REGISTERED = 713
};

/* Where a device sees a range is elsewhere than where the process does, so that a mix-up shows. */
#define SHIFT ((uintptr_t)1 << (sizeof(uintptr_t) == 8 ? 46 : 30))

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int initialized;
static int retained[DEVICES];
static struct {
  uintptr_t base;
  size_t bytes;
} ranges[RANGES];
static _Thread_local void* current[DEPTH];
static _Thread_local int depth;

static void* context_of(int device) { return &retained[device]; }
static int is_context(const void* context) {
  return (const int*)context >= retained && (const int*)context < retained + DEVICES && *(const int*)context > 0;
}

/* The error that the test wants of a call; 0: none. */
static int wanted(const char* name) {
  const char* fail = getenv("JUDEMAP_CUDA_FAIL");
  const size_t length = strlen(name);
  return fail != NULL && strncmp(fail, name, length) == 0 && fail[length] == '=' ? atoi(fail + length + 1) : 0;
}

static int done(const char* name, int result, const char* format, ...) {
  const char* path = getenv("JUDEMAP_CUDA_LOG");
  if (path == NULL || *path == '\0') return result;
  int contexts = 0, registered = 0;
  for (int i = 0; i < DEVICES; ++i) contexts += retained[i];
  for (int i = 0; i < RANGES; ++i) registered += ranges[i].base != 0;
  char line[512];
  int length =
      snprintf(line, sizeof line, "%s %d contexts=%d ranges=%d current=%d ", name, result, contexts, registered, depth);
  va_list arguments;
  va_start(arguments, format);
  length += vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
  va_end(arguments);
  line[length++] = '\n';
  const int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || write(file, line, (size_t)length) != length) abort();
  close(file);
  return result;
}

/* Whether a range is mapped, and writable, from end to end. */
static void look(uintptr_t base, size_t bytes, int* mapped, int* writable) {
  *mapped = *writable = 0;
  FILE* maps = fopen("/proc/self/maps", "re");
  if (maps == NULL) abort();
  uintptr_t at = base;
  int all_writable = 1;
  unsigned long first, last;
  char rights[8], rest[1024];
  while (at < base + bytes && fgets(rest, sizeof rest, maps) != NULL) {
    if (sscanf(rest, "%lx-%lx %7s", &first, &last, rights) != 3 || last <= at) continue;
    if (first > at) break;
    all_writable = all_writable && rights[1] == 'w';
    at = last;
  }
  fclose(maps);
  *mapped = at >= base + bytes;
  *writable = *mapped && all_writable;
}

static int find(uintptr_t base) {
  for (int i = 0; i < RANGES; ++i) {
    if (ranges[i].base != 0 && base >= ranges[i].base && base < ranges[i].base + ranges[i].bytes) return i;
  }
  return -1;
}

/* Each call holds the mutex, and names its result. */
#define BEGIN(name)                  \
  const char* const call = name;     \
  pthread_mutex_lock(&mutex);        \
  int result = wanted(call);         \
  if (result == 0 && !initialized) { \
    result = NOT_INITIALIZED;        \
  }
#define END(...)                            \
  result = done(call, result, __VA_ARGS__); \
  pthread_mutex_unlock(&mutex);             \
  return result;

int cuInit(unsigned flags) {
  pthread_mutex_lock(&mutex);
  int result = wanted("cuInit");
  if (result == 0 && flags != 0) result = INVALID_VALUE;
  if (result == 0) initialized = 1;
  done("cuInit", result, "");
  pthread_mutex_unlock(&mutex);
  return result;
}

int cuDeviceGet(int* device, int number) {
  BEGIN("cuDeviceGet")
  if (result == 0 && (number < 0 || number >= DEVICES)) result = INVALID_DEVICE;
  if (result == 0) *device = number + 7; /* a number is not a handle */
  END("device=%d", number)
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
  BEGIN("cuDeviceGetAttribute")
  const char* read_only = getenv("JUDEMAP_CUDA_READ_ONLY");
  if (result == 0 && (device < 7 || device >= 7 + DEVICES)) result = INVALID_DEVICE;
  if (result == 0) *value = attribute == 113 && (read_only == NULL || strcmp(read_only, "0") != 0);
  END("attribute=%d", attribute)
}

int cuDevicePrimaryCtxRetain(void** context, int device) {
  BEGIN("cuDevicePrimaryCtxRetain")
  if (result == 0 && (device < 7 || device >= 7 + DEVICES)) result = INVALID_DEVICE;
  if (result == 0) {
    ++retained[device - 7];
    *context = context_of(device - 7);
  }
  END("device=%d", device - 7)
}

int cuDevicePrimaryCtxRelease_v2(int device) {
  BEGIN("cuDevicePrimaryCtxRelease_v2")
  if (result == 0 && (device < 7 || device >= 7 + DEVICES)) result = INVALID_DEVICE;
  if (result == 0 && retained[device - 7] == 0) result = INVALID_CONTEXT;
  if (result == 0) --retained[device - 7];
  END("device=%d", device - 7)
}

int cuCtxPushCurrent_v2(void* context) {
  BEGIN("cuCtxPushCurrent_v2")
  if (result == 0 && (!is_context(context) || depth == DEPTH)) result = INVALID_CONTEXT;
  if (result == 0) current[depth++] = context;
  END("")
}

int cuCtxPopCurrent_v2(void** context) {
  BEGIN("cuCtxPopCurrent_v2")
  if (result == 0 && depth == 0) result = INVALID_CONTEXT;
  if (result == 0) *context = current[--depth];
  END("")
}

int cuMemHostRegister_v2(void* base, size_t bytes, unsigned flags) {
  BEGIN("cuMemHostRegister_v2")
  int mapped = 0, writable = 0, free = RANGES;
  look((uintptr_t)base, bytes, &mapped, &writable);
  for (int i = 0; i < RANGES; ++i) {
    if (ranges[i].base == 0) free = i;
  }
  if (result == 0 && depth == 0) result = INVALID_CONTEXT;
  if (result == 0 && (bytes == 0 || !mapped || (!writable && (flags & 8) == 0))) result = INVALID_VALUE;
  if (result == 0 && find((uintptr_t)base) >= 0) result = ALREADY_REGISTERED;
  if (result == 0 && free == RANGES) result = OUT_OF_MEMORY;
  if (result == 0) {
    ranges[free].base = (uintptr_t)base;
    ranges[free].bytes = bytes;
  }
  END("bytes=%zu flags=%u", bytes, flags)
}

int cuMemHostUnregister(void* base) {
  BEGIN("cuMemHostUnregister")
  const int i = find((uintptr_t)base);
  int mapped = 0, writable = 0;
  if (i >= 0) look(ranges[i].base, ranges[i].bytes, &mapped, &writable);
  const unsigned long long word = mapped ? *(const volatile unsigned long long*)base : 0;
  if (result == 0 && depth == 0) result = INVALID_CONTEXT;
  if (result == 0 && (i < 0 || ranges[i].base != (uintptr_t)base)) result = NOT_REGISTERED;
  if (result == 0) ranges[i].base = 0;
  END("mapped=%d word=%llu", mapped, word)
}

#ifndef WITHOUT_POINTERS
int cuMemHostGetDevicePointer_v2(uintptr_t* pointer, void* base, unsigned flags) {
  BEGIN("cuMemHostGetDevicePointer_v2")
  if (result == 0 && depth == 0) result = INVALID_CONTEXT;
  if (result == 0 && (flags != 0 || find((uintptr_t)base) < 0)) result = INVALID_VALUE;
  if (result == 0) *pointer = (uintptr_t)base + SHIFT;
  END("")
}
#endif

/* What bench/cuda calls. Nothing is written to the log here. Memory on the device is the process's own, shifted. */

static void* host_of(uintptr_t at) { return (void*)(at >= SHIFT ? at - SHIFT : at); }

int cuDriverGetVersion(int* version) {
  *version = 12040;
  return 0;
}

int cuDeviceGetName(char* name, int size, int device) {
  snprintf(name, (size_t)size, "stand-in %d", device - 7);
  return 0;
}

int cuCtxSetCurrent(void* context) {
  if (!is_context(context)) return INVALID_CONTEXT;
  current[0] = context;
  depth = 1;
  return 0;
}

int cuMemAlloc_v2(uintptr_t* pointer, size_t bytes) {
  void* memory = depth == 0 ? NULL : malloc(bytes);
  if (memory == NULL) return depth == 0 ? INVALID_CONTEXT : OUT_OF_MEMORY;
  *pointer = (uintptr_t)memory + SHIFT;
  return 0;
}

int cuMemFree_v2(uintptr_t pointer) {
  free(host_of(pointer));
  return 0;
}

int cuStreamCreate(void** stream, unsigned flags) {
  if (depth == 0 || flags > 1) return INVALID_VALUE;
  *stream = malloc(1);
  return *stream == NULL ? OUT_OF_MEMORY : 0;
}

int cuStreamDestroy_v2(void* stream) {
  free(stream);
  return 0;
}

int cuStreamSynchronize(void* stream) { return stream == NULL ? INVALID_VALUE : 0; }

int cuMemcpyHtoDAsync_v2(uintptr_t to, const void* from, size_t bytes, void* stream) {
  if (depth == 0 || stream == NULL || to < SHIFT) return INVALID_VALUE;
  memcpy(host_of(to), from, bytes);
  return 0;
}

int cuMemcpyAsync(uintptr_t to, uintptr_t from, size_t bytes, void* stream) {
  if (depth == 0 || stream == NULL) return INVALID_VALUE;
  memcpy(host_of(to), host_of(from), bytes);
  return 0;
}

int cuMemcpyDtoH_v2(void* to, uintptr_t from, size_t bytes) {
  if (depth == 0 || from < SHIFT) return INVALID_VALUE;
  memcpy(to, host_of(from), bytes);
  const char* flip = getenv("JUDEMAP_CUDA_FLIP");
  if (flip != NULL) ((unsigned char*)to)[bytes - 1] ^= 1;
  return 0;
}

int cuMemsetD8Async(uintptr_t to, unsigned char value, size_t bytes, void* stream) {
  if (depth == 0 || stream == NULL || to < SHIFT) return INVALID_VALUE;
  memset(host_of(to), value, bytes);
  return 0;
}

#ifndef WITHOUT_NAMES
int cuGetErrorName(int error, const char** name) {
  switch (error) {
    case INVALID_VALUE:
      *name = "CUDA_ERROR_INVALID_VALUE";
      return 0;
    case OUT_OF_MEMORY:
      *name = "CUDA_ERROR_OUT_OF_MEMORY";
      return 0;
    case INVALID_DEVICE:
      *name = "CUDA_ERROR_INVALID_DEVICE";
      return 0;
    case ALREADY_REGISTERED:
      *name = "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED";
      return 0;
    case 719: /* a name that only the driver knows here */
      *name = "CUDA_ERROR_LAUNCH_FAILED";
      return 0;
  }
  *name = NULL;
  return INVALID_VALUE;
}
#endif
