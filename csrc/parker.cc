//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)

#include "judemap/parker.h"

#include <cerrno>
#include <exception>

#include "judemap/wait.h"

namespace judemap {
namespace {

// Without a call to park on several words, a lane watches one segment and parks on that; a kick wakes everybody who is
// parked there, who then look and park again.
bool one_word() noexcept { return wait::most_words() == 1; }

std::size_t lane_size() noexcept { return one_word() ? 1 : wait::most_words() - 1; }

}  // namespace

Parker::~Parker() {
  {
    std::lock_guard<std::mutex> hold(mutex_);
    stopping_ = true;
    for (auto& lane : lanes_) kick(*lane);
  }
  for (auto& lane : lanes_) lane->thread.join();
}

jm_status Parker::create(int* descriptor) noexcept {
  if (descriptor == nullptr) return JM_ERR_ARGUMENT;
  if (const int error = wait::make_event(&event_)) {
    errno = error;
    return JM_ERR_SYSTEM;
  }
  *descriptor = event_;
  return JM_OK;
}

jm_status Parker::watch(Segment* segment, std::uint64_t seen, std::uint64_t token) noexcept {
  if (segment == nullptr || token == 0) return JM_ERR_ARGUMENT;
  try {
    std::lock_guard<std::mutex> hold(mutex_);
    Lane* lane = nullptr;
    for (auto& each : lanes_) {
      if (each->watches.size() < lane_size()) {
        lane = each.get();
        break;
      }
    }
    if (lane == nullptr) {
      auto fresh = std::make_unique<Lane>();
      fresh->watches.reserve(lane_size());
      lanes_.reserve(lanes_.size() + 1);
      const wait::WithoutSignals blocked;  // the thread inherits it: the program's signals go to its own threads
      fresh->thread = std::thread([this, lane = fresh.get()] { run(lane); });
      lanes_.push_back(std::move(fresh));
      lane = lanes_.back().get();
    }
    segment->announce();
    lane->watches.push_back({segment, seen, token});  // reserved: throws nothing
    kick(*lane);
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
  std::lock_guard<std::mutex> hold(mutex_);
  if (fired_.empty()) return 0;
  const std::uint64_t token = fired_.front();
  fired_.pop_front();
  return token;
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

std::int64_t Parker::fire(Lane& lane) {
  std::int64_t nap = wait::kForever;
  bool any = false;
  for (std::size_t i = 0; i < lane.watches.size();) {
    const Watch& watch = lane.watches[i];
    Segment& segment = *watch.segment;
    if (segment.version() != watch.seen || segment.writer_died()) {
      segment.conceal();
      fired_.push_back(watch.token);
      any = true;
      lane.watches[i] = lane.watches.back();
      lane.watches.pop_back();
      continue;
    }
    const std::int64_t time = segment.nap();
    if (time != wait::kForever && (nap == wait::kForever || time < nap)) nap = time;
    ++i;
  }
  if (any) wait::signal_event(event_);
  return nap;
}

void Parker::run(Lane* lane) noexcept {
  std::unique_lock<std::mutex> hold(mutex_);
  std::vector<wait::Word> words;
  words.reserve(lane_size() + 1);
  while (!stopping_) {
    const std::int64_t nap = fire(*lane);
    words.clear();
    // Read with the mutex held, as it is changed: a kick from here on makes the word differ, and nothing is missed.
    const std::uint32_t changed = lane->changed.load(std::memory_order_seq_cst);
    if (!one_word() || lane->watches.empty()) words.push_back({&lane->changed, changed, false});
    for (const Watch& watch : lane->watches) {
      words.push_back({&watch.segment->header()->sequence, static_cast<std::uint32_t>(watch.seen), true});
    }
    hold.unlock();
    // A segment may be unmapped from here on: the kernel then finds no word at the address, and returns.
    wait::park_any(words.data(), words.size(), nap);
    hold.lock();
  }
}

}  // namespace judemap
