//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// What Linux says of a process, by /proc.

#ifdef __linux__

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "process.h"

namespace judemap {
namespace process {

std::uint32_t space() noexcept {
  struct stat status;
  return ::stat("/proc/self/ns/pid", &status) == 0 ? static_cast<std::uint32_t>(status.st_ino) : 0;
}

Found look(std::uint32_t process) noexcept {
  if (kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH) return {Life::kGone, 0};
  char text[1024];
  // Of its first thread, which began with it: for /proc/PID/stat qemu tells each thread of a process another start.
  std::snprintf(text, sizeof text, "/proc/%u/task/%u/stat", process, process);
  const int file = ::open(text, O_RDONLY | O_CLOEXEC);
  if (file < 0) return {Life::kUnknown, 0};  // no /proc, or one that hides other users' processes
  const ssize_t length = ::read(file, text, sizeof text - 1);
  ::close(file);
  if (length <= 0) return {Life::kUnknown, 0};
  text[length] = '\0';
  // "PID (NAME) STATE ..."; the name may have anything in it. The 22nd field is the start, in ticks since the boot.
  const char* at = std::strrchr(text, ')');
  if (at == nullptr || at[1] == '\0') return {Life::kUnknown, 0};
  const char state = at[2];
  for (int field = 2; field < 22 && at != nullptr; ++field) at = std::strchr(at + 1, ' ');
  if (at == nullptr) return {Life::kUnknown, 0};
  return {state == 'Z' || state == 'X' ? Life::kGone : Life::kAlive, std::strtoull(at + 1, nullptr, 10)};
}

}  // namespace process
}  // namespace judemap

#endif
