//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/parker.h"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <thread>

#include "fork.h"
#include "wait.h"

namespace judemap {
namespace {

// How many watched words one thread parks on, in addition to its own word. The kernel allows 127, but it looks up each
// of them at every park, so more words make a wake slower.
constexpr std::size_t kMostWatches = 32;

// If the system can't park on several words, a lane watches one segment and parks on its sequence. A kick then wakes
// all threads that are parked there; they look, and park again.
bool one_word() noexcept { return wait::most_words() == 1; }

std::size_t lane_size() noexcept { return std::min(kMostWatches, one_word() ? 1 : wait::most_words() - 1); }

}  // namespace

// The watches of one thread.
struct Parker::Lane {
  std::mutex mutex;                       // guards what follows
  std::vector<Watch*> watches;            // lane_size() at most
  std::vector<std::uint64_t> over;        // tokens to be delivered, each once; its capacity is reserved
  std::atomic<std::uint32_t> changed{0};  // the thread also parks on this word; it is changed to wake it
  std::vector<wait::Word> words;          // what the thread is parked on; only the thread uses it
  std::thread thread;                     // if the parker has threads of its own
};

Parker::Parker() = default;

Parker::~Parker() {
  stop();
  for (auto& lane : lanes_) {
    if (!lane->thread.joinable()) continue;
    if (inherited()) {
      lane->thread.detach();  // a forked child does not have this thread, and can't join it
    } else {
      lane->thread.join();
    }
  }
  if (event_ >= 0) wait::close_event(event_);
}

bool Parker::inherited() const noexcept { return generation_ != fork::generation.load(std::memory_order_relaxed); }

void Parker::stop() noexcept {
  if (inherited()) return;
  std::lock_guard<std::mutex> hold(mutex_);
  stopping_.store(true);
  for (auto& lane : lanes_) {
    std::lock_guard<std::mutex> hold_lane(lane->mutex);
    kick(*lane);
  }
}

jm_status Parker::create(int* descriptor) noexcept {
  generation_ = fork::generation.load(std::memory_order_relaxed);
  if (descriptor == nullptr) return JM_OK;
  if (const int error = wait::make_event(descriptor, &event_)) {
    errno = error;
    return JM_ERR_SYSTEM;
  }
  return JM_OK;
}

jm_status Parker::add(Mapping* mapping, std::uint64_t token, Watch* watch, std::size_t* index) noexcept {
  if (token == 0) return JM_ERR_ARGUMENT;
  if (mapping->inherited()) return JM_ERR_FORKED;
  try {
    std::lock_guard<std::mutex> hold(mutex_);
    std::size_t i = 0;
    while (i < lanes_.size() && lanes_[i]->watches.size() == lane_size()) ++i;
    if (i == lanes_.size()) {
      auto fresh = std::make_unique<Lane>();
      fresh->watches.reserve(lane_size());
      fresh->over.reserve(lane_size() + 1);
      fresh->words.reserve(lane_size() + 1);
      lanes_.reserve(lanes_.size() + 1);
      if (event_ >= 0) {
        const wait::WithoutSignals blocked;  // the new thread inherits this, and gets no signals of the program
        fresh->thread = std::thread([this, lane = fresh.get()] { run(*lane); });
      }
      lanes_.push_back(std::move(fresh));
    }
    watch->parker = this;
    watch->mapping = mapping;
    watch->token = token;
    watch->lane = lanes_[i].get();
    std::lock_guard<std::mutex> hold_lane(watch->lane->mutex);
    watch->lane->watches.push_back(watch);
    if (index != nullptr) *index = i;
    return JM_OK;
  } catch (const std::exception&) {  // no memory, or no thread
    errno = EAGAIN;
    return JM_ERR_SYSTEM;
  }
}

// A watch whose wait is over stays in the list with the sequence that was found. It leaves the list only when that has
// changed and nobody waits. So a reader that waits for commit after commit finds its watch in the list, and the thread
// need not be kicked.
jm_status Parker::arm(Watch* watch, std::uint64_t seen) noexcept {
  if (watch->parker->inherited()) return JM_ERR_FORKED;
  std::lock_guard<std::mutex> hold(watch->lane->mutex);
  Mapping& mapping = *watch->mapping;
  const bool fresh = !watch->listed;
  if (fresh) mapping.announce();
  // This look comes after announce(), or while an earlier one still holds. So a commit after this wakes the thread, and
  // one before this is seen here.
  jm_status status = JM_OK;
  if (mapping.closed()) {
    status = JM_ERR_CLOSED;
  } else if (mapping.version() != seen) {
    status = JM_ERR_BUSY;
  }
  if (status != JM_OK) {
    if (fresh) mapping.conceal();
    return status;
  }
  watch->wanted = true;
  watch->known = seen;
  if (fresh) {
    watch->listed = true;
    watch->seen = seen;
    kick(*watch->lane);
  }
  return JM_OK;
}

void Parker::disarm(Watch* watch) noexcept {
  if (watch->parker->inherited()) return;
  std::lock_guard<std::mutex> hold(watch->lane->mutex);
  watch->wanted = false;
  if (watch->listed && watch->mapping->polls()) drop(*watch);
}

void Parker::remove(Watch* watch) noexcept {
  if (watch->parker->inherited()) return;
  std::lock_guard<std::mutex> hold(watch->parker->mutex_);
  Lane& lane = *watch->lane;
  std::lock_guard<std::mutex> hold_lane(lane.mutex);
  if (watch->listed) {
    kick(lane);  // before the lane forgets the word
    drop(*watch);
  }
  lane.watches.erase(std::find(lane.watches.begin(), lane.watches.end(), watch));
  lane.over.erase(std::remove(lane.over.begin(), lane.over.end(), watch->token), lane.over.end());
}

void Parker::drop(Watch& watch) noexcept {
  watch.mapping->conceal();
  watch.listed = false;
  watch.wanted = false;
}

std::uint64_t Parker::next() noexcept {
  if (inherited()) return 0;
  std::lock_guard<std::mutex> hold(mutex_);
  for (auto& lane : lanes_) {
    std::lock_guard<std::mutex> hold_lane(lane->mutex);
    if (lane->over.empty()) continue;
    const std::uint64_t token = lane->over.back();
    lane->over.pop_back();
    return token;
  }
  return 0;
}

std::size_t Parker::wait(std::size_t index, std::uint64_t* tokens, std::size_t capacity) noexcept {
  if (inherited()) return 0;
  Lane* lane;
  {
    std::lock_guard<std::mutex> hold(mutex_);
    if (index >= lanes_.size()) return 0;
    lane = lanes_[index].get();
  }
  std::unique_lock<std::mutex> hold(lane->mutex);
  while (!stopping_.load()) {
    const std::int64_t nap = look(*lane);
    if (const std::size_t taken = std::min(capacity, lane->over.size())) {
      std::copy_n(lane->over.begin(), taken, tokens);
      lane->over.erase(lane->over.begin(), lane->over.begin() + static_cast<std::ptrdiff_t>(taken));
      return taken;
    }
    park(*lane, nap, hold);
  }
  return 0;
}

std::size_t Parker::threads() noexcept {
  if (inherited()) return 0;
  std::lock_guard<std::mutex> hold(mutex_);
  return lanes_.size();
}

void Parker::kick(Lane& lane) noexcept {
  lane.changed.fetch_add(1, std::memory_order_seq_cst);
  wait::wake_all(&lane.changed, false);
  if (one_word() && !lane.watches.empty()) lane.watches[0]->mapping->wake();
}

std::int64_t Parker::look(Lane& lane) noexcept {
  std::int64_t nap = wait::kForever;
  for (Watch* watch : lane.watches) {
    if (!watch->listed) continue;
    Mapping& mapping = *watch->mapping;
    const std::uint64_t version = mapping.version();
    const bool closed = mapping.closed();
    const bool moved = version != watch->seen;
    if (closed || (watch->wanted && ((moved && version != watch->known) || mapping.died()))) {
      const bool told = std::find(lane.over.begin(), lane.over.end(), watch->token) != lane.over.end();
      if (watch->wanted && !told) lane.over.push_back(watch->token);  // does not throw: the capacity is reserved
      watch->wanted = false;
      if (closed || mapping.polls()) drop(*watch);
    } else if (moved && !watch->wanted) {
      drop(*watch);  // nobody waited twice in a row, so writers need not wake this process
    }
    watch->seen = version;
    if (!watch->listed) continue;
    // This counts also for watches without a wait, because arm() does not kick a thread that sleeps.
    const std::int64_t time = mapping.nap();
    if (nap == wait::kForever || time < nap) nap = time;
  }
  return nap;
}

void Parker::park(Lane& lane, std::int64_t nap, std::unique_lock<std::mutex>& hold) noexcept {
  lane.words.clear();
  // This is loaded with the mutex held, with which it is also changed. A kick after this makes the word differ, so no
  // kick is missed.
  const std::uint32_t changed = lane.changed.load(std::memory_order_seq_cst);
  for (const Watch* watch : lane.watches) {
    if (!watch->listed) continue;
    lane.words.push_back(
        {&watch->mapping->header()->sequence, static_cast<std::uint32_t>(watch->seen), watch->mapping->shared()});
  }
  if (!one_word() || lane.words.empty()) lane.words.push_back({&lane.changed, changed, false});
  hold.unlock();
  // From here on a segment may be unmapped. The kernel then finds no memory at the address, and returns.
  wait::park_any(lane.words.data(), lane.words.size(), nap);
  hold.lock();
}

void Parker::run(Lane& lane) noexcept {
  std::unique_lock<std::mutex> hold(lane.mutex);
  while (!stopping_.load()) {
    const std::size_t before = lane.over.size();
    const std::int64_t nap = look(lane);
    if (lane.over.size() != before) wait::signal_event(event_);
    park(lane, nap, hold);
  }
}

}  // namespace judemap
