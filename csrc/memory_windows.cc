//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Memory on Windows.

#ifdef _WIN32

#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00  // Windows 10
#endif
#define WIN32_LEAN_AND_MEAN
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>

#include <cerrno>
#include <cstring>

#include "judemap/layout.h"
#include "memory.h"

namespace judemap {
namespace memory {
namespace {

// The errno value for what the system said last.
int last_error() noexcept {
  switch (GetLastError()) {
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_OUTOFMEMORY:
    case ERROR_WORKING_SET_QUOTA:
    case ERROR_NO_SYSTEM_RESOURCES:
      return ENOMEM;
    case ERROR_ACCESS_DENIED:
    case ERROR_PRIVILEGE_NOT_HELD:
      return EPERM;
    default:
      return EINVAL;
  }
}

}  // namespace

std::size_t page_size() noexcept {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
}

std::uint64_t physical() noexcept {
  MEMORYSTATUSEX status = {};
  status.dwLength = sizeof status;
  return GlobalMemoryStatusEx(&status) ? status.ullTotalPhys : 0;
}

// Large pages need a privilege that ordinary users lack, and can't be paged: huge_pages has no effect here.
int map_private(std::size_t size, bool /*huge_pages*/, void** base) noexcept {
  *base = VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  return *base == nullptr ? last_error() : 0;
}

void advise_huge_pages(void*, std::size_t) noexcept {}

// No call of Windows replaces committed memory by other memory in one step, so a reader could fault in between.
// Instead the pages are zeroed and then discarded: discarded pages hold what they held or zeros, which is the same
// here. The physical memory goes back; the commit charge stays until unmap.
int retire(void* base, std::size_t size, std::size_t writable) noexcept {
  VirtualUnlock(base, size);  // fails if nothing is locked
  // Zeroing takes a while: the odd number makes every read that is under way throw its result away.
  static_cast<jm_header*>(base)->sequence.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  std::memset(base, 0, size);
  DiscardVirtualMemory(base, size);  // an optimization: without it, zeroed pages stay in use
  DWORD before;
  if (size == writable) return 0;
  return VirtualProtect(static_cast<char*>(base) + writable, size - writable, PAGE_READONLY, &before) ? 0
                                                                                                      : last_error();
}

void unmap(void* base, std::size_t) noexcept { VirtualFree(base, 0, MEM_RELEASE); }

int pin(void* base, std::size_t size) noexcept {
  if (VirtualLock(base, size)) return 0;
  // A process may lock a little less than its minimum working set: raise that by what is to be locked, and try again.
  SIZE_T minimum, maximum;
  const SIZE_T more = size + (1 << 20);
  if (!GetProcessWorkingSetSize(GetCurrentProcess(), &minimum, &maximum) ||
      !SetProcessWorkingSetSize(GetCurrentProcess(), minimum + more, maximum + more)) {
    return last_error();
  }
  return VirtualLock(base, size) ? 0 : last_error();
}

void unpin(void* base, std::size_t size) noexcept { VirtualUnlock(base, size); }

}  // namespace memory
}  // namespace judemap

#endif  // _WIN32
