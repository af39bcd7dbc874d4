// What a forked child must not share with its parent. The child has a copy of every handle and of every descriptor: it
// would keep the lock of a writer that died, and speak in the header for its parent.
#ifndef JUDEMAP_FORK_H
#define JUDEMAP_FORK_H

#include <atomic>
#include <cstdint>

namespace judemap {
namespace fork {

// Another number in a forked child than in its parent, from the first watch() in the parent on. A process that is
// started by exec begins anew.
extern std::atomic<std::uint32_t> generation;

// Has fork() do what is said here. Called before the first handle is made; any number of times. Always succeeds but for
// want of memory, which gives ENOMEM.
int watch() noexcept;

// This process's number.
std::uint32_t process() noexcept;

// A descriptor that a forked child closes at once. Made by open_descriptor, so that no fork comes in between.
class Descriptor {
 public:
  Descriptor() = default;
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  // Opens a path. 0, or an errno value.
  int open(const char* path, int flags) noexcept;
#ifdef _WIN32
  // Takes one over: there is no fork, and a path does not tell all about how to open it.
  void adopt(int descriptor) noexcept { descriptor_ = descriptor; }
#endif
  void close() noexcept;
  int get() const noexcept { return descriptor_; }

 private:
  friend struct Registry;
  int descriptor_ = -1;
  Descriptor* next_ = nullptr;  // all open ones of this process are in one list
  Descriptor* previous_ = nullptr;
};

}  // namespace fork
}  // namespace judemap

#endif  // JUDEMAP_FORK_H
