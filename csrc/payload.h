// What moves payload: copies into and out of a segment, fills, and the first touch of a mapping, with several threads
// where that is faster.
//
// A copy of a segment's payload races with a writer (or a reader) of another thread by design: a torn result is found
// by the sequence and thrown away (seqlock.h). In C++17 a race on plain bytes is undefined, and the relaxed atomic copy
// that would be defined (proposed as P1478, "Byte-wise atomic memcpy") does not exist yet. Copying word by word with
// relaxed atomics is defined, and at 27 GB/s against memmove's 42 to 92 GB/s (4 KiB to 8 MiB, in cache) not an option
// for the hot path. So these are the only functions that step outside the model: memmove, memset and an instruction of
// inline assembly are what the compiler can't look into, and the fences on both sides of them order their loads and
// stores on the machine. ThreadSanitizer gets the defined form, so that what it says of the rest is true.
//
// Orders. The names W1, W2, R1 and R2 are seqlock.h's.
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

// `threads` is how many threads the call may use, the caller's included. 1: the caller's only, and none is started.
// 0: as many as the process has processors to run on, 4 at most. 16 at most in any case.
//
// Threads are used from 4 MiB up (fills from 16 MiB), on Linux. Up to 15 helpers are made for the whole process, at the
// first call that wants them, and sleep between calls. No call ever waits for a helper to begin: the caller does all
// parts of the work that no helper has taken, and then waits only for the parts in hand. They are of 512 KiB (of a fill
// a sixteenth, 32 MiB at most; 4 MiB for populate): some 50 us where the helper is running; where other threads have
// its processor, as long as the system lets them keep it, a few milliseconds on Linux. Where threads can't be made, and
// after a fork until the child has made its own, the caller does everything.

// Copies `size` bytes. The ranges may overlap, as a caller may write a view of the segment back to it; one thread
// copies those.
void copy(void* destination, const void* source, std::size_t size, unsigned threads) noexcept;

// Fills `size` bytes with the 8 of `pattern`, as they lie in memory, over and over: one element repeated to 8 bytes.
// `destination` is aligned to 8 bytes at least; the last copy of the pattern may be cut short.
void fill(void* destination, std::size_t size, std::uint64_t pattern, unsigned threads) noexcept;

// Touches every page of a mapping, for writing or for reading only, without changing what is in it, so that no later
// access faults. For a file in memory that was made longer without allocating it, that allocates it too.
// `base` is on a page boundary. Returns 0 or an errno value, and never raises SIGBUS:
//   EFAULT   a page can't be had: the file system is full, or the file ends before the mapping does
//   ENOMEM   no memory, or not all of the range is mapped
//   ENOTSUP  this kernel can't do it safely (MADV_POPULATE_WRITE is in Linux 5.14 and later), or not for this mapping.
//            Nothing was touched: reserve the file's space (posix_fallocate) and leave the pages to the first access.
int populate(void* base, std::size_t size, bool write, unsigned threads) noexcept;

}  // namespace payload
}  // namespace judemap

#endif  // JUDEMAP_CSRC_PAYLOAD_H
