// Registers memory with the CUDA driver, which then copies from it without a staging copy of its own. The driver is
// loaded at the first registration, so building this needs nothing of CUDA.
#ifndef JUDEMAP_CUDA_H
#define JUDEMAP_CUDA_H

#include <cstddef>
#include <cstdint>

#include "judemap/judemap.h"

namespace judemap {
namespace cuda {

// Where a call puts a text that says what went wrong: `size` bytes, with a zero byte at the end. If `text` is nullptr
// there is no text.
struct Why {
  char* text;
  std::size_t size;
};

// One range of memory, which is registered with the driver or not. Only one call at a time is allowed. Each call makes
// the device's primary context, which is the one of the CUDA runtime, current while it runs. After that the thread's
// own context is current again.
class Registration {
 public:
  // Registers `size` bytes at `base`, which are whole pages, with the device of this number: for all contexts of the
  // process (portable), and with an address on the device (mapped). `read_only` says that the process can't write
  // there. If a step fails, it undoes the steps before. JM_ERR_UNSUPPORTED; JM_ERR_CUDA.
  jm_status begin(int device, void* base, std::size_t size, bool read_only, Why why) noexcept;

  // Undoes begin. After JM_ERR_CUDA, there() says whether the driver still has the range registered.
  jm_status end(Why why) noexcept;

  bool there() const noexcept { return base_ != nullptr; }
  int device() const noexcept { return device_; }
  // The device's address for base.
  std::uint64_t address() const noexcept { return address_; }

 private:
  void* base_ = nullptr;
  void* context_ = nullptr;  // retained for as long as the range is registered
  int device_ = 0;           // the device's number
  int handle_ = 0;           // the driver's handle for the device
  std::uint64_t address_ = 0;
};

}  // namespace cuda
}  // namespace judemap

#endif  // JUDEMAP_CUDA_H
