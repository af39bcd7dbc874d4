// What sharing by files has in common on Linux and macOS (share_posix.cc), and what that asks of them (share_linux.cc,
// share_macos.cc).
#ifndef JUDEMAP_SHARE_POSIX_H
#define JUDEMAP_SHARE_POSIX_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "share.h"

namespace judemap {
namespace share {
namespace posix {

inline int access_mode(bool writable) noexcept { return (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC; }

// Closes the descriptor of a call that failed. That call's errno value.
int fail(int descriptor) noexcept;

// All but whether memory is reserved, which each system tells in its own way.
Attributes attributes_of(const struct stat& status) noexcept;

// Sets a lock of this descriptor's opening of the file on one byte, F_RDLCK or F_WRLCK, or takes it away, F_UNLCK.
// EAGAIN if another opening has one that stands in its way.
int lock(int descriptor, short type, off_t byte) noexcept;

// ---- The system's ---------------------------------------------------------------------------------------------------

// fcntl's commands for locks that belong to an opening of a file.
extern const int kSetLock;
extern const int kGetLock;

// A folder that has an entry for each descriptor of this process.
extern const char kOwnFiles[];

// Opens the folder with the names of segments.
int open_names(DIR** folder) noexcept;

}  // namespace posix
}  // namespace share
}  // namespace judemap

#endif  // JUDEMAP_SHARE_POSIX_H
