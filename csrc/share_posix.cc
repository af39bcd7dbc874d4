//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Sharing by files, as far as it is the same on Linux and macOS.

#if defined(__linux__) || defined(__APPLE__)

#include "share_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <new>
#include <vector>

#include "share.h"

namespace judemap {
namespace share {
namespace {

struct flock lock_of(short type, off_t byte) noexcept {
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
  constexpr std::size_t kPiece = std::size_t{1} << 30;  // Linux and macOS read less than 2 GiB at once
  auto* to = static_cast<unsigned char*>(buffer);
  while (bytes != 0) {
    const ssize_t n = pread(descriptor, to, std::min(bytes, kPiece), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    offset += static_cast<std::uint64_t>(n);
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

int posix::fail(int descriptor) noexcept {
  const int error = errno;
  ::close(descriptor);
  return error;
}

Attributes posix::attributes_of(const struct stat& status) noexcept {
  Attributes out;
  if (S_ISREG(status.st_mode)) out.bytes = static_cast<std::uint64_t>(status.st_size);
  out.device = static_cast<std::uint64_t>(status.st_dev);
  out.index = static_cast<std::uint64_t>(status.st_ino);
  return out;
}

int posix::lock(int descriptor, short type, off_t byte) noexcept {
  struct flock lock = lock_of(type, byte);
  if (fcntl(descriptor, kSetLock, &lock) == 0) return 0;
  return errno == EACCES ? EAGAIN : errno;
}

int read(int descriptor, void* buffer, std::size_t bytes) noexcept { return read_at(descriptor, 0, buffer, bytes); }

int read_at(int descriptor, std::uint64_t offset, void* buffer, std::size_t bytes) noexcept {
  return read_bytes(descriptor, offset, buffer, bytes) ? 0 : EIO;
}

int map(int descriptor, std::size_t size, bool writable, void** base) noexcept {
  *base = mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, descriptor, 0);
  return *base == MAP_FAILED ? errno : 0;
}

void Locks::give(unsigned byte) noexcept {
  if (file_.get() >= 0) posix::lock(file_.get(), F_UNLCK, byte);
}

int locked(int descriptor, unsigned byte, bool* locked) noexcept {
  // Ask for a read lock: only another process's write lock conflicts with it.
  struct flock lock = lock_of(F_RDLCK, byte);
  if (fcntl(descriptor, posix::kGetLock, &lock) != 0) return errno;
  *locked = lock.l_type != F_UNLCK;
  return 0;
}

int hold(int descriptor) noexcept {
  // Of the opening, not of the process: a mapping keeps its opening, also one that a forked child has inherited.
  return posix::lock(descriptor, F_RDLCK, kHolders);
}

int held(int descriptor, bool* held) noexcept {
  struct flock lock = lock_of(F_WRLCK, kHolders);
  if (fcntl(descriptor, posix::kGetLock, &lock) != 0) return errno;
  *held = lock.l_type != F_UNLCK;
  return 0;
}

namespace {

// What Names needs: the folder, and the files that this process has open.
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
    DIR* files = opendir(posix::kOwnFiles);
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
      // Another thread may have closed the descriptor since, and it may now be another file's.
      if (fstat(file.descriptor, &now) != 0 || now.st_ino != status.st_ino || now.st_dev != status.st_dev) continue;
      if (read_bytes(file.descriptor, 0, buffer, bytes)) return true;  // otherwise it is open for writing only
    }
    if (is_own) return false;
    const int file = openat(folder, name, posix::access_mode(false) | O_NOFOLLOW | O_NONBLOCK);
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
  if (const int error = posix::open_names(&folder->entries)) return error;
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

#endif  // Linux or macOS
