//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Sharing on Linux: files in /dev/shm, where shm_open has them too, or memfds.

#ifdef __linux__

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <vector>

#include "memory.h"
#include "share.h"
#include "wait.h"

// Since Linux 3.15, 4.17 and 5.1; without _GNU_SOURCE the C library hides some, and older headers lack others.
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

constexpr char kFolder[] = "/dev/shm";
constexpr char kOwnFiles[] = "/proc/self/fd";

// "/dev/shm/NAME". Names are checked by the caller: kMostNameBytes at most, no slash.
struct Path {
  char text[sizeof kFolder + 1 + kMostNameBytes + 1];
  explicit Path(const char* name) noexcept { std::snprintf(text, sizeof text, "%s/%s", kFolder, name); }
};

// "/proc/self/fd/N", by which a descriptor's file can be opened anew and linked.
struct Link {
  char text[sizeof kOwnFiles + 16];
  explicit Link(int descriptor) noexcept { std::snprintf(text, sizeof text, "%s/%d", kOwnFiles, descriptor); }
};

// The error of a call that went through a Link: the file is there, so what is missing is /proc.
int link_error() noexcept { return errno == ENOENT || errno == ENOTDIR ? kNoProc : errno; }

int access_mode(bool writable) noexcept { return (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC; }

struct flock lock_of(short type, unsigned byte) noexcept {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

bool could_be_segment(const struct stat& status, std::size_t bytes) noexcept {
  return S_ISREG(status.st_mode) && status.st_size > static_cast<off_t>(bytes);
}

bool read_bytes(int descriptor, std::uint64_t offset, void* buffer, std::size_t bytes) noexcept {
  ssize_t n;
  do {
    n = pread(descriptor, buffer, bytes, static_cast<off_t>(offset));
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(bytes);
}

int fail(int descriptor) noexcept {
  const int error = errno;
  ::close(descriptor);
  return error;
}

}  // namespace

int make(std::uint64_t size, unsigned mode, int* descriptor) noexcept {
  const int file = ::open(kFolder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (file < 0) return errno;
  // fchmod, because the mode that open is given loses the bits of the umask.
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
  // A memfd has mode 0777: whoever holds a descriptor for reading could open it anew for writing.
  if (fchmod(file, 0600) != 0 || ftruncate(file, static_cast<off_t>(size)) != 0) return fail(file);
  *descriptor = file;
  return 0;
}

int seal(int descriptor, bool writes) noexcept {
  const int seals = F_SEAL_SHRINK | F_SEAL_GROW | (writes ? F_SEAL_FUTURE_WRITE : 0) | F_SEAL_SEAL;
  return fcntl(descriptor, F_ADD_SEALS, seals) == 0 ? 0 : errno;
}

int open(const char* name, bool writable, int* descriptor) noexcept {
  // O_NONBLOCK: a FIFO of that name must not hold the caller up.
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
  if (errno == EACCES) return duplicate(descriptor, writable, out);  // it was handed over on purpose
  return link_error();
}

int size(int descriptor, std::uint64_t* bytes, bool* reserved) noexcept {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return errno;
  *bytes = S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0;
  *reserved =
      static_cast<std::uint64_t>(status.st_blocks) * 512 >= *bytes;  // POSIX leaves the unit open; here it is 512
  return 0;
}

int reserve(int descriptor, std::uint64_t bytes) noexcept {
  // The kernel would first take all that is left, and then give it back. A memfd's file system has no bound: there it
  // would take all that the machine has, and other processes with it.
  struct statvfs space;
  struct stat status;
  if (fstatvfs(descriptor, &space) == 0 && fstat(descriptor, &status) == 0) {
    const auto has = static_cast<std::uint64_t>(status.st_blocks) * 512;
    const bool bounded = space.f_blocks != 0;
    const std::uint64_t room = bounded ? std::uint64_t{space.f_bavail} * space.f_frsize : memory::physical();
    if (bytes > has && bytes - has > room && (bounded || room != 0)) return ENOSPC;
  }
  // In pieces, each without interruption: kernels give up all that the call has reserved when a signal comes, and under
  // a profiler's timer a large reservation would never end.
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

int read(int descriptor, void* buffer, std::size_t bytes) noexcept { return read_at(descriptor, 0, buffer, bytes); }

int read_at(int descriptor, std::uint64_t offset, void* buffer, std::size_t bytes) noexcept {
  return read_bytes(descriptor, offset, buffer, bytes) ? 0 : EIO;
}

int map(int descriptor, std::size_t size, bool writable, void** base) noexcept {
  *base = mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, descriptor, 0);
  return *base == MAP_FAILED ? errno : 0;
}

void close(int descriptor) noexcept { ::close(descriptor); }

int Locks::take(int descriptor, unsigned byte) noexcept {
  if (file_.get() < 0) {
    if (const int error = file_.open(Link(descriptor).text, access_mode(true) | O_NONBLOCK)) {
      errno = error;
      return link_error();
    }
  }
  struct flock lock = lock_of(F_WRLCK, byte);
  if (fcntl(file_.get(), F_OFD_SETLK, &lock) == 0) return 0;
  return errno == EACCES ? EAGAIN : errno;
}

void Locks::give(unsigned byte) noexcept {
  struct flock lock = lock_of(F_UNLCK, byte);
  if (file_.get() >= 0) fcntl(file_.get(), F_OFD_SETLK, &lock);
}

int locked(int descriptor, unsigned byte, bool* locked) noexcept {
  // Asks for a lock for reading: only one for writing stands in its way.
  struct flock lock = lock_of(F_RDLCK, byte);
  if (fcntl(descriptor, F_OFD_GETLK, &lock) != 0) return errno;
  *locked = lock.l_type != F_UNLCK;
  return 0;
}

namespace {

// What Names needs: the folder, and which files this process has open.
struct Folder {
  DIR* entries = nullptr;
  struct Own {
    dev_t device;
    ino_t number;
    int descriptor;
  };
  std::vector<Own> own;

  ~Folder() {
    if (entries != nullptr) closedir(entries);
  }

  void find_own() {
    DIR* files = opendir(kOwnFiles);
    if (files == nullptr) return;
    try {
      while (const dirent* entry = readdir(files)) {
        const int descriptor = std::atoi(entry->d_name);
        struct stat status;
        if (entry->d_name[0] != '.' && fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
          own.push_back({status.st_dev, status.st_ino, descriptor});
        }
      }
    } catch (const std::bad_alloc&) {
      own.clear();
    }
    closedir(files);
  }

  bool read(const char* name, void* buffer, std::size_t bytes) const noexcept {
    const int folder = dirfd(entries);
    struct stat status;
    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0 || !could_be_segment(status, bytes)) return false;
    bool is_own = false;
    for (const Own& file : own) {
      struct stat now;
      if (file.number != status.st_ino || file.device != status.st_dev) continue;
      is_own = true;
      // Another thread may have closed it since, and opened another.
      if (fstat(file.descriptor, &now) != 0 || now.st_ino != status.st_ino || now.st_dev != status.st_dev) continue;
      if (read_bytes(file.descriptor, 0, buffer, bytes)) return true;  // else it is open for writing only
    }
    if (is_own) return false;
    const int file = openat(folder, name, access_mode(false) | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) return false;
    const bool done = read_bytes(file, 0, buffer, bytes);
    ::close(file);
    return done;
  }
};

}  // namespace

Names::~Names() { delete static_cast<Folder*>(folder_); }

int Names::open() noexcept {
  auto* folder = new (std::nothrow) Folder;
  if (folder == nullptr) return ENOMEM;
  folder_ = folder;
  folder->entries = opendir(kFolder);
  if (folder->entries == nullptr) return errno;
  folder->find_own();
  return 0;
}

const char* Names::next(void* buffer, std::size_t bytes) noexcept {
  const auto* folder = static_cast<Folder*>(folder_);
  while (const dirent* entry = readdir(folder->entries)) {
    if (folder->read(entry->d_name, buffer, bytes)) return entry->d_name;
  }
  return nullptr;
}

}  // namespace share
}  // namespace judemap

#endif  // __linux__
