/* The CUDA driver's functions that this program calls, found at run time: cuda_NAME calls NAME. They return 0, or an
 * error that cuda_error names. Addresses on the device are uintptr_t; contexts and streams are void*. */
#ifndef BENCH_CUDA_DRIVER_H
#define BENCH_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#define CUDA_FUNCTIONS(X)                                                                                         \
  X(cuInit, (unsigned flags), (flags))                                                                            \
  X(cuDriverGetVersion, (int* version), (version))                                                                \
  X(cuDeviceGet, (int* device, int number), (device, number))                                                     \
  X(cuDeviceGetName, (char* name, int size, int device), (name, size, device))                                    \
  X(cuDevicePrimaryCtxRetain, (void** context, int device), (context, device))                                    \
  X(cuDevicePrimaryCtxRelease_v2, (int device), (device))                                                         \
  X(cuCtxSetCurrent, (void* context), (context))                                                                  \
  X(cuMemAlloc_v2, (uintptr_t* pointer, size_t bytes), (pointer, bytes))                                          \
  X(cuMemFree_v2, (uintptr_t pointer), (pointer))                                                                 \
  X(cuStreamCreate, (void** stream, unsigned flags), (stream, flags))                                             \
  X(cuStreamDestroy_v2, (void* stream), (stream))                                                                 \
  X(cuStreamSynchronize, (void* stream), (stream))                                                                \
  X(cuMemcpyHtoDAsync_v2, (uintptr_t to, uintptr_t from, size_t bytes, void* stream), (to, from, bytes, stream))  \
  X(cuMemcpyAsync, (uintptr_t to, uintptr_t from, size_t bytes, void* stream), (to, from, bytes, stream))         \
  X(cuMemcpyDtoH_v2, (void* to, uintptr_t from, size_t bytes), (to, from, bytes))                                 \
  X(cuMemsetD8Async, (uintptr_t to, unsigned char value, size_t bytes, void* stream), (to, value, bytes, stream)) \
  X(cuGetErrorName, (int error, const char** name), (error, name))

/* Loads the driver. NULL, or why there is none. */
const char* cuda_load(void);

#define CUDA_DECLARE(name, parameters, arguments) int cuda_##name parameters;
CUDA_FUNCTIONS(CUDA_DECLARE)

#endif
