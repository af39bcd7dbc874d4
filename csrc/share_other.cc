//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Where segments can't be shared between processes yet: every call says so.

#ifndef __linux__

#include <cerrno>

#include "judemap/share.h"

namespace judemap {
namespace share {

int make(std::size_t, unsigned, int*) noexcept { return ENOSYS; }
int publish(int, const char*) noexcept { return ENOSYS; }
int make_sealed(std::size_t, int*) noexcept { return ENOSYS; }
int open(const char*, bool, int*) noexcept { return ENOSYS; }
int remove(const char*) noexcept { return ENOSYS; }
int reopen(int, bool, int*) noexcept { return ENOSYS; }
int size(int, std::size_t*) noexcept { return ENOSYS; }
int map(int, std::size_t, bool, void**) noexcept { return ENOSYS; }
void close(int) noexcept {}
int lock_writer(int) noexcept { return ENOSYS; }
int writer_locked(int, bool*) noexcept { return ENOSYS; }

}  // namespace share
}  // namespace judemap

#endif  // !__linux__
