// What the core asks of the system to share a segment between processes. One source file per platform implements it:
// csrc/share_*.cc, the only files that know where named segments lie. Every int returned is 0 or an errno value; ENOSYS
// where the platform can't do it, and kNoProc where it can't for want of /proc. Descriptors are close-on-exec.
#ifndef JUDEMAP_SHARE_H
#define JUDEMAP_SHARE_H

#include <cstddef>
#include <cstdint>

#include "fork.h"

namespace judemap {
namespace share {

// Not an errno value of any system: /proc, by which a descriptor's file is opened anew and named, is not there.
constexpr int kNoProc = -1;

constexpr std::size_t kMostNameBytes = 255;

// A file for a segment of `size` bytes that has no name yet: a creator that dies before it gives the name leaves
// nothing behind, and nobody can open a half-made segment. No memory is reserved yet.
int make(std::uint64_t size, unsigned mode, int* descriptor) noexcept;

// Gives the file of make() its name. EEXIST if that is taken.
int publish(int descriptor, const char* name) noexcept;

// A file of mode 0600 that never gets a name. seal() then has the kernel refuse that anybody changes its size under its
// readers, and, if `writes`, that anybody but who has mapped it already ever writes to it.
int make_nameless(std::uint64_t size, int* descriptor) noexcept;
int seal(int descriptor, bool writes) noexcept;

int open(const char* name, bool writable, int* descriptor) noexcept;
int remove(const char* name) noexcept;

// The same opening of the file behind another descriptor. EACCES if it is not open for what is asked.
int duplicate(int descriptor, bool writable, int* out) noexcept;

// Another opening of the file, where this process may, else the same.
int reopen(int descriptor, bool writable, int* out) noexcept;

struct Attributes {
  std::uint64_t bytes = 0;  // its size, 0 if it is no regular file
  // Memory is reserved for all of it: a page without memory is made when it is looked at through a mapping, and that is
  // a SIGBUS when there is no room.
  bool reserved = false;
  // Both tell it from all other files that there are.
  std::uint64_t device = 0;
  std::uint64_t index = 0;
};

// What the system says of a file.
int attributes(int descriptor, Attributes* out) noexcept;

// Reserves memory for `bytes` of the file. ENOSPC, at once where it is plain that there is no room.
int reserve(int descriptor, std::uint64_t bytes) noexcept;

// Reads the file's first bytes, without mapping it. EIO if it has fewer.
int read(int descriptor, void* buffer, std::size_t bytes) noexcept;

// Reads bytes from anywhere in the file, any number of them, as read does. EIO if they are not all there, as when it
// was cut short.
int read_at(int descriptor, std::uint64_t offset, void* buffer, std::size_t bytes) noexcept;

int map(int descriptor, std::size_t size, bool writable, void** base) noexcept;
void close(int descriptor) noexcept;

// Locks on bytes of the file: byte 0 is the writer's, and in a stream byte 1 + r is reader r's. The kernel drops them
// when the process dies: they belong to an opening of the file that is for locks alone, which nothing maps (a mapping
// keeps its file open), and which a forked child closes.
class Locks {
 public:
  // Takes the lock on a byte of the file behind a descriptor. EAGAIN if another opening of the file has it.
  int take(int descriptor, unsigned byte) noexcept;
  // Gives it back, by unlocking: a child between fork and exec has the descriptor too, and would keep it.
  void give(unsigned byte) noexcept;
  // When none is held any more.
  void close() noexcept { file_.close(); }

 private:
  fork::Descriptor file_;
};

// Whether another opening of the file than this descriptor's has the lock on a byte. Who has locked it only for
// reading, as anybody may who may read the file, is no writer and no reader of a stream.
int locked(int descriptor, unsigned byte, bool* locked) noexcept;

// Says that this descriptor's opening of the file is in use, until nothing refers to it any more: no descriptor, no
// mapping, of any process. It is a lock for reading on byte kHolders, which all may have at once.
constexpr unsigned kHolders = 128;
int hold(int descriptor) noexcept;

// Whether another opening of the file than this descriptor's is in use.
int held(int descriptor, bool* held) noexcept;

// The names of the files that could be segments.
class Names {
 public:
  Names() = default;
  ~Names();
  Names(const Names&) = delete;
  Names& operator=(const Names&) = delete;

  int open() noexcept;
  // The next name, and the first bytes of its file; nullptr after the last. It maps nothing, opens only regular files
  // of more than `bytes` bytes that this process may read, and skips the others. Where this process has the file open
  // already it reads through that descriptor: to open and close it would drop the POSIX locks that the process has on
  // it.
  const char* next(void* buffer, std::size_t bytes) noexcept;

 private:
  void* folder_ = nullptr;
};

}  // namespace share
}  // namespace judemap

#endif  // JUDEMAP_SHARE_H
