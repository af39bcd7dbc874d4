// Functions that move payload: copies into and out of a segment, fills, and the first touch of a mapping. They use
// several threads where that is faster.
//
// A copy of a segment's payload races with a writer (or a reader) of another thread by design: the sequence shows that
// a result is torn, and it is discarded (seqlock.h). In C++17 a race on plain bytes is undefined. The relaxed atomic
// copy that would be defined (proposed as P1478, "Byte-wise atomic memcpy") does not exist yet. A copy word by word
// with relaxed atomics is defined, but too slow for the hot path: 27 GB/s against 42 to 92 GB/s of memmove (4 KiB to 8
// MiB, in cache). So these functions, and no others, step outside the memory model. The compiler can't look into
// memmove, memset or an instruction of inline assembly, and the fences before and after them order their loads and
// stores on the machine. ThreadSanitizer gets the defined form, so that its reports on the rest are right.
//
// Memory orders. W1, W2, R1 and R2 are those of seqlock.h.
//
// - Stores that may be weakly ordered on x86 (memmove's for large sizes, string instructions) must not pass the plain
//   store that makes `sequence` odd: from 256 KiB up the caller issues a store fence before its first one, and every
//   thread issues one after its last, before whatever tells others of it. Elsewhere the fences of C++ do.
// - Writing: the caller opens the work to helpers with a release store after W1, a helper takes a part of it with an
//   acquire, and then has a release fence of its own, which pairs with R2 as W1 does: a reader that saw a helper's
//   store sees the odd sequence. A helper's release increment of the count of parts done pairs with the caller's
//   acquire load of it, so that W2 publishes the helper's stores too.
// - Reading: the same two edges. R1 comes before the release store that opens the work, so a helper's loads come after
//   it and see what W2 published. A helper has an acquire fence after its loads (it pairs with W1 as R2 does) and then
//   the release increment, so the caller's second load of `sequence` comes after all of them.
#ifndef JUDEMAP_CSRC_PAYLOAD_H
#define JUDEMAP_CSRC_PAYLOAD_H

#include <cstddef>
#include <cstdint>

namespace judemap {
namespace payload {

// `threads` is how many threads the call may use, the caller's included. 1 means only the caller's; no thread is
// started. 0 means as many as the process has processors to run on, but 4 at most. The most is 16.
//
// Threads are used on Linux, for 4 MiB or more (fills: 16 MiB or more). The process has up to 15 helper threads. The
// first call that needs them starts them, and they sleep between calls. No call waits for a helper to begin: the caller
// does all parts of the work that no helper has taken, and then waits only for the parts that helpers are doing. A part
// has 512 KiB (of a fill a sixteenth, but 32 MiB at most; 4 MiB for populate). It takes some 50 us if the helper is
// running. If other threads have its processor, it takes until the system gives it back, a few milliseconds on Linux.
// The caller does everything if no thread can be made, and in a forked child until that has made helpers of its own.

// Copies `size` bytes. The ranges may overlap, because a caller may write a view of the segment back to it; overlapping
// ranges are copied by one thread.
void copy(void* destination, const void* source, std::size_t size, unsigned threads) noexcept;

// Fills `size` bytes with copies of the 8 bytes of `pattern`, in the order in which they are in memory: one element,
// repeated to 8 bytes. `destination` is aligned to 8 bytes at least. The last copy may be cut short.
void fill(void* destination, std::size_t size, std::uint64_t pattern, unsigned threads) noexcept;

// Touches every page of a mapping, for writing or only for reading, without changing its content, so that no later
// access faults. For a file in memory that was made longer without allocating it, this also allocates it. `base` is on
// a page boundary. Returns 0 or an errno value, and never raises SIGBUS:
//   EFAULT   a page can't be had: the file system is full, or the file ends before the mapping does
//   ENOMEM   no memory, or not all of the range is mapped
//   ENOTSUP  this kernel can't do it safely (MADV_POPULATE_WRITE is in Linux 5.14 and later), or not for this mapping.
//            Nothing was touched: reserve the file's space (posix_fallocate) and leave the pages to the first access.
int populate(void* base, std::size_t size, bool write, unsigned threads) noexcept;

}  // namespace payload
}  // namespace judemap

#endif  // JUDEMAP_CSRC_PAYLOAD_H
