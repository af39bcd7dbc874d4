//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/mapping.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "clock.h"
#include "cuda.h"
#include "fork.h"
#include "memory.h"
#include "payload.h"
#include "process.h"
#include "share.h"
#include "wait.h"

namespace judemap {
namespace {

// How often a parked thread checks that the writer is alive, because a dead one can't wake anybody. It checks also
// while there is no writer: one may come and die between the check and the sleep (model/, FOREVER_IF_NONE).
constexpr std::int64_t kLookForDeath = 40'000'000;  // ns

// How often a thread that is parked on private memory checks that its own handle is not closed.
constexpr std::int64_t kLookForClose = 1'000'000'000;  // ns

// A writer that takes no lock counts as dead if its commit takes longer than this plus a nanosecond for each byte of
// capacity. No machine that runs this writes slower than that.
constexpr std::int64_t kStuck = 50'000'000;  // ns

// For how long, and for how many commits, no counted waiter may be parked before the waiters are taken for dead.
constexpr std::int64_t kAbsent = 1'000'000'000;  // ns
constexpr std::uint32_t kAbsentCommits = 100;

// The shortest poll interval. A Linux timer is late by that much anyway, so shorter polls would be spinning. The
// longest is a day.
constexpr std::int64_t kShortestPoll = 50'000;  // ns
constexpr std::int64_t kLongestPoll = std::int64_t{24} * 3600 * 1'000'000'000;

// The status for an error of the functions in share.h and memory.h. It also sets errno, if the error is the system's.
jm_status status_of(int error) noexcept {
  if (error == 0) return JM_OK;
  if (error == share::kNoProc) return JM_ERR_NO_PROC;
  errno = error;
  return JM_ERR_SYSTEM;
}

// Allocates all pages of a new file's mapping, with several threads, and so reserves memory for them.
int populate_all(int descriptor, void* base, std::size_t size) noexcept {
  const int error = payload::populate(base, size, true, 0);
  if (error == ENOTSUP) return share::reserve(descriptor, size);
  return error == EFAULT ? ENOSPC : error;
}

}  // namespace

// ---- Making and opening ---------------------------------------------------------------------------------------------

Mapping::Mapping() noexcept = default;

Mapping::~Mapping() {
  if (header_ == nullptr) return;
  close();
  if (unregister_cuda(nullptr, 0) == JM_ERR_CUDA && cuda_ != nullptr) {
    // Keep the addresses reserved, without memory. The driver would take anything that is mapped there later for the
    // registered memory, and would copy from other pages.
    memory::retire(header_, mapped_, memory::page_size());
    return;
  }
  memory::unmap(header_, mapped_);
}

void Mapping::take(void* base, std::size_t size, std::uint64_t capacity) noexcept {
  header_ = static_cast<jm_header*>(base);
  mapped_ = size;
  capacity_ = capacity;
  generation_ = fork::generation.load(std::memory_order_relaxed);
}

jm_status Mapping::make(std::size_t size, std::uint64_t capacity, std::uint32_t flags) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  if (const int error = fork::watch()) return status_of(error);
  void* base;
  if (const int error = memory::map_private(size, (flags & JM_NO_HUGE_PAGES) == 0, &base)) return status_of(error);
  if ((flags & JM_POPULATE) != 0) {
    // Where the system can't do it, the first access allocates each page, as without the flag.
    const int error = payload::populate(base, size, true, 0);
    if (error != 0 && error != ENOTSUP) {
      memory::unmap(base, size);
      return status_of(error == EFAULT ? ENOMEM : error);
    }
  }
  // The zeroed pages are a valid header: a std::atomic word has the bytes of the word, and all words begin as 0.
  take(base, size, capacity);
  counts_waiters_ = (flags & JM_NO_PARKING) == 0;
  attached_.store(true, std::memory_order_relaxed);  // nobody else can write
  return JM_OK;
}

jm_status Mapping::make_named(const char* name, std::size_t size, std::uint32_t mode, std::uint32_t flags,
                              const Block& block) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  if (!good_name(name)) return JM_ERR_NAME;
  int descriptor;
  if (const int error = share::make(size, mode, &descriptor)) return status_of(error);
  return adopt_new(descriptor, name, size, flags, block);
}

jm_status Mapping::make_nameless(std::size_t size, std::uint32_t flags, const Block& block) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  int descriptor;
  if (const int error = share::make_nameless(size, &descriptor)) return status_of(error);
  return adopt_new(descriptor, nullptr, size, flags, block);
}

