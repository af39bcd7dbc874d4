//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// For systems where segments can't be shared between processes yet. Every call returns that error.

#if !defined(__linux__) && !defined(_WIN32) && !defined(__APPLE__)

#include <cerrno>

#include "share.h"

namespace judemap {
namespace share {

int make(std::uint64_t, unsigned, int*) noexcept { return ENOSYS; }
int publish(int, const char*) noexcept { return ENOSYS; }
int make_nameless(std::uint64_t, int*) noexcept { return ENOSYS; }
int seal(int, bool) noexcept { return ENOSYS; }
int open(const char*, bool, int*) noexcept { return ENOSYS; }
int remove(const char*) noexcept { return ENOSYS; }
int duplicate(int, bool, int*) noexcept { return ENOSYS; }
int reopen(int, bool, int*) noexcept { return ENOSYS; }
int attributes(int, Attributes*) noexcept { return ENOSYS; }
int reserve(int, std::uint64_t) noexcept { return ENOSYS; }
int read(int, void*, std::size_t) noexcept { return ENOSYS; }
int read_at(int, std::uint64_t, void*, std::size_t) noexcept { return ENOSYS; }
int map(int, std::size_t, bool, void**) noexcept { return ENOSYS; }
void close(int) noexcept {}
int Locks::take(int, unsigned) noexcept { return ENOSYS; }
void Locks::give(unsigned) noexcept {}
int locked(int, unsigned, bool*) noexcept { return ENOSYS; }
int hold(int) noexcept { return ENOSYS; }
int held(int, bool*) noexcept { return ENOSYS; }
Names::~Names() { static_cast<void>(folder_); }
int Names::open() noexcept { return ENOSYS; }
const char* Names::next(void*, std::size_t) noexcept { return nullptr; }

}  // namespace share
}  // namespace judemap

#endif  // another system
