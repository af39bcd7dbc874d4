//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Sharing on Linux, with files in /dev/shm, where shm_open has them too, or with memfds.

#if defined(__linux__) && !defined(JUDEMAP_SHARE_FILES)

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "memory.h"
#include "share.h"
#include "share_posix.h"
#include "wait.h"

// These are in Linux since 3.15, 4.17 and 5.1. The C library hides some of them without _GNU_SOURCE, and older headers
// do not have the others.
#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36
#define F_OFD_SETLK 37
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace judemap {
namespace share {
namespace {

using posix::access_mode;
using posix::fail;

constexpr char kFolder[] = "/dev/shm";

// The path "/dev/shm/NAME". The caller has checked the name: kMostNameBytes at most, no slash.
struct Path {
  char text[sizeof kFolder + 1 + kMostNameBytes + 1];
  explicit Path(const char* name) noexcept { std::snprintf(text, sizeof text, "%s/%s", kFolder, name); }
};

// The path "/proc/self/fd/N", with which the file of a descriptor can be opened again and linked.
struct Link {
  char text[sizeof "/proc/self/fd" + 16];
  explicit Link(int descriptor) noexcept { std::snprintf(text, sizeof text, "/proc/self/fd/%d", descriptor); }
};

// The error of a call with a Link. The file exists, so if something is missing it is /proc.
int link_error() noexcept { return errno == ENOENT || errno == ENOTDIR ? kNoProc : errno; }

}  // namespace

const int posix::kSetLock = F_OFD_SETLK;
const int posix::kGetLock = F_OFD_GETLK;
const char posix::kOwnFiles[] = "/proc/self/fd";

int posix::open_names(DIR** folder) noexcept {
  *folder = opendir(kFolder);
  return *folder == nullptr ? errno : 0;
}

int make(std::uint64_t size, unsigned mode, int* descriptor) noexcept {
  const int file = ::open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return errno;
  // fchmod is needed because open clears the bits of the umask in its mode.
  if (fchmod(file, mode) != 0 || ftruncate(file, static_cast<off_t>(size)) != 0) return fail(file);
  *descriptor = file;
  return 0;
}

int publish(int descriptor, const char* name) noexcept {
  return linkat(AT_FDCWD, Link(descriptor).text, AT_FDCWD, Path(name).text, AT_SYMLINK_FOLLOW) == 0 ? 0 : link_error();
}

int make_nameless(std::uint64_t size, int* descriptor) noexcept {
  const int file = memfd_create("judemap", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return errno;
  // A memfd has mode 0777, with which a process that has a descriptor for reading could open it again for writing.
  if (fchmod(file, 0600) != 0 || ftruncate(file, static_cast<off_t>(size)) != 0) return fail(file);
  *descriptor = file;
  return 0;
}

int seal(int descriptor, bool writes) noexcept {
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW | (writes ? F_SEAL_FUTURE_WRITE : 0) | F_SEAL_SEAL;
  return fcntl(descriptor, F_ADD_SEALS, seals) == 0 ? 0 : errno;
}

int open(const char* name, bool writable, int* descriptor) noexcept {
  // O_NONBLOCK, so that a FIFO with that name does not block the caller.
  *descriptor = ::open(Path(name).text, access_mode(writable) | O_NOFOLLOW | O_NONBLOCK);
  return *descriptor < 0 ? errno : 0;
}

int remove(const char* name) noexcept { return unlink(Path(name).text) == 0 ? 0 : errno; }

int duplicate(int descriptor, bool writable, int* out) noexcept {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0) return errno;
  const int mode = flags & O_ACCMODE;
  if (mode != O_RDWR && (writable || mode != O_RDONLY)) return EACCES;
  *out = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  return *out < 0 ? errno : 0;
}

int reopen(int descriptor, bool writable, int* out) noexcept {
  *out = ::open(Link(descriptor).text, access_mode(writable) | O_NONBLOCK);
  if (*out >= 0) return 0;
  if (errno == EACCES) return duplicate(descriptor, writable, out);  // this process was meant to use it
  return link_error();
}

int attributes(int descriptor, Attributes* out) noexcept {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return errno;
  *out = posix::attributes_of(status);
  // POSIX leaves the unit open; Linux has 512 bytes.
  out->reserved = static_cast<std::uint64_t>(status.st_blocks) * 512 >= out->bytes;
  return 0;
}

int reserve(int descriptor, std::uint64_t bytes) noexcept {
  // The kernel would first allocate all that is left, and then free it again. The file system of a memfd has no limit
  // of its own: there it would take all memory of the machine, and other processes would suffer.
  struct statvfs space;
  struct stat status;
  if (fstatvfs(descriptor, &space) == 0 && fstat(descriptor, &status) == 0) {
    const auto has = static_cast<std::uint64_t>(status.st_blocks) * 512;
    const bool bounded = space.f_blocks != 0;
    const std::uint64_t room = bounded ? std::uint64_t{space.f_bavail} * space.f_frsize : memory::physical();
    if (bytes > has && bytes - has > room && (bounded || room != 0)) return ENOSPC;
  }
  // Reserve the memory in pieces. When a signal comes, the kernel gives up all that the call has reserved, so under a
  // profiler's timer one large reservation would never end.
  constexpr std::uint64_t kPiece = std::uint64_t{64} << 20;
  for (std::uint64_t done = 0; done < bytes; done += kPiece) {
    int error;
    do {
      const wait::WithoutSignals blocked;
      error = posix_fallocate(descriptor, static_cast<off_t>(done), static_cast<off_t>(std::min(kPiece, bytes - done)));
    } while (error == EINTR);
    if (error != 0) return error;
  }
  return 0;
}

void close(int descriptor) noexcept { ::close(descriptor); }

int Locks::take(int descriptor, unsigned byte) noexcept {
  if (file_.get() < 0) {
    if (const int error = file_.open(Link(descriptor).text, access_mode(true) | O_NONBLOCK)) {
      errno = error;
      return link_error();
    }
  }
  return posix::lock(file_.get(), F_WRLCK, byte);
}

}  // namespace share
}  // namespace judemap

#endif  // Linux