jm_status Mapping::open_named(const char* name, std::uint32_t flags, Judge judge, Found* found,
                              const char** why) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  if (!good_name(name)) return JM_ERR_NAME;
  const bool writable = (flags & JM_READ_ONLY) == 0;
  int descriptor;
  if (const int error = share::open(name, writable, &descriptor)) return status_of(error);
  return adopt(descriptor, writable, judge, found, why);
}

jm_status Mapping::open_descriptor(int descriptor, std::uint32_t flags, Judge judge, Found* found,
                                   const char** why) noexcept {
  if (header_ != nullptr) return JM_ERR_ARGUMENT;
  const bool writable = (flags & JM_READ_ONLY) == 0;
  int own;
  if (const int error = share::duplicate(descriptor, writable, &own)) return status_of(error);
  return adopt(own, writable, judge, found, why);
}

// Maps a new file, writes its block, and gives it its name (nullptr: none). If that fails it closes the descriptor.
jm_status Mapping::adopt_new(int descriptor, const char* name, std::size_t size, std::uint32_t flags,
                             const Block& block) noexcept {
  void* base = nullptr;
  lock_.reset(new (std::nothrow) share::Locks);
  const bool populate = (flags & JM_POPULATE) != 0;
  int error = lock_ == nullptr ? ENOMEM : fork::watch();
  // If a page has no memory and there is no room for it, a store to it raises SIGBUS. So reserve the memory first.
  if (error == 0 && !populate) error = share::reserve(descriptor, size);
  if (error == 0) error = share::map(descriptor, size, true, &base);
  if (error == 0) {
    if ((flags & JM_NO_HUGE_PAGES) == 0) memory::advise_huge_pages(base, size);
    if (populate) error = populate_all(descriptor, base, size);
    if (error != 0) memory::unmap(base, size);
  }
  const bool writers_wake = (flags & JM_FOREIGN_WRITERS) == 0;
  if (error == 0) {
    auto* header = static_cast<jm_header*>(base);  // zeroed pages are a valid header
    header->capacity.store(block.capacity, std::memory_order_relaxed);
    header->flags.store(block.flags | (writers_wake ? JM_FLAG_WRITERS_WAKE : 0), std::memory_order_relaxed);
    if (block.stream != nullptr) std::memcpy(header->later, block.stream, sizeof header->later);
    const jm_creator creator = process::self();
    const std::size_t at = block.stream != nullptr ? JM_STREAM_CREATOR_OFFSET : JM_CREATOR_OFFSET;
    std::memcpy(static_cast<unsigned char*>(base) + at, &creator, sizeof creator);
    header->magic.store(block.magic, std::memory_order_release);
    share::hold(descriptor);  // should it fail, it is in use and nobody is told
    error = name != nullptr
                ? share::publish(descriptor, name)
                : share::seal(descriptor, (flags & JM_SEAL_WRITES) != 0);  // only after this handle has mapped it
    if (error != 0) memory::unmap(base, size);
  }
  if (error != 0) {
    lock_.reset();
    share::close(descriptor);
    return status_of(error);
  }
  take(base, size, block.capacity);
  shared_ = block_ = true;
  descriptor_.store(descriptor, std::memory_order_relaxed);
  writers_wake_ = writers_wake;
  return JM_OK;
}

