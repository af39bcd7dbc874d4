//go:build ignore
// (For the go command: this file is compiled as a part of judemap_core.cc, never by itself.)
//
// What becomes of descriptors in a forked child, on POSIX systems.

#ifndef _WIN32

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>

#include "fork.h"

namespace judemap {
namespace fork {

std::atomic<std::uint32_t> generation{0};

// The list of open descriptors. Its mutex is held during a fork, so that the child finds the list complete: every open
// descriptor is in it.
struct Registry {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  Descriptor* first = nullptr;

  void add(Descriptor* d) noexcept {
    d->previous_ = nullptr;
    d->next_ = first;
    if (first != nullptr) first->previous_ = d;
    first = d;
  }
  void remove(Descriptor* d) noexcept {
    (d->previous_ != nullptr ? d->previous_->next_ : first) = d->next_;
    if (d->next_ != nullptr) d->next_->previous_ = d->previous_;
  }
  void close_all() noexcept {
    for (Descriptor* d = first; d != nullptr; d = d->next_) {
      ::close(d->descriptor_);
      d->descriptor_ = -1;
    }
    first = nullptr;
  }
};

namespace {

Registry registry;

void before() { pthread_mutex_lock(&registry.mutex); }
void after_in_parent() { pthread_mutex_unlock(&registry.mutex); }
void after_in_child() {
  registry.close_all();
  generation.fetch_add(1, std::memory_order_relaxed);
  pthread_mutex_unlock(&registry.mutex);
}

}  // namespace

std::uint32_t process() noexcept { return static_cast<std::uint32_t>(getpid()); }

int watch() noexcept {
  static const int error = pthread_atfork(before, after_in_parent, after_in_child);
  return error;
}

int Descriptor::open(const char* path, int flags) noexcept {
  if (const int error = watch()) return error;
  pthread_mutex_lock(&registry.mutex);
  descriptor_ = ::open(path, flags);
  const int error = descriptor_ < 0 ? errno : 0;
  if (error == 0) registry.add(this);
  pthread_mutex_unlock(&registry.mutex);
  return error;
}

void Descriptor::close() noexcept {
  pthread_mutex_lock(&registry.mutex);
  if (descriptor_ >= 0) {
    registry.remove(this);
    ::close(descriptor_);
    descriptor_ = -1;
  }
  pthread_mutex_unlock(&registry.mutex);
}

}  // namespace fork
}  // namespace judemap

#endif
