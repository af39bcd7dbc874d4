//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Memory on Windows.

#ifdef _WIN32

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <shared_mutex>

#include "judemap/layout.h"
#include "memory.h"
#include "views_windows.h"

// Since Windows 10, version 1803; some headers lack them.
#ifndef MEM_RESERVE_PLACEHOLDER
#define MEM_RESERVE_PLACEHOLDER 0x00040000
#endif
#ifndef MEM_REPLACE_PLACEHOLDER
#define MEM_REPLACE_PLACEHOLDER 0x00004000
#endif
#ifndef MEM_PRESERVE_PLACEHOLDER
#define MEM_PRESERVE_PLACEHOLDER 0x00000002
#endif

// RtlGenRandom, which the headers declare under its other name only where much else comes along.
extern "C" BOOLEAN NTAPI SystemFunction036(void* buffer, ULONG bytes);

namespace judemap {
namespace windows {

bool random(void* buffer, std::size_t bytes) noexcept {
  return SystemFunction036(buffer, static_cast<ULONG>(bytes)) != 0;
}

int errno_of(DWORD error) noexcept {
  switch (error) {
    case ERROR_SUCCESS:
      return EIO;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_COMMITMENT_MINIMUM:
    case ERROR_OUTOFMEMORY:
    case ERROR_WORKING_SET_QUOTA:
    case ERROR_NOT_ENOUGH_QUOTA:
    case ERROR_NO_SYSTEM_RESOURCES:
      return ENOMEM;
    case ERROR_ACCESS_DENIED:
    case ERROR_WRITE_PROTECT:
      return EACCES;
    case ERROR_PRIVILEGE_NOT_HELD:
      return EPERM;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_DELETE_PENDING:
      return ENOENT;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
      return EEXIST;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
      return ENOSPC;
    case ERROR_FILE_TOO_LARGE:
      return EFBIG;
    case ERROR_FILENAME_EXCED_RANGE:
    case ERROR_BUFFER_OVERFLOW:
      return ENAMETOOLONG;
    case ERROR_INVALID_HANDLE:
      return EBADF;
    case ERROR_TOO_MANY_OPEN_FILES:
      return EMFILE;
    case ERROR_LOCK_VIOLATION:
    case ERROR_IO_PENDING:
      return EAGAIN;
    case ERROR_SHARING_VIOLATION:
    case ERROR_USER_MAPPED_FILE:
      return EBUSY;
    case ERROR_CANT_RESOLVE_FILENAME:
      return ELOOP;
    case ERROR_HANDLE_EOF:
    case ERROR_READ_FAULT:
    case ERROR_WRITE_FAULT:
    case ERROR_CRC:
      return EIO;
    case ERROR_NOT_SUPPORTED:
    case ERROR_CALL_NOT_IMPLEMENTED:
      return ENOTSUP;
    default:
      return EINVAL;
  }
}

namespace {

// A range of addresses is first held by a placeholder, which a mapping can take the place of, and leave behind again:
// nothing else in the process gets the addresses in between.
struct Placeholders {
  using Alloc = void* WINAPI(HANDLE, void*, SIZE_T, ULONG, ULONG, void*, ULONG);
  using Map = void* WINAPI(HANDLE, HANDLE, void*, ULONG64, SIZE_T, ULONG, ULONG, void*, ULONG);
  using Unmap = BOOL WINAPI(HANDLE, void*, ULONG);
  Alloc* alloc = function<Alloc>(L"kernelbase.dll", "VirtualAlloc2");
  Map* map = function<Map>(L"kernelbase.dll", "MapViewOfFile3");
  Unmap* unmap = function<Unmap>(L"kernelbase.dll", "UnmapViewOfFile2");
  bool there() const noexcept { return alloc != nullptr && map != nullptr && unmap != nullptr; }
};

const Placeholders& placeholders() noexcept {
  static const Placeholders functions{};
  return functions;
}

// The error of a call that asks for addresses: more of them than there are is an invalid parameter to it.
int no_memory() noexcept { return GetLastError() == ERROR_INVALID_PARAMETER ? ENOMEM : last_error(); }

// All mappings of files, by where they begin. Nobody touches their memory while he has the lock: see on_fault.
struct Views {
  Lock lock;
  std::map<std::uintptr_t, std::shared_ptr<View>> all;

