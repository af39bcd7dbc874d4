// What the core asks of the system to share a segment between processes. One source file per platform implements it:
// csrc/share_*.cc. Every int returned is 0 or an errno value; ENOSYS where the platform can't do it. Descriptors are
// close-on-exec.
#ifndef JUDEMAP_SHARE_H
#define JUDEMAP_SHARE_H

#include <cstddef>

namespace judemap {
namespace share {

// A file for a segment of `size` bytes that has no name yet: a creator that dies before it gives the name leaves
// nothing behind, and nobody can open a half-made segment. The memory is reserved, so that later stores can't fail.
int make(std::size_t size, unsigned mode, int* descriptor) noexcept;

// Gives the file of make() its name. EEXIST if that is taken.
int publish(int descriptor, const char* name) noexcept;

// A file that never gets a name, sealed so that nobody can shrink it under its readers.
int make_sealed(std::size_t size, int* descriptor) noexcept;

int open(const char* name, bool writable, int* descriptor) noexcept;
int remove(const char* name) noexcept;

// The same file behind a descriptor of its own: locks belong to an opening of the file, and a descriptor that was
// passed on or inherited shares one.
int reopen(int descriptor, bool writable, int* out) noexcept;

int size(int descriptor, std::size_t* bytes) noexcept;
int map(int descriptor, std::size_t size, bool writable, void** base) noexcept;
void close(int descriptor) noexcept;

// The writer's lock: the kernel drops it when the process dies. EAGAIN if another opening of the file has it.
int lock_writer(int descriptor) noexcept;

// Whether another opening of the file has the writer's lock.
int writer_locked(int descriptor, bool* locked) noexcept;

}  // namespace share
}  // namespace judemap

#endif  // JUDEMAP_SHARE_H