// Checks a file by reading its header, and only then maps it. If that fails it closes the descriptor.
jm_status Mapping::adopt(int descriptor, bool writable, Judge judge, Found* found, const char** why) noexcept {
  const char* reason = nullptr;
  void* base = nullptr;
  std::size_t mapped = 0;
  std::uint32_t flags = 0;
  bool too_large = false;
  share::Attributes file;
  lock_.reset(new (std::nothrow) share::Locks);
  int error = lock_ == nullptr ? ENOMEM : fork::watch();
  if (error == 0) error = share::attributes(descriptor, &file);
  if (error != 0) {
  } else if (file.bytes == 0) {
    reason = "it is empty: no segment, or one whose creator died before it was ready";
  } else if (file.bytes <= JM_DATA_OFFSET) {
    reason = "it is too short to be a segment";
  } else if ((mapped = memory::whole_pages(file.bytes)) == 0) {
    too_large = true;
  } else {
    // Another process wrote this, so nothing in it may be trusted.
    alignas(jm_header) unsigned char first[sizeof(jm_header)];
    if ((error = share::read(descriptor, first, sizeof first)) == 0) {
      const auto* header = reinterpret_cast<const jm_header*>(first);
      flags = header->flags.load(std::memory_order_relaxed);
      reason = judge(*header, file.bytes, found);
    }
    if (error == 0 && reason == nullptr && !file.reserved) {
      if (writable) {
        error = share::reserve(descriptor, file.bytes);
      } else {
        reason =
            "there is no memory behind some of it, and to look at that takes what may not be there; who opens it "
            "for writing reserves it";
      }
    }
  }
  if (error == 0 && reason == nullptr && !too_large) error = share::map(descriptor, mapped, writable, &base);
  if (base == nullptr || error != 0) {
    lock_.reset();
    share::close(descriptor);
    if (too_large) return JM_ERR_CAPACITY;
    if (error != 0) return status_of(error);
    if (why != nullptr) *why = reason;
    return JM_ERR_CORRUPT;
  }
  share::hold(descriptor);
  take(base, mapped, found->capacity);
  shared_ = true;
  block_ = found->block;
  writable_ = writable;
  descriptor_.store(descriptor, std::memory_order_relaxed);
  counts_waiters_ = block_ && writable;
  writers_wake_ = block_ && (flags & JM_FLAG_WRITERS_WAKE) != 0;
  return JM_OK;
}

jm_status Mapping::open_again(bool writable, int* out) noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (!shared_) return JM_ERR_ARGUMENT;
  if (writable && !writable_) return JM_ERR_READ_ONLY;
  const int error = share::reopen(descriptor_.load(std::memory_order_relaxed), writable, out);
  if (error == 0) share::hold(*out);  // for who maps it without this code
  return status_of(error);
}

bool Mapping::good_name(const char* name) noexcept {
  if (name == nullptr) return false;
  const std::size_t length = strnlen(name, share::kMostNameBytes + 1);
  return length != 0 && length <= share::kMostNameBytes && std::strchr(name, '/') == nullptr &&
         std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0;
}

jm_status Mapping::remove(const char* name) noexcept {
  if (!good_name(name)) return JM_ERR_NAME;
  return status_of(share::remove(name));
}

// ---- The writer ---------------------------------------------------------------------------------------------------

bool Mapping::inherited() const noexcept { return fork::generation.load(std::memory_order_relaxed) != generation_; }

jm_status Mapping::become_writer() noexcept {
  if (!writable_) return JM_ERR_READ_ONLY;
  const int error = lock_->take(descriptor_.load(std::memory_order_relaxed), 0);
  if (error != 0) lock_->close();
  if (error == EAGAIN) return JM_ERR_WRITER_ACTIVE;
  if (error != 0) return status_of(error);
  // The flag is set after the lock was taken, and cleared before the lock is given back. So if the flag is set and
  // nobody holds the lock, the writer died.
  if (counts_waiters_) header_->flags.fetch_or(JM_FLAG_WRITER_ATTACHED);
  attached_.store(true, std::memory_order_release);
  return JM_OK;
}

// ---- Waiting --------------------------------------------------------------------------------------------------------

