//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Sharing on macOS: files in the user's folder for caches, which lies on the machine's own disk. Names of shm_open have
// 31 bytes, and can't be listed.
//
// A descriptor's file can be opened anew only by a path. So a file has one for as long as somebody has it open: one
// that has no name yet, or no more, lies in a second folder, and the last who closes it deletes it. Each opening of a
// file has a lock for reading on kInUse; who gets that lock for writing is alone with the file.
//
// With JUDEMAP_SHARE_FILES this file does the same on Linux, in place of share_linux.cc, so that tests can run there.

#if defined(__APPLE__) || (defined(__linux__) && defined(JUDEMAP_SHARE_FILES))

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "share.h"
#include "share_posix.h"

namespace judemap {
namespace share {

// ---- The system -----------------------------------------------------------------------------------------------------

#ifdef __APPLE__

const int posix::kSetLock = 90;  // F_OFD_SETLK: in kernels since 10.11, in Apple's headers since 14
const int posix::kGetLock = 92;  // F_OFD_GETLK
const char posix::kOwnFiles[] = "/dev/fd";

namespace {

constexpr char kNames[] = "judemap";
constexpr char kNameless[] = "judemap-nameless";

// The folder that those are in, with a slash behind it. Nobody else may look into it, and it stays when the machine
// starts anew. (The folder for temporary files is swept of those that nobody opened for three days.)
bool user_folder(char* path, std::size_t room) noexcept {
  const std::size_t length = confstr(_CS_DARWIN_USER_CACHE_DIR, path, room);
  return length != 0 && length <= room;
}

bool path_of(int descriptor, char (&path)[PATH_MAX]) noexcept { return fcntl(descriptor, F_GETPATH, path) == 0; }

int rename_new(const char* from, const char* to) noexcept { return renamex_np(from, to, RENAME_EXCL) == 0 ? 0 : errno; }

// Takes room on the disk for a new file that is still empty. The file systems of others, which can't, write what they
// have no room for nowhere.
int allocate(int file, off_t size) noexcept {
  fstore_t room = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, size, 0};
  return fcntl(file, F_PREALLOCATE, &room) == 0 || errno == ENOTSUP || errno == EINVAL ? 0 : errno;
}

}  // namespace

#else

const int posix::kSetLock = 37;  // F_OFD_SETLK, F_OFD_GETLK
const int posix::kGetLock = 36;
const char posix::kOwnFiles[] = "/proc/self/fd";

namespace {

constexpr char kNames[] = "";
constexpr char kNameless[] = ".judemap-nameless";

bool user_folder(char* path, std::size_t room) noexcept {
  return snprintf(path, room, "/dev/shm/") < static_cast<int>(room);
}

bool path_of(int descriptor, char (&path)[PATH_MAX]) noexcept {
  char link[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length > 0) path[length] = 0;
  return length > 0;
}

int rename_new(const char* from, const char* to) noexcept {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0 ? 0 : errno;
}

int allocate(int file, off_t size) noexcept { return posix_fallocate(file, 0, size); }

}  // namespace

#endif

// ---- Files ----------------------------------------------------------------------------------------------------------

namespace {

using posix::access_mode;
using posix::fail;

constexpr off_t kInUse = off_t{1} << 62;  // where no file reaches, nor the locks of writers and readers

// Times that something is tried again which another process was in the way of, a millisecond after each.
constexpr int kPatience = 100;

void rest() noexcept {
  const timespec millisecond = {0, 1'000'000};
  nanosleep(&millisecond, nullptr);
}

struct Path {
  char text[PATH_MAX];

  // A folder, without a slash at its end.
  int to_folder(const char* folder) noexcept {
    char user[PATH_MAX];
    if (!user_folder(user, sizeof user)) return ENOENT;
    return set(snprintf(text, sizeof text, "%s%s", user, folder));
  }

  int to_file(const char* folder, const char* name) noexcept {
    char parent[PATH_MAX];
    if (const int error = to_folder(folder)) return error;
    std::memcpy(parent, text, sizeof parent);
    return set(snprintf(text, sizeof text, "%s/%s", parent, name));
  }

  // A file without a name that no other process thinks of, nor this one again.
  int to_fresh() noexcept {
    static std::atomic<unsigned> count{0};
    char name[48];
    snprintf(name, sizeof name, "%ld-%u", static_cast<long>(getpid()), count.fetch_add(1, std::memory_order_relaxed));
    return to_file(kNameless, name);
  }

