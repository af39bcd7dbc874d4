//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Memory on Linux, macOS and the BSDs.

#ifndef _WIN32

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "memory.h"

namespace judemap {
namespace memory {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

void* map(void* at, std::size_t size, int protection, int flags) noexcept {
  return mmap(at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

}  // namespace

std::size_t page_size() noexcept { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }

std::uint64_t physical() noexcept {
  const long pages = sysconf(_SC_PHYS_PAGES);
  return pages < 0 ? 0 : static_cast<std::uint64_t>(pages) * page_size();
}

int map_private(std::size_t size, bool huge_pages, void** base) noexcept {
#ifdef MADV_HUGEPAGE
  huge_pages = huge_pages && size >= kHugePage && size <= SIZE_MAX - kHugePage;
#else
  huge_pages = false;  // macOS chooses page sizes itself
#endif
  // A huge page needs 2 MiB that are aligned to 2 MiB, and not every kernel aligns mappings by itself. So map 2 MiB
  // more, and unmap what is around the aligned range.
  const std::size_t room = huge_pages ? size + kHugePage : size;
  void* mapped = map(nullptr, room, PROT_READ | PROT_WRITE, 0);
  if (mapped == MAP_FAILED) return errno;
  *base = mapped;
#ifdef MADV_HUGEPAGE
  if (huge_pages) {
    const auto start = reinterpret_cast<std::uintptr_t>(mapped);
    const std::uintptr_t aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
    if (aligned != start) munmap(mapped, aligned - start);
    if (start + room != aligned + size) {
      munmap(reinterpret_cast<void*>(aligned + size), start + room - aligned - size);
    }
    *base = reinterpret_cast<void*>(aligned);
    madvise(*base, size, MADV_HUGEPAGE);  // an error is ignored: a kernel without huge pages may refuse the advice
  }
#endif
  return 0;
}

void advise_huge_pages(void* base, std::size_t size) noexcept {
#ifdef MADV_HUGEPAGE
  if (size >= kHugePage) madvise(base, size, MADV_HUGEPAGE);
#else
  static_cast<void>(base), static_cast<void>(size);
#endif
}

int retire(void* base, std::size_t size, std::size_t writable) noexcept {
  // MAP_FIXED replaces the old mapping by the new one under one lock of the kernel, and a thread that touches the range
  // meanwhile waits for that. Pages that are not writable are charged no memory.
#ifdef MAP_NORESERVE
  const int flags = MAP_FIXED | MAP_NORESERVE;
#else
  const int flags = MAP_FIXED;
#endif
  if (map(base, writable, PROT_READ | PROT_WRITE, flags) == MAP_FAILED) return errno;
  if (size == writable) return 0;
  return map(static_cast<char*>(base) + writable, size - writable, PROT_READ, flags) == MAP_FAILED ? errno : 0;
}

void unmap(void* base, std::size_t size) noexcept { munmap(base, size); }

int pin(void* base, std::size_t size) noexcept { return mlock(base, size) == 0 ? 0 : errno; }

void unpin(void* base, std::size_t size) noexcept { munlock(base, size); }

}  // namespace memory
}  // namespace judemap

#endif  // _WIN32