void Mapping::committed() noexcept {
  // Only the writer stores these.
  commits_.store(commits_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (wake_waiters()) wakes_.store(wakes_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void Mapping::wake() noexcept { wait::wake_all(&header_->sequence, shared_); }

bool Mapping::wake_waiters() noexcept {
  if (!counts_waiters_) return false;
  // This load, the end of the commit before it, and announce() are sequentially consistent. So either this load sees
  // the reader that is about to park, or the kernel sees the commit when it compares the sequence for that reader.
  std::uint32_t waiters = header_->waiters.load(std::memory_order_seq_cst);
  if (waiters == 0) return false;
  const bool woken = wait::wake_all(&header_->sequence, shared_);
  if (woken || waiters != absent_) {
    absent_ = waiters;
    absent_commits_ = 0;
    return woken;
  }
  // The header counts readers, and none is parked. They are on their way to park or back, which does not take long; or
  // they were killed while they were parked, so their count has to be removed. If one of them was only stopped for that
  // long, a wake may miss it, or another one that parks meanwhile. That one looks again after kLookForDeath.
  if (absent_commits_++ == 0) absent_since_ = now();
  if (absent_commits_ >= kAbsentCommits && now() - absent_since_ >= kAbsent) {
    header_->waiters.compare_exchange_strong(waiters, 0);
    absent_ = 0;
  }
  return false;
}

// announce() and conceal() may run at the same time as close(), and after it. close() subtracts what it finds in
// announced_ from the header's count. A thread that comes later finds closed_ set, and subtracts itself. retire()
// leaves the header in place while such a thread is at work (model/count.pml).
void Mapping::announce() noexcept {
  if (!counts_waiters_ || inherited()) return;
  counting_.fetch_add(1, std::memory_order_seq_cst);
  header_->waiters.fetch_add(1, std::memory_order_seq_cst);
  announced_.fetch_add(1, std::memory_order_seq_cst);
  if (closed_.load(std::memory_order_seq_cst)) uncount_one();
  counting_.fetch_sub(1, std::memory_order_seq_cst);
}

void Mapping::conceal() noexcept {
  if (!counts_waiters_ || inherited()) return;
  counting_.fetch_add(1, std::memory_order_seq_cst);
  uncount_one();
  counting_.fetch_sub(1, std::memory_order_seq_cst);
}

void Mapping::uncount_one() noexcept {
  std::uint32_t announced = announced_.load(std::memory_order_relaxed);
  do {
    if (announced == 0) return;  // close() has done it
  } while (!announced_.compare_exchange_weak(announced, announced - 1, std::memory_order_seq_cst));
  uncount(1);
}

void Mapping::uncount(std::uint32_t readers) noexcept {
  std::uint32_t waiters = header_->waiters.load(std::memory_order_relaxed);
  // The count must not go below 0: a writer may have taken these readers for dead and removed them.
  while (!header_->waiters.compare_exchange_weak(waiters, waiters - std::min(waiters, readers),
                                                 std::memory_order_relaxed)) {
  }
}

std::int64_t Mapping::nap() const noexcept {
  if (polls()) return poll_.load(std::memory_order_relaxed);
  return shared_ ? kLookForDeath : kLookForClose;
}

void Mapping::set_poll(std::int64_t nanoseconds) noexcept {
  poll_.store(std::clamp(nanoseconds, kShortestPoll, kLongestPoll), std::memory_order_relaxed);
}

jm_status Mapping::park(std::uint64_t seen, std::int64_t timeout) noexcept {
  if (inherited()) return JM_ERR_FORKED;
  std::int64_t spin = this->spin();
  if (timeout >= 0) spin = std::min(spin, timeout);
  if (wait::spin(spin, [&] { return version() != seen || closed(); })) return closed() ? JM_ERR_CLOSED : JM_OK;
  announce();
  jm_status status = JM_OK;
  // Look before the system call, which may be avoided that way. What matters is the kernel's own comparison, when it
  // parks the thread.
  if (version() == seen && !closed()) {
    if (died()) {
      // The writer may have ended this commit just before it died. Only if the sequence is the same as before is the
      // commit stuck.
      if (version() == seen) status = JM_ERR_WRITER_DIED;
    } else {
      const std::int64_t time = timeout < 0 ? nap() : std::min(timeout, nap());
      const wait::Word word = {&header_->sequence, static_cast<std::uint32_t>(seen), shared_};
      wait::park_any(&word, 1, time);
    }
  }
  conceal();
  return closed() ? JM_ERR_CLOSED : status;
}

bool Mapping::flagged() const noexcept {
  return block_ && (header_->flags.load(std::memory_order_acquire) & JM_FLAG_WRITER_ATTACHED) != 0;
}

jm_writer Mapping::writer() const noexcept {
  if (!shared_ || closed()) return JM_WRITER_NONE;
  if (attached()) return JM_WRITER_HERE;
  const std::uint64_t sequence = version();
  for (int look = 0; look < 2; ++look) {
    bool locked = false;
    if (share::locked(descriptor_.load(std::memory_order_relaxed), 0, &locked) != 0 || locked) {
      died_at_.store(kNever, std::memory_order_relaxed);
      return JM_WRITER_OTHER;
    }
    if (!left_behind(sequence) || version() != sequence) return JM_WRITER_NONE;
  }
  return JM_WRITER_DIED;
}

// A writer takes the lock, then sets the flag, then commits, if only to abort. At its end it clears the flag and then
// gives the lock back. So if the flag is set, or the sequence is odd, while nobody holds the lock, the writer died. The
// exception is that one writer ended and another began in between. Therefore writer() looks a second time, and the
// sequence must be the same before and after both looks (model/segment.pml).
bool Mapping::left_behind(std::uint64_t sequence) const noexcept {
  const bool odd = (sequence & 1) != 0;
  if (writers_wake_) return odd || flagged();
  // Programs that take no lock may write here.
  if (odd) {
    // The writer is in the middle of a commit, or died in it. Only the time that passes tells which.
    if (odd_.load(std::memory_order_acquire) != sequence) {
      odd_since_.store(now(), std::memory_order_relaxed);
      odd_.store(sequence, std::memory_order_release);
    }
    return now() - odd_since_.load(std::memory_order_relaxed) >= kStuck + static_cast<std::int64_t>(capacity_);
  }
  if (!flagged()) return false;
  // A writer of this library died between two commits. If the sequence goes on while nobody has the lock, a writer
  // without a lock is alive.
  std::uint64_t at = kNever;
  return died_at_.compare_exchange_strong(at, sequence, std::memory_order_relaxed) || at == sequence;
}

bool Mapping::died() const noexcept {
  if (!shared_ || ((version() & 1) == 0 && !flagged())) return false;
  // Make the system call only now and then: readers park thousands of times a second while the writer is alive.
  const std::int64_t time = now();
  if (time - looked_.load(std::memory_order_relaxed) < kLookForDeath) return false;
  const bool dead = writer() == JM_WRITER_DIED;
  if (!dead) looked_.store(time, std::memory_order_relaxed);  // after a death, every call finds it
  return dead;
}

// ---- The end --------------------------------------------------------------------------------------------------------

void Mapping::close() noexcept {
  if (header_ == nullptr || closed_.exchange(true, std::memory_order_seq_cst)) return;  // see announce()
  if (!inherited()) {
    if (shared_ && attached_.exchange(false) && counts_waiters_) header_->flags.fetch_and(~JM_FLAG_WRITER_ATTACHED);
    if (lock_ != nullptr) {
      lock_->give(0);  // after the flag was cleared, see left_behind()
      lock_->close();
    }
    if (const std::uint32_t announced = announced_.exchange(0, std::memory_order_seq_cst)) uncount(announced);
    if (shared_ || counts_waiters_) wake();  // so that the parked threads of this handle see that it is closed
  }
  if (const int descriptor = descriptor_.exchange(-1); descriptor >= 0) share::close(descriptor);
}

int Mapping::retire() noexcept {
  if (counting_.load(std::memory_order_seq_cst) != 0) return EAGAIN;
  const bool let_go = unregister_cuda(nullptr, 0) != JM_ERR_CUDA || cuda_ == nullptr;
  const int error = memory::retire(header_, mapped_, all_stays_writable_ ? mapped_ : memory::page_size());
  return error == 0 && !let_go ? EBUSY : error;
}

int Mapping::pin() noexcept { return memory::pin(header_, mapped_); }

void Mapping::unpin() noexcept { memory::unpin(header_, mapped_); }

jm_status Mapping::register_cuda(int device, char* why, std::size_t size) noexcept {
  if (closed()) return JM_ERR_CLOSED;
  if (inherited()) return JM_ERR_FORKED;
  if (cuda_ != nullptr) {
    if (cuda_->device() == device) return JM_OK;
    if (why != nullptr) std::snprintf(why, size, "it is registered, with device %d", cuda_->device());
    return JM_ERR_ARGUMENT;
  }
  cuda_.reset(new (std::nothrow) cuda::Registration);
  if (cuda_ == nullptr) return status_of(ENOMEM);
  const jm_status status = cuda_->begin(device, header_, mapped_, !writable_, {why, size});
  if (status == JM_OK) {
    device_base_.store(cuda_->address(), std::memory_order_release);
  } else {
    cuda_.reset();
  }
  return status;
}

jm_status Mapping::unregister_cuda(char* why, std::size_t size) noexcept {
  if (inherited()) return JM_ERR_FORKED;  // it is the parent's registration
  if (cuda_ == nullptr) return JM_OK;
  const jm_status status = cuda_->end({why, size});
  if (!cuda_->there()) {
    device_base_.store(0, std::memory_order_release);
    cuda_.reset();
  }
  return status;
}

std::uint64_t Mapping::device_address(const void* at) const noexcept {
  const std::uint64_t base = device_base_.load(std::memory_order_acquire);
  const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(header_);
  return base == 0 || offset >= mapped_ || closed() || inherited() ? 0 : base + offset;
}

}  // namespace judemap
