// The parker waits for many segments at once, with threads of its own or of the caller. judemap.h (jm_parker) describes
// it; this is the class behind that.
#ifndef JUDEMAP_PARKER_H
#define JUDEMAP_PARKER_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "judemap/mapping.h"

namespace judemap {

class Parker {
 private:
  struct Lane;

 public:
  Parker();
  ~Parker();
  Parker(const Parker&) = delete;
  Parker& operator=(const Parker&) = delete;

  // One segment that a parker waits for. The mutex of its lane guards the fields that change.
  class Watch {
    friend class Parker;
    Parker* parker = nullptr;  // these four do not change
    Mapping* mapping = nullptr;
    std::uint64_t token = 0;
    Lane* lane = nullptr;
    bool listed = false;      // the lane parks on its sequence, after announce()
    bool wanted = false;      // a wait is not over: the token has to be delivered
    std::uint64_t seen = 0;   // the lane parks until the sequence is no longer this one
    std::uint64_t known = 0;  // the wait is over when the sequence is no longer this one
  };

  jm_status create(int* descriptor) noexcept;
  // Fills in a new watch, which the caller owns and frees after remove().
  jm_status add(Mapping* mapping, std::uint64_t token, Watch* watch, std::size_t* lane) noexcept;
  static jm_status arm(Watch* watch, std::uint64_t seen) noexcept;
  static void disarm(Watch* watch) noexcept;
  static void remove(Watch* watch) noexcept;
  std::uint64_t next() noexcept;
  std::size_t wait(std::size_t lane, std::uint64_t* tokens, std::size_t capacity) noexcept;
  void stop() noexcept;
  std::size_t threads() noexcept;

 private:
  // Whether this is a forked child's copy. Its mutexes may be held by threads that exist only in the parent.
  bool inherited() const noexcept;
  void run(Lane& lane) noexcept;
  // Makes the lane's thread look at its watches again. The caller holds the lane's mutex.
  static void kick(Lane& lane) noexcept;
  // Delivers the tokens of the watches whose wait is over. Returns for how many nanoseconds the others may sleep.
  static std::int64_t look(Lane& lane) noexcept;
  // Parks on the other watches. Unlocks the mutex meanwhile.
  static void park(Lane& lane, std::int64_t nap, std::unique_lock<std::mutex>& hold) noexcept;
  static void drop(Watch& watch) noexcept;

  std::mutex mutex_;  // guards the number of lanes, and of watches in each; locked before a lane's mutex
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<bool> stopping_{false};
  int event_ = -1;                // what wait::signal_event takes; -1 if there is none
  std::uint32_t generation_ = 0;  // that of the process that made the parker
};

}  // namespace judemap

#endif  // JUDEMAP_PARKER_H
