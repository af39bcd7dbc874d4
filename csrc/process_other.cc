//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// What any POSIX system says of a process: whether there is one of a number.

#if !defined(__linux__) && !defined(__APPLE__) && !defined(_WIN32)

#include <signal.h>

#include <cerrno>

#include "process.h"

namespace judemap {
namespace process {

std::uint32_t space() noexcept { return 0; }

Found look(std::uint32_t process) noexcept {
  if (kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH) return {Life::kGone, 0};
  return {Life::kUnknown, 0};  // there is one of that number
}

}  // namespace process
}  // namespace judemap

#endif
