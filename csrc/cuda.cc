//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "cuda.h"

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

#ifdef _WIN32
#include "system_windows.h"
#define JM_CUDA_CALL __stdcall
#else
#include <dlfcn.h>
#define JM_CUDA_CALL
#endif

namespace judemap {
namespace cuda {
namespace {

// Values of the driver's interface (cuda.h of the CUDA toolkit).
constexpr unsigned kPortable = 0x01, kDeviceMap = 0x02, kReadOnly = 0x08;  // CU_MEMHOSTREGISTER_...
constexpr int kReadOnlySupported = 113;  // CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED
constexpr int kInvalidValue = 1, kDeinitialized = 4, kStubLibrary = 34, kNoDevice = 100, kContextIsDestroyed = 709,
              kNotRegistered = 713;  // CUDA_ERROR_...

#if defined(__GNUC__) && !defined(_WIN32)  // MinGW has two kinds of printf
#define JM_LIKE_PRINTF __attribute__((format(printf, 2, 3)))
#else
#define JM_LIKE_PRINTF
#endif

void say(Why why, const char* format, ...) noexcept JM_LIKE_PRINTF;
void say(Why why, const char* format, ...) noexcept {
  if (why.text == nullptr || why.size == 0) return;
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(why.text, why.size, format, arguments);
  va_end(arguments);
}

// The driver's functions that are called here. The names in its library have a suffix where this is not the first
// version of a function.
struct Driver {
  int(JM_CUDA_CALL* init)(unsigned flags);
  int(JM_CUDA_CALL* get_device)(int* device, int number);
  int(JM_CUDA_CALL* get_attribute)(int* value, int attribute, int device);
  int(JM_CUDA_CALL* retain)(void** context, int device);
  int(JM_CUDA_CALL* release)(int device);
  int(JM_CUDA_CALL* push)(void* context);
  int(JM_CUDA_CALL* pop)(void** context);
  int(JM_CUDA_CALL* register_memory)(void* base, std::size_t bytes, unsigned flags);
  int(JM_CUDA_CALL* unregister_memory)(void* base);
  int(JM_CUDA_CALL* get_pointer)(std::uintptr_t* pointer, void* base, unsigned flags);
  int(JM_CUDA_CALL* get_error_name)(int error, const char** name);  // nullptr in old ones
};

// The loaded driver. It stays loaded, because its threads go on. It is an atomic pointer and not guarded by a lock,
// because a forked child could have a copy of the lock that nobody unlocks.
std::atomic<const Driver*> loaded{nullptr};

#ifdef _WIN32

constexpr const char* kLibrary = "nvcuda.dll";

void* open_library(Why why) noexcept {
  HMODULE library = LoadLibraryExA(kLibrary, nullptr, LOAD_LIBRARY_SEARCH_SYSTEM32);
  if (library == nullptr) {
    say(why, "the CUDA driver can't be loaded: %s: Windows error %lu", kLibrary, GetLastError());
  }
  return reinterpret_cast<void*>(library);
}

void* symbol(void* library, const char* name) noexcept {
  return reinterpret_cast<void*>(GetProcAddress(reinterpret_cast<HMODULE>(library), name));
}

#elif defined(__APPLE__)

constexpr const char* kLibrary = "";

void* open_library(Why why) noexcept {
  say(why, "there is no CUDA on macOS");
  return nullptr;
}

void* symbol(void* library, const char* name) noexcept { return dlsym(library, name); }

#else

constexpr const char* kLibrary = "libcuda.so.1";

void* open_library(Why why) noexcept {
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = dlerror();
    say(why, "the CUDA driver can't be loaded: %s", reason != nullptr ? reason : kLibrary);
  }
  return library;
}

void* symbol(void* library, const char* name) noexcept { return dlsym(library, name); }

#endif

template <class Function>
bool find(void* library, const char* name, Function* function) noexcept {
  static_assert(sizeof(Function) == sizeof(void*), "pointers to functions are like other pointers");
  void* const found = symbol(library, name);
  std::memcpy(function, &found, sizeof found);
  return found != nullptr;
}

// Returns the driver; or nullptr, and why, if there is none.
const Driver* load(Why why) noexcept {
  if (const Driver* driver = loaded.load(std::memory_order_acquire)) return driver;
  void* const library = open_library(why);
  if (library == nullptr) return nullptr;
  Driver found = {};
  const char* missing = nullptr;
  const auto need = [&](const char* name, auto* function) {
    if (!find(library, name, function) && missing == nullptr) missing = name;
  };
  need("cuInit", &found.init);
  need("cuDeviceGet", &found.get_device);
  need("cuDeviceGetAttribute", &found.get_attribute);
  need("cuDevicePrimaryCtxRetain", &found.retain);
  need("cuDevicePrimaryCtxRelease_v2", &found.release);
  need("cuCtxPushCurrent_v2", &found.push);
  need("cuCtxPopCurrent_v2", &found.pop);
  need("cuMemHostRegister_v2", &found.register_memory);
  need("cuMemHostUnregister", &found.unregister_memory);
  need("cuMemHostGetDevicePointer_v2", &found.get_pointer);
  find(library, "cuGetErrorName", &found.get_error_name);
  if (missing != nullptr) {
    say(why, "the CUDA driver, %s, has no %s: it takes one for CUDA 11 or later", kLibrary, missing);
    return nullptr;
  }
  auto* driver = new (std::nothrow) Driver(found);
  if (driver == nullptr) {
    say(why, "there is no memory to load the CUDA driver");
    return nullptr;
  }
  const Driver* other = nullptr;
  if (!loaded.compare_exchange_strong(other, driver, std::memory_order_acq_rel)) {
    delete driver;  // another thread has loaded it meanwhile
    return other;
  }
  return driver;
}

// The names of errors, for drivers without a function for that.
const char* name_of(int error) noexcept {
  static constexpr struct {
    int error;
    const char* name;
  } kNames[] = {
      {1, "CUDA_ERROR_INVALID_VALUE"},
      {2, "CUDA_ERROR_OUT_OF_MEMORY"},
      {3, "CUDA_ERROR_NOT_INITIALIZED"},
      {4, "CUDA_ERROR_DEINITIALIZED"},
      {34, "CUDA_ERROR_STUB_LIBRARY"},
      {46, "CUDA_ERROR_DEVICE_UNAVAILABLE"},
      {100, "CUDA_ERROR_NO_DEVICE"},
      {101, "CUDA_ERROR_INVALID_DEVICE"},
      {201, "CUDA_ERROR_INVALID_CONTEXT"},
      {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED"},
      {712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED"},
      {713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED"},
      {800, "CUDA_ERROR_NOT_PERMITTED"},
      {801, "CUDA_ERROR_NOT_SUPPORTED"},
      {802, "CUDA_ERROR_SYSTEM_NOT_READY"},
      {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"},
      {999, "CUDA_ERROR_UNKNOWN"},
  };
  for (const auto& known : kNames) {
    if (known.error == error) return known.name;
  }
  return "a CUDA error";
}

const char* name_of(const Driver& driver, int error) noexcept {
  const char* name = nullptr;
  if (driver.get_error_name != nullptr && driver.get_error_name(error, &name) == 0 && name != nullptr) return name;
  return name_of(error);
}

// Whether an error says that the driver no longer has the range registered, because its context was reset or the
// process is ending.
bool gone(int error) noexcept {
  return error == kNotRegistered || error == kContextIsDestroyed || error == kDeinitialized;
}

}  // namespace

jm_status Registration::begin(int device, void* base, std::size_t size, bool read_only, Why why) noexcept {
  const Driver* const driver = load(why);
  if (driver == nullptr) return JM_ERR_UNSUPPORTED;
  const auto failed = [&](const char* call, int error) {
    say(why, "%s (%d) from %s", name_of(*driver, error), error, call);
    return JM_ERR_CUDA;
  };
  if (const int error = driver->init(0)) {
    failed("cuInit", error);
    return error == kNoDevice || error == kStubLibrary ? JM_ERR_UNSUPPORTED : JM_ERR_CUDA;
  }
  int handle;
  if (const int error = driver->get_device(&handle, device)) return failed("cuDeviceGet", error);
  unsigned flags = kPortable | kDeviceMap;
  if (read_only) {
    int supported = 0;
    const int error = driver->get_attribute(&supported, kReadOnlySupported, handle);
    if (error != 0 && error != kInvalidValue) return failed("cuDeviceGetAttribute", error);
    if (error != 0 || supported == 0) {  // the error of an older driver, which does not know the attribute
      say(why,
          "device %d, or its driver, can't register memory that is mapped read-only "
          "(CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED is 0)",
          device);
      return JM_ERR_UNSUPPORTED;
    }
    flags |= kReadOnly;
  }

  void* context = nullptr;
  if (const int error = driver->retain(&context, handle)) return failed("cuDevicePrimaryCtxRetain", error);
  const char* call = "cuCtxPushCurrent_v2";
  int error = driver->push(context);
  if (error == 0) {
    std::uintptr_t pointer = 0;
    call = "cuMemHostRegister_v2";
    error = driver->register_memory(base, size, flags);
    const bool registered = error == 0;
    if (error == 0) {
      call = "cuMemHostGetDevicePointer_v2";
      error = driver->get_pointer(&pointer, base, 0);
    }
    // The context must be current for unregistering.
    if (error != 0 && registered) driver->unregister_memory(base);
    void* popped = nullptr;
    const int pop_error = driver->pop(&popped);
    if (error == 0 && pop_error != 0) {
      call = "cuCtxPopCurrent_v2";
      error = pop_error;
      driver->unregister_memory(base);  // the context was not popped, so it is still current
    }
    address_ = pointer;
  }
  if (error != 0) {
    driver->release(handle);
    return failed(call, error);
  }
  base_ = base;
  context_ = context;
  device_ = device;
  handle_ = handle;
  return JM_OK;
}

jm_status Registration::end(Why why) noexcept {
  if (base_ == nullptr) return JM_OK;
  const Driver* const driver = loaded.load(std::memory_order_acquire);
  const char* call = "cuCtxPushCurrent_v2";
  int error = driver->push(context_), later = 0;
  if (error == 0) {
    call = "cuMemHostUnregister";
    error = driver->unregister_memory(base_);
    void* popped = nullptr;
    later = driver->pop(&popped);
  }
  if (error == 0 || gone(error)) {
    base_ = nullptr;
    const int release_error = driver->release(handle_);
    if (error != 0) return JM_OK;  // the context is gone too
    call = later != 0 ? "cuCtxPopCurrent_v2" : "cuDevicePrimaryCtxRelease_v2";
    error = later != 0 ? later : release_error;
    if (error == 0) return JM_OK;
  }
  say(why, "%s (%d) from %s", name_of(*driver, error), error, call);
  return JM_ERR_CUDA;
}

}  // namespace cuda
}  // namespace judemap
