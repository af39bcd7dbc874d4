// The parker: waits for many segments at once, with threads of its own or the caller's. judemap.h (jm_parker) describes
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

  // One segment that a parker looks after. Its lane's mutex guards all but what is fixed.
  class Watch {
    friend class Parker;
    Parker* parker = nullptr;  // fixed, as the next three
    Mapping* mapping = nullptr;
    std::uint64_t token = 0;
    Lane* lane = nullptr;
    bool listed = false;      // the lane parks on it, and it is announced
    bool wanted = false;      // somebody waits: the token is to be delivered
    std::uint64_t seen = 0;   // the sequence that the lane takes for known
    std::uint64_t known = 0;  // the sequence that who waits has seen
  };

  jm_status create(int* descriptor) noexcept;
  // Fills a new watch, the caller's, who frees it after remove().
  jm_status add(Mapping* mapping, std::uint64_t token, Watch* watch, std::size_t* lane) noexcept;
  static jm_status arm(Watch* watch, std::uint64_t seen) noexcept;
  static void disarm(Watch* watch) noexcept;
  static void remove(Watch* watch) noexcept;
  std::uint64_t next() noexcept;
  std::size_t wait(std::size_t lane, std::uint64_t* tokens, std::size_t capacity) noexcept;
  void stop() noexcept;
  std::size_t threads() noexcept;

 private:
  // Whether this is a forked child's copy: its mutexes may be held by threads that the child does not have.
  bool inherited() const noexcept;
  void run(Lane& lane) noexcept;
  // Makes the lane's thread look at its watches anew. The caller holds the lane's mutex.
  static void kick(Lane& lane) noexcept;
  // Delivers the tokens of watches whose wait is over, and returns how long the others may sleep.
  static std::int64_t look(Lane& lane) noexcept;
  // Parks on what is left. Lets the mutex go meanwhile.
  static void park(Lane& lane, std::int64_t nap, std::unique_lock<std::mutex>& hold) noexcept;
  static void drop(Watch& watch) noexcept;

  std::mutex mutex_;  // guards the number of lanes, and of watches in each; taken before a lane's
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::atomic<bool> stopping_{false};
  int event_ = -1;                // what wait::signal_event takes
  std::uint32_t generation_ = 0;  // of the process that made it
};

}  // namespace judemap

#endif  // JUDEMAP_PARKER_H