  View* find(std::uintptr_t address) noexcept {
    auto next = all.upper_bound(address);
    if (next == all.begin()) return nullptr;
    View* const view = (--next)->second.get();
    return address - next->first < view->size ? view : nullptr;
  }
};

Views& views() noexcept {
  static Views* const views = new Views;  // never freed: threads may be parked when the program ends
  return *views;
}

// Lets an access to a mapping that is being replaced, and meets the gap, try again. It runs on the stack of the thread,
// which may be a goroutine's: it takes little of it.
LONG CALLBACK on_fault(EXCEPTION_POINTERS* exception) {
  const EXCEPTION_RECORD& record = *exception->ExceptionRecord;
  if (record.ExceptionCode != EXCEPTION_ACCESS_VIOLATION || record.NumberParameters < 2)
    return EXCEPTION_CONTINUE_SEARCH;
  const ULONG_PTR access = record.ExceptionInformation[0];  // 0: to read, 1: to write, 8: to run
  const std::uintptr_t address = record.ExceptionInformation[1];
  Views& known = views();
  for (;;) {
    known.lock.lock_shared();
    View* const view = known.find(address);
    const View::State state = view == nullptr ? View::kMapped : view->state.load(std::memory_order_acquire);
    const bool may_write =
        view != nullptr && address - reinterpret_cast<std::uintptr_t>(view->base) < view->stays_writable;
    known.lock.unlock_shared();
    if (state == View::kMapped) return EXCEPTION_CONTINUE_SEARCH;
    if (state == View::kRetired) {
      return access == 0 || (access == 1 && may_write) ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
    }
    SwitchToThread();
  }
}

struct FaultHandler {
  void* const handle = AddVectoredExceptionHandler(1, on_fault);
  ~FaultHandler() {
    if (handle != nullptr) RemoveVectoredExceptionHandler(handle);
  }
};

void* map_at(HANDLE file, void* at, std::size_t size, bool writable) noexcept {
  const DWORD protection = writable ? PAGE_READWRITE : PAGE_READONLY;
  const HANDLE section = CreateFileMappingW(file, nullptr, protection, 0, 0, nullptr);
  if (section == nullptr) return nullptr;
  // A view may not be larger than the file, nor end within a page; 0 is all of the file, and the rest of its last page.
  LARGE_INTEGER bytes;
  const bool whole = GetFileSizeEx(file, &bytes) && static_cast<std::uint64_t>(bytes.QuadPart) < size;
  void* const base = placeholders().map(section, GetCurrentProcess(), at, 0, whole ? 0 : size, MEM_REPLACE_PLACEHOLDER,
                                        protection, nullptr, 0);
  const DWORD error = GetLastError();
  CloseHandle(section);  // the mapping keeps it
  SetLastError(error);
  return base;
}

// Closes the file of a mapping that has no memory of it any more.
void let_go(View* view) noexcept {
  if (view->file == nullptr) return;
  CloseHandle(view->file);
  view->file = nullptr;
  sweep();
}

// Replaces a mapping of a file, in a moment in which it is neither there nor replaced: see on_fault. What takes its
// place is charged to this process's commit, though no memory is behind it.
int retire_view(View* view, std::size_t writable) noexcept {
  if (view->state.load(std::memory_order_relaxed) != View::kMapped) return 0;
  view->stays_writable = writable;
  view->state.store(View::kRetiring, std::memory_order_release);
  VirtualUnlock(view->base, view->size);  // fails if nothing is locked
  int error = 0;
  if (!placeholders().unmap(GetCurrentProcess(), view->base, MEM_PRESERVE_PLACEHOLDER)) {
    error = last_error();
  } else {
    const DWORD protection = writable == view->size ? PAGE_READWRITE : PAGE_READONLY;
    DWORD before;
    if (placeholders().alloc(GetCurrentProcess(), view->base, view->size,
                             MEM_RESERVE | MEM_COMMIT | MEM_REPLACE_PLACEHOLDER, protection, nullptr, 0) == nullptr) {
      error = last_error();
      map_at(view->file, view->base, view->size, view->writable);  // as it was
    } else if (protection == PAGE_READONLY && !VirtualProtect(view->base, writable, PAGE_READWRITE, &before)) {
      error = last_error();
    }
  }
  view->state.store(error == 0 ? View::kRetired : View::kMapped, std::memory_order_release);
  if (error == 0) let_go(view);
  return error;
}

}  // namespace

View::~View() {
  for (Bell& bell : bells) {
    for (const HANDLE event : bell.events) {
      if (event != nullptr) CloseHandle(event);
    }
  }
}

int map_file(HANDLE file, std::size_t size, bool writable, void** base) noexcept {
  if (!placeholders().there()) return ENOSYS;
  // Before handlers that are there: a program's own, or a runtime's, would take the fault for one of its own.
  static const FaultHandler handler{};
  if (handler.handle == nullptr) return ENOMEM;
  int error = 0;
  char* at = nullptr;
  HANDLE own = nullptr;
  try {
    auto view = std::make_shared<View>();
    if (!DuplicateHandle(GetCurrentProcess(), file, GetCurrentProcess(), &own, 0, FALSE, DUPLICATE_SAME_ACCESS)) {
      return last_error();
    }
    at = static_cast<char*>(placeholders().alloc(GetCurrentProcess(), nullptr, size,
                                                 MEM_RESERVE | MEM_RESERVE_PLACEHOLDER, PAGE_NOACCESS, nullptr, 0));
    if (at == nullptr) {
      error = no_memory();
    } else if (map_at(own, at, size, writable) == nullptr) {
      error = last_error();
      VirtualFree(at, 0, MEM_RELEASE);
    } else {
      view->base = at;
      view->size = size;
      view->writable = writable;
      view->file = own;
      const std::lock_guard<Lock> hold(views().lock);
      views().all.emplace(reinterpret_cast<std::uintptr_t>(at), std::move(view));
      *base = at;
      return 0;
    }
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
    if (at != nullptr) UnmapViewOfFile(at);
  }
  if (own != nullptr) CloseHandle(own);
  return error;
}

std::shared_ptr<View> view_of(const void* address) noexcept {
  Views& known = views();
  const std::shared_lock<Lock> hold(known.lock);
  auto next = known.all.upper_bound(reinterpret_cast<std::uintptr_t>(address));
  if (next == known.all.begin()) return nullptr;
  --next;
  return reinterpret_cast<std::uintptr_t>(address) - next->first < next->second->size ? next->second : nullptr;
}

}  // namespace windows

namespace memory {

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
  return *base == nullptr ? windows::no_memory() : 0;
}

void advise_huge_pages(void*, std::size_t) noexcept {}

// Of memory that this process alone has, the pages are zeroed and then discarded: discarded pages hold what they held
// or zeros, which is the same here. The physical memory goes back; the commit charge stays until unmap.
int retire(void* base, std::size_t size, std::size_t writable) noexcept {
  if (const auto view = windows::view_of(base)) return windows::retire_view(view.get(), writable);
  VirtualUnlock(base, size);  // fails if nothing is locked
  // Zeroing takes a while: the odd number makes every read that is under way throw its result away.
  static_cast<jm_header*>(base)->sequence.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  std::memset(base, 0, size);
  DiscardVirtualMemory(base, size);  // an optimization: without it, zeroed pages stay in use
  DWORD before;
  if (size == writable) return 0;
  return VirtualProtect(static_cast<char*>(base) + writable, size - writable, PAGE_READONLY, &before)
             ? 0
             : windows::last_error();
}

void unmap(void* base, std::size_t) noexcept {
  const auto view = windows::view_of(base);
  if (view == nullptr) {
    VirtualFree(base, 0, MEM_RELEASE);
    return;
  }
  {
    const std::lock_guard<windows::Lock> hold(windows::views().lock);
    windows::views().all.erase(reinterpret_cast<std::uintptr_t>(base));
  }
  const std::lock_guard<windows::Lock> hold(view->memory);
  view->there = false;
  if (view->state.load(std::memory_order_relaxed) == windows::View::kRetired) {
    VirtualFree(base, 0, MEM_RELEASE);
  } else {
    UnmapViewOfFile(base);
  }
  windows::let_go(view.get());
}

int pin(void* base, std::size_t size) noexcept {
  if (VirtualLock(base, size)) return 0;
  // A process may lock a little less than its minimum working set: raise that by what is to be locked, and try again.
  SIZE_T minimum, maximum;
  const SIZE_T more = size + (1 << 20);
  if (!GetProcessWorkingSetSize(GetCurrentProcess(), &minimum, &maximum) ||
      !SetProcessWorkingSetSize(GetCurrentProcess(), minimum + more, maximum + more)) {
    return windows::last_error();
  }
  return VirtualLock(base, size) ? 0 : windows::last_error();
}

void unpin(void* base, std::size_t size) noexcept { VirtualUnlock(base, size); }

}  // namespace memory
}  // namespace judemap

#endif  // _WIN32
