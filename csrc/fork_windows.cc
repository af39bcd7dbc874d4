//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Windows has no fork: what there is of descriptors and of this process.

#ifdef _WIN32

#include <process.h>

#include <cerrno>

#include "fork.h"
#include "views_windows.h"

namespace judemap {
namespace fork {

std::atomic<std::uint32_t> generation{0};
std::uint32_t process() noexcept { return static_cast<std::uint32_t>(_getpid()); }
int watch() noexcept { return 0; }
int Descriptor::open(const char*, int) noexcept { return ENOSYS; }
void Descriptor::close() noexcept {
  if (descriptor_ >= 0) CloseHandle(windows::handle_of(descriptor_));
  descriptor_ = -1;
}

}  // namespace fork
}  // namespace judemap

#endif