 private:
  static int set(int length) noexcept { return length < 0 || length >= PATH_MAX ? ENAMETOOLONG : 0; }
};

// What is made in the folders has its rights from them: they are the user's own, and nobody else writes there.
int make_folder(const char* folder) noexcept {
  if (*folder == 0) return 0;
  Path path;
  if (const int error = path.to_folder(folder)) return error;
  if (mkdir(path.text, 0700) != 0 && errno != EEXIST) return errno;
  struct stat status;
  if (lstat(path.text, &status) != 0) return errno;
  return S_ISDIR(status.st_mode) && status.st_uid == geteuid() && (status.st_mode & 022) == 0 ? 0 : EPERM;
}

int make_folders() noexcept {
  const int error = make_folder(kNames);
  return error != 0 ? error : make_folder(kNameless);
}

// Says that a file is in use, by this opening of it. Others take the lock for writing for the moment in which they
// delete a file; who keeps it for longer keeps nobody from using the file.
int use(int file) noexcept {
  struct stat status;
  if (fstat(file, &status) != 0) return errno;
  if (!S_ISREG(status.st_mode)) return 0;  // it is no segment
  for (int i = 0; i < kPatience; ++i) {
    const int error = posix::lock(file, F_RDLCK, kInUse);
    if (error != EAGAIN) return error;
    rest();
  }
  return 0;
}

// Deletes a file without a name, if nobody uses it.
void bury(const char* path) noexcept {
  const int file = ::open(path, access_mode(true) | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) {
    if (errno == EACCES) unlink(path);  // nobody can open it by its path
    return;
  }
  if (posix::lock(file, F_WRLCK, kInUse) == 0) unlink(path);
  ::close(file);
}

// Deletes what processes have left that were killed.
void sweep() noexcept {
  Path path;
  if (path.to_folder(kNameless) != 0) return;
  DIR* files = opendir(path.text);
  if (files == nullptr) return;
  while (const dirent* entry = readdir(files)) {
    if (entry->d_name[0] != '.' && path.to_file(kNameless, entry->d_name) == 0) bury(path.text);
  }
  closedir(files);
}

// The name in the second folder of the file behind a descriptor; nullptr if it doesn't lie there.
const char* nameless(int descriptor, char (&path)[PATH_MAX]) noexcept {
  if (!path_of(descriptor, path)) return nullptr;
  char* const slash = std::strrchr(path, '/');
  if (slash == nullptr) return nullptr;
  *slash = 0;
  const char* const parent = std::strrchr(path, '/');
  return parent != nullptr && std::strcmp(parent + 1, kNameless) == 0 ? slash + 1 : nullptr;
}

bool same_file(int a, int b) noexcept {
  struct stat one, other;
  return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

// Opens the file behind a descriptor anew, by `open_path`, which returns 0 or an errno value and says what it opened in
// *opened. It may get another name meanwhile. ENOENT if somebody has deleted it.
template <class Open>
int open_anew(int descriptor, const int* opened, Open&& open_path) noexcept {
  int error = ENOENT;
  for (int i = 0; i < 3; ++i) {
    char path[PATH_MAX];
    if (!path_of(descriptor, path)) return errno;
    error = open_path(path);
    if (error == 0 && same_file(descriptor, *opened)) return 0;
    if (error != 0 && error != ENOENT) return error;
    error = ENOENT;
  }
  return error;
}

}  // namespace

int posix::open_names(DIR** folder) noexcept {
  Path path;
  if (const int error = make_folders()) return error;
  if (const int error = path.to_folder(kNames)) return error;
  *folder = opendir(path.text);
  return *folder == nullptr ? errno : 0;
}

int make(std::uint64_t size, unsigned mode, int* descriptor) noexcept {
  if (const int error = make_folders()) return error;
  sweep();
  for (;;) {
    Path path;
    if (const int error = path.to_fresh()) return error;
    const int file = ::open(path.text, access_mode(true) | O_CREAT | O_EXCL, 0600);
    if (file < 0 && errno == EEXIST) continue;  // of an earlier process with this number
    if (file < 0) return errno;
    struct stat status;
    int error = use(file);
    if (error == 0 && fstat(file, &status) == 0 && status.st_nlink == 0) {  // it was swept away before
      ::close(file);
      continue;
    }
    // fchmod, because the mode that open is given loses the bits of the umask.
    if (error == 0) error = allocate(file, static_cast<off_t>(size));
    if (error == 0 && (ftruncate(file, static_cast<off_t>(size)) != 0 || fchmod(file, mode) != 0)) error = errno;
    if (error != 0) {
      unlink(path.text);
      ::close(file);
      return error;
    }
    *descriptor = file;
    return 0;
  }
}

int publish(int descriptor, const char* name) noexcept {
  char from[PATH_MAX];
  Path to;
  if (!path_of(descriptor, from)) return errno;
  if (const int error = to.to_file(kNames, name)) return error;
  const int error = rename_new(from, to.text);
  return error == EILSEQ ? EINVAL : error;  // it isn't UTF-8
}

int make_nameless(std::uint64_t, int*) noexcept { return ENOSYS; }
int seal(int, bool) noexcept { return ENOSYS; }

int open(const char* name, bool writable, int* descriptor) noexcept {
  Path path;
  if (const int error = path.to_file(kNames, name)) return error;
  // O_NONBLOCK: a FIFO of that name must not hold the caller up.
  const int file = ::open(path.text, access_mode(writable) | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return errno == EILSEQ ? EINVAL : errno;
  struct stat status;
  int error = use(file);
  if (error == 0 && fstat(file, &status) != 0) error = errno;
  if (error == 0 && status.st_nlink == 0) error = ENOENT;  // it was removed, and deleted, before it was in use
  if (error != 0) {
    ::close(file);
    return error;
  }
  *descriptor = file;
  return 0;
}

int remove(const char* name) noexcept {
  Path from, to;
  if (const int error = from.to_file(kNames, name)) return error;
  struct stat status;
  if (lstat(from.text, &status) != 0) return errno == EILSEQ ? EINVAL : errno;
  if (!S_ISREG(status.st_mode)) return unlink(from.text) == 0 ? 0 : errno;
  if (const int error = make_folders()) return error;
  int error;
  do {
    if ((error = to.to_fresh()) != 0) return error;
    error = rename_new(from.text, to.text);
  } while (error == EEXIST);
  if (error == 0) bury(to.text);
  return error;
}

int duplicate(int descriptor, bool writable, int* out) noexcept {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0) return errno;
  const int mode = flags & O_ACCMODE;
  if (mode != O_RDWR && (writable || mode != O_RDONLY)) return EACCES;
  *out = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (*out < 0) return errno;
  const int error = use(*out);
  if (error != 0) ::close(*out);
  return error;
}

int reopen(int descriptor, bool writable, int* out) noexcept {
  *out = -1;
  int error = open_anew(descriptor, out, [&](const char* path) {
    if (*out >= 0) ::close(*out);
    *out = ::open(path, access_mode(writable) | O_NOFOLLOW | O_NONBLOCK);
    return *out < 0 ? errno : 0;
  });
  if (error == EACCES) return duplicate(descriptor, writable, out);  // it was handed over on purpose
  if (error == 0) error = use(*out);
  if (error != 0 && *out >= 0) ::close(*out);
  return error;
}

// A page of the file that has no room on the disk yet is one of memory all the same, and the system writes it later.
int attributes(int descriptor, Attributes* out) noexcept {
  struct stat status;
  if (fstat(descriptor, &status) != 0) return errno;
  *out = posix::attributes_of(status);
  out->reserved = true;
  return 0;
}

int reserve(int, std::uint64_t) noexcept { return 0; }  // make() did

void close(int descriptor) noexcept {
  char path[PATH_MAX];
  const char* const name = nameless(descriptor, path);
  ::close(descriptor);
  Path own;
  if (name != nullptr && own.to_file(kNameless, name) == 0) bury(own.text);
}

int Locks::take(int descriptor, unsigned byte) noexcept {
  if (file_.get() < 0) {
    int opened = -1;
    const int error = open_anew(descriptor, &opened, [&](const char* path) {
      file_.close();
      const int result = file_.open(path, access_mode(true) | O_NOFOLLOW | O_NONBLOCK);
      opened = file_.get();
      return result;
    });
    if (error != 0) {
      file_.close();
      return error;
    }
  }
  return posix::lock(file_.get(), F_WRLCK, byte);
}

}  // namespace share
}  // namespace judemap

#endif  // macOS, or its way on Linux
