//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Sharing on Linux: files in /dev/shm, where shm_open has them too, or memfds.

#ifdef __linux__

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "judemap/share.h"

// Since Linux 3.15; without _GNU_SOURCE the C library hides them.
#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif

namespace judemap {
namespace share {
namespace {

constexpr char kFolder[] = "/dev/shm";

// "/dev/shm/NAME". Names are checked by the caller: 255 bytes at most, no slash.
struct Path {
  char text[sizeof kFolder + 1 + 255 + 1];
  explicit Path(const char* name) noexcept { std::snprintf(text, sizeof text, "%s/%s", kFolder, name); }
};

// "/proc/self/fd/N", by which a descriptor's file can be opened anew and linked.
struct Link {
  char text[32];
  explicit Link(int descriptor) noexcept { std::snprintf(text, sizeof text, "/proc/self/fd/%d", descriptor); }
};

int access_mode(bool writable) noexcept { return (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC; }

// The lock is on one byte; which one is of no importance as long as everybody takes the same.
struct flock writer_lock() noexcept {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 0;
  lock.l_len = 1;
  return lock;
}

int fail(int descriptor) noexcept {
  const int error = errno;
  ::close(descriptor);
  return error;
}

}  // namespace

int make(std::size_t size, unsigned mode, int* descriptor) noexcept {
  const int file = ::open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return errno;
  // fchmod, because the mode that open is given loses the bits of the umask.
  if (fchmod(file, mode) != 0 || ftruncate(file, static_cast<off_t>(size)) != 0) return fail(file);
  // Without this a store to a page that /dev/shm has no room for is a SIGBUS.
  if (const int error = posix_fallocate(file, 0, static_cast<off_t>(size))) {
    ::close(file);
    return error;
  }
  *descriptor = file;
  return 0;
}

int publish(int descriptor, const char* name) noexcept {
  return linkat(AT_FDCWD, Link(descriptor).text, AT_FDCWD, Path(name).text, AT_SYMLINK_FOLLOW) == 0 ? 0 : errno;
}

int make_sealed(std::size_t size, int* descriptor) noexcept {
  const int file = memfd_create("judemap", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return errno;
  if (ftruncate(file, static_cast<off_t>(size)) != 0 ||
      fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return fail(file);
  }
  *descriptor = file;
  return 0;
}

int open(const char* name, bool writable, int* descriptor) noexcept {
  // O_NONBLOCK: a FIFO of that name must not hold the caller up.
  *descriptor = ::open(Path(name).text, access_mode(writable) | O_NOFOLLOW | O_NONBLOCK);
  return *descriptor < 0 ? errno : 0;
}

int remove(const char* name) noexcept { return unlink(Path(name).text) == 0 ? 0 : errno; }

int reopen(int descriptor, bool writable, int* out) noexcept {
  *out = ::open(Link(descriptor).text, access_mode(writable) | O_NONBLOCK);
  return *out < 0 ? errno : 0;
}

int size(int descriptor, std::size_t* bytes) noexcept {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return errno;
  *bytes = S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size) : 0;
  return 0;
}

int map(int descriptor, std::size_t size, bool writable, void** base) noexcept {
  *base = mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, descriptor, 0);
  return *base == MAP_FAILED ? errno : 0;
}

void close(int descriptor) noexcept { ::close(descriptor); }

int lock_writer(int descriptor) noexcept {
  struct flock lock = writer_lock();
  if (fcntl(descriptor, F_OFD_SETLK, &lock) == 0) return 0;
  return errno == EACCES ? EAGAIN : errno;
}

int writer_locked(int descriptor, bool* locked) noexcept {
  struct flock lock = writer_lock();
  if (fcntl(descriptor, F_OFD_GETLK, &lock) != 0) return errno;
  *locked = lock.l_type != F_UNLCK;
  return 0;
}

}  // namespace share
}  // namespace judemap

#endif  // __linux__
