// What a forked child must not share with its parent. The child has copies of all handles and descriptors. With these
// it would keep the lock of a writer that died, and change the header in the name of its parent.
#ifndef JUDEMAP_FORK_H
#define JUDEMAP_FORK_H

#include <atomic>
#include <cstdint>

namespace judemap {
namespace fork {

// From the first call of watch() in a process on, its forked children have another number here than it has. A process
// that is started by exec begins anew.
extern std::atomic<std::uint32_t> generation;

// Makes fork() do what is said here. It is called before the first handle is made, and may be called again. It returns
// 0, or ENOMEM if there is no memory.
int watch() noexcept;

// This process's number.
std::uint32_t process() noexcept;

// A descriptor that a forked child closes at once.
class Descriptor {
 public:
  Descriptor() = default;
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  // Opens a path, so that no fork comes between that and its entry in the list. Returns 0 or an errno value.
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
  Descriptor* next_ = nullptr;  // in the list of all open ones of this process
  Descriptor* previous_ = nullptr;
};

}  // namespace fork
}  // namespace judemap

#endif  // JUDEMAP_FORK_H
