//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// Waiting on Windows. WaitOnAddress parks on a word, but wakes nobody of another process: words that are shared have
// four named events each, which stay set until they are reset, and are used in turn. Who parks takes the event of the
// generation that he reads, and then looks at the word; who wakes resets the next event, begins the next generation,
// and sets the event of the one before: all who read that one pass, whether they sleep already or are about to.
//
// An event stays set for two wakes more. Two events would not do: who sees a commit before its waker has begun the next
// generation parks, to wait for the commit after, on an event that this waker sets and the next one resets. So one kind
// of wake is missed: by a thread that is held up between its look at the word and its sleep for as long as three wakes
// take. It looks up when its time is over (Mapping::nap), as a thread does whose waker died between two steps.

#ifdef _WIN32

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cwchar>
#include <mutex>
#include <shared_mutex>

#include "judemap/layout.h"
#include "views_windows.h"
#include "wait.h"

namespace judemap {
namespace wait {
namespace {

using windows::Bell;
using windows::View;

constexpr std::size_t kMostWords = MAXIMUM_WAIT_OBJECTS;  // 64

// The functions of WaitOnAddress are in no library that all compilers have.
struct Addresses {
  using Wait = BOOL WINAPI(volatile void*, void*, SIZE_T, DWORD);
  using Wake = void WINAPI(void*);
  Wait* wait = windows::function<Wait>(L"kernelbase.dll", "WaitOnAddress");
  Wake* wake = windows::function<Wake>(L"kernelbase.dll", "WakeByAddressAll");
};

const Addresses& addresses() noexcept {
  static const Addresses functions{};
  return functions;
}

DWORD milliseconds(std::int64_t nanoseconds) noexcept {
  constexpr std::int64_t kMillisecond = 1'000'000;
  if (nanoseconds == kForever) return INFINITE;
  return static_cast<DWORD>(std::clamp<std::int64_t>((nanoseconds + kMillisecond - 1) / kMillisecond, 0, INT32_MAX));
}

std::uint32_t load(const void* word) noexcept {
  return static_cast<const std::atomic<std::uint32_t>*>(word)->load(std::memory_order_seq_cst);
}

// ---- Words of one process ---------------------------------------------------------------------------------------

// Threads that are parked on a word of this process's memory and on others at once, in a list.
struct Parked {
  const void* address;
  HANDLE event;
  Parked* next;
};

windows::Lock parked_lock;  // guards the list
Parked* parked = nullptr;
std::atomic<std::uint32_t> parked_count{0};

// The event by which such a thread is woken: set once, it lets one thread pass.
struct OwnEvent {
  const HANDLE handle = CreateEventW(nullptr, FALSE, FALSE, nullptr);
  ~OwnEvent() {
    if (handle != nullptr) CloseHandle(handle);
  }
};

void enlist(Parked* p) noexcept {
  {
    const std::lock_guard<windows::Lock> hold(parked_lock);
    p->next = parked;
    parked = p;
  }
  parked_count.fetch_add(1, std::memory_order_seq_cst);
}

void strike(Parked* p) noexcept {
  const std::lock_guard<windows::Lock> hold(parked_lock);
  Parked** at = &parked;
  while (*at != p) at = &(*at)->next;
  *at = p->next;
  parked_count.fetch_sub(1, std::memory_order_relaxed);
}

// ---- Words of several processes -----------------------------------------------------------------------------------

jm_events* events_of(const View& view) noexcept { return reinterpret_cast<jm_events*>(view.base + JM_EVENTS_OFFSET); }

std::size_t index_of(const View& view, const void* word) noexcept {
  return static_cast<const char*>(word) - view.base == offsetof(jm_stream_header, released) ? 1 : 0;
}

// Whether the header has room for what all processes are to know of the events.
bool has_events(const View& view) noexcept {
  const std::uint32_t magic = reinterpret_cast<const jm_header*>(view.base)->magic.load(std::memory_order_relaxed);
  return view.writable && (magic == JM_MAGIC || magic == JM_STREAM_MAGIC);
}

// Makes the events of a word. With `wake`, only if somebody may be parked there. The caller holds bells_lock.
bool hang(View& view, std::size_t index, bool wake) noexcept {
  Bell& bell = view.bells[index];
  if (bell.events[0] != nullptr) return true;
  wchar_t names[Bell::kEvents][64];
  bell.shared = has_events(view);
  if (bell.shared) {
    std::atomic<std::uint64_t>& key = events_of(view)->key;
    std::uint64_t known = key.load(std::memory_order_seq_cst), fresh = 0;
    if (known == 0) {
      if (wake || !windows::random(&fresh, sizeof fresh) || fresh == 0) return false;
      if (key.compare_exchange_strong(known, fresh, std::memory_order_seq_cst)) known = fresh;
    }
    for (unsigned i = 0; i < Bell::kEvents; ++i) {
      std::swprintf(names[i], 64, L"Local\\judemap-%016llx-%u-%u", static_cast<unsigned long long>(known),
                    static_cast<unsigned>(index), i);
    }
  } else if (wake) {
    return false;
  }
  HANDLE made[Bell::kEvents];
  for (unsigned i = 0; i < Bell::kEvents; ++i) {
    made[i] = CreateEventW(nullptr, TRUE, FALSE, bell.shared ? names[i] : nullptr);
    if (made[i] == nullptr) {
      while (i != 0) CloseHandle(made[--i]);
      return false;
    }
  }
  std::copy(made, made + Bell::kEvents, bell.events);
  return true;
}

std::atomic<std::uint32_t>& generation_of(View& view, std::size_t index) noexcept {
  Bell& bell = view.bells[index];
  return bell.shared ? events_of(view)->generation[index] : bell.own_generation;
}

// A thread that is parked on a shared word, or about to.
struct Ticket {
  std::shared_ptr<View> view;
  std::size_t index = 0;
  std::uint32_t generation = 0;
  HANDLE event = nullptr;

