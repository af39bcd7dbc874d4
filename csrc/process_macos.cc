//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// What macOS says of a process.

#ifdef __APPLE__

#include <sys/sysctl.h>

#include "process.h"

namespace judemap {
namespace process {

std::uint32_t space() noexcept { return 0; }

// The start is in microseconds since 1970.
Found look(std::uint32_t process) noexcept {
  int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, static_cast<int>(process)};
  struct kinfo_proc info = {};
  std::size_t size = sizeof info;
  if (sysctl(name, 4, &info, &size, nullptr, 0) != 0) return {Life::kUnknown, 0};
  if (size == 0) return {Life::kGone, 0};
  const auto& start = info.kp_proc.p_starttime;
  const auto microseconds =
      static_cast<std::uint64_t>(start.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(start.tv_usec);
  return {info.kp_proc.p_stat == SZOMB ? Life::kGone : Life::kAlive, microseconds};
}

}  // namespace process
}  // namespace judemap

#endif
