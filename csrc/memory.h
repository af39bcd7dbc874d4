// What the core asks of the system's memory. One source file per platform implements it: csrc/memory_*.cc.
// Every int returned is 0 or an errno value. Sizes are in bytes and whole pages.
#ifndef JUDEMAP_MEMORY_H
#define JUDEMAP_MEMORY_H

#include <cstddef>
#include <cstdint>

namespace judemap {
namespace memory {

// Bytes of one page: sizes are rounded up to it.
std::size_t page_size() noexcept;

// `bytes` rounded up to whole pages; 0 if that is 0, or more than an object may have, so that pointers into it can be
// subtracted.
inline std::size_t whole_pages(std::uint64_t bytes) noexcept {
  const std::size_t page = page_size();
  return bytes > PTRDIFF_MAX - page ? 0 : (static_cast<std::size_t>(bytes) + page - 1) / page * page;
}

// Bytes of memory that the machine has; 0 if that can't be told.
std::uint64_t physical() noexcept;

// Maps `size` bytes of zeroed memory that this process alone has, huge pages advised on demand.
int map_private(std::size_t size, bool huge_pages, void** base) noexcept;

// Advises huge pages for a mapping of a file in memory, where it is large enough. The system may not heed it.
void advise_huge_pages(void* base, std::size_t size) noexcept;

// Replaces a mapping, in one step for concurrent readers, by one that reads as zeros and has no memory behind it.
// The first `writable` bytes can still be written to: a thread that is about to park, or was, may count itself in or
// out in the header. Windows can't do that in one step, and keeps the commit charge instead: see memory_windows.cc.
int retire(void* base, std::size_t size, std::size_t writable) noexcept;

// Unmaps; retired or not.
void unmap(void* base, std::size_t size) noexcept;

// Locks pages in physical memory, and lets them go.
int pin(void* base, std::size_t size) noexcept;
void unpin(void* base, std::size_t size) noexcept;

}  // namespace memory
}  // namespace judemap

#endif  // JUDEMAP_MEMORY_H
