//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// What Windows says of a process.

#ifdef _WIN32

#include "process.h"
#include "system_windows.h"

namespace judemap {
namespace process {

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

}  // namespace process
}  // namespace judemap

#endif
