// Memory that the CUDA driver knows, so that it copies from it without a staging copy of its own. The driver is loaded
// when it is first asked for: nothing of CUDA is needed to build this.
#ifndef JUDEMAP_CUDA_H
#define JUDEMAP_CUDA_H

#include <cstddef>
#include <cstdint>

#include "judemap/judemap.h"

namespace judemap {
namespace cuda {

// Where a call says what went wrong, in words: `size` bytes that end with a zero byte. None if `text` is nullptr.
struct Why {
  char* text;
  std::size_t size;
};

// One range of memory, registered with the driver or not. One call at a time. Each makes the device's primary context,
// the one of the CUDA runtime, current for as long as it takes, and leaves the thread with the one that it had.
class Registration {
 public:
  // Registers `size` bytes at `base`, whole pages, with the device of this number: for all contexts of the process
  // (portable), and with an address on the device (mapped). `read_only`: the process can't write there. Undoes all that
  // it did where a step fails. JM_ERR_UNSUPPORTED; JM_ERR_CUDA.
  jm_status begin(int device, void* base, std::size_t size, bool read_only, Why why) noexcept;

  // Undoes begin. JM_ERR_CUDA: there() says whether the driver still has the range.
  jm_status end(Why why) noexcept;

  bool there() const noexcept { return base_ != nullptr; }
  int device() const noexcept { return device_; }
  // Where the device sees base.
  std::uint64_t address() const noexcept { return address_; }

 private:
  void* base_ = nullptr;
  void* context_ = nullptr;  // retained for as long as the range is registered
  int device_ = 0;           // its number
  int handle_ = 0;           // and what the driver calls it
  std::uint64_t address_ = 0;
};

}  // namespace cuda
}  // namespace judemap

#endif  // JUDEMAP_CUDA_H
