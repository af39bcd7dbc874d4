// The seqlock of a segment's header. One writer commits. Any number of readers take consistent snapshots, without
// writing to shared memory.
//
// The memory orders follow Hans-J. Boehm, "Can Seqlocks Get Along With Programming Language Memory Models?", MSPC 2012:
//
//   writer                                        reader
//   sequence.store(odd, relaxed)                  s1 = sequence.load(acquire)           (R1)
//   fence(release)                  (W1)          words and payload, relaxed
//   words and payload, relaxed                    fence(acquire)                        (R2)
//   sequence.store(even, seq_cst)   (W2)          s2 = sequence.load(relaxed)
//
// W2 pairs with R1: a reader that sees the even number sees everything that was stored before it, so the snapshot is
// complete. W1 pairs with R2: a reader that saw any store of a later commit also sees, in s2, that commit's odd number,
// so it discards the snapshot. An increment of sequence with release order would not do for W1: release orders what
// comes before it, but lets the stores to the payload move ahead of it.
//
// The algorithms are templates over the header, so that the tests can run these very lines on a simulated weakly
// ordered memory (test/weak_memory_test.cc). All other code uses jm_header.
#ifndef JUDEMAP_SEQLOCK_H
#define JUDEMAP_SEQLOCK_H

#include <atomic>
#include <cstdint>

#include "judemap/layout.h"

namespace judemap {

// The metadata of a tensor in a header. ndim, dtype and byte_length of 0 mean that there is no tensor: nothing was ever
// written, or the last commit was aborted. A tensor of rank 0 differs from that: its byte_length is the size of one
// element.
struct Metadata {
  std::uint32_t ndim = 0;
  std::uint32_t dtype = 0;
  std::uint64_t shape[JM_MAX_DIMS] = {};
  std::uint64_t byte_length = 0;

  bool none() const noexcept { return ndim == 0 && dtype == 0 && byte_length == 0; }
};

// How one attempt to read ended.
enum class Attempt {
  kDone,  // the snapshot is consistent
  kBusy,  // a commit was in progress
  kTorn,  // a commit began while the snapshot was taken
  kStop,  // the snapshot is consistent, but `use` returned false
};

inline void fence(const jm_header&, std::memory_order order) noexcept { std::atomic_thread_fence(order); }

// Starts a commit and returns the version that it will have. Call it with the one writer's lock held.
template <class Header>
std::uint64_t begin_commit(Header& header) noexcept {
  // Only the writer stores sequence, so it may load its own last store relaxed. It is odd already if a writer was
  // killed in the middle of a commit: this commit then replaces that one.
  const std::uint64_t odd = header.sequence.load(std::memory_order_relaxed) | 1;
  header.sequence.store(odd, std::memory_order_relaxed);
  fence(header, std::memory_order_release);  // W1, pairs with R2
  return odd + 1;
}

template <class Header>
void store_metadata(Header& header, const Metadata& metadata) noexcept {
  header.ndim.store(metadata.ndim, std::memory_order_relaxed);
  header.dtype.store(metadata.dtype, std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < JM_MAX_DIMS; ++i) {
    header.shape[i].store(i < metadata.ndim ? metadata.shape[i] : 0, std::memory_order_relaxed);
  }
  header.byte_length.store(metadata.byte_length, std::memory_order_relaxed);
}

// Ends the commit that begin_commit started. For readers release order is enough (W2, pairs with R1). Sequential
// consistency orders this store before the load by which the writer then sees whether a reader is parked.
template <class Header>
void end_commit(Header& header, std::uint64_t version) noexcept {
  header.sequence.store(version, std::memory_order_seq_cst);
}

// Like end_commit, where nobody parks on the sequence, or nobody asks to be woken.
template <class Header>
void end_commit_unawaited(Header& header, std::uint64_t version) noexcept {
  header.sequence.store(version, std::memory_order_release);  // W2, pairs with R1
}

// Makes one attempt at a consistent snapshot. `use` is called with the metadata that was loaded, after *version was
// set. It does with the payload what has to be done before the check, such as copying it. It may be called with
// metadata and payload that make no sense, and returns false to reject them. *version and *metadata are valid after
// kDone and kStop. Entries of shape past ndim keep their old values.
template <class Header, class Use>
Attempt read_once(const Header& header, std::uint64_t* version, Metadata* metadata, Use&& use) {
  const std::uint64_t before = header.sequence.load(std::memory_order_acquire);  // R1, pairs with W2
  if (before & 1) return Attempt::kBusy;
  *version = before;
  metadata->ndim = header.ndim.load(std::memory_order_relaxed);
  metadata->dtype = header.dtype.load(std::memory_order_relaxed);
  const std::uint32_t dims = metadata->ndim < JM_MAX_DIMS ? metadata->ndim : JM_MAX_DIMS;
  for (std::uint32_t i = 0; i < dims; ++i) metadata->shape[i] = header.shape[i].load(std::memory_order_relaxed);
  metadata->byte_length = header.byte_length.load(std::memory_order_relaxed);
  const bool used = use(static_cast<const Metadata&>(*metadata));
  fence(header, std::memory_order_acquire);  // R2, pairs with W1
  if (header.sequence.load(std::memory_order_relaxed) != before) return Attempt::kTorn;
  return used ? Attempt::kDone : Attempt::kStop;
}

// Whether no commit has begun since `version` was read. It is the check at the end of a read in which the caller itself
// uses the payload.
template <class Header>
bool unchanged(const Header& header, std::uint64_t version) noexcept {
  fence(header, std::memory_order_acquire);  // R2: the caller's loads of the payload come before the load below
  return header.sequence.load(std::memory_order_relaxed) == version;
}

}  // namespace judemap

#endif  // JUDEMAP_SEQLOCK_H
