// The parker: watches shared segments on behalf of callers that wait in a poller of their own. judemap.h (jm_parker)
// describes it; this is the class behind that.
#ifndef JUDEMAP_PARKER_H
#define JUDEMAP_PARKER_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "judemap/segment.h"

namespace judemap {

class Parker {
 public:
  Parker() = default;
  ~Parker();
  Parker(const Parker&) = delete;
  Parker& operator=(const Parker&) = delete;

  jm_status create(int* descriptor) noexcept;

  jm_status watch(Segment* segment, std::uint64_t seen, std::uint64_t token) noexcept;
  void unwatch(std::uint64_t token) noexcept;
  std::uint64_t next() noexcept;
  std::size_t threads() noexcept;

 private:
  struct Watch {
    Segment* segment;
    std::uint64_t seen;
    std::uint64_t token;
  };

  // A thread and what it watches: as many words as the system lets a thread park on, one of them its own.
  struct Lane {
    std::vector<Watch> watches;
    std::atomic<std::uint32_t> changed{0};  // the word by which the thread hears of changes in `watches`
    std::thread thread;
  };

  void run(Lane* lane) noexcept;
  // Makes the lane's thread look at its watches anew.
  static void kick(Lane& lane) noexcept;
  // Takes out the watches that need a look from their owners, and returns how long the others may sleep.
  std::int64_t fire(Lane& lane);

  std::mutex mutex_;  // guards everything below
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::deque<std::uint64_t> fired_;
  bool stopping_ = false;
  int event_ = -1;  // the caller's, who closes it
};

}  // namespace judemap

#endif  // JUDEMAP_PARKER_H
