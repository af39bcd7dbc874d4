// What the core asks of the system's memory. One source file per platform implements it: csrc/memory_*.cc.
// Every int returned is 0 or an errno value. Sizes are in bytes and whole pages.
#ifndef JUDEMAP_MEMORY_H
#define JUDEMAP_MEMORY_H

#include <cstddef>
#include <cstdint>

namespace judemap {
namespace memory {

// The size of a page in bytes. All sizes are rounded up to it.
std::size_t page_size() noexcept;

// `bytes` rounded up to whole pages. It is 0 if the result would be 0, or too large for an object: the difference of
// two pointers into it must fit in a ptrdiff_t.
inline std::size_t whole_pages(std::uint64_t bytes) noexcept {
  const std::size_t page = page_size();
  return bytes > PTRDIFF_MAX - page ? 0 : (static_cast<std::size_t>(bytes) + page - 1) / page * page;
}

// How many bytes of memory the machine has; 0 if that is unknown.
std::uint64_t physical() noexcept;

// Maps `size` bytes of zeroed memory for this process alone. With `huge_pages` it advises the system to use huge pages.
int map_private(std::size_t size, bool huge_pages, void** base) noexcept;

// Advises the system to use huge pages for a mapping of a file in memory, if the mapping is large enough. The system
// may ignore it.
void advise_huge_pages(void* base, std::size_t size) noexcept;

// Replaces a mapping by one that reads as zeros and has no memory behind it, in one step as other threads see it. The
// first `writable` bytes can still be written to, for a thread that counts itself in or out in the header before or
// after it parks. Windows can't do it in one step, and keeps the commit charge instead: see memory_windows.cc.
int retire(void* base, std::size_t size, std::size_t writable) noexcept;

// Unmaps a mapping, whether retire() was called or not.
void unmap(void* base, std::size_t size) noexcept;

// Locks pages in physical memory, and unlocks them.
int pin(void* base, std::size_t size) noexcept;
void unpin(void* base, std::size_t size) noexcept;

}  // namespace memory
}  // namespace judemap

#endif  // JUDEMAP_MEMORY_H
