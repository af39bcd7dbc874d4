//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/parker.h"

#include <algorithm>
#include <cerrno>
#include <exception>

namespace judemap {
namespace {

// Without a call to park on several words, a lane watches one segment and parks on that; a kick wakes everybody who is
// parked there, who then look and park again.
bool one_word() noexcept { return wait::most_words() == 1; }

std::size_t lane_size() noexcept { return one_word() ? 1 : wait::most_words() - 1; }

}  // namespace

Parker::~Parker() {
  stop();
  for (auto& lane : lanes_) {
    if (lane->thread.joinable()) lane->thread.join();
  }
}

void Parker::stop() noexcept {
  std::lock_guard<std::mutex> hold(mutex_);
  stopping_ = true;
  for (auto& lane : lanes_) kick(*lane);
}

jm_status Parker::create(int* descriptor) noexcept {
  if (descriptor == nullptr) return JM_OK;
  if (const int error = wait::make_event(&event_)) {
    errno = error;
    return JM_ERR_SYSTEM;
  }
  *descriptor = event_;
  return JM_OK;
}

jm_status Parker::watch(Segment* segment, std::uint64_t seen, std::uint64_t token, std::size_t* index) noexcept {
  if (segment == nullptr || token == 0) return JM_ERR_ARGUMENT;
  try {
    std::lock_guard<std::mutex> hold(mutex_);
    std::size_t i = 0;
    while (i < lanes_.size() && lanes_[i]->watches.size() == lane_size()) ++i;
    if (i == lanes_.size()) {
      auto fresh = std::make_unique<Lane>();
      fresh->watches.reserve(lane_size());
      fresh->words.reserve(lane_size() + 1);
      lanes_.reserve(lanes_.size() + 1);
      if (event_ >= 0) {
        const wait::WithoutSignals blocked;  // the thread inherits it: the program's signals go to its own threads
        fresh->thread = std::thread([this, lane = fresh.get()] { run(*lane); });
      }
      lanes_.push_back(std::move(fresh));
    }
    over_.reserve(over_.size() + lanes_.size() * lane_size());
    segment->announce();
    lanes_[i]->watches.push_back({segment, seen, token});  // reserved: throws nothing
    kick(*lanes_[i]);
    if (index != nullptr) *index = i;
    return JM_OK;
  } catch (const std::exception&) {  // no memory, or no thread
    errno = EAGAIN;
    return JM_ERR_SYSTEM;
  }
}

void Parker::unwatch(std::uint64_t token) noexcept {
  std::lock_guard<std::mutex> hold(mutex_);
  for (auto& lane : lanes_) {
    auto& watches = lane->watches;
    for (std::size_t i = 0; i < watches.size(); ++i) {
      if (watches[i].token != token) continue;
      if (one_word()) kick(*lane);  // while the word is known
      watches[i].segment->conceal();
      watches[i] = watches.back();
      watches.pop_back();
      kick(*lane);
      return;
    }
  }
}

std::uint64_t Parker::next() noexcept {
  std::uint64_t token = 0;
  std::lock_guard<std::mutex> hold(mutex_);
  take(&token, 1);
  return token;
}

std::size_t Parker::wait(std::size_t index, std::uint64_t* tokens, std::size_t capacity) noexcept {
  std::unique_lock<std::mutex> hold(mutex_);
  if (index >= lanes_.size()) return 0;
  Lane& lane = *lanes_[index];
  while (!stopping_) {
    const std::int64_t nap = look(lane);
    if (const std::size_t taken = take(tokens, capacity)) return taken;
    park(lane, nap, hold);
  }
  return 0;
}

std::size_t Parker::take(std::uint64_t* tokens, std::size_t capacity) noexcept {
  const std::size_t taken = std::min(capacity, over_.size());
  std::copy_n(over_.begin(), taken, tokens);
  over_.erase(over_.begin(), over_.begin() + static_cast<std::ptrdiff_t>(taken));
  return taken;
}

std::size_t Parker::threads() noexcept {
  std::lock_guard<std::mutex> hold(mutex_);
  return lanes_.size();
}

void Parker::kick(Lane& lane) noexcept {
  lane.changed.fetch_add(1, std::memory_order_seq_cst);
  wait::wake_all(&lane.changed, false);
  if (one_word() && !lane.watches.empty()) wait::wake_all(&lane.watches[0].segment->header()->sequence, true);
}

std::int64_t Parker::look(Lane& lane) noexcept {
  std::int64_t nap = wait::kForever;
  for (std::size_t i = 0; i < lane.watches.size();) {
    const Watch& watch = lane.watches[i];
    Segment& segment = *watch.segment;
    if (segment.version() != watch.seen || segment.writer_died()) {
      segment.conceal();
      over_.push_back(watch.token);  // reserved, as watches
      lane.watches[i] = lane.watches.back();
      lane.watches.pop_back();
      continue;
    }
    const std::int64_t time = segment.nap();
    if (time != wait::kForever && (nap == wait::kForever || time < nap)) nap = time;
    ++i;
  }
  return nap;
}

void Parker::park(Lane& lane, std::int64_t nap, std::unique_lock<std::mutex>& hold) noexcept {
  lane.words.clear();
  // Read with the mutex held, as it is changed: a kick from here on makes the word differ, and nothing is missed.
  const std::uint32_t changed = lane.changed.load(std::memory_order_seq_cst);
  if (!one_word() || lane.watches.empty()) lane.words.push_back({&lane.changed, changed, false});
  for (const Watch& watch : lane.watches) {
    lane.words.push_back({&watch.segment->header()->sequence, static_cast<std::uint32_t>(watch.seen), true});
  }
  hold.unlock();
  // A segment may be unmapped from here on: the kernel then finds no word at the address, and returns.
  wait::park_any(lane.words.data(), lane.words.size(), nap);
  hold.lock();
}

void Parker::run(Lane& lane) noexcept {
  std::unique_lock<std::mutex> hold(mutex_);
  while (!stopping_) {
    const std::size_t before = over_.size();
    const std::int64_t nap = look(lane);
    if (over_.size() != before) wait::signal_event(event_);
    park(lane, nap, hold);
  }
}

}  // namespace judemap
