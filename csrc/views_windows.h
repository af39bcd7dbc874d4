// What the files for Windows have in common: the system's errors as errno values, and the mappings of
// files, which memory_windows.cc keeps, share_windows.cc makes, and wait_windows.cc looks up.
#ifndef JUDEMAP_VIEWS_WINDOWS_H
#define JUDEMAP_VIEWS_WINDOWS_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "system_windows.h"

namespace judemap {
namespace windows {

// The errno value for an error of the system; the one without an argument is for the last.
int errno_of(DWORD error) noexcept;
inline int last_error() noexcept { return errno_of(GetLastError()); }

// Fills a buffer with what nobody can guess. False if the system can't.
bool random(void* buffer, std::size_t bytes) noexcept;

// A descriptor of the core is the HANDLE itself: the system promises that 32 bits are enough to tell handles apart.
inline HANDLE handle_of(int descriptor) noexcept {
  return reinterpret_cast<HANDLE>(static_cast<std::intptr_t>(descriptor));
}
inline int descriptor_of(HANDLE handle) noexcept { return static_cast<int>(reinterpret_cast<std::intptr_t>(handle)); }

// A function of a system library that older systems lack, or the import libraries of some compilers; nullptr then.
template <class Function>
Function* function(const wchar_t* library, const char* name) noexcept {
  const HMODULE module = GetModuleHandleW(library);
  return module == nullptr ? nullptr
                           : reinterpret_cast<Function*>(reinterpret_cast<void*>(GetProcAddress(module, name)));
}

// The lock of the system that costs nothing to make: for many readers, or one writer.
class Lock {
 public:
  void lock() noexcept { AcquireSRWLockExclusive(&lock_); }
  void unlock() noexcept { ReleaseSRWLockExclusive(&lock_); }
  void lock_shared() noexcept { AcquireSRWLockShared(&lock_); }
  void unlock_shared() noexcept { ReleaseSRWLockShared(&lock_); }

 private:
  SRWLOCK lock_ = SRWLOCK_INIT;
};

// What threads of all processes park on that wait for one word of a mapping: events that only SetEvent and ResetEvent
// change, used in turn. See wait_windows.cc.
struct Bell {
  static constexpr unsigned kEvents = 4;  // a power of 2: their turn goes on where the generation begins anew
  HANDLE events[kEvents] = {};
  bool shared = false;                           // they have names, and the header has the generation
  std::atomic<std::uint32_t> own_generation{0};  // where the one in the header is not ours to change
  std::atomic<std::uint32_t> parked{0};          // threads that are parked through this mapping
};

// A mapping of a file. It outlives its memory for as long as a thread is parked there.
struct View {
  enum State { kMapped, kRetiring, kRetired };

  View() = default;
  ~View();
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  char* base = nullptr;
  std::size_t size = 0;  // whole pages
  bool writable = false;
  std::size_t stays_writable = 0;  // bytes, when it is retired
  HANDLE file = nullptr;           // open for as long as the file is mapped: see sweep() in share_windows.cc
  std::atomic<State> state{kMapped};

  Lock memory;        // held for reading by who looks at the memory and has no handle of the core
  bool there = true;  // there is memory; guarded by `memory`
  Lock bells_lock;    // guards the making of the events
  Bell bells[2];      // of the words that threads park on: `sequence`, and in a stream `released`
};

// Maps a file that stays the caller's.
int map_file(HANDLE file, std::size_t size, bool writable, void** base) noexcept;

// The mapping that has an address; empty if there is none.
std::shared_ptr<View> view_of(const void* address) noexcept;

// Deletes the files that had or never got a name, and that nobody has open.
void sweep() noexcept;

}  // namespace windows
}  // namespace judemap

#endif  // JUDEMAP_VIEWS_WINDOWS_H