  // False if there is nothing to park on: the word holds another value, or is there no more.
  bool take(const Word& word) noexcept {
    auto found = windows::view_of(word.address);
    if (found == nullptr) return false;
    const std::shared_lock<windows::Lock> hold(found->memory);
    if (!found->there) return false;
    index = index_of(*found, word.address);
    {
      const std::lock_guard<windows::Lock> hold_bells(found->bells_lock);
      if (!hang(*found, index, false)) return false;
    }
    found->bells[index].parked.fetch_add(1, std::memory_order_seq_cst);
    generation = generation_of(*found, index).load(std::memory_order_seq_cst);
    event = found->bells[index].events[generation % Bell::kEvents];
    const bool same = load(word.address) == word.expected;
    view = std::move(found);
    return same;
  }

  // The event was set. Where its generation stands, that was by somebody who was late, and threads would pass again and
  // again.
  void passed() noexcept {
    const std::shared_lock<windows::Lock> hold(view->memory);
    if (!view->there) return;
    const std::atomic<std::uint32_t>& now = generation_of(*view, index);
    if (now.load(std::memory_order_seq_cst) != generation) return;
    ResetEvent(event);
    if (now.load(std::memory_order_seq_cst) != generation) SetEvent(event);
  }

  ~Ticket() {
    if (view != nullptr) view->bells[index].parked.fetch_sub(1, std::memory_order_relaxed);
  }
};

// How many handles of all processes there are of an event.
std::uint32_t handles(HANDLE event) noexcept {
  struct Basic {
    ULONG attributes, access, handles, pointers, reserved[10];
  } basic = {};
  using Query = LONG NTAPI(HANDLE, int, void*, ULONG, ULONG*);
  static Query* const query = windows::function<Query>(L"ntdll.dll", "NtQueryObject");
  return query != nullptr && query(event, 0, &basic, sizeof basic, nullptr) >= 0 ? basic.handles : UINT32_MAX;
}

bool wake_shared(const void* address) noexcept {
  const auto view = windows::view_of(address);
  if (view == nullptr) return false;
  const std::shared_lock<windows::Lock> hold(view->memory);
  if (!view->there) return false;
  const std::size_t index = index_of(*view, address);
  Bell& bell = view->bells[index];
  const std::lock_guard<windows::Lock> hold_bells(view->bells_lock);
  if (view->state.load(std::memory_order_acquire) != View::kMapped) {
    // The header is gone. Who is parked here finds it closed.
    if (bell.events[0] == nullptr || bell.parked.load(std::memory_order_seq_cst) == 0) return false;
    for (const HANDLE event : bell.events) SetEvent(event);
    return true;
  }
  if (!hang(*view, index, true)) return false;
  std::atomic<std::uint32_t>& now = generation_of(*view, index);
  std::uint32_t generation = now.load(std::memory_order_seq_cst);
  const HANDLE event = bell.events[generation % Bell::kEvents];
  ResetEvent(bell.events[(generation + 1) % Bell::kEvents]);
  // If another one is quicker, the event below is set twice.
  now.compare_exchange_strong(generation, generation + 1, std::memory_order_seq_cst);
  SetEvent(event);
  // A reader that was killed stays counted in the header; its handles are closed.
  return bell.parked.load(std::memory_order_seq_cst) != 0 || (bell.shared && handles(event) > 1);
}

}  // namespace

std::size_t most_words() noexcept { return kMostWords; }

void park_any(const Word* words, std::size_t count, std::int64_t timeout) noexcept {
  const DWORD time = milliseconds(timeout);
  if (count == 1 && !words[0].shared) {
    std::uint32_t expected = words[0].expected;
    addresses().wait(const_cast<void*>(words[0].address), &expected, sizeof expected, time);
    return;
  }
  Ticket tickets[kMostWords];
  HANDLE events[kMostWords];
  std::size_t whose[kMostWords];
  DWORD n = 0;
  Parked own = {nullptr, nullptr, nullptr};
  bool sleeps = true;
  for (std::size_t i = 0; i < count && sleeps; ++i) {
    if (words[i].shared) {
      sleeps = tickets[i].take(words[i]);
      if (!sleeps || std::find(events, events + n, tickets[i].event) != events + n) continue;
      events[n] = tickets[i].event;
    } else {  // one at most: a parker's own
      thread_local const OwnEvent event{};
      if (event.handle == nullptr) {
        sleeps = false;
        continue;
      }
      ResetEvent(event.handle);
      own = {words[i].address, event.handle, nullptr};
      enlist(&own);
      sleeps = load(own.address) == words[i].expected;
      events[n] = own.event;
    }
    whose[n++] = i;
  }
  if (sleeps && n != 0) {
    const DWORD result = WaitForMultipleObjects(n, events, FALSE, time);
    if (result < WAIT_OBJECT_0 + n) {
      Ticket& ticket = tickets[whose[result - WAIT_OBJECT_0]];
      if (ticket.view != nullptr) ticket.passed();
    } else if (result == WAIT_FAILED) {
      Sleep(1);
    }
  }
  if (own.address != nullptr) strike(&own);
}

bool wake_all(const void* address, bool shared) noexcept {
  if (shared) return wake_shared(address);
  addresses().wake(const_cast<void*>(address));
  if (parked_count.load(std::memory_order_seq_cst) != 0) {
    const std::lock_guard<windows::Lock> hold(parked_lock);
    for (const Parked* p = parked; p != nullptr; p = p->next) {
      if (p->address == address) SetEvent(p->event);
    }
  }
  return true;
}

int make_event(int* descriptor, int* event_handle) noexcept {
  const HANDLE event = CreateEventW(nullptr, FALSE, FALSE, nullptr);
  if (event == nullptr) return windows::last_error();
  *descriptor = *event_handle = windows::descriptor_of(event);
  return 0;
}

void signal_event(int event) noexcept { SetEvent(windows::handle_of(event)); }

void close_event(int) noexcept {}  // the caller does

}  // namespace wait
}  // namespace judemap

#endif  // _WIN32
