//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "process.h"

#include <chrono>

#include "fork.h"

namespace judemap {
namespace process {

jm_creator self() noexcept {
  jm_creator creator = {};
  creator.process = fork::process();
  creator.space = space();
  creator.start = look(creator.process).start;
  const auto time = std::chrono::system_clock::now().time_since_epoch();
  creator.time = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(time).count());
  return creator;
}

Life life_of(const jm_creator& creator) noexcept {
  // Above that kill() means groups of processes.
  if (creator.process == 0 || creator.process > INT32_MAX || creator.space != space()) return Life::kUnknown;
  const Found found = look(creator.process);
  if (found.life != Life::kAlive) return found.life;
  if (found.start == 0 || creator.start == 0) return Life::kUnknown;
  return found.start == creator.start ? Life::kAlive : Life::kGone;
}

}  // namespace process
}  // namespace judemap
