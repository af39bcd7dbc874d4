// Which process a number means. Systems use numbers again; with the time at which a process began it is one process.
#ifndef JUDEMAP_PROCESS_H
#define JUDEMAP_PROCESS_H

#include <cstdint>

#include "judemap/layout.h"

namespace judemap {
namespace process {

// What a new segment or stream says of its creator: this process, and the time.
jm_creator self() noexcept;

enum class Life { kUnknown, kAlive, kGone };

// Whether that process is alive, as far as this one can tell. kGone is certain: there is none of that number, or it is
// another one, or it has ended and waits for its parent only.
Life life_of(const jm_creator& creator) noexcept;

// What the system says of a process: one source file per platform implements it, csrc/process_*.cc.
struct Found {
  Life life;
  std::uint64_t start;  // when it began, in the system's own unit; 0: not known
};
Found look(std::uint32_t process) noexcept;

// The number of this process's PID namespace: process ids mean something within one. 0: not known, or the system has
// but one.
std::uint32_t space() noexcept;

}  // namespace process
}  // namespace judemap

#endif  // JUDEMAP_PROCESS_H
