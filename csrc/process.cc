//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "process.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fork.h"

#if defined(_WIN32)
#include "system_windows.h"
#else
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#endif

namespace judemap {
namespace process {
namespace {

// What the system says of a process: when it began, in the system's own unit, and whether it still runs.
struct Found {
  Life life;
  std::uint64_t start;  // 0: not known
};

#if defined(__linux__)

// The number of this process's PID namespace: process ids mean something within one. 0: not known.
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

#elif defined(__APPLE__)

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

#elif defined(_WIN32)

std::uint32_t space() noexcept { return 0; }

// The start is in 100 nanoseconds since 1601.
Found look(std::uint32_t process) noexcept {
  const HANDLE handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, FALSE, process);
  if (handle == nullptr) return {GetLastError() == ERROR_INVALID_PARAMETER ? Life::kGone : Life::kUnknown, 0};
  FILETIME start, end, kernel, user;
  Found found = {WaitForSingleObject(handle, 0) == WAIT_OBJECT_0 ? Life::kGone : Life::kAlive, 0};
  if (GetProcessTimes(handle, &start, &end, &kernel, &user)) {
    found.start = std::uint64_t{start.dwHighDateTime} << 32 | start.dwLowDateTime;
  }
  CloseHandle(handle);
  return found;
}

#else

std::uint32_t space() noexcept { return 0; }

Found look(std::uint32_t process) noexcept {
  if (kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH) return {Life::kGone, 0};
  return {Life::kUnknown, 0};  // there is one of that number
}

#endif

}  // namespace

jm_creator self() noexcept {
  jm_creator creator = {};
  creator.process = fork::process();
  creator.space = space();
  creator.start = look(creator.process).start;
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  creator.time = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
  return creator;
}

Life life_of(const jm_creator& creator) noexcept {
  // Above that kill() means groups of processes.
  if (creator.process == 0 || creator.process > INT32_MAX || creator.space != space()) return Life::kUnknown;
  const Found found = look(creator.process);
  if (found.life != Life::kAlive) return found.life;
  if (found.start == 0 || creator.start == 0) return Life::kUnknown;
  return found.start == creator.start ? Life::kAlive : Life::kGone;
}

}  // namespace process
}  // namespace judemap
